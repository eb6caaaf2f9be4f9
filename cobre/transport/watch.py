"""Learning of a peer's death the moment it happens: the system says so, nobody asks."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Mapping

from cobre.transport.control import started_at

__all__ = ["Deathwatch"]


class Deathwatch:
    """A thread that sleeps until a watched process ends.

    processes: rank -> (process, when it started). A process that cannot be watched (it lives where this one cannot
    see it) is left to the timeouts. on_death: called in the thread with the rank, once for each.
    """

    def __init__(self, processes: Mapping[int, tuple[int, int]], on_death: Callable[[int], None]) -> None:
        self.dead: set[int] = set()
        self._on_death = on_death
        self._watched: dict[int, int] = {}
        self._stop, self._stopped = os.pipe2(os.O_CLOEXEC)
        self._thread: threading.Thread | None = None
        for rank, (process, started) in processes.items():
            if process != os.getpid():
                self._watch(rank, process, started)
        if self._watched:
            self._thread = threading.Thread(target=self._run, name="cobre-deathwatch", daemon=True)
            self._thread.start()

    def _watch(self, rank: int, process: int, started: int) -> None:
        try:
            descriptor = os.pidfd_open(process)
        except ProcessLookupError:
            self.dead.add(rank)
            return
        except OSError:  # an old kernel, or too many open files
            return
        if started_at(process) not in (started, 0):  # the number is somebody else's by now
            os.close(descriptor)
            self.dead.add(rank)
            return
        self._watched[descriptor] = rank

    def _run(self) -> None:
        waiting = select.poll()
        waiting.register(self._stop, select.POLLIN | select.POLLHUP)
        for descriptor in self._watched:
            waiting.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in waiting.poll():
                if descriptor == self._stop:
                    return
                waiting.unregister(descriptor)
                rank = self._watched[descriptor]
                self.dead.add(rank)
                self._on_death(rank)

    def close(self) -> None:
        """Ends the thread and gives back its descriptors; may be called twice, from any thread."""
        if self._stopped < 0:
            return
        os.close(self._stopped)
        self._stopped = -1
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        for descriptor in (self._stop, *self._watched):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._watched = {}
        self._on_death = _ignore


def _ignore(_: int) -> None:
    """What a closed watch calls: it refers to nothing."""
