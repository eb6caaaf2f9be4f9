"""A reader's end of what one writer of a tcp channel sends: bytes put together to messages, and what is owed for it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.transport.message_header import HEADER_BYTES, KIND_AT, KINDS, unpack_header
from cobre.transport.tcp_channel_wire import (
    DROPPED,
    KEPT,
    NOTE_TEXT,
    PREFIX,
    TRAILER,
    Account,
    Frame,
    Say,
    pack_note,
    unpack_prefix,
)

__all__ = ["Lane"]

_STAGE = 1 << 16  # bytes; small messages arrive here, many at a time
_OPENING = PREFIX + HEADER_BYTES
_MARK = KINDS.index("mark")


class _Body(np.ndarray[Any, np.dtype[np.uint8]]):
    """Memory of a message. Of a type of its own, so that what is sliced from an array over it refers to that array."""


class Lane:
    """Two connected streams of one writer, which it owns. Whoever advances it holds the reader's lock.

    received, received_bytes: messages that have arrived; taken: those that the reader's user got; done, done_bytes:
    those that were given back; wanted: how many it can do with. The user's thread alone counts the last four. state:
    open; left (in good order) or lost, once no more will come.
    """

    def __init__(self, writer: int, data: socket.socket, notes: socket.socket, capacity: int, limit: int) -> None:
        self.writer = writer
        self.data = data
        self.notes = notes
        self.state = "open"
        self.how = ""
        self.received = self.received_bytes = self.done = self.done_bytes = self.high_water = 0
        self.messages = self.bytes = 0  # received, without marks and extensions
        self.wanting: int | None = None  # bytes that the writer waits for room for
        self.blocked = 0  # nanoseconds
        self.taken = self.wanted = 0
        self._told = Account()
        self._capacity = capacity
        self._limit = limit
        self._stage = bytearray(_STAGE)
        self._view = memoryview(self._stage)
        self._start = self._end = 0
        self._header = b""
        self._body: NDArray[np.uint8] | None = None
        self._rest: memoryview | None = None  # of the body: what has not arrived
        for stream in (data, notes):
            stream.setblocking(False)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    @property
    def open(self) -> bool:
        return self.state == "open"

    @property
    def owed(self) -> bool:
        """Whether the writer has yet to hear of something that was given back."""
        return self.open and self._told != self._account()

    def advance(self, take: Callable[[Lane, bytes, NDArray[np.uint8]], None]) -> None:
        """Takes what has arrived, and hands whole messages to ``take``; never waits."""
        try:
            while self.open and self._fill():
                while self.open and self._parse(take):
                    pass
        except OSError as error:
            self._lose(f"cannot be reached any more ({error.strerror or error})")
        except ValueError as error:
            self._post(pack_note(Say.ABANDONING, text=f"heard what no writer sends ({error})"))
            self._lose(f"sent what no writer sends ({error})")
            for stream in (self.notes, self.data):  # it may live, and wait for an answer
                with contextlib.suppress(OSError):
                    stream.shutdown(socket.SHUT_RDWR)

    def _fill(self) -> bool:
        """Reads once; whether anything came. Raises OSError."""
        rest = self._rest
        try:
            if rest is not None:
                count = self.data.recvmsg_into([rest, self._view])[0]
                taken = min(count, len(rest))
                self._rest = rest[taken:]
                self._start, self._end = 0, count - taken
            else:
                if self._start:
                    self._stage[: self._end - self._start] = self._stage[self._start : self._end]
                    self._start, self._end = 0, self._end - self._start
                count = self.data.recv_into(self._view[self._end :])
                self._end += count
        except (BlockingIOError, InterruptedError):
            return False
        if count == 0:
            self._lose("has died, or its host cannot be reached any more")
        return count > 0

    def _parse(self, take: Callable[[Lane, bytes, NDArray[np.uint8]], None]) -> bool:
        """One step with what has been read; whether there may be another. Raises ValueError."""
        staged = self._end - self._start
        if self._rest is not None:
            count = min(staged, len(self._rest))
            self._rest[:count] = self._view[self._start : self._start + count]
            self._start += count
            self._rest = self._rest[count:]
            if len(self._rest) or staged - count < TRAILER:
                # a trailer that is cut in two: what is left is nothing, so that the next piece goes to the stage
                self._rest = self._rest if len(self._rest) else None
                return False
            return self._finish(take)
        if self._body is not None:
            return staged >= TRAILER and self._finish(take)
        if staged < PREFIX:
            return False
        frame, size, blocked = unpack_prefix(self._stage, self._start)
        if frame is Frame.MESSAGE:
            return staged >= _OPENING and self._begin(size, blocked)
        if frame is Frame.WANTING:
            self.wanting = size - 1 if size else None
        elif size > NOTE_TEXT:
            raise ValueError("too many words")
        elif staged < PREFIX + size:
            return False
        else:
            words = bytes(self._view[self._start + PREFIX : self._start + PREFIX + size]).decode("utf-8", "replace")
            self._start += size
            self.state, self.how = ("left", "") if frame is Frame.LEAVING else ("lost", words)
        self._start += PREFIX
        self.blocked = blocked
        return True

    def _begin(self, size: int, blocked: int) -> bool:
        at = self._start + PREFIX
        self._header = bytes(self._view[at : at + HEADER_BYTES])
        if sum(unpack_header(self._header)) != size:
            raise ValueError("sizes that differ")
        # Grown by what was given back meanwhile, at most: it never has to hold more than it granted.
        if self.received - self.done >= self._capacity or self.received_bytes - self.done_bytes + size > self._limit:
            raise ValueError("more than it was granted")
        self._start += _OPENING
        self.blocked = blocked
        self._body = _Body((size,), np.uint8)
        self._rest = memoryview(self._body)  # type: ignore[arg-type]
        return True

    def _finish(self, take: Callable[[Lane, bytes, NDArray[np.uint8]], None]) -> bool:
        trailer = bytes(self._view[self._start : self._start + TRAILER])
        self._start += TRAILER
        body, self._body, self._rest = self._body, None, None
        assert body is not None
        if trailer == KEPT:
            self.received += 1
            self.received_bytes += len(body)
            if self._header[KIND_AT] != _MARK:
                self.messages += 1
                self.bytes += unpack_header(self._header)[0]
            self.high_water = max(self.high_water, self.received - self.done)
            self.wanting = None
            take(self, self._header, body)
        elif trailer != DROPPED:
            raise ValueError("no trailer")
        return True

    def _lose(self, how: str) -> None:
        self.state, self.how = "lost", how
        self._body = self._rest = None

    def give_back(self, size: int) -> None:
        """A message of so many bytes, its extension included, is done with."""
        self.done += 1
        self.done_bytes += size
        self.tell()

    def take(self) -> None:
        """The reader's user gets one more."""
        self.taken += 1
        self.tell()

    def want(self) -> None:
        """The reader's user waits for one that has not arrived."""
        if self.wanted <= self.received:
            self.wanted = self.received + 1
        if self.owed:  # by now, or because it could not be told the last time
            self.tell()

    def tell(self) -> None:
        """Lets the writer know where the reader is; ``owed`` where it could not be told just now."""
        account = self._account()
        if self.open and self._post(pack_note(Say.ACCOUNT, account)):
            self._told = account

    def _account(self) -> Account:
        return Account(self.done, self.done_bytes, self.taken, self.wanted)

    def end(self, reason: str) -> None:
        """Tells the writer that the channel has ended."""
        if self.open:
            self._post(pack_note(Say.ENDED, text=reason))

    def _post(self, note: bytes) -> bool:
        try:
            # a note is far smaller than what a socket takes whole once it takes anything: it is never cut
            return self.notes.send(note) == len(note)
        except OSError:  # full, or gone, which the other stream tells
            return False

    def close(self, abandoned: str | None = None) -> None:
        """Lets go of the streams. The reader leaves in good order, or abandons its port for that reason."""
        self._post(pack_note(Say.LEAVING) if abandoned is None else pack_note(Say.ABANDONING, text=abandoned))
        for stream in (self.notes, self.data):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_WR)  # seen by the peer even where a forked child holds the socket too
            stream.close()

    def report(self) -> dict[str, Any]:
        """What there is to say of it, for statistics."""
        return {
            "writer": self.writer,
            "state": self.state,
            "messages": self.messages,
            "bytes": self.bytes,
            "occupancy": self.received - self.done,
            "occupancy_bytes": self.received_bytes - self.done_bytes,
            "high_water": self.high_water,
            "blocked": self.blocked,
        }
