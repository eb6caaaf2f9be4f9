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

    thread: its identity, as threading.get_ident() tells it there.
    """

    def __init__(self) -> None:
        self._demands: deque[Callable[[], object]] = deque()
        self._deadlines: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._talkers: dict[int, Talker] = {}
        self._poll = _poller()
        self._hear, self._tell = _pipe()
        self._poll.register(self._hear, select.POLLIN)
        self._told = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name="cobre-replies", daemon=True)
        self._thread.start()
        self.thread = self._thread.ident

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
        self._poll.register(talker.fileno(), select.POLLIN | (select.POLLOUT if talker.blocked else 0))

    def expect(self, talker: Talker) -> None:
        """Waits until it can be written too, where something waits for that. In the thread."""
        if self._talkers.get(talker.fileno()) is talker:
            self._poll.modify(talker.fileno(), select.POLLIN | (select.POLLOUT if talker.blocked else 0))

    def spare(self, descriptor: int, yes: bool, blocked: bool = False) -> bool:
        """Whether this thread stops (or begins again) to read from there: another one does it meanwhile.

        In any thread; False where the system cannot do that, or nothing is listened to there.
        """
        if not isinstance(self._poll, _Epoll):
            return False
        try:
            self._poll.modify(descriptor, 0 if yes else select.POLLIN | (select.POLLOUT if blocked else 0))
        except (OSError, ValueError):
            return False
        return True

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
        return max(0.0, self._deadlines[0][0] - time.monotonic())

    def _serve(self, descriptor: int, event: int) -> None:
        talker = self._talkers.get(descriptor)
        if talker is not None:
            self._obey()  # what a thread that read in this one's place left to it comes first
            if event & select.POLLOUT:
                talker.writable()
                self.expect(talker)
            if event & ~select.POLLOUT and not talker.readable():
                self.leave(talker)
        elif descriptor == self._hear:
            with contextlib.suppress(BlockingIOError):
                os.read(self._hear, 4096)
            self._told = False  # from here on demands tell again; those before are seen below
            self._obey()

    def _obey(self) -> None:
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
        self._poll.close()
        os.close(hear)
        os.close(tell)

    def _end(self) -> None:
        self._over = True


class _Poll:
    """select.poll, with seconds."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register, self.modify = self._poll.register, self._poll.modify
        self.unregister = self._poll.unregister

    def poll(self, seconds: float | None) -> list[tuple[int, int]]:
        """What there is, within so many seconds."""
        return self._poll.poll(None if seconds is None else 1e3 * seconds + 0.5)

    def close(self) -> None:
        """Nothing is held."""


class _Epoll:
    """Linux' own, which other threads may change while one waits. Its words are those of poll."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self.register, self.modify = self._poll.register, self._poll.modify
        self.unregister, self.close = self._poll.unregister, self._poll.close

    def poll(self, seconds: float | None) -> list[tuple[int, int]]:
        """What there is, within so many seconds."""
        return self._poll.poll(seconds)


def _poller() -> _Poll | _Epoll:
    return _Epoll() if hasattr(select, "epoll") else _Poll()


def _pipe() -> tuple[int, int]:
    hear, tell = os.pipe()
    os.set_blocking(hear, False)
    os.set_blocking(tell, False)
    return hear, tell
