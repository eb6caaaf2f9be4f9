"""What passes between the two ends of an actor: frames on a stream, and descriptors beside them.

A frame is a header (length of its body, a number, its kind, flags) and a body. Large memory does not travel in the
stream: a frame names a block (cobre.actors.blocks), and the first frame that names it carries its descriptor, which
arrives with the frame's first byte: descriptors stand in the order of the frames that need them.
"""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from struct import Struct

__all__ = ["HEADER", "Flags", "Frame", "Inbox", "Kind", "frame"]

HEADER = Struct("<QQBB")  # length of the body, number, kind, flags
_HEADER_SIZE = HEADER.size
_DESCRIPTOR = array.array("i").itemsize
_ROOM = socket.CMSG_SPACE(64 * _DESCRIPTOR)
_BUFFER = 1 << 18

Frame = tuple[int, int, int, memoryview]  # kind, number, flags, body


class Kind(IntEnum):
    """What a frame is about; its number is that of a call, or of a shared value."""

    CONSTRUCT = 1  # to the worker: the class and its arguments
    CALL = 2  # to the worker: a method and its arguments
    SHARE = 3  # to the worker: a value that later calls name by number
    UNSHARE = 4  # to the worker: that value is not named any more
    RESULT = 5  # to the parent: what a call returned
    ERROR = 6  # to the parent: what a call raised
    EVENT = 7  # to the parent: something said during a call
    RELEASE = 8  # to the owner of blocks: nothing refers to these any more
    FORGET = 9  # to the other end: these blocks will not be named again


class Flags:
    """How a body is laid out; see cobre.actors.envelopes."""

    PLAIN = 0
    BLOCK = 1
    INLINE = 2


def frame(kind: int, number: int, flags: int, body: bytes) -> bytes:
    """A whole frame."""
    return HEADER.pack(len(body), number, kind, flags) + body


class Inbox:
    """The reading end of a stream: takes in what is there and cuts it into frames.

    ``descriptors`` are those that have arrived and that no frame has asked for yet, oldest first.
    """

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0
        self.descriptors: deque[int] = deque()

    def receive(self) -> bool:
        """Reads once (waiting for the first byte if the socket waits); False at the end of the stream.

        Raises OSError as the socket does, BlockingIOError among them. Bodies handed out before are not valid any more.
        """
        if self._begin == self._end and len(self._buffer) == _BUFFER:
            self._begin = self._end = 0
        else:
            self._make_room()
        size, extra, _, _ = self._source.recvmsg_into((self._view[self._end :],), _ROOM)
        for level, kind, data in extra or ():
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(data[: len(data) - len(data) % _DESCRIPTOR])
                self.descriptors.extend(found)
        self._end += size
        return size > 0

    def _make_room(self) -> None:
        waiting = self._end - self._begin
        if not waiting:
            self._begin = self._end = 0
            if len(self._buffer) > _BUFFER:
                self._buffer = bytearray(_BUFFER)
                self._view = memoryview(self._buffer)
            return
        needed = _BUFFER
        if waiting >= HEADER.size:
            needed = max(_BUFFER, HEADER.size + HEADER.unpack_from(self._buffer, self._begin)[0])
        if self._begin + needed <= len(self._buffer):
            return
        buffer = self._buffer if needed <= len(self._buffer) else bytearray(needed)
        buffer[:waiting] = bytes(self._view[self._begin : self._end])
        self._buffer, self._view = buffer, memoryview(buffer)
        self._begin, self._end = 0, waiting

    def frames(self) -> Iterator[Frame]:
        """The frames that are complete. A body is valid until the next ``receive``."""
        size, unpack = HEADER.size, HEADER.unpack_from
        while self._end - self._begin >= size:
            length, number, kind, flags = unpack(self._buffer, self._begin)
            body = self._begin + size
            after = body + length
            if after > self._end:
                return
            self._begin = after
            yield kind, number, flags, self._view[body:after]

    def close(self) -> None:
        """Closes descriptors that nobody asked for, and gives the memory back: what has ended may be kept for long."""
        while self.descriptors:
            os.close(self.descriptors.popleft())
        self._buffer, self._begin, self._end = bytearray(), 0, 0
        self._view = memoryview(self._buffer)

    @property
    def more(self) -> bool:
        """Whether another complete frame is here already."""
        here = self._end - self._begin
        return here >= _HEADER_SIZE and here - _HEADER_SIZE >= HEADER.unpack_from(self._buffer, self._begin)[0]
