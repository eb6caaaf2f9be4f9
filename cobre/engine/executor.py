"""The workers of one run or of many, as the process that the user called from sees them: started, replaced, ended.

The parent computes nothing and holds no communicator. What fails in a worker of a single run ends all of them at once,
in the thread that hears of it, whatever the user's callback is doing; the thread that the user called from then raises.
Workers that are to last outlive a failure: whoever did not fail hears of it in the collective that it waits in, leaves
the group, and is told to form the next one with the newcomers.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

from cobre.actors import ActorHandle, ActorSystem, Limits, Ref
from cobre.engine.dialogue import Notice
from cobre.engine.failures import Failure, is_echo, worker_error
from cobre.engine.placement import Place, choose_place
from cobre.engine.relay import Relay
from cobre.engine.worker import MARKS, Summary, Worker, where
from cobre.errors import CobreError, WorkerError
from cobre.events import WorkerInfo
from cobre.supervisor import HealthSample
from cobre.transport.environment import settings_of
from cobre.transport.segment import sweep

__all__ = ["Executor", "Heard"]

_PATIENCE = 2.0  # seconds that are given to the cause of a failure to show itself after its echo
_LAST_ITERATION = 1.0  # seconds that lasting workers may take to end a run that the caller wants no more of
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

Heard = Callable[[int, Any], object]
"""What is called, in the thread of the user, with a worker's rank and what it told; ``False`` asks for an end."""


class Executor:
    """``size`` workers that exchange data over ``backend``; whoever makes them closes them.

    hang_timeout: seconds after which a worker that works and gives no sign of life is ended. memory_limit: bytes that a
    worker may hold. faults: what workers are to do to themselves, see ``Worker``. lasting: a failure ends the call, and
    of the workers only those that failed, in whose places new ones are started. Workers are starting when this returns;
    ``meet`` waits for them. Raises CommError (InvalidArgument) for an address in the environment that is none.
    """

    def __init__(
        self,
        backend: str,
        size: int,
        *,
        hang_timeout: float,
        memory_limit: int | None = None,
        faults: str | None = None,
        lasting: bool = False,
    ) -> None:
        self.backend, self.size = backend, size
        self._place: Place | None = choose_place(backend)
        self._patience = _patience(backend, hang_timeout)
        self._limits = Limits(memory_bytes=memory_limit, hang_seconds=hang_timeout)
        self._faults, self._lasting = faults, lasting
        self._relay = Relay()
        self._lock = threading.Lock()
        self._failures: list[Failure] = []
        self._pending: set[int] = set()  # ranks whose call has not ended
        self._notice: Callable[[Notice], object] | None = None
        self._meeting = self._formed = False
        self._runs = self._generation = 0
        self._lives = [0] * size
        self.replaced: list[int] = []
        """Ranks that have a new process because of the last failure."""
        self.failed_at = 0.0
        """When the first failure of the last call that failed was heard of, by time.monotonic()."""
        self._system = ActorSystem(together=not lasting)
        try:
            self._workers: list[ActorHandle] = [self._spawn(rank) for rank in range(size)]
        except BaseException:
            self._system.close(kill=True)
            raise

    def _spawn(self, rank: int) -> ActorHandle:
        handled = signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None)  # here: then the end is in good order
        self._lives[rank] += 1
        return self._system.spawn(
            Worker,
            rank,
            self.size,
            self.backend,
            log_level=logging.getLogger("cobre").getEffectiveLevel(),
            faults=self._faults,
            life=self._lives[rank],
            ignore_terminate=handled,
            name=f"worker {rank}",
            limits=self._limits,
            marks=MARKS,
            environment=dict.fromkeys(_THREADS, "1"),
            imports=("cobre.engine.worker", f"cobre.transport.{self.backend}"),
            on_event=partial(self._hear, rank),
        )

    def _hear(self, rank: int, value: Any) -> None:
        """In the thread that hears from workers."""
        if not isinstance(value, Notice):
            self._relay.put(rank, value)
        elif self._notice is not None:
            self._notice(value)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the workers, in rank order. Raises CobreError (NotStarted) where one could not be started."""
        return tuple(worker.pid for worker in self._workers)

    def share(self, value: object) -> Ref:
        """``value`` where every worker can read it: its arrays stand in memory once, whatever the number of workers."""
        return self._system.put(value)

    def meet(self) -> None:
        """Forms the group, unless there is one. Raises WorkerError."""
        if self._lasting:
            self.replaced = []
            self._fill(())
        if self._formed:
            return
        place, self._place = self._place or choose_place(self.backend), None
        self._begin(meeting=True)
        self._finish(partial(self._bring_together, place), None)
        self._formed = True

    def _bring_together(self, place: Place) -> list[Future[Any]]:
        """Tells all where to meet."""
        further = {"generation": self._generation, **self._patience}
        self._generation += 1
        waiting = [self._watch(0, self._workers[0].meet.remote(**place.first, **further))]
        others: Mapping[str, Any] = {**place.others, **further}
        if place.announced and self.size > 1:
            told = self._relay.take()
            if told is None:  # rank 0 failed before it could say where it is, or was ended with one that did
                for rank, worker in enumerate(self._workers[1:], 1):
                    if self._lasting:
                        self._ended(rank)
                    else:  # they end together: what each has to say of it, its call is answered with
                        waiting.append(self._watch(rank, worker.meet.remote(**others)))
                return waiting
            others = {**others, "coordinator": told[1]}
        for rank, worker in enumerate(self._workers[1:], 1):
            waiting.append(self._watch(rank, worker.meet.remote(**others)))
        if any(not is_echo(failure) for failure in self._failures):  # seen before all had a call to be called back from
            self._end_others()
        return waiting

    def run(
        self,
        method: str,
        *arguments: object,
        heard: Heard | None = None,
        notice: Callable[[Notice], object] | None = None,
    ) -> list[Any]:
        """What the method returns on each worker, in rank order. Raises WorkerError, or what ``heard`` raises.

        notice: called, in the thread that hears from workers, with what they tell beside their progress.
        """
        self._runs += 1
        self._begin(meeting=False, notice=notice)
        told = 0 if heard is None else self._runs

        def call() -> list[Future[Any]]:
            calls = [worker.method(method).remote(*arguments, run=told) for worker in self._workers]
            return [self._watch(rank, future) for rank, future in enumerate(calls)]

        return self._finish(call, heard)

    def forget(self) -> None:
        """Has all workers let go of what they keep for another attempt at the last run; returns at once."""
        for worker in self._workers:
            worker.forget.remote()

    def post(self, value: object) -> None:
        """Has ``heard`` called with it, and with rank -1, in its turn. From any thread."""
        self._relay.put(-1, value)

    def info(self, summaries: list[Summary]) -> tuple[WorkerInfo, ...]:
        """What each worker reports at the end of a run."""
        return tuple(
            WorkerInfo(
                rank=summary.rank,
                wall_time_ms=round(1000.0 * summary.seconds),
                backend=self.backend,
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
        if at_once and self.backend == "shm":
            sweep()  # a rank that was killed while the others were still to come had memory with a name

    # A call to all workers.

    def _begin(self, meeting: bool, notice: Callable[[Notice], object] | None = None) -> None:
        with self._lock:
            self._pending, self._failures = set(range(self.size)), []
        self._meeting, self._notice = meeting, notice
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
                if not self._failures:
                    self.failed_at = time.monotonic()
                self._failures.append(failure)
            self._relay.wake()
            if not is_echo(failure):
                self._end_others()
        self._ended(rank)

    def _ended(self, rank: int) -> None:
        with self._lock:
            self._pending.discard(rank)
            over = not self._pending
        if over:
            self._relay.finish()

    def _end_others(self) -> None:
        """One has failed: those of a single run end with it; lasting ones hear of it in the group, or here if there is
        none yet.
        """
        for rank, worker in enumerate(self._workers):
            if not self._lasting:
                worker.kill()
            elif self._meeting and rank in self._pending:
                worker.interrupt()

    def _pass_on(self, heard: Heard, rank: int, value: Any) -> None:
        if heard(rank, value) is False:
            self._workers[0].interrupt()  # which stops all, in a collective
        if rank == 0:
            self._dealt_with += 1 + self._relay.dropped(rank)
            self._workers[rank].tell((self._runs, self._dealt_with))

    def _finish(self, call: Callable[[], list[Future[Any]]], heard: Heard | None) -> list[Any]:
        """Calls all, and passes on what they tell until the calls have ended; their results. Raises WorkerError."""
        try:
            waiting = call()
            self._attend(heard)
        except BaseException as error:
            if self._lasting:
                self._call_off(patiently=isinstance(error, Exception) and not self._meeting)
            raise
        if self._failures:
            raise self._failed()
        return [future.result() for future in waiting]

    def _attend(self, heard: Heard | None) -> None:
        deadline: float | None = None
        while not self._relay.over:
            told = self._relay.take(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if told is not None and heard is not None:
                self._pass_on(heard, *told)
            if self._lasting:  # all calls come to an end by themselves
                continue
            with self._lock:
                only_echoes = bool(self._failures) and deadline is None
            if only_echoes:
                deadline = time.monotonic() + _PATIENCE
            elif deadline is not None and time.monotonic() >= deadline:
                self._end_others()

    # After a failure.

    def _failed(self) -> WorkerError:
        if not self._lasting:
            self._end_others()
        error = worker_error([self._with_last_words(failure) for failure in self._failures])
        if self._lasting:
            self._recover()
        return error

    def _with_last_words(self, failure: Failure) -> Failure:
        process = self._workers[failure.rank].process
        if not self._lasting:
            process.wait(_PATIENCE)
        return replace(failure, stderr=process.stderr_tail())

    def _recover(self, ended: Iterable[int] = ()) -> None:
        """Who is gone, and whose state nobody knows, is replaced; the others will form a new group with them."""
        self._formed = False
        self.replaced = []
        unsound = [failure for failure in self._failures if failure.died or not isinstance(failure.error, CobreError)]
        self._fill([*ended, *(failure.rank for failure in unsound)])

    def _fill(self, unsound: Iterable[int]) -> None:
        """New processes for these ranks, and for those that ended while they had nothing to do."""
        known = self._system.statistics()
        gone = {
            *unsound,
            *(rank for rank, worker in enumerate(self._workers) if _is_lost(worker, known[worker.name].alive)),
        }
        for rank in gone:
            self._workers[rank].kill()
        for rank in sorted(gone):
            self._workers[rank].stop()  # which waits for its end
            self._workers[rank] = self._spawn(rank)
            self.replaced.append(rank)
            self._formed = False

    def _call_off(self, patiently: bool) -> None:
        """Ends a call whose outcome nobody wants: the run stops after the iteration under way, if that comes soon."""
        deadline = time.monotonic()
        if patiently:
            deadline += _LAST_ITERATION
            self._workers[0].interrupt()
        while not self._relay.over and time.monotonic() < deadline:
            self._relay.take(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left = tuple(self._pending)
        if self._failures or left or self._meeting:
            self._recover(left)  # which kills those, and waits for their ends


def _is_lost(worker: ActorHandle, alive: bool) -> bool:
    """Whether it has no process any more, or one that ends because the object could not be made."""
    made = worker.ready()
    return not alive or (made.done() and made.exception() is not None)


def _patience(backend: str, hang_timeout: float) -> dict[str, float]:
    """Seconds that ranks wait for each other, unless the environment says: so long that one that hangs is found first,
    and is called what it is.
    """
    given = settings_of(backend)
    wanted = {"timeout": 300.0 + hang_timeout, "connect_timeout": 30.0 + hang_timeout}
    return {name: seconds for name, seconds in wanted.items() if name not in given}
