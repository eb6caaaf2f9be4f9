"""What goes into a batch of solves and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.risk import FloatArray

__all__ = ["Basis", "Batch", "ScaledSides", "SolverStatistics"]

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Basis:
    """A starting basis, in terms that survive a change of the LP's cut rows.

    ``tight`` holds the ids of the cuts that were not basic; every other cut row starts basic.
    """

    columns: NDArray[np.int32]  # (n + 1,), the cost-to-go last
    rows: NDArray[np.int32]  # (m,)
    tight: IntArray

    def encode(self) -> FloatArray:
        """One row of numbers of the fixed width ``3 n + 3 + 2 m``, -1 where there is nothing, to be gathered."""
        width = self.columns.size + self.rows.size
        row = np.full(2 * width + self.columns.size, -1.0)
        row[:width] = np.concatenate([self.columns, self.rows])
        row[width : width + self.tight.size] = self.tight
        return row

    @classmethod
    def decode(cls, row: FloatArray, columns: int, rows: int) -> Basis:
        """From ``encode``; columns counts the cost-to-go."""
        tight = row[columns + rows :]
        return cls(
            row[:columns].astype(np.int32),
            row[columns : columns + rows].astype(np.int32),
            tight[tight >= 0].astype(np.int64),
        )


class ScaledSides:
    """Scaled row bounds and costs of a batch, and where they lie in memory."""

    def __init__(self, lower: FloatArray, upper: FloatArray, costs: FloatArray | None) -> None:
        self._keep = lower, upper, costs
        self.lower_at = self.upper_at = lower.ctypes.data
        if upper is not lower:
            self.upper_at = upper.ctypes.data
        self.costs_at = 0 if costs is None else costs.ctypes.data
        self.priced = costs is not None


@dataclass(eq=False)
class Batch:
    """What r solves gave, for the minimisation solved inside.

    values: (r,) objective, cost-to-go included, the cost of the incoming state too. cost_to_go: (r,).
    states: (r, S) outgoing. duals: (r, m) change of the value per unit of the template's right-hand sides.
    primal: (r, n), or (r, 0) where it was not asked for. first_bases: of the units that it was asked of.
    active: for each unit, the ids of the cuts that had a multiplier in one of its solves, where that was asked for.
    """

    values: FloatArray
    cost_to_go: FloatArray
    states: FloatArray
    duals: FloatArray
    primal: FloatArray
    first_bases: list[Basis] = field(default_factory=list)
    active: list[IntArray] = field(default_factory=list)


@dataclass
class SolverStatistics:
    """Counts and seconds of solves.

    reused: solves that a kept vertex made needless.
    seconds: inside HiGHS, from being handed a basis or right-hand sides until the solution is read.
    run_seconds: those of its ``run`` alone.
    """

    solves: int = 0
    simplex_iterations: int = 0
    seconds: float = 0.0
    run_seconds: float = 0.0
    retries: int = 0
    reused: int = 0

    def add(self, other: SolverStatistics) -> None:
        """Add the other's to this."""
        self.solves += other.solves
        self.simplex_iterations += other.simplex_iterations
        self.seconds += other.seconds
        self.run_seconds += other.run_seconds
        self.retries += other.retries
        self.reused += other.reused

    def copy(self) -> SolverStatistics:
        """The same numbers."""
        return SolverStatistics(*self._numbers())

    def count_reuse(self, seconds: float, reused: int, solves: int = 0, pivots: int = 0) -> None:
        """What the compiled kernel did in so many seconds."""
        self.seconds += seconds
        self.run_seconds += seconds
        self.reused += reused
        self.solves += solves
        self.simplex_iterations += pivots

    def since(self, before: SolverStatistics) -> FloatArray:
        """What came after ``before``, a number a field, to be summed over ranks."""
        own: FloatArray = np.array(self._numbers(), np.float64)
        return own - np.array(before._numbers(), np.float64)

    def _numbers(self) -> tuple[int, int, float, float, int, int]:
        return self.solves, self.simplex_iterations, self.seconds, self.run_seconds, self.retries, self.reused

    @classmethod
    def of(cls, values: FloatArray) -> SolverStatistics:
        """From a number a field, as ``since`` gives them."""
        solves, iterations, seconds, run_seconds, retries, reused = values.tolist()
        return cls(int(solves), int(iterations), seconds, run_seconds, int(retries), int(reused))
