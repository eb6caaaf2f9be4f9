"""Connections of a group that is being formed: messages with their length before them, from whoever comes.

Whoever comes to a listener may be anybody. What has not proved itself is one of at most ``HALF_OPEN`` connections,
each of which holds no more than one message of bounded length; when another comes, the one that has waited longest
is dropped.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import struct
import time
from collections.abc import Callable

from cobre.transport.handshake import Stranger

__all__ = ["HALF_OPEN", "Connection", "Gone", "Listener", "Loop", "listen"]

HALF_OPEN = 64
"""Connections that are borne with before they have said who they are."""

_ACCEPTED_AT_ONCE = 64
_SHORT_OF_FILES = 0.02  # seconds until somebody may have closed one
_LENGTH = struct.Struct("<I")
_log = logging.getLogger(__name__)


class Gone(Exception):
    """The other side has closed the connection."""


class Loop:
    """Calls back when there is something to read. Belongs to one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, source: socket.socket, call: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, call)

    def remove(self, source: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(source)

    def once(self, seconds: float) -> None:
        for key, _ in self._selector.select(max(seconds, 0.0)):
            if key.fd in self._selector.get_map():  # not removed by a call before
                key.data()

    def close(self) -> None:
        self._selector.close()


class Connection:
    """A stream of messages, each at most ``limit`` bytes."""

    def __init__(self, stream: socket.socket, limit: int) -> None:
        self.stream = stream
        self.limit = limit
        self._held = bytearray()
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self) -> bytes | None:
        """The next message, or None if it is not there yet. Raises Gone, Stranger for a length that is none."""
        while True:
            wanted = _LENGTH.size
            if len(self._held) >= wanted:
                length = _LENGTH.unpack_from(self._held)[0]
                if not 0 < length <= self.limit:
                    raise Stranger(f"a message of {length} bytes")
                wanted += length
                if len(self._held) == wanted:
                    message = bytes(self._held[_LENGTH.size :])
                    self._held.clear()
                    return message
            try:
                data = self.stream.recv(wanted - len(self._held))
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                raise Gone(str(error)) from None
            if not data:
                raise Gone("closed the connection")
            self._held += data

    def write(self, message: bytes) -> None:
        """Sends it at once or, to one that does not read, not at all. Raises Gone."""
        data = _LENGTH.pack(len(message)) + message
        try:
            if self.stream.send(data) != len(data):
                raise Gone("does not read")
        except OSError as error:
            raise Gone(str(error)) from None

    def close(self) -> None:
        self.stream.close()


class Listener:
    """Accepts whoever comes, and gives ``heard`` each message of those that have not been taken out.

    heard(connection, message): keeps the connection by ``release``; may raise Stranger or Gone, which end it.
    """

    def __init__(self, loop: Loop, stream: socket.socket, limit: int, heard: Callable[[Connection, bytes], None]):
        self._loop = loop
        self._stream = stream
        self._limit = limit
        self._heard = heard
        self._half_open: dict[Connection, None] = {}
        self._ended: Callable[[Connection], None] = lambda _: None
        loop.add(stream, self._accept)

    def on_end(self, ended: Callable[[Connection], None]) -> None:
        """``ended`` hears of each connection that ends before it is released."""
        self._ended = ended

    def release(self, connection: Connection) -> None:
        """The connection belongs to the caller from now on."""
        del self._half_open[connection]
        self._loop.remove(connection.stream)

    def close(self) -> None:
        """Stops listening and ends all that were not released."""
        self._loop.remove(self._stream)
        self._stream.close()
        for connection in list(self._half_open):
            self._end(connection, "the door is closed")

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                stream, _ = self._stream.accept()
            except OSError as error:  # nobody there any more, or out of descriptors
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    time.sleep(_SHORT_OF_FILES)  # whoever calls is still there: do not ask without end
                return
            if len(self._half_open) >= HALF_OPEN:
                self._end(next(iter(self._half_open)), "made room for others")
            try:
                connection = Connection(stream, self._limit)
            except OSError:
                stream.close()
                continue
            self._half_open[connection] = None
            self._loop.add(stream, lambda c=connection: self._read(c))  # type: ignore[misc]
            self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            while connection in self._half_open and (message := connection.read()) is not None:
                self._heard(connection, message)
        except (Stranger, Gone) as error:
            if connection in self._half_open:
                self._end(connection, str(error))

    def _end(self, connection: Connection, why: str) -> None:
        _log.debug("a connection was dropped: %s", why)
        self.release(connection)
        connection.close()
        self._ended(connection)


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket that does not block. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    stream = socket.socket(family, kind, protocol)
    try:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stream.bind(address)
        stream.listen(backlog)
        stream.setblocking(False)
    except BaseException:
        stream.close()
        raise
    return stream
