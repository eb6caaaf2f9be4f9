"""The connection between two ranks of a tcp group, as the schedules see it, and its plain form: two TCP streams.

One stream carries payloads, the other notices, so that a rank which gives up in the middle of a payload can say so.
Nothing here blocks; whoever has nothing left to do waits in ``Waiter``.
"""

from __future__ import annotations

import contextlib
import select
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from cobre.transport.wire import Notice, NoticeReader

__all__ = ["Link", "LinkDown", "StreamLink", "StreamWaiter", "Waiter"]

_PIECES = 16  # views handed to one system call


class LinkDown(Exception):
    """The connection with ``peer`` is gone; ``how`` completes "rank 3 ..."."""

    def __init__(self, peer: int, how: str) -> None:
        super().__init__(how)
        self.peer = peer


class Link(ABC):
    """This rank's end of its connection with rank ``peer``."""

    peer: int

    finished: bool = False
    """No notice will come any more: the peer has gone."""

    @abstractmethod
    def send(self, views: Sequence[memoryview | bytes]) -> int:
        """How many bytes of ``views`` were taken, perhaps none. They may be changed then. Raises LinkDown."""

    @abstractmethod
    def receive(self, views: Sequence[memoryview]) -> int:
        """How many bytes were put into ``views``, perhaps none. Raises LinkDown when no more will come."""

    @abstractmethod
    def post(self, notice: bytes) -> None:
        """Sends a notice, if the peer is there to take it."""

    @abstractmethod
    def notices(self) -> Iterable[Notice]:
        """The notices that have arrived. Raises LinkDown, after the last one, if the peer has gone."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the connection; what was sent is still delivered."""


class Waiter(ABC):
    """Waits for several links at once."""

    @abstractmethod
    def wait(self, sending: Iterable[Link], receiving: Iterable[Link], seconds: float) -> bool:
        """Returns when one of them may go on; True where a notice has come or a peer has gone."""

    @abstractmethod
    def wake(self) -> None:
        """Ends a ``wait`` with True, from another thread; if none is under way, the next one."""

    @abstractmethod
    def forget(self, link: Link) -> None:
        """Pays no more heed to the link's notices."""

    @abstractmethod
    def close(self) -> None:
        """Gives back what it holds."""


class StreamLink(Link):
    """Two connected stream sockets, which it owns."""

    def __init__(self, peer: int, payloads: socket.socket, notices: socket.socket) -> None:
        self.peer = peer
        self.payloads = payloads
        self.side = notices
        self._reader = NoticeReader()
        for stream in (payloads, notices):
            stream.setblocking(False)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sendmsg = payloads.sendmsg
        self._recvmsg_into = payloads.recvmsg_into

    def send(self, views: Sequence[memoryview | bytes]) -> int:
        try:
            return self._sendmsg(views if len(views) <= _PIECES else views[:_PIECES])
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise LinkDown(self.peer, _how(error)) from None

    def receive(self, views: Sequence[memoryview]) -> int:
        try:
            count = self._recvmsg_into(views if len(views) <= _PIECES else views[:_PIECES])[0]
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise LinkDown(self.peer, _how(error)) from None
        if count == 0:
            raise LinkDown(self.peer, "closed the connection")
        return count

    def post(self, notice: bytes) -> None:
        with contextlib.suppress(OSError):
            self.side.send(notice)

    def notices(self) -> Iterable[Notice]:
        while not self.finished:
            try:
                data = self.side.recv(4096)
                if not data:
                    self.finished = True
                    raise LinkDown(self.peer, "closed the connection")
                yield from self._reader.feed(data)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.finished = True
                raise LinkDown(self.peer, _how(error)) from None
            except ValueError:
                self.finished = True
                raise LinkDown(self.peer, "sent a notice that cannot be read") from None

    def close(self) -> None:
        for stream in (self.side, self.payloads):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_WR)  # seen by the peer even where a forked child holds the socket too
            stream.close()


class StreamWaiter(Waiter):
    """One ``poll`` over the streams; a pair of sockets of its own wakes it."""

    def __init__(self, links: Iterable[StreamLink]) -> None:
        self._poll = select.poll()
        self._bell, self._button = socket.socketpair()
        for end in (self._bell, self._button):
            end.setblocking(False)
        self._sides = {self._bell.fileno()}
        self._poll.register(self._bell, select.POLLIN)
        for link in links:
            self._sides.add(link.side.fileno())
            self._poll.register(link.side, select.POLLIN)

    def wait(self, sending: Iterable[Link], receiving: Iterable[Link], seconds: float) -> bool:
        wanted: dict[int, int] = {}
        for link in receiving:
            wanted[link.payloads.fileno()] = select.POLLIN  # type: ignore[attr-defined]
        for link in sending:
            number = link.payloads.fileno()  # type: ignore[attr-defined]
            wanted[number] = wanted.get(number, 0) | select.POLLOUT
        poll = self._poll
        for number, events in wanted.items():
            poll.register(number, events)
        try:
            ready = poll.poll(max(seconds, 0.0) * 1000.0)
        finally:
            for number in wanted:
                poll.unregister(number)
        return any(number in self._sides for number, _ in ready)

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it rings already
            self._button.send(b"!")

    def forget(self, link: Link) -> None:
        number = link.side.fileno()  # type: ignore[attr-defined]
        if number in self._sides:
            self._sides.discard(number)
            self._poll.unregister(number)

    def close(self) -> None:
        self._bell.close()
        self._button.close()


def _how(error: OSError) -> str:
    return f"cannot be reached any more ({error.strerror or error})"
