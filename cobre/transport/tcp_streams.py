"""Making the links of a group inside one host: each rank calls those below it, twice, and shows a ticket."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from cobre.transport.digests import same
from cobre.transport.handshake import Place, Stranger, Ticket
from cobre.transport.tcp_door import Connection, Listener, Loop, listen
from cobre.transport.tcp_links import Link, StreamLink, StreamWaiter, Waiter

__all__ = ["CHANNELS", "LinkMaker", "StreamMaker"]

_PAYLOADS, _NOTICES = 0, 1
CHANNELS = (_PAYLOADS, _NOTICES)
"""The connections between two ranks."""


class LinkMaker(ABC):
    """Makes one rank's links with all others; owns them until ``finish``."""

    place: Place
    """Where this rank can be called."""

    pace: float = 0.05
    """Seconds between calls of ``poke``."""

    @abstractmethod
    def start(self, ticket: Ticket, places: Sequence[tuple[str, tuple[int, ...]]], deadline: float) -> None:
        """Calls the ranks below, which stand in rank order, and awaits those above. Raises OSError."""

    @abstractmethod
    def poke(self) -> None:
        """Goes on with what can be done without waiting."""

    @abstractmethod
    def missing(self) -> list[int]:
        """The ranks without a link."""

    @abstractmethod
    def finish(self) -> tuple[Mapping[int, Link], Waiter]:
        """The links, which belong to the caller from now on; listening ends."""

    @abstractmethod
    def close(self) -> None:
        """Gives up what was not handed over."""


class StreamMaker(LinkMaker):
    """Two TCP streams for each pair of ranks."""

    def __init__(self, loop: Loop, rank: int, size: int, host: str, advertised: str) -> None:
        self._loop = loop
        self._rank = rank
        self._size = size
        self._stream: socket.socket | None = listen(host, 0, max(128, 2 * size))
        self._listener: Listener | None = None
        self._ticket: Ticket | None = None
        self._calling: dict[Connection, tuple[int, int, bytes]] = {}
        self._met: dict[tuple[int, int], socket.socket] = {}
        self.place = Place(advertised, (self._stream.getsockname()[1],))

    def start(self, ticket: Ticket, places: Sequence[tuple[str, tuple[int, ...]]], deadline: float) -> None:
        assert self._stream is not None
        self._ticket = ticket
        self._listener = Listener(self._loop, self._stream, Ticket.SIZE, self._heard)
        self._stream = None
        for rank, (host, ports) in enumerate(places):
            for channel in CHANNELS:
                self._call(rank, channel, (host, ports[channel]), deadline)

    def _call(self, rank: int, channel: int, address: tuple[str, int], deadline: float) -> None:
        assert self._ticket is not None
        stream = socket.create_connection(address, timeout=deadline)
        connection = Connection(stream, Ticket.STUB)
        shown = self._ticket.write(self._rank, rank, channel, os.urandom(16))
        self._calling[connection] = rank, channel, self._ticket.stub(shown)
        connection.write(shown)
        self._loop.add(stream, lambda: self._answered(connection))

    def _answered(self, connection: Connection) -> None:
        answer = connection.read()
        if answer is None:
            return
        rank, channel, stub = self._calling.pop(connection)
        self._loop.remove(connection.stream)
        if not same(answer, stub):
            connection.close()
            raise Stranger("a rank without the token")
        self._met[rank, channel] = connection.stream

    def _heard(self, connection: Connection, message: bytes) -> None:
        assert self._ticket is not None
        assert self._listener is not None
        rank, channel = self._ticket.read(message, self._rank)
        if not self._rank < rank < self._size or channel not in CHANNELS or (rank, channel) in self._met:
            raise Stranger("a ticket that was used")
        connection.write(self._ticket.stub(message))
        self._listener.release(connection)
        self._met[rank, channel] = connection.stream

    def poke(self) -> None:
        """Nothing is left to do beside what the loop calls."""

    def missing(self) -> list[int]:
        return [
            rank
            for rank in range(self._size)
            if rank != self._rank and not all((rank, channel) in self._met for channel in CHANNELS)
        ]

    def finish(self) -> tuple[Mapping[int, Link], Waiter]:
        links = {
            rank: StreamLink(rank, self._met.pop((rank, _PAYLOADS)), self._met.pop((rank, _NOTICES)))
            for rank in range(self._size)
            if rank != self._rank
        }
        self.close()
        return links, StreamWaiter(links.values())

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._listener is not None:
            self._listener.close()
        for connection in self._calling:
            self._loop.remove(connection.stream)
            connection.close()
        for stream in self._met.values():
            stream.close()
        self._stream = self._listener = None
        self._calling, self._met = {}, {}
