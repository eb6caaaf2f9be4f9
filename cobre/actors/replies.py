"""The thread that reads what workers say: it answers futures and so runs their callbacks, and keeps the time limits."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["Replies", "Talker"]

_log = logging.getLogger(__name__)


class Talker(Protocol):
    """What the thread listens to: the parent's end of a worker."""

    def fileno(self) -> int:
        """The descriptor to listen at."""

    @property
    def blocked(self) -> bool:
        """Whether something waits to be written."""

    def readable(self) -> bool:
        """Reads; False when there is nothing more to come."""

    def writable(self) -> None:
        """Writes what waits, and what there is to tell."""


class Replies:
    """A thread, started with the first thing that it has to do.

    on_fault: called, in the thread, with an exception that should not have happened; the thread goes on.
    """

    def __init__(self) -> None:
        self._demands: deque[Callable[[], object]] = deque()
        self._deadlines: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._talkers: dict[int, Talker] = {}
        self._poll = select.poll()
        self._hear, self._tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else _pipe()
        self._poll.register(self._hear, select.POLLIN)
        self._told = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name="cobre-replies", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is this one."""
        return threading.get_ident() == self._thread.ident

    def post(self, demand: Callable[[], object]) -> None:
        """Has ``demand`` called in the thread, soon; from any thread, a finaliser included: it takes no lock."""
        self._demands.append(demand)
        if not self._told:
            self._told = True
            with contextlib.suppress(OSError):  # full: it has been told
                os.write(self._tell, b"x")

    def at(self, deadline: float, demand: Callable[[], object]) -> None:
        """Has ``demand`` called at that time of time.monotonic(), in the thread."""
        self.post(lambda: heapq.heappush(self._deadlines, (deadline, next(self._order), demand)))

    def listen(self, talker: Talker) -> None:
        """Begins to read from it; in any thread."""
        self.post(lambda: self._listen(talker))

    def _listen(self, talker: Talker) -> None:
        self._talkers[talker.fileno()] = talker
        self.expect(talker)

    def expect(self, talker: Talker) -> None:
        """Waits until it can be written too, where something waits for that. In the thread."""
        if self._talkers.get(talker.fileno()) is talker:
            self._poll.register(talker.fileno(), select.POLLIN | (select.POLLOUT if talker.blocked else 0))

    def leave(self, talker: Talker) -> None:
        """Reads from it no more. In the thread."""
        if self._talkers.get(talker.fileno()) is talker:
            del self._talkers[talker.fileno()]
            self._poll.unregister(talker.fileno())

    def _run(self) -> None:
        while not self._over:
            for descriptor, event in self._poll.poll(self._patience()):
                try:
                    self._serve(descriptor, event)
                except Exception:  # whatever a callback did, the others are to be answered
                    _log.exception("a fault while the workers' answers were read")
            while self._deadlines and self._deadlines[0][0] <= time.monotonic():
                self._do(heapq.heappop(self._deadlines)[2])

    def _patience(self) -> float | None:
        if not self._deadlines:
            return None
        return max(0.0, 1e3 * (self._deadlines[0][0] - time.monotonic()) + 0.5)

    def _serve(self, descriptor: int, event: int) -> None:
        talker = self._talkers.get(descriptor)
        if talker is not None:
            if event & select.POLLOUT:
                talker.writable()
                self.expect(talker)
            if event & ~select.POLLOUT and not talker.readable():
                self.leave(talker)
        elif descriptor == self._hear:
            with contextlib.suppress(BlockingIOError):
                os.read(self._hear, 4096)
            self._told = False  # from here on demands tell again; those before are seen below
            for _ in range(len(self._demands)):
                self._do(self._demands.popleft())

    def _do(self, demand: Callable[[], object]) -> None:
        try:
            demand()
        except Exception:
            _log.exception("a fault in the thread of the workers' answers")

    def close(self) -> None:
        """Ends the thread, when what was demanded before is done. May be called twice; not in the thread itself."""
        if self._tell < 0:
            return
        self.post(self._end)
        self._thread.join()
        hear, tell, self._hear, self._tell = self._hear, self._tell, -1, -1
        os.close(hear)
        os.close(tell)

    def _end(self) -> None:
        self._over = True


def _pipe() -> tuple[int, int]:
    hear, tell = os.pipe()
    os.set_blocking(hear, False)
    os.set_blocking(tell, False)
    return hear, tell
