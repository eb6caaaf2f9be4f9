"""What the ports of a tcp channel agree on, the secret with which they know each other, and the errors they raise."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

from cobre.errors import ChannelError, CommError
from cobre.transport.environment import state_directory
from cobre.transport.message_header import KINDS, SESSION_BYTES
from cobre.transport.tcp_address import meeting_place
from cobre.transport.tcp_channel_door import Spot
from cobre.transport.tcp_token import user_token

__all__ = ["Bell", "Settings", "secret_of", "split_address"]

_TOKEN = 16  # characters


@dataclass(frozen=True)
class Settings:
    """As the description of a channel carries them from process to process.

    limit: bytes of a writer's messages that are in the channel at once. addresses: numeric host and port of each
    reader; port 0: not known yet.
    """

    name: str
    writers: int
    readers: int
    capacity: int
    limit: int
    to: Literal["all", "one"]
    kinds: tuple[str, ...] | None
    session: str
    addresses: tuple[tuple[str, int], ...]
    connect_timeout: float
    token: bytes = field(repr=False)

    @property
    def chooses(self) -> bool:
        """Whether messages go to one of several readers: the one that waits."""
        return self.to == "one" and self.readers > 1

    def check(self) -> None:
        """Raises ChannelError OutOfRange."""
        for label in ("writers", "readers", "capacity", "limit"):
            value = getattr(self, label)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                shown = "bytes" if label == "limit" else label
                raise _wrong(self.name, "OutOfRange", f"{shown} is {value!r}, but must be a whole number from 1")
        if self.to not in ("all", "one"):
            raise _wrong(self.name, "OutOfRange", f"to is {self.to!r}, but must be 'all' or 'one'")
        if unknown := sorted(set(self.kinds or ()) - set(KINDS[:-1])):
            raise _wrong(self.name, "OutOfRange", f"kinds has {unknown}, but must be of {', '.join(KINDS[:-1])}")
        if len(self.addresses) != self.readers:
            count = len(self.addresses)
            raise _wrong(self.name, "OutOfRange", f"{count} addresses for {self.readers} readers", "give one for each")
        if len(self.session.encode()) > SESSION_BYTES:
            message = f"the session {self.session!r} has more than {SESSION_BYTES} bytes"
            raise _wrong(self.name, "OutOfRange", message)
        if not 0 < self.connect_timeout < 2**31 / 1000:
            message = f"connect_timeout is {self.connect_timeout!r}, but must be a number of seconds above 0"
            raise _wrong(self.name, "OutOfRange", message)

    def spot(self, reader: int) -> Spot:
        """Where a reader is, for those that call it."""
        agreed = (self.name, self.session, self.writers, self.readers, self.capacity, self.limit, self.to)
        host, port = self.addresses[reader]
        return Spot(reader, host, port, self.token, json.dumps(agreed), self.writers)

    def error(
        self, kind: str, operation: str, message: str, suggestion: str | None = None, **context: Any
    ) -> ChannelError:
        """An error of a port; ``message`` follows the operation and the channel's name."""
        return ChannelError(
            f"{operation} on channel {self.name}: {message}",
            operation=operation,
            channel=self.name,
            kind=kind,
            context=context,
            suggestion=suggestion,
        )

    def refused(self, error: OSError, operation: str, what: str, kind: str, **context: Any) -> ChannelError:
        """The error of a call that the system refuses. what: cannot be done therefore. kind: where nothing is short."""
        advice = None
        if error.errno in (errno.EMFILE, errno.ENFILE):
            kind, advice = "TooManyFiles", "close what is not needed, or let this process open more files (ulimit -n)"
        elif error.errno in (errno.ENOMEM, errno.ENOBUFS):
            kind, advice = "OutOfMemory", "let this process have more memory"
        elif error.errno == errno.EADDRINUSE:
            kind, advice = "PlaceTaken", "take another place, or give the reader another address"
        return self.error(kind, operation, f"{what}: {error.strerror or error}", advice, **context)

    def closed(self, operation: str) -> ChannelError:
        return self.error("Closed", operation, "this port is closed")

    def ended(self, operation: str, reason: str) -> ChannelError:
        why = f": {reason}" if reason else ""
        return self.error("Closed", operation, f"the channel was ended{why}", reason=reason)


class Bell:
    """A descriptor that is readable while something stands to be taken: once for each time that it was rung.

    Any thread may ring, also after it was closed, when it is nothing; one takes.
    """

    def __init__(self) -> None:
        if sys.platform == "linux":
            self._near = self._far = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._stroke = (1).to_bytes(8, sys.byteorder)
        else:
            self._near, self._far = os.pipe()
            os.set_blocking(self._near, False)
            os.set_blocking(self._far, False)
            self._stroke = b"!"
        self._lock = threading.Lock()  # a number that was given back may be somebody else's at once

    def fileno(self) -> int:
        return self._near

    def ring(self) -> None:
        with self._lock:
            if self._far >= 0:
                os.write(self._far, self._stroke)

    def take(self) -> bool:
        """Whether it had been rung: once less, from now on."""
        try:
            os.read(self._near, len(self._stroke))
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        with self._lock:
            for number in {self._near, self._far} - {-1}:
                os.close(number)
            self._near = self._far = -1


def split_address(text: str, name: str = "") -> tuple[str, int]:
    """The numeric host and the port of ``host``, ``host:port`` or ``[IPv6]:port``.

    Raises ChannelError: OutOfRange for what is no address, NotSupported for one that other hosts can reach.
    """
    try:
        place = meeting_place("address", text, 0)
    except CommError as error:
        raise _wrong(name, "OutOfRange", error.message.removeprefix("connect: "), error.suggestion) from None
    if not place.is_loopback:
        raise _wrong(
            name,
            "NotSupported",
            f"{place.host} can be reached from other hosts, and channels over tcp are not encrypted",
            "use loopback addresses, and join the hosts by a tunnel that encrypts, such as ssh -L PORT:127.0.0.1:PORT",
        )
    return place.hosts[0], place.port


def secret_of(name: str, token: str | None, apart: bool) -> bytes:
    """What the ports know each other by: ``token``, else this user's own on this host (apart), else a new one.

    apart: ports may be of processes that learn of the channel otherwise than by its description. Raises ChannelError.
    """
    if token is None and not apart:
        return os.urandom(32).hex().encode()
    if token is None:
        try:
            return user_token(state_directory())
        except CommError as error:
            raise _wrong(name, "NotSupported", error.message, "give a token, the same in all processes") from None
    if not isinstance(token, str) or len(token) < _TOKEN:
        advice = "give a long random text, the same in all processes"
        message = f"token must be a text of at least {_TOKEN} characters: a short one can be guessed"
        raise _wrong(name, "OutOfRange", message, advice)
    return token.encode()


def _wrong(name: str, kind: str, message: str, suggestion: str | None = None) -> ChannelError:
    return ChannelError(
        f"channel {name}: {message}", operation="create", channel=name, kind=kind, suggestion=suggestion
    )
