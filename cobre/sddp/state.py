"""What decides the future of a training after so many iterations: to go back to it, to hand it on, to save it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.batch import SolverStatistics
from cobre.sddp.risk import FloatArray

if TYPE_CHECKING:
    from cobre.sddp.model import StageModel
    from cobre.sddp.training import IterationRecord

__all__ = ["StageState", "TrainingState"]

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StageState:
    """What a stage has learned. Arrays are parts of those that grow, of which nothing that is here changes any more.

    slopes (c, S), intercepts, iterations, active, last_active, times_active (c,): of its cuts. starts (b,) and bases
    (b, width): what blocks of openings start from. vertices: arrays by name, empty where none are kept.
    """

    slopes: FloatArray
    intercepts: FloatArray
    iterations: IntArray
    active: NDArray[np.bool_]
    last_active: IntArray
    times_active: IntArray
    starts: IntArray
    bases: FloatArray
    vertices: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, stage: StageModel) -> StageState:
        """Costs next to nothing: what may change is copied, the rest is looked at."""
        starts = sorted(stage.bases)
        return cls(
            *stage.pool.parts(),
            starts=np.array(starts, np.int64),
            bases=stage.encode_bases([stage.bases[start] for start in starts]),
            vertices={} if stage.reuse is None else stage.reuse.vertices.arrays(),
        )

    def put_into(self, stage: StageModel) -> None:
        """Into a stage that has learned nothing yet; its LP is given its cuts."""
        stage.pool.restore(self)
        stage.agree_on_bases(self.bases, self.starts.tolist())
        if stage.reuse is not None:
            stage.reuse.vertices.restore(self.vertices)
        else:
            ids = np.flatnonzero(stage.pool.active)
            stage.lp.set_cuts(ids, stage.pool.slopes[ids], stage.pool.intercepts[ids])


@dataclass(frozen=True, eq=False)
class TrainingState:
    """A training after ``iteration`` iterations; another that goes on from it comes to the same bits.

    Lists may be longer: only what belongs to those iterations counts, and is what is pickled. seconds: wall time so
    far. picks, exact_from: see ``cobre.sddp.reusing.Exactness``. passes: costs of the latest forward passes. visited:
    by stage, the states at which cuts are compared.
    """

    iteration: int
    seconds: float
    records: list[IterationRecord]
    bounds: list[float]
    exact: list[float]
    questioned: bool
    statistics: SolverStatistics
    picks: int
    exact_from: int | None
    passes: tuple[FloatArray, ...]
    visited: list[list[FloatArray]]
    stages: tuple[StageState, ...]

    def trimmed(self) -> TrainingState:
        """The same with nothing of later iterations in it."""
        return replace(
            self,
            records=self.records[: self.iteration],
            bounds=self.bounds[: self.iteration],
            exact=self.exact[: self.iteration],
            visited=[states[: self.iteration] for states in self.visited],
        )

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self.trimmed()))
