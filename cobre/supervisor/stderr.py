"""What processes write to stderr: the end of it is kept for reports, all of it goes on to this process's stderr."""

from __future__ import annotations

import os
import select

__all__ = ["Forward", "Tail"]

_PIECE = 4096  # bytes that a pipe which can be written at all takes without blocking (PIPE_BUF)


class Tail:
    """The last ``size`` bytes of what a process wrote."""

    def __init__(self, size: int = 16384) -> None:
        self._size, self._written = size, 0
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        self._written += len(data)
        self._kept += data
        if len(self._kept) > 2 * self._size:
            del self._kept[: -self._size]

    def text(self) -> str:
        """What was kept, from the start of a line on where something before it was lost."""
        kept = bytes(self._kept[-self._size :])
        if self._written > self._size:
            kept = kept[kept.find(b"\n") + 1 :]
        return kept.decode(errors="replace")


class Forward:
    """Writes to this process's stderr without ever waiting for it: what it does not take in time is dropped."""

    def __init__(self, descriptor: int = 2, room: int = 1 << 20) -> None:
        self.descriptor, self._room = descriptor, room
        self._held = bytearray()
        self._lost = 0

    @property
    def blocked(self) -> bool:
        """Whether something waits until stderr takes more."""
        return bool(self._held)

    def add(self, data: bytes) -> None:
        if len(self._held) + len(data) > self._room:
            self._lost += len(data)
        else:
            if self._lost:
                self._held += b"\n[%d bytes of stderr dropped]\n" % self._lost
                self._lost = 0
            self._held += data
        self.flush()

    def flush(self, patience: float = 0.0) -> None:
        """Writes what can be written, waiting at most ``patience`` seconds at a time for more room."""
        waiting = select.poll()
        waiting.register(self.descriptor, select.POLLOUT)
        try:
            while self._held:
                events = waiting.poll(1000.0 * patience)
                if not events:
                    return
                if events[0][1] & (select.POLLNVAL | select.POLLERR | select.POLLHUP):
                    self._held.clear()  # nobody reads there
                    return
                del self._held[: os.write(self.descriptor, self._held[:_PIECE])]
        except BlockingIOError:  # somebody made it so, and took the room meanwhile
            return
        except OSError:
            self._held.clear()
