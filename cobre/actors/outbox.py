"""The writing end of a stream: frames in their order, several in one system call where they wait together."""

from __future__ import annotations

import array
import os
import socket
from collections import deque

from cobre.actors.blocks import Block

__all__ = ["Descriptor", "Outbox"]

_AT_ONCE = 1 << 16  # bytes that are put together for one system call


class Descriptor:
    """One that goes with a frame, and is closed here when it has gone."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def close_descriptor(self) -> None:
        """It has gone, or never will."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Outbox:
    """Frames on their way. Not safe to use from several threads at once."""

    def __init__(self, target: socket.socket) -> None:
        self._target = target
        self._queue: deque[tuple[bytes | memoryview, Block | Descriptor | None]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, sealed: tuple[bytes, Block | Descriptor | None]) -> None:
        """Adds a frame at the end."""
        self._queue.append(sealed)

    def flush(self, wait: bool = False) -> bool:
        """Sends until nothing is left, or the other end takes no more (False; never so with ``wait``).

        Raises OSError (a broken pipe, above all) as the socket does; what was not sent is still there.
        """
        queue, flags = self._queue, 0 if wait else socket.MSG_DONTWAIT
        while queue:
            data, block = queue.popleft()
            if block is None and queue and queue[0][1] is None and len(data) < _AT_ONCE:
                data = self._gather(data)
            try:
                sent = self._send(data, block, flags)
            except BlockingIOError:
                queue.appendleft((data, block))
                return False
            except BaseException:
                queue.appendleft((data, block))
                raise
            if sent < len(data):
                queue.appendleft((memoryview(data)[sent:], None))
        return True

    def _gather(self, data: bytes | memoryview) -> bytes:
        queue, parts, size = self._queue, [data], len(data)
        while queue and queue[0][1] is None and size < _AT_ONCE:
            more, _ = queue.popleft()
            parts.append(more)
            size += len(more)
        return b"".join(parts)

    def _send(self, data: bytes | memoryview, block: Block | Descriptor | None, flags: int) -> int:
        if block is None:
            return self._target.send(data, flags)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [block.descriptor]))]
        sent = self._target.sendmsg((data,), rights, flags)
        block.close_descriptor()
        return sent

    def clear(self) -> None:
        """Drops what waits."""
        for _, block in self._queue:
            if block is not None:
                block.close_descriptor()
        self._queue.clear()
