"""One rank of a run that a scheduler started: nobody watches it but its group, and it runs what all others run."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cobre.engine.checkpoint_writer import CheckpointPlan
from cobre.engine.dialogue import Progress
from cobre.engine.marks import Board
from cobre.engine.progress import progress_event
from cobre.engine.sharing import tell_all
from cobre.engine.worker import Summary, Worker
from cobre.events import ProgressCallback, WorkerInfo, WorkerRestarted
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.settings import SimulationSettings, TrainingSettings
from cobre.sddp.simulation import Consumer, SimulationOutcome
from cobre.sddp.state import TrainingState
from cobre.sddp.training import TrainingOutcome
from cobre.transport.communicator import Communicator

__all__ = ["AsRank"]


class AsRank:
    """This process as one rank of ``size``; a ``with`` block forms the group, where the environment says it meets.

    It runs trainings and simulations as ``Runner`` has it: all ranks make the same calls. What rank 0 is given decides:
    callbacks, folders, where it begins and what consumes simulated blocks are its; the outcome is on all ranks. Leaving
    the block by an exception wakes all other ranks, which raise CommError (Aborted).
    """

    restarts: tuple[WorkerRestarted, ...] = ()
    """That is the scheduler's affair."""

    def __init__(self, rank: int, size: int, backend: str, *, log_level: int | None = None, faults: str | None = None):
        self.rank, self.size, self.backend = rank, size, backend
        self._alone = _Alone(rank)
        self._worker = Worker(rank, size, backend, log_level=log_level, faults=faults, surroundings=self._alone)

    @property
    def communicator(self) -> Communicator:
        """The group's."""
        return self._worker.communicator

    def train(
        self,
        problem: Problem,
        settings: TrainingSettings,
        callback: ProgressCallback | None,
        failures: Path | None,
        resume: TrainingState | None = None,
        checkpoints: CheckpointPlan | None = None,
    ) -> tuple[TrainingOutcome, tuple[WorkerInfo, ...]]:
        """See ``Runner``."""
        failures, resume = tell_all(self.communicator, (failures, resume))
        self._alone.begin(callback)
        summary, trained = self._worker.train(
            problem, settings, failures, resume=resume, checkpoints=checkpoints, run=int(callback is not None)
        )
        outcome = tell_all(self.communicator, trained)
        return outcome.on(problem), self._infos(summary)

    def simulate(
        self,
        problem: Problem,
        policy: Policy,
        settings: SimulationSettings,
        callback: ProgressCallback | None,
        failures: Path | None,
        consume: Consumer | None,
        strict: bool,
    ) -> tuple[SimulationOutcome, tuple[WorkerInfo, ...]]:
        """See ``Runner``."""
        failures, consume = tell_all(self.communicator, (failures, consume))
        self._alone.begin(callback)
        summary, simulated = self._worker.simulate(
            problem, policy, settings, consume, failures, strict, run=int(callback is not None)
        )
        return tell_all(self.communicator, simulated), self._infos(summary)

    def _infos(self, summary: Summary) -> tuple[WorkerInfo, ...]:
        mine = [summary.seconds, summary.collective_seconds, float(summary.solves), float(summary.memory_bytes)]
        table = self.communicator.allgatherv(np.array(mine), [len(mine)] * self.size).reshape(self.size, -1)
        return tuple(
            WorkerInfo(
                rank=rank,
                wall_time_ms=round(1000.0 * seconds),
                backend=self.backend,
                collective_time_ms=round(1000.0 * waited),
                solves=int(solves),
                memory_bytes=int(memory),
            )
            for rank, (seconds, waited, solves, memory) in enumerate(table.tolist())
        )

    def __enter__(self) -> Self:
        self._worker.meet()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._worker.abort(f"rank {self.rank} failed: {type(error).__name__}: {error}")
        self._worker.close()


class _Alone:
    """The surroundings of a worker that has no owner: its events go to the callback at once."""

    board: Board | None = None

    def __init__(self, rank: int) -> None:
        self.interrupted = threading.Event()
        self._rank = rank
        self._told = self._heard = 0
        self._callback: ProgressCallback | None = None

    def begin(self, callback: ProgressCallback | None) -> None:
        """A training or simulation begins."""
        self._callback = callback
        self._told = self._heard = 0
        self.interrupted.clear()

    def emit(self, value: Any) -> None:
        """What the worker tells: its progress."""
        if self._callback is None or not isinstance(value, Progress):
            return
        self._told += 1
        if self._callback(progress_event(self._rank, value)) is False:
            self.interrupted.set()

    def hear(self, timeout: float | None = None) -> tuple[int, int] | None:
        """All that was told has been dealt with; None where that was said before."""
        new, self._heard = self._told > self._heard, self._told
        return (1, self._told) if new else None
