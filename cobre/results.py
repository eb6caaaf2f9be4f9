"""What train() and simulate() return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cobre.events import WorkerInfo, WorkerRestarted
from cobre.sddp.batch import SolverStatistics
from cobre.sddp.policy import Policy
from cobre.sddp.risk import FloatArray
from cobre.sddp.simulation import SimulationOutcome
from cobre.sddp.stopping import StopReason
from cobre.sddp.training import IterationRecord, TrainingOutcome

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SimulationResult", "TrainingResult", "convergence_table"]


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained policy and how it came about; bounds in the problem's own unit and sense.

    convergence_history: a row an iteration, with ``iteration`` (int32), ``lower_bound, upper_bound, upper_bound_std,
    ci_95, gap`` (float64) and ``wall_time_ms, iteration_time_ms`` (int64). The outer bound is the lower one of a
    minimisation and the upper one of a maximisation; the other is the mean over the forward passes of the last
    iterations, exact where they are enumerated.
    final_bound: the outer bound. final_gap: relative distance of the two.
    workers: None after a run in one process. restarts: the losses of workers that the run outlived (the last thousand).
    """

    policy: Policy
    convergence_history: pa.Table
    iterations: int
    final_lower_bound: float
    final_upper_bound: float
    final_bound: float
    final_gap: float
    termination_reason: StopReason
    total_cuts: int
    wall_time_ms: int
    solver: SolverStatistics
    workers: tuple[WorkerInfo, ...] | None = None
    restarts: tuple[WorkerRestarted, ...] = ()
    output_directory: Path | None = None
    output_files: tuple[Path, ...] = ()

    def plot_convergence(self, path: str | Path | None = None) -> Any:
        """Draw the bounds by iteration; returns matplotlib's figure, saved to ``path`` where one is given.

        Raises CobreError (MissingDependency) without matplotlib, which the extra ``plot`` installs.
        """
        from cobre.plots import plot_convergence

        return plot_convergence(self.convergence_history, path)

    @classmethod
    def of(cls, outcome: TrainingOutcome, policy: Policy) -> TrainingResult:
        """The result of a training's outcome."""
        last = outcome.records[-1]
        return cls(
            policy=policy,
            convergence_history=convergence_table(outcome.records),
            iterations=len(outcome.records),
            final_lower_bound=last.lower_bound,
            final_upper_bound=last.upper_bound,
            final_bound=outcome.lower_bounds[-1],
            final_gap=last.gap,
            termination_reason=outcome.reason,
            total_cuts=sum(pool.size for pool in outcome.cuts),
            wall_time_ms=milliseconds(outcome.seconds),
            solver=outcome.statistics,
        )


@dataclass(frozen=True, eq=False)
class SimulationResult:
    """What a policy costs over the scenarios simulated, discounted to the first stage.

    mean_cost, std_cost: weighted by probability where the scenarios are enumerated. costs: (scenarios,).
    complete: False where it was stopped before its last scenario. workers: None after a run in one process. restarts:
    the losses of workers that the run outlived (the last thousand).
    """

    scenarios: int
    mean_cost: float
    std_cost: float
    wall_time_ms: int
    costs: FloatArray
    complete: bool
    solver: SolverStatistics
    workers: tuple[WorkerInfo, ...] | None = None
    restarts: tuple[WorkerRestarted, ...] = ()
    output_directory: Path | None = None
    output_files: tuple[Path, ...] = ()

    @classmethod
    def of(cls, outcome: SimulationOutcome, folder: Path | None, files: tuple[Path, ...]) -> SimulationResult:
        """The result of a simulation's outcome."""
        return cls(
            scenarios=outcome.costs.size,
            mean_cost=outcome.mean,
            std_cost=outcome.deviation,
            wall_time_ms=milliseconds(outcome.seconds),
            costs=outcome.costs,
            complete=not outcome.stopped,
            solver=outcome.statistics,
            output_directory=folder,
            output_files=files,
        )


def milliseconds(seconds: float) -> int:
    """Whole milliseconds."""
    return round(1000.0 * seconds)


def convergence_table(records: list[IterationRecord]) -> pa.Table:
    """The convergence history of a run, a row an iteration; see ``TrainingResult``."""
    import pyarrow as pa

    names = ("lower_bound", "upper_bound", "upper_bound_std", "ci_95", "gap")
    columns: dict[str, Any] = {"iteration": pa.array([r.iteration for r in records], pa.int32())}
    columns |= {name: pa.array(np.array([getattr(r, name) for r in records]), pa.float64()) for name in names}
    columns["wall_time_ms"] = pa.array([milliseconds(r.seconds) for r in records], pa.int64())
    columns["iteration_time_ms"] = pa.array([milliseconds(r.iteration_seconds) for r in records], pa.int64())
    return pa.table(columns)
