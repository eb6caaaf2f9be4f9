"""Channels between processes that share no memory, over plain TCP: the same ports, with the same meaning.

                     reader 0 listens, its thread takes in what it has granted
    writer 0  ------ messages ------>  queue  ---- receive ---->
              <---- done with, left, ended ----

A writer calls every reader and needs no thread. What has been published is on its way to its readers or with them, and
dies with them; a message that a writer could not send to its end does not count.
"""

from __future__ import annotations

import contextlib
import os
import socket
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self

from cobre.errors import ChannelError
from cobre.transport.channel_ports import ChannelStatistics
from cobre.transport.tcp_address import LOOPBACK
from cobre.transport.tcp_channel_door import ask
from cobre.transport.tcp_channel_reader import TcpChannelReader
from cobre.transport.tcp_channel_settings import Settings, secret_of, split_address
from cobre.transport.tcp_channel_statistics import Report, statistics_of
from cobre.transport.tcp_channel_writer import TcpChannelWriter
from cobre.transport.tcp_door import listen

__all__ = ["TcpChannel"]

_PATIENCE = 2.0  # seconds that a reader in another process has to answer


class TcpChannel:
    """The description of a channel over TCP, from which its ports are made, in any process: it can be pickled.

    Whoever has it can take part: it holds the channel's token, so send it only where nobody else reads. Whoever made it
    keeps the ports of readers that were given none free for them, until ``close``.
    """

    def __init__(
        self,
        name: str,
        *,
        writers: int = 1,
        readers: int = 1,
        capacity: int = 10,
        bytes: int = 16 << 20,
        to: Literal["all", "one"] = "all",
        kinds: Sequence[str] | None = None,
        session: str = "",
        addresses: Sequence[str] | None = None,
        token: str | None = None,
        connect_timeout: float = 30.0,
    ) -> None:
        """capacity, bytes: of each writer's messages that its readers are not done with. to: each message goes to all
        readers or to one. kinds: of messages, None for any. addresses: where each reader listens (``host:port``), by
        default any port of the loopback. token: the secret of the ports; by default a new one or, where ``addresses``
        are given, this user's on this host, so that processes can make the channel each for itself, with the same
        arguments. connect_timeout: seconds that a writer calls a reader that is not there.

        Raises ChannelError: OutOfRange; NotSupported for addresses that other hosts can reach; Unreachable for one that
        this host has not; TooManyFiles.
        """
        count = max(readers, 1) if isinstance(readers, int) else 1  # what cannot be is refused below
        found = [split_address(text, name) for text in addresses] if addresses else [(LOOPBACK, 0)] * count
        settings = Settings(
            name=name,
            writers=writers,
            readers=readers,
            capacity=capacity,
            limit=bytes,
            to=to,
            kinds=None if kinds is None else tuple(kinds),
            session=session,
            addresses=tuple(found),
            connect_timeout=connect_timeout,
            token=secret_of(name, token, addresses is not None),
        )
        settings.check()
        kept: list[socket.socket | None] = []
        try:
            kept += (_reserved(settings, place) for place in range(readers))
        except ChannelError:
            _close_all(stream for stream in kept if stream is not None)
            raise
        taken = [stream.getsockname()[:2] if stream else found[place] for place, stream in enumerate(kept)]
        self._take(replace(settings, addresses=tuple(taken)))
        self._keep([stream for stream in kept if stream is not None])

    def _take(self, settings: Settings) -> None:
        self._settings = settings
        self._ended: str | None = None
        self._process = os.getpid()
        self._writers: weakref.WeakSet[TcpChannelWriter] = weakref.WeakSet()
        self._readers: weakref.WeakValueDictionary[int, TcpChannelReader] = weakref.WeakValueDictionary()
        self._known: dict[int, Report] = {}
        self._keep([])

    def _keep(self, streams: Iterable[socket.socket]) -> None:
        self._kept = weakref.finalize(self, _close_all, list(streams))

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def session(self) -> str:
        return self._settings.session

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the readers listen."""
        return tuple(str(self._settings.spot(place)) for place in range(self._settings.readers))

    def at(self, addresses: Sequence[str]) -> TcpChannel:
        """The same channel where its readers are found under other addresses: behind a tunnel, or told by ``address``
        of each reader."""
        found = tuple(split_address(text, self.name) for text in addresses)
        settings = replace(self._settings, addresses=found)
        settings.check()
        return _restored(settings)

    def writer(self, place: int = 0) -> TcpChannelWriter:
        """The port of a writer. It calls the readers, and waits for those that are not there when it publishes.

        Raises ChannelError: OutOfRange, Closed, TooManyFiles.
        """
        self._check("writer", place, self._settings.writers)
        try:
            writer = TcpChannelWriter(self._settings, place)
        except OSError as error:
            raise self._settings.refused(error, "writer", "it cannot begin", "NotSupported") from None
        self._writers.add(writer)
        return writer

    def reader(self, place: int = 0) -> TcpChannelReader:
        """The port of a reader, which listens from now on.

        Raises ChannelError: OutOfRange, PlaceTaken, Closed, TooManyFiles, Unreachable (nobody can listen there).
        """
        self._check("reader", place, self._settings.readers)
        host, port = self._settings.addresses[place]
        try:
            stream = listen(host, port, 128)
        except OSError as error:
            address = self.addresses[place]
            what = f"cannot listen at {address}"
            raise self._settings.refused(error, "reader", what, "Unreachable", address=address) from None
        try:
            reader = TcpChannelReader(self._settings, place, stream, self._known)
        except OSError as error:
            stream.close()
            raise self._settings.refused(error, "reader", "it cannot begin", "NotSupported") from None
        self._readers[place] = reader
        return reader

    def _check(self, operation: str, place: int, count: int) -> None:
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < count:
            message = f"there is no {operation} {place!r}: there are {count}"
            raise self._settings.error("OutOfRange", operation, message, f"give {operation}s= when the channel is made")
        if self._ended is not None:
            raise self._settings.ended(operation, self._ended)

    def end(self, reason: str = "") -> None:
        """Ends the channel: all ports get ChannelError Closed, readers after what has arrived. From any thread.

        Ports that this description made in this process hear it at once, others from the readers, as soon as those
        that can be reached have been told.
        """
        if self._ended is None:  # the first reason stays
            self._ended = reason
        reason = self._ended
        for writer in list(self._writers):
            writer.end(reason)
        elsewhere = []
        for place in range(self._settings.readers):
            reader = self._readers.get(place)
            if reader is None:
                elsewhere.append(place)
            else:
                reader.end(reason)
        self._ask("end", elsewhere, {"end": reason})

    def statistics(self) -> ChannelStatistics:
        """What is known of the traffic: asked of the readers, wherever they are. Takes a moment for each of them."""
        elsewhere = []
        for place in range(self._settings.readers):
            reader = self._readers.get(place)
            if reader is not None:
                self._known[place] = reader.report()
            elif not self._known.get(place, {}).get("closed"):
                elsewhere.append(place)
        answers = self._ask("statistics", elsewhere, {})
        for place in elsewhere:
            if place in answers:
                self._known[place] = answers[place]
            elif place in self._known:
                self._known[place] = self._known[place] | {"closed": True}
        return statistics_of(self._settings, self._known, self._ended is not None)

    def note(self, place: int, report: Report) -> None:
        """Takes a reader's last ``report``, for the statistics after its end."""
        self._known[place] = report | {"closed": True}

    @property
    def state(self) -> str:
        """created, active, draining or destroyed, as in ``statistics``."""
        return self.statistics().state

    def _ask(self, operation: str, places: Sequence[int], question: Mapping[str, Any]) -> dict[int, Report]:
        spots = [self._settings.spot(place) for place in places]
        try:
            return ask([spot for spot in spots if spot.port], dict(question), _PATIENCE)
        except OSError as error:
            what = "readers elsewhere cannot be asked"
            raise self._settings.refused(error, operation, what, "NotSupported") from None

    def close(self) -> None:
        """Ports of the host that were kept free are given up; ports of the channel that are open stay so."""
        self._kept()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._settings,)

    def __repr__(self) -> str:
        return f"<TcpChannel {self.name}: {', '.join(self.addresses)}>"


def _restored(settings: Settings) -> TcpChannel:
    channel = TcpChannel.__new__(TcpChannel)
    channel._take(settings)
    return channel


def _reserved(settings: Settings, place: int) -> socket.socket | None:
    """Keeps a port of this host for a reader that was given none: bound, but not listening, it is in nobody's way.

    Raises ChannelError.
    """
    host, port = settings.addresses[place]
    if port:
        return None
    stream = None
    try:
        stream = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the reader's has: both may be bound to it
        stream.bind((host, 0))
    except OSError as error:
        if stream is not None:
            stream.close()
        raise settings.refused(error, "create", f"no port can be had at {host}", "Unreachable") from None
    return stream


def _close_all(streams: Iterable[socket.socket]) -> None:
    for stream in streams:
        with contextlib.suppress(OSError):
            stream.close()
