"""The supervisor: owns processes, learns of their ends at once, and ends them all with itself.

A thread of its own (``watch``) waits on exits, on what the processes say, on demands and on its next deadline at once;
what is to be done then is decided by ``lifecycle``. Processes are started in that thread too: the system kills a
process when the thread that started it ends, and this one lives as long as the supervisor.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from cobre.errors import CobreError
from cobre.supervisor import lifecycle as life
from cobre.supervisor.forkserver import ForkserverLauncher
from cobre.supervisor.launcher import Launcher, SpawnLauncher
from cobre.supervisor.process import Owner, Process, Wiring
from cobre.supervisor.records import ExitReport, Grace, ProcessSpec, ProcessStatistics, refused
from cobre.supervisor.watch import Watch

__all__ = ["Supervisor"]

_logger = logging.getLogger(__name__)
_LAST_PATIENCE = 10.0  # seconds that a killed process may take to be gone
_KEPT = 100  # ended processes whose statistics are kept


class Supervisor(Owner):
    """Starts processes, watches them, and ends them, at the latest when its ``with`` block is left.

    start_method: ``spawn`` (a fresh interpreter each) or ``forkserver`` (forks of one that has imported what they
    need); by default what ``multiprocessing.set_start_method`` chose, else spawn. launcher: makes the processes
    instead. grace: seconds of each step of stopping. sample_every: seconds between health samples. history: samples
    kept of each process. together: an end of one that nobody wanted is the end of all, at once.

    Leaving the block normally stops what still lives in good order; leaving it by an exception kills it.
    Raises CobreError of kind ``IncompatibleSettings`` for the start method ``fork``, ``OutOfRange`` for numbers that
    make no sense, and ``NotStarted`` where there is no thread or descriptor to be had.
    """

    def __init__(
        self,
        *,
        start_method: str | None = None,
        launcher: Launcher | None = None,
        grace: Grace | None = None,
        sample_every: float = 1.0,
        history: int = 600,
        together: bool = False,
    ) -> None:
        if not sample_every > 0.0:
            raise refused("sample_every", sample_every, "give a number of seconds above zero")
        if not history > 0:
            raise refused("history", history, "keep at least one sample")
        self.grace = grace or Grace()
        self._history = history
        self._launcher = launcher or choose_launcher(start_method)
        self._keys = itertools.count()
        self._lock = threading.Lock()
        self._processes: dict[int, Process] = {}
        self._closing = self._closed = False
        self._owner = os.getpid()
        try:
            self._watch = Watch(self._launcher, together=together, sample_every=sample_every)
        except (OSError, RuntimeError) as error:
            raise CobreError(f"the supervisor could not start: {error}", kind="NotStarted") from error

    def spawn(self, spec: ProcessSpec, on_end: Callable[[ExitReport], None] | None = None) -> Process:
        """Starts a process; returns at once, while it is being launched.

        on_end: called once, in the supervisor's thread, with the report of its end, a launch that failed included. It
        must not block: as long as it runs, nothing is noticed. One that raises ends the supervisor with everything.
        Raises CobreError of kind ``Closed``, or ``Internal`` where the supervisor has failed; ValueError for more
        marks than a board has words, or a spec that cannot be sent.
        """
        self._check()
        process = Process(next(self._keys), spec, on_end, self, self._history)
        with self._lock:  # to the end: whoever closes finds a process that the thread knows of, or none
            if self._closing:
                raise CobreError("the supervisor is closed", kind="Closed", suggestion="spawn inside its with block")
            try:
                process.wiring = Wiring(spec, self._launcher.prepare(spec))
            except OSError as error:
                process.fault = str(error)
            self._drop_oldest()
            self._processes[process.key] = process
            if self._watch.submit(lambda: self._watch.add(process)):
                return process
            del self._processes[process.key]
            process.abandon()
        self._check_failure()  # it has failed a moment ago
        raise CobreError("the supervisor's thread has ended", kind="Closed")

    def kill(self, processes: Iterable[Process] | None = None, cause: str = "killed") -> None:
        """Has these (by default all) and their descendants killed; returns at once."""
        self._check()
        keys = self._keys_of(processes)
        self._submit(lambda: life.KillAsked(time.monotonic(), keys, cause))

    def stop(self, processes: Iterable[Process] | None = None, grace: Grace | None = None) -> list[ExitReport]:
        """Ends these (by default all that live) in good order, and waits for that. Returns their reports.

        grace: None is the supervisor's. Raises CobreError of kind ``StillAlive`` if one outlives even SIGKILL.
        """
        self._check()
        self.check_not_inside("stop processes")
        chosen = self._alive() if processes is None else list(processes)
        given, keys = grace or self.grace, self._keys_of(chosen)
        self._submit(lambda: life.StopAsked(time.monotonic(), keys, given))
        return self._wait_for(chosen, given.ask + given.terminate + _LAST_PATIENCE)

    def statistics(self) -> dict[str, ProcessStatistics]:
        """What was seen of each process, by its name; the last hundred that ended are there too."""
        with self._lock:
            return {process.name: process.statistics() for process in self._processes.values()}

    def close(self, *, kill: bool = False) -> None:
        """Ends what still lives (in good order, or at once with ``kill``) and gives everything back.

        May be called twice, from any thread but the supervisor's own. Raises CobreError of kind ``Internal`` where the
        supervisor had failed.
        """
        if self._closed or os.getpid() != self._owner:  # a fork of this process owns nothing of it
            return
        self.check_not_inside("close the supervisor")
        with self._lock:
            self._closing = True
        try:
            if kill or self._watch.error is not None:
                self.kill_all()
            else:
                self.stop()
        except BaseException:
            self.kill_all()
            raise
        finally:
            self._release()
        self._check_failure()

    def kill_all(self) -> None:
        """Kills everything and waits until it is gone, at most 10 s."""
        keys = self._keys_of(None)
        self._submit(lambda: life.KillAsked(time.monotonic(), keys, "killed"))
        try:
            self._wait_for(self._alive(), _LAST_PATIENCE)
        except CobreError as error:
            _logger.warning("%s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(kill=error is not None)

    # What a Process asks for.

    def flush_soon(self, process: Process) -> None:
        self._watch.submit(lambda: self._watch.arm(process))

    def stop_soon(self, process: Process, grace: Grace | None) -> None:
        self._submit(lambda: life.StopAsked(time.monotonic(), (process.key,), grace))

    def kill_soon(self, process: Process, cause: str) -> None:
        self._submit(lambda: life.KillAsked(time.monotonic(), (process.key,), cause))

    def check_not_inside(self, doing: str) -> None:
        if threading.current_thread() is self._watch.thread:
            raise CobreError(
                f"the supervisor's own thread cannot {doing}: it would wait for itself",
                kind="WrongThread",
                suggestion="do it in another thread; on_end must not wait",
            )

    def _submit(self, event: Callable[[], life.Event]) -> None:
        self._watch.submit(lambda: self._watch.feed(event()))

    def _check(self) -> None:
        if os.getpid() != self._owner:
            raise CobreError(
                "the supervisor belongs to the process that this one was forked from",
                kind="WrongProcess",
                suggestion="make a new supervisor here",
            )
        self._check_failure()

    def _check_failure(self) -> None:
        failure = self._watch.error
        if failure is not None:
            told = f"the supervisor failed and its processes are gone: {type(failure).__name__}: {failure}"
            raise CobreError(told, kind="Internal", suggestion="see the cause of this error") from failure

    def _alive(self) -> list[Process]:
        with self._lock:
            return [process for process in self._processes.values() if process.alive]

    def _keys_of(self, processes: Iterable[Process] | None) -> tuple[int, ...]:
        return tuple(process.key for process in (self._alive() if processes is None else processes))

    def _wait_for(self, processes: list[Process], seconds: float) -> list[ExitReport]:
        limit = time.monotonic() + seconds
        reports = [process.wait(max(0.0, limit - time.monotonic())) for process in processes]
        left = [process.name for process, report in zip(processes, reports, strict=True) if report is None]
        if left:
            raise CobreError(
                f"{', '.join(left)}: not gone {seconds:g} s after the end was asked for", kind="StillAlive"
            )
        return [report for report in reports if report is not None]

    def _drop_oldest(self) -> None:
        if len(self._processes) >= 2 * _KEPT:
            ended = [key for key, process in self._processes.items() if not process.alive]
            for key in ended[: max(0, len(ended) - _KEPT)]:
                del self._processes[key]

    def _release(self) -> None:
        self._watch.finish()
        self._launcher.close()
        for process in self._processes.values():
            if process.wiring is not None:
                process.wiring.calls.close()
        self._closed = True


def choose_launcher(start_method: str | None) -> Launcher:
    """The launcher for a start method; None is what ``multiprocessing`` was set to, else spawn.

    Raises CobreError of kind ``IncompatibleSettings`` for ``fork`` and for a name that is none.
    """
    if start_method is None and "multiprocessing" in sys.modules:
        # Asked for in any other way, it would be pinned, and to fork on Linux before 3.14.
        start_method = sys.modules["multiprocessing"].get_start_method(allow_none=True)
    if start_method in (None, "spawn"):
        return SpawnLauncher()
    if start_method == "forkserver":
        return ForkserverLauncher()
    context = {"start_method": start_method}
    if start_method == "fork":
        raise CobreError(
            "the start method is fork, and a fork of a process with running threads is undefined",
            kind="IncompatibleSettings",
            context=context,
            suggestion="use 'spawn' or 'forkserver', here or in multiprocessing.set_start_method",
        )
    told = f"the start method {start_method!r} is not known"
    raise CobreError(told, kind="IncompatibleSettings", context=context, suggestion="use 'spawn' or 'forkserver'")
