"""The algorithm in the calling process."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

from cobre.engine.checkpoint_writer import CheckpointPlan, keeping
from cobre.engine.progress import simulation_event, training_event
from cobre.events import ProgressCallback, WorkerRestarted
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.settings import SimulationSettings, TrainingSettings
from cobre.sddp.simulation import Consumer, SimulationOutcome, simulate
from cobre.sddp.state import TrainingState
from cobre.sddp.training import TrainingOutcome, train

__all__ = ["InProcess"]


class InProcess:
    """The algorithm in the calling process."""

    restarts: tuple[WorkerRestarted, ...] = ()
    """Nobody is there to be lost."""

    def train(
        self,
        problem: Problem,
        settings: TrainingSettings,
        callback: ProgressCallback | None,
        failures: Path | None,
        resume: TrainingState | None = None,
        checkpoints: CheckpointPlan | None = None,
    ) -> tuple[TrainingOutcome, None]:
        observe = None if callback is None else lambda record: callback(training_event(record))
        given: dict[str, Any] = {"observe": observe, "failure_folder": failures, "resume": resume}
        with keeping(checkpoints) as (keep, wants):
            outcome = train(problem, settings, keep=keep, wants=wants, **given)
        return outcome, None

    def simulate(
        self,
        problem: Problem,
        policy: Policy,
        settings: SimulationSettings,
        callback: ProgressCallback | None,
        failures: Path | None,
        consume: Consumer | None,
        strict: bool,
    ) -> tuple[SimulationOutcome, None]:
        began = perf_counter()

        def observe(complete: int, total: int) -> object:
            return None if callback is None else callback(simulation_event(complete, total, perf_counter() - began))

        outcome = simulate(
            problem, policy, settings, consume=consume, observe=observe, failure_folder=failures, strict=strict
        )
        return outcome, None
