"""Who runs the algorithm for a caller: workers, or (``in_process``) the calling process. They look alike."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cobre.engine.checkpoint_writer import CheckpointPlan
from cobre.engine.executor import Executor
from cobre.engine.listening import Listener
from cobre.engine.placement import check_machine, check_shared_memory, shared_bytes
from cobre.engine.restarts import Restarts
from cobre.engine.sharing import Packed
from cobre.engine.worker import Trained, check_faults
from cobre.events import ProgressCallback, WorkerInfo, WorkerRestarted
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.settings import SimulationSettings, TrainingSettings
from cobre.sddp.simulation import Consumer, SimulationOutcome
from cobre.sddp.state import TrainingState
from cobre.sddp.training import TrainingOutcome
from cobre.supervisor import RestartPolicy

__all__ = ["OnWorkers", "Runner", "restart_policy", "start_workers", "workers_of_one_run"]

Workers = tuple[WorkerInfo, ...] | None


class Runner(Protocol):
    """Runs a training or a simulation. What it raises is what the algorithm does, or a WorkerError."""

    @property
    def restarts(self) -> tuple[WorkerRestarted, ...]:
        """Those of the last run."""

    def train(
        self,
        problem: Problem,
        settings: TrainingSettings,
        callback: ProgressCallback | None,
        failures: Path | None,
        resume: TrainingState | None = None,
        checkpoints: CheckpointPlan | None = None,
    ) -> tuple[TrainingOutcome, Workers]:
        """callback: called in the calling thread. failures: the folder for LPs that stay unsolved. resume: where it
        begins.
        """

    def simulate(
        self,
        problem: Problem,
        policy: Policy,
        settings: SimulationSettings,
        callback: ProgressCallback | None,
        failures: Path | None,
        consume: Consumer | None,
        strict: bool,
    ) -> tuple[SimulationOutcome, Workers]:
        """consume: takes each block where it was simulated; on workers it must be possible to pickle it."""


def start_workers(
    backend: str,
    size: int,
    *,
    hang_timeout: float,
    memory_limit: int | None = None,
    faults: str | None = None,
    lasting: bool = False,
) -> Executor:
    """``size`` workers, which are starting; see ``Executor``. backend: ``shm`` or ``tcp``.

    Raises ValidationError where this machine has no room for so many or the faults make no sense, CommError for an
    address that is none.
    """
    if faults is not None:
        check_faults(faults, size)
    check_machine(size)
    return Executor(backend, size, hang_timeout=hang_timeout, memory_limit=memory_limit, faults=faults, lasting=lasting)


@contextmanager
def workers_of_one_run(
    backend: str,
    size: int,
    *,
    hang_timeout: float,
    memory_limit: int | None = None,
    faults: str | None = None,
    policy: RestartPolicy,
) -> Iterator[OnWorkers]:
    """The algorithm on workers that are there for this run alone: they start and end with the block.

    The arguments are those of ``start_workers`` and of ``OnWorkers``.
    """
    lasting = policy.limit > 0
    executor = start_workers(
        backend, size, hang_timeout=hang_timeout, memory_limit=memory_limit, faults=faults, lasting=lasting
    )
    try:
        yield OnWorkers(executor, policy)
    except BaseException:
        executor.close(at_once=True)
        raise
    executor.close()


def restart_policy(max_restarts: int, period: float) -> RestartPolicy:
    """At most so many restarts of a run within ``period`` seconds."""
    return RestartPolicy("failure", max_restarts, period)


class OnWorkers:
    """The algorithm on workers, which belong to somebody else. policy: how many restarts a run may have in what time;
    more than none takes lasting workers.
    """

    def __init__(self, executor: Executor, policy: RestartPolicy) -> None:
        self._executor, self._policy = executor, policy
        self._restarts = Restarts(executor, policy)

    @property
    def restarts(self) -> tuple[WorkerRestarted, ...]:
        """See ``Runner``."""
        return self._restarts.all

    def train(
        self,
        problem: Problem,
        settings: TrainingSettings,
        callback: ProgressCallback | None,
        failures: Path | None,
        resume: TrainingState | None = None,
        checkpoints: CheckpointPlan | None = None,
    ) -> tuple[TrainingOutcome, Workers]:
        self._check(problem, settings)
        share = self._executor.share
        with self._job() as job:
            begin = None if resume is None else share(Packed.of(resume))
            given = share(Packed.of(problem)), settings, failures, job, begin, checkpoints
            listener = Listener(self._executor, self._restarts, callback, "training")
            found = self._restarts.run(lambda: self._executor.run("train", *given, **listener.ears))
        trained = found[0][1]
        assert isinstance(trained, Trained)
        return trained.on(problem), self._executor.info([summary for summary, _ in found])

    def simulate(
        self,
        problem: Problem,
        policy: Policy,
        settings: SimulationSettings,
        callback: ProgressCallback | None,
        failures: Path | None,
        consume: Consumer | None,
        strict: bool,
    ) -> tuple[SimulationOutcome, Workers]:
        self._check(problem, None)
        share = self._executor.share
        with self._job() as job:
            given = share(Packed.of(problem)), share(Packed.of(policy)), settings, share(consume), failures, strict, job
            listener = Listener(self._executor, self._restarts, callback, "simulation")
            found = self._restarts.run(
                lambda: self._executor.run("simulate", *given, listener.finished.copy(), **listener.ears)
            )
        outcome = found[0][1]
        assert isinstance(outcome, SimulationOutcome)
        return outcome, self._executor.info([summary for summary, _ in found])

    def _check(self, problem: Problem, settings: TrainingSettings | None) -> None:
        if self._executor.backend == "shm":
            check_shared_memory(shared_bytes(problem, settings, self._executor.size))

    @contextmanager
    def _job(self) -> Iterator[str | None]:
        """A name for a run that may be tried again, None for one that may not."""
        self._restarts = Restarts(self._executor, self._policy)
        if not self._policy.limit:
            yield None
            return
        yield secrets.token_hex(8)
        self._executor.forget()
