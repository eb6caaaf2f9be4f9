"""Scale factors of a stage's LP: powers of two, computed once from the template, exact in both directions.

HiGHS's own scaling is fixed at a first run and stretched over rows added later, so it would make the bits of a
solve depend on the history of the instance; it stays off, and this takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.problem import SparseRows, Stage
from cobre.sddp.risk import FloatArray

__all__ = ["Scaling", "scale_stage", "scaled_matrix"]

_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Scaling:
    """Columns are ``x = column * x'``, rows are multiplied by ``row``, the objective by ``cost``.

    The cost-to-go column is scaled by ``1 / cost``, so that its scaled coefficient is the discount.
    """

    column: FloatArray  # (n,)
    row: FloatArray  # (m,)
    cost: float


def scale_stage(stage: Stage) -> Scaling:
    """Geometric scaling of the matrix, then of bounds and right-hand sides, then of the objective.

    Entries, right-hand sides and costs come near 1 in size, where HiGHS's absolute tolerances mean something.
    """
    rows, columns, values = stage.matrix.triplets()
    size = np.abs(values)
    row, column = np.ones(stage.rows), np.ones(stage.columns)
    for _ in range(_ROUNDS):
        row = _balance(size * column[columns], rows, stage.rows)
        column = _balance(size * row[rows], columns, stage.columns)
    column = _power_of_two(column)
    row = _power_of_two(row)
    extent = _power_of_two(np.array([_typical(_extents(stage, row, column))]))[0]
    column, row = column * extent, row / extent
    costs = np.abs(stage.cost * column)
    scaled = costs[costs > 0.0]
    cost = 1.0 / _power_of_two(np.array([_typical(scaled)]))[0]
    return Scaling(column, row, float(cost))


def _balance(size: FloatArray, place: NDArray[np.int32], count: int) -> FloatArray:
    """``1 / sqrt(min * max)`` of the entries of each row or column; 1 where it has none."""
    low, high = np.full(count, np.inf), np.zeros(count)
    np.minimum.at(low, place, size)
    np.maximum.at(high, place, size)
    factors, used = np.ones(count), high > 0.0
    factors[used] = 1.0 / np.sqrt(low[used] * high[used])
    return factors


def _extents(stage: Stage, row: FloatArray, column: FloatArray) -> FloatArray:
    """The finite, non-zero sizes of scaled bounds and right-hand sides."""
    noise = stage.openings.rhs * row[stage.openings.rhs_rows]
    sizes = np.abs(np.concatenate([stage.lower / column, stage.upper / column, stage.rhs * row, noise.ravel()]))
    found: FloatArray = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    return found


def _typical(sizes: FloatArray) -> float:
    return float(np.exp(np.mean(np.log(sizes)))) if sizes.size else 1.0


def _power_of_two(factors: FloatArray) -> FloatArray:
    scaled: FloatArray = np.exp2(np.round(np.log2(factors)))
    return scaled


def scaled_matrix(matrix: SparseRows, scaling: Scaling) -> FloatArray:
    """The scaled values of the stage's matrix, in the order of its entries."""
    rows, columns, values = matrix.triplets()
    return values * scaling.row[rows] * scaling.column[columns]
