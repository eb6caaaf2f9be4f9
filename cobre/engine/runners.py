"""Who runs the algorithm for a caller: workers, or (``in_process``) the calling process. They look alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from cobre.engine.executor import Executor, Heard
from cobre.engine.placement import check_machine, check_shared_memory, choose_place, shared_bytes
from cobre.engine.progress import progress_event
from cobre.engine.sharing import Packed
from cobre.engine.worker import Progress, Trained, check_faults
from cobre.events import ProgressCallback, ProgressEvent, WorkerInfo
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.settings import SimulationSettings, TrainingSettings
from cobre.sddp.simulation import Consumer, SimulationOutcome
from cobre.sddp.training import TrainingOutcome

__all__ = ["OnWorkers", "Runner"]

Workers = tuple[WorkerInfo, ...] | None


class Runner(Protocol):
    """Runs a training or a simulation. What it raises is what the algorithm does, or a WorkerError."""

    def train(
        self, problem: Problem, settings: TrainingSettings, callback: ProgressCallback | None, failures: Path | None
    ) -> tuple[TrainingOutcome, Workers]:
        """callback: called in the calling thread. failures: the folder for LPs that stay unsolved."""

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


class OnWorkers:
    """The algorithm on ``size`` processes, which a ``with`` block owns; they start at once.

    backend: ``shm`` or ``tcp``. The other arguments are those of ``Executor``. Raises ValidationError where this
    machine has no room for so many or the faults make no sense, CommError for an address that is none.
    """

    def __init__(
        self,
        backend: str,
        size: int,
        *,
        hang_timeout: float,
        memory_limit: int | None = None,
        faults: str | None = None,
    ) -> None:
        if faults is not None:
            check_faults(faults, size)
        check_machine(size)
        self._backend, self._size = backend, size
        self._executor = Executor(
            choose_place(backend), size, hang_timeout=hang_timeout, memory_limit=memory_limit, faults=faults
        )

    def train(
        self, problem: Problem, settings: TrainingSettings, callback: ProgressCallback | None, failures: Path | None
    ) -> tuple[TrainingOutcome, Workers]:
        self._check(problem, settings)
        self._executor.meet()
        shared = self._executor.share(Packed.of(problem))
        found = self._executor.run(
            "train", shared, settings, failures, callback is not None, heard=self._heard(callback)
        )
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
        self._executor.meet()
        share = self._executor.share
        given = share(Packed.of(problem)), share(Packed.of(policy)), settings, share(consume)
        found = self._executor.run(
            "simulate", *given, failures, strict, callback is not None, heard=self._heard(callback)
        )
        outcome = found[0][1]
        assert isinstance(outcome, SimulationOutcome)
        return outcome, self._executor.info([summary for summary, _ in found])

    def _check(self, problem: Problem, settings: TrainingSettings | None) -> None:
        if self._backend == "shm":
            check_shared_memory(shared_bytes(problem, settings, self._size))

    def _heard(self, callback: ProgressCallback | None) -> Heard | None:
        if callback is None:
            return None
        return lambda rank, progress: callback(self._event(rank, progress))

    def _event(self, rank: int, progress: Progress) -> ProgressEvent:
        health = self._executor.health(rank)
        memory, state = (health.memory_bytes, health.state) if health else (None, None)
        return replace(progress_event(rank, progress), memory_bytes=memory, state=state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._executor.close(at_once=error is not None)
