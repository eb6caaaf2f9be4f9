"""Solves of a stage LP each from a basis of its own: what kept vertices leave to be solved.

A solve depends on the LP, its right-hand sides and the basis it starts from, never on what was solved before it, so
that any rank may do any of them in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.batch import SolverStatistics
from cobre.sddp.highs import BASIC, LOWER, OPTIMAL
from cobre.sddp.lp import StageLP
from cobre.sddp.risk import FloatArray

__all__ = ["Solved", "Starts", "solve_each"]

IntArray = NDArray[np.int64]
StatusArray = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Starts:
    """A basis for each of r solves: columns (r, n) and template rows (r, m) as HiGHS takes them, tight (r, S + 1) ids
    of the cuts that are not basic, -1 for none."""

    columns: StatusArray
    rows: StatusArray
    tight: IntArray

    @classmethod
    def of(cls, status: NDArray[np.int8], tight: IntArray, m: int) -> Starts:
        """From statuses (r, n + m) of columns and rows together."""
        wide = status.astype(np.int32)
        return cls(np.ascontiguousarray(wide[:, :-m]), np.ascontiguousarray(wide[:, -m:]), tight)


@dataclass(frozen=True, eq=False)
class Solved:
    """What r solves came to, scaled: objective (r,), x (r, n), duals (r, m) of the template's rows, and the bases:
    columns (r, n), rows (r, m + c) for the cut rows that the LP had."""

    objective: FloatArray
    x: FloatArray
    duals: FloatArray
    columns: StatusArray
    rows: StatusArray


def solve_each(lp: StageLP, sides: FloatArray, starts: Starts | None) -> Solved:
    """Solve r right-hand sides (r, K), each from its own basis.

    starts: None solves them from the slacks. Raises SolverError when a solve fails whatever is tried.
    """
    count, n, m = sides.shape[0], lp.stage.columns + 1, lp.stage.rows
    wide = m + lp.cut_ids.size
    lower, upper = lp.sides.bounds_of(sides)
    found = Solved(
        objective=np.empty(count),
        x=np.empty((count, n)),
        duals=np.empty((count, m)),
        columns=np.empty((count, n), np.int32),
        rows=np.empty((count, wide), np.int32),
    )
    laid_out = _laid_out(lp, starts) if starts is not None else None
    _run_all(lp, (lower, upper), starts, laid_out, found)
    return found


def _laid_out(lp: StageLP, starts: Starts) -> StatusArray:
    """(r, m + c) statuses of all rows; cuts that were not in the LP then start basic."""
    count, m, cuts = starts.rows.shape[0], lp.stage.rows, lp.cut_ids.size
    rows = np.full((count, m + cuts), BASIC, np.int32)
    rows[:, :m] = starts.rows
    if cuts:
        order = np.argsort(lp.cut_ids, kind="stable")  # those fetched stand behind the others, whatever their ids
        at = order[np.minimum(np.searchsorted(lp.cut_ids, starts.tight, sorter=order), cuts - 1)]
        owner, place = np.nonzero(lp.cut_ids[at] == starts.tight)
        rows[owner, m + at[owner, place]] = LOWER
    return rows


def _run_all(
    lp: StageLP,
    bounds: tuple[FloatArray, FloatArray],
    starts: Starts | None,
    laid_out: StatusArray | None,
    found: Solved,
) -> None:
    """The loop: names are bound once, results are written in place by their addresses."""
    highs, clock = lp.highs, perf_counter
    handle, run, status, iterations = highs.handle, highs.run, highs.status, highs.simplex_iterations
    clear, set_basis, get_basis = highs.clear, highs.set_basis_at, highs.get_basis_at
    objective, solution, change_rows = highs.objective, highs.solution, highs.change_rows
    moving, moving_at = lp.sides.moving.size, lp.sides.moving_at
    lower_at, upper_at = bounds[0].ctypes.data, bounds[1].ctypes.data
    start_columns_at = starts.columns.ctypes.data if starts is not None else 0
    start_rows_at = laid_out.ctypes.data if laid_out is not None else 0
    x_at, columns_at, rows_at = found.x.ctypes.data, found.columns.ctypes.data, found.rows.ctypes.data
    n, wide = found.columns.shape[1], found.rows.shape[1]
    pivots, began, run_seconds = 0, clock(), 0.0
    for k in range(found.objective.size):
        clear(handle)
        if starts is not None:
            set_basis(handle, start_columns_at + 4 * k * n, start_rows_at + 4 * k * wide)
        change_rows(handle, moving, moving_at, lower_at + 8 * k * moving, upper_at + 8 * k * moving)
        started = clock()
        run(handle)
        run_seconds += clock() - started
        if status(handle) != OPTIMAL:
            lp.retry(k)
        pivots += iterations()
        found.objective[k] = objective(handle)
        solution(handle, x_at + 8 * k * n, None, None, lp.rows_at)
        found.duals[k] = lp.row_duals
        get_basis(handle, columns_at + 4 * k * n, rows_at + 4 * k * wide)
    lp.statistics.add(SolverStatistics(found.objective.size, pivots, clock() - began, run_seconds))
