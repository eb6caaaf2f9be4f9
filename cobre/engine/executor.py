"""The workers of one run, as the process that the user called from sees them: started, told what to do, and ended.

The parent computes nothing and holds no communicator. What fails in a worker ends all of them at once, in the thread
that hears of it, whatever the user's callback is doing; the thread that the user called from then raises.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

from cobre.actors import ActorHandle, ActorSystem, Limits, Ref
from cobre.engine.failures import Failure, is_echo, worker_error
from cobre.engine.placement import Place
from cobre.engine.relay import Relay
from cobre.engine.worker import MARKS, Summary, Worker, where
from cobre.events import WorkerInfo
from cobre.supervisor import HealthSample
from cobre.transport.environment import settings_of
from cobre.transport.segment import sweep

__all__ = ["Executor"]

_PATIENCE = 2.0  # seconds that are given to the cause of a failure to show itself after its echo
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

Heard = Callable[[int, Any], object]
"""What is called, in the thread of the user, with a worker's rank and what it told; ``False`` asks for an end."""


class Executor:
    """``size`` workers that meet at ``place``; whoever makes them closes them.

    hang_timeout: seconds after which a worker that works and gives no sign of life is ended. memory_limit: bytes that a
    worker may hold. faults: what workers are to do to themselves, see ``Worker``. Workers are starting when this
    returns; ``meet`` waits for them.
    """

    def __init__(
        self,
        place: Place,
        size: int,
        *,
        hang_timeout: float,
        memory_limit: int | None = None,
        faults: str | None = None,
    ) -> None:
        self._place, self.size = place, size
        self._patience = _patience(place.backend, hang_timeout)
        self._relay = Relay()
        self._lock = threading.Lock()
        self._failures: list[Failure] = []
        self._pending = 0
        self._system = ActorSystem(together=True)
        limits = Limits(memory_bytes=memory_limit, hang_seconds=hang_timeout)
        level = logging.getLogger("cobre").getEffectiveLevel()
        handled = signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None)  # here: then the end is in good order
        try:
            self._workers: list[ActorHandle] = [
                self._system.spawn(
                    Worker,
                    rank,
                    size,
                    place.backend,
                    log_level=level,
                    faults=faults,
                    ignore_terminate=handled,
                    name=f"worker {rank}",
                    limits=limits,
                    marks=MARKS,
                    environment=dict.fromkeys(_THREADS, "1"),
                    on_event=partial(self._relay.put, rank),
                )
                for rank in range(size)
            ]
        except BaseException:
            self._system.close(kill=True)
            raise

    def share(self, value: object) -> Ref:
        """``value`` where every worker can read it: its arrays stand in memory once, whatever the number of workers."""
        return self._system.put(value)

    def meet(self) -> None:
        """Forms the group. Raises WorkerError."""
        place, workers = self._place, self._workers
        others: Mapping[str, Any] = {**place.others, **self._patience}
        self._begin(self.size)
        waiting = [self._watch(0, workers[0].meet.remote(**place.first, **self._patience))]
        if place.announced and self.size > 1:
            told = self._relay.take()
            if told is not None:
                others = {**others, "coordinator": told[1]}
        for rank, worker in enumerate(workers[1:], 1):
            waiting.append(self._watch(rank, worker.meet.remote(**others)))
        self._finish(waiting, None)

    def run(self, method: str, *arguments: object, heard: Heard | None = None) -> list[Any]:
        """What the method returns on each worker, in rank order. Raises WorkerError, or what ``heard`` raises."""
        self._begin(self.size)
        calls = (worker.method(method).remote(*arguments) for worker in self._workers)
        return self._finish([self._watch(rank, future) for rank, future in enumerate(calls)], heard)

    def info(self, summaries: list[Summary]) -> tuple[WorkerInfo, ...]:
        """What each worker reports at the end of a run."""
        return tuple(
            WorkerInfo(
                rank=summary.rank,
                wall_time_ms=round(1000.0 * summary.seconds),
                backend=self._place.backend,
                collective_time_ms=round(1000.0 * summary.collective_seconds),
                solves=summary.solves,
                pid=worker.pid,
                memory_bytes=summary.memory_bytes,
            )
            for worker, summary in zip(self._workers, summaries, strict=True)
        )

    def health(self, rank: int) -> HealthSample | None:
        """The last look that was taken at a worker, at most a second or so old."""
        return self._system.statistics()[self._workers[rank].name].process.latest

    def close(self, at_once: bool = False) -> None:
        """Ends the workers, in good order unless that is no use, and waits until nothing is left of them."""
        self._system.close(kill=at_once)
        if at_once and self._place.backend == "shm":
            sweep()  # a rank that was killed while the others were still to come had memory with a name

    def _begin(self, calls: int) -> None:
        with self._lock:
            self._pending = calls
        self._dealt_with = 0  # pieces of the progress that rank 0 told in this call
        self._relay.begin()

    def _watch(self, rank: int, future: Future[Any]) -> Future[Any]:
        future.add_done_callback(partial(self._done, rank))
        return future

    def _done(self, rank: int, future: Future[Any]) -> None:
        """In the thread that hears from workers: nothing here may wait."""
        error = future.exception()
        if error is not None:
            worker = self._workers[rank]
            seen = self._system.statistics()[worker.name]
            memory = seen.latest.memory_bytes if seen.latest else None
            failure = Failure(rank, error, seen.pid, memory, where(worker.marks()))
            with self._lock:
                self._failures.append(failure)
            self._relay.wake()
            if not is_echo(failure):
                self._end_all()
        with self._lock:
            self._pending -= 1
            over = self._pending == 0
        if over:
            self._relay.finish()

    def _end_all(self) -> None:
        for worker in self._workers:
            worker.kill()

    def _with_last_words(self, failure: Failure) -> Failure:
        report = self._workers[failure.rank].process.wait(_PATIENCE)
        return failure if report is None else replace(failure, stderr=report.stderr_tail)

    def _pass_on(self, heard: Heard, rank: int, value: Any) -> None:
        if heard(rank, value) is False:
            self._workers[0].interrupt()  # which stops all, in a collective
        if rank == 0:
            self._dealt_with += 1 + self._relay.dropped(rank)
            self._workers[rank].tell(self._dealt_with)

    def _finish(self, waiting: list[Future[Any]], heard: Heard | None) -> list[Any]:
        """Passes on what workers tell until all calls have ended; their results. Raises WorkerError."""
        deadline: float | None = None
        while not self._relay.over:
            told = self._relay.take(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if told is not None and heard is not None:
                self._pass_on(heard, *told)
            with self._lock:
                only_echoes = bool(self._failures) and deadline is None
            if only_echoes:
                deadline = time.monotonic() + _PATIENCE
            elif deadline is not None and time.monotonic() >= deadline:
                self._end_all()
        if self._failures:
            self._end_all()
            raise worker_error([self._with_last_words(failure) for failure in self._failures])
        return [future.result() for future in waiting]


def _patience(backend: str, hang_timeout: float) -> dict[str, float]:
    """Seconds that ranks wait for each other, unless the environment says: so long that one that hangs is found first,
    and is called what it is.
    """
    given = settings_of(backend)
    wanted = {"timeout": 300.0 + hang_timeout, "connect_timeout": 30.0 + hang_timeout}
    return {name: seconds for name, seconds in wanted.items() if name not in given}
