"""A stage's linear program, solved for many right-hand sides at once.

    (stage LP, right-hand sides, agreed bases)  ->  (values, duals, states, bases)

A unit of work is a chain of solves: openings of one trial point, or one scenario of a forward pass. Its first solve
starts from a basis that everybody agrees on, after everything the instance knew is cleared; each other goes on from
the one before. So the bits of a unit depend on the LP, its right-hand sides in their order and that basis, never on
what this instance solved before.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.errors import SolverError
from cobre.sddp.batch import Basis, Batch, ScaledSides, SolverStatistics
from cobre.sddp.highs import BASIC, LOWER, OPTIMAL, STATUS_NAMES, Highs
from cobre.sddp.lazy import LazyCuts
from cobre.sddp.lp_options import RETRIES, Option, profile_options
from cobre.sddp.problem import Stage
from cobre.sddp.right_hand_sides import RightHandSides
from cobre.sddp.risk import FloatArray
from cobre.sddp.scaling import scale_stage, scaled_matrix
from cobre.sddp.settings import SolverProfile
from cobre.sddp.template import Template

__all__ = ["StageLP"]

IntArray = NDArray[np.int64]
_NO_IDS = np.zeros(0, np.int64)
_SMALLEST_COEFFICIENT = 1e-12  # of a scaled cut; below it an entry is noise, and HiGHS would drop it anyway


class StageLP:
    """One stage's LP in HiGHS: the scaled template, the cost-to-go column, and the cut rows after them.

    sign: 1 for a minimisation, -1 for a maximisation; everything that comes out is of the minimisation.
    last: the cost-to-go is fixed at zero. number: the stage's, 1-based, for errors.
    """

    def __init__(self, stage: Stage, *, sign: float, last: bool, number: int = 0, retry_limit: int = 5) -> None:
        self.stage, self.sign, self.last, self.number, self.retry_limit = stage, sign, last, number, retry_limit
        self.scaling = scale_stage(stage)
        self.statistics = SolverStatistics()
        self.sides = RightHandSides(stage, sign, self.scaling.row)
        self.cut_ids = _NO_IDS  # of the rows after the template's, in their order
        self.lazy: LazyCuts | None = None
        self.context: dict[str, Any] = {}  # what a SolverError says of where it happened
        self.failure_folder: Path | None = None
        self._warm = True
        self._openings = self._scenarios = _NO_IDS  # of the batch under way
        self._options: dict[str, Option] = profile_options(SolverProfile())
        self._cost_scale = sign * self.scaling.cost * self.scaling.column[stage.openings.cost_columns]
        self._cut_scale = -self.scaling.column[stage.outgoing] * self.scaling.cost
        self._cut_columns = np.append(stage.outgoing, stage.columns).astype(np.int32)
        self.dual_scale = self.scaling.row / self.scaling.cost
        self._state_scale = self.scaling.column[stage.outgoing]
        self._laid_out: Basis | None = None  # the basis whose row statuses stand in _start_rows
        self._start_rows = np.zeros(0, np.int32)
        self._start_at = 0, 0  # where that basis lies in memory
        self._lay_out()

    @cached_property
    def highs(self) -> Highs:
        """Made when it is asked for: where the kernel does all the solves, nobody asks."""
        highs = Highs()
        highs.pass_lp(self._cost, self._bounds, self._row_bounds, self._matrix)
        highs.set_options(self._options)
        return highs

    def close(self) -> None:
        """Free the solver."""
        if "highs" in vars(self):
            self.highs.close()

    def use_profile(self, profile: SolverProfile) -> None:
        """Solve with these options from now on."""
        self._warm = profile.use_warm_start
        options = profile_options(profile)
        if options != self._options:
            self.highs.set_options(options)
            self._options = options

    def solve(
        self,
        openings: IntArray,
        incoming: FloatArray,
        ends: IntArray,
        bases: Sequence[Basis | None],
        scenarios: IntArray | None = None,
        *,
        primal: bool = False,
        first_bases: Sequence[bool] = (),
        activity: float | None = None,
    ) -> Batch:
        """Solve r pairs of opening (r,) and incoming state (r, S), cut into units that end at ``ends`` (u,).

        bases: one a unit, to start from (None: from the slacks). scenarios: (r,) whose they are, for errors
        (None: numbered as they stand). primal: keep every column's value.
        first_bases: one a unit, whether to keep the basis after its first solve (empty: of none). activity: note the
        cuts whose multiplier exceeds this. Raises SolverError when a solve fails whatever is tried.
        """
        count = openings.size
        sides = self._scaled_sides(openings, incoming)
        batch = Batch(
            values=np.empty(count),
            cost_to_go=np.empty(count),
            states=np.empty((count, self.stage.states)),
            duals=np.empty((count, self.stage.rows)),
            primal=np.empty((count, self.stage.columns if primal else 0)),
        )
        self.name_solves(openings, np.arange(count) if scenarios is None else scenarios)
        start = 0
        kept = first_bases or [False] * len(bases)
        for basis, end, keep in zip(bases, ends.tolist(), kept, strict=True):
            found: set[int] | None = None if activity is None else set()
            self._start_from(basis)
            if keep:
                self._chain(sides, batch, range(start, start + 1), found, activity or 0.0)
                batch.first_bases.append(self.basis())
                start += 1
            self._chain(sides, batch, range(start, end), found, activity or 0.0)
            if found is not None:
                batch.active.append(np.array(sorted(found), np.int64))
            if self.lazy is not None:
                self.drop_cuts_behind(self.lazy.resident)
            start = end
        self._unscale(batch, incoming)
        return batch

    def name_solves(self, openings: IntArray, scenarios: IntArray) -> None:
        """Say of the solves that come whose they are, for errors: openings (r,) and scenarios (r,)."""
        self._openings, self._scenarios = openings, scenarios

    def basis(self) -> Basis:
        """The basis that the last solve ended with."""
        m, cuts = self.stage.rows, self.cut_ids.size
        self.highs.get_basis(self._column_status, self._row_status)
        tight = self.cut_ids[self._row_status[m : m + cuts] != BASIC]
        return Basis(self._column_status.copy(), self._row_status[:m].copy(), tight)

    # -- cut rows ---------------------------------------------------------------------------------------------

    def set_cuts(self, ids: IntArray, slopes: FloatArray, intercepts: FloatArray) -> None:
        """Make the cut rows these: ids (c,) rising, slopes (c, S), intercepts (c,); what is there already stays.

        Rows stand in the order of their ids however they came in, for the bits of a solve depend on it.
        """
        keep = np.isin(self.cut_ids, ids, assume_unique=True)
        fresh = ids[~np.isin(ids, self.cut_ids, assume_unique=True)]
        if fresh.size:  # what stands behind the first new one is taken out and put back in order
            keep &= self.cut_ids < fresh[0]
        self._delete_cut_rows(np.flatnonzero(~keep))
        behind = ids > self.cut_ids[-1] if self.cut_ids.size else np.ones(ids.size, bool)
        self.append_cuts(ids[behind], slopes[behind], intercepts[behind])

    def append_cuts(self, ids: IntArray, slopes: FloatArray, intercepts: FloatArray) -> None:
        """Add cut rows behind the others: ``cost_to_go - slopes . outgoing >= intercept``."""
        if not ids.size:
            return
        width = self.stage.states + 1
        value = np.ones((ids.size, width))
        np.multiply(slopes, self._cut_scale, out=value[:, :-1])
        index = np.repeat(self._cut_columns[np.newaxis], ids.size, axis=0)
        start = np.arange(0, value.size + 1, width, dtype=np.int32)
        used = np.abs(value) > _SMALLEST_COEFFICIENT
        if not used.all():
            start[1:] = np.cumsum(used.sum(axis=1))
            index, value = index[used], value[used]
        lower = intercepts * self.scaling.cost
        self.highs.add_rows(lower, np.full(ids.size, np.inf), (start, index, value))
        self.cut_ids = np.concatenate([self.cut_ids, ids])
        self._laid_out = None
        self._fit_scratch()

    def drop_cuts_behind(self, count: int) -> None:
        """Keep the first ``count`` cut rows only."""
        self._delete_cut_rows(np.arange(count, self.cut_ids.size))

    def _delete_cut_rows(self, positions: IntArray) -> None:
        if positions.size:
            self.highs.delete_rows((positions + self.stage.rows).astype(np.int32))
            self.cut_ids = np.delete(self.cut_ids, positions)
            self._laid_out = None

    # -- inside -----------------------------------------------------------------------------------------------

    def template(self) -> Template:
        """The LP without its cuts as dense arrays, scaled."""
        stage, scaling = self.stage, self.scaling
        rows, columns, _ = stage.matrix.triplets()
        matrix = np.zeros((stage.rows, stage.columns + 1))
        matrix[rows, columns] = scaled_matrix(stage.matrix, scaling)
        rhs = stage.rhs * scaling.row
        rhs[self.sides.moving] = 0.0
        return Template(
            matrix=matrix,
            cost=self._cost,
            lower=self._bounds[0],
            upper=self._bounds[1],
            rhs=rhs,
            sense=stage.sense,
            moving=self.sides.moving.astype(np.int64),
            watched=np.append(stage.outgoing, stage.columns).astype(np.int64),
            watched_scale=np.append(self._state_scale, 1.0 / scaling.cost),
            cut_scale=self._cut_scale,
            intercept_scale=scaling.cost,
        )

    def _lay_out(self) -> None:
        stage, scaling = self.stage, self.scaling
        cost = np.append(self.sign * stage.cost * scaling.column * scaling.cost, stage.discount)
        bound = self.sign * stage.cost_to_go_bound * scaling.cost
        lower = np.append(stage.lower / scaling.column, 0.0 if self.last else bound)
        upper = np.append(stage.upper / scaling.column, 0.0 if self.last else np.inf)
        right = stage.rhs * scaling.row
        self._cost, self._bounds = cost, (lower, upper)
        self._row_bounds = np.where(stage.sense < 0, -np.inf, right), np.where(stage.sense > 0, np.inf, right)
        self._matrix = stage.matrix.start, stage.matrix.index, scaled_matrix(stage.matrix, scaling)
        self._columns = np.zeros((0, stage.columns + 1))
        self._rows = np.zeros(0)
        self._column_status = np.zeros(stage.columns + 1, np.int32)
        self._fit_scratch()

    def _fit_scratch(self) -> None:
        """Room for the duals of every row, with some to spare: HiGHS fills it in place."""
        needed = self.stage.rows + self.cut_ids.size
        if self._rows.size <= needed:
            self._rows = np.zeros(needed + needed // 2 + 64)
            self.rows_at = self._rows.ctypes.data
            self.row_duals = self._rows[: self.stage.rows]
            self._row_status = np.zeros(self._rows.size, np.int32)

    def _start_from(self, basis: Basis | None) -> None:
        """Forget all that is known, then take the basis up; it is laid out once for all units that start from it."""
        began = perf_counter()
        self.highs.clear_solver()
        self.statistics.seconds += perf_counter() - began
        if basis is None or not self._warm:
            return
        m, cuts = self.stage.rows, self.cut_ids.size
        if self._laid_out is not basis:
            rows = np.full(m + cuts, BASIC, np.int32)
            rows[:m] = basis.rows
            if basis.tight.size and cuts:
                at = np.minimum(np.searchsorted(self.cut_ids, basis.tight), cuts - 1)
                rows[m + at[self.cut_ids[at] == basis.tight]] = LOWER
            self._laid_out, self._start_rows = basis, rows
            self._start_at = basis.columns.ctypes.data, rows.ctypes.data
        # a tight cut that has left the LP makes the basis one too large; HiGHS mends that, the same way every time
        began = perf_counter()
        self.highs.set_basis(*self._start_at)
        self.statistics.seconds += perf_counter() - began

    def _chain(self, sides: ScaledSides, batch: Batch, rows: range, found: set[int] | None, activity: float) -> None:
        """Solve one row after the other, each from where the one before ended.

        The loop that everything else waits for: names are bound once, and results are written in place.
        """
        highs, statistics = self.highs, self.statistics
        handle, run, status, iterations = highs.handle, highs.run, highs.status, highs.simplex_iterations
        objective, solution, clock = highs.objective, highs.solution, perf_counter
        change_rows, moving, moving_at = highs.change_rows, self.sides.moving.size, self.sides.moving_at
        columns = self._column_buffer(len(rows))
        columns_at, width = columns.ctypes.data, 8 * columns.shape[1]
        values, duals, pivots, seconds, run_seconds = batch.values, batch.duals, 0, 0.0, 0.0
        for k in rows:
            began = clock()
            if moving:
                offset = 8 * k * moving
                change_rows(handle, moving, moving_at, sides.lower_at + offset, sides.upper_at + offset)
            if sides.priced:
                self._change_costs(sides, k)
            started = clock()
            run(handle)
            run_seconds += clock() - started
            if status(handle) != OPTIMAL:
                self.retry(k)
            pivots += iterations()
            if self.lazy is not None:
                self._add_violated(k)
            value = objective(handle)
            solution(handle, columns_at, None, None, self.rows_at)
            seconds += clock() - began
            values[k] = value
            duals[k] = self.row_duals
            columns_at += width
            if found is not None:
                multipliers = self._rows[self.stage.rows : self.stage.rows + self.cut_ids.size]
                found.update(self.cut_ids[multipliers > activity].tolist())
        statistics.add(SolverStatistics(len(rows), pivots, seconds, run_seconds))
        at = slice(rows.start, rows.stop)
        batch.cost_to_go[at] = columns[:, -1]
        batch.states[at] = columns[:, self.stage.outgoing]
        if batch.primal.shape[1]:
            batch.primal[at] = columns[:, :-1]

    def _scaled_sides(self, openings: IntArray, incoming: FloatArray) -> ScaledSides:
        costs = self.stage.openings.cost[openings] * self._cost_scale if self._cost_scale.size else None
        return ScaledSides(*self.sides.bounds(openings, incoming), costs)

    def _column_buffer(self, rows: int) -> FloatArray:
        if self._columns.shape[0] < rows:
            self._columns = np.zeros((rows, self.stage.columns + 1))
        return self._columns[:rows]

    def _change_costs(self, sides: ScaledSides, k: int) -> None:
        columns = self.stage.openings.cost_columns
        self.highs.change_costs(
            self.highs.handle, columns.size, columns.ctypes.data, sides.costs_at + 8 * k * columns.size
        )

    def _add_violated(self, k: int) -> None:
        """Solve again with the cuts that the solution violates, until it violates none."""
        assert self.lazy is not None
        highs, x = self.highs, np.empty(self.stage.columns + 1)
        while True:
            highs.solution(highs.handle, x.ctypes.data, None, None, None)
            began = perf_counter()
            state = x[self.stage.outgoing] * self.scaling.column[self.stage.outgoing]
            found = self.lazy.violated(state, float(x[-1]) / self.scaling.cost, self.cut_ids)
            self.statistics.seconds -= perf_counter() - began  # ours, within what is counted as HiGHS's
            if not found.size:
                return
            self.append_cuts(found, self.lazy.pool.slopes[found], self.lazy.pool.intercepts[found])
            self._timed_run()
            if highs.status(highs.handle) != OPTIMAL:
                self.retry(k)
            self.statistics.simplex_iterations += highs.simplex_iterations()

    def _timed_run(self) -> None:
        """Run again; the caller's clock counts the seconds inside HiGHS already."""
        started = perf_counter()
        self.highs.run(self.highs.handle)
        self.statistics.run_seconds += perf_counter() - started

    def _unscale(self, batch: Batch, incoming: FloatArray) -> None:
        batch.values /= self.scaling.cost
        batch.values += self.sides.incoming_cost(incoming)
        batch.cost_to_go /= self.scaling.cost
        batch.states *= self._state_scale
        batch.duals *= self.dual_scale
        if batch.primal.shape[1]:
            batch.primal *= self.scaling.column

    def retry(self, k: int) -> None:
        """Try the solve that just failed in other ways, counted; raises SolverError after the last."""
        highs = self.highs
        for options in RETRIES[: self.retry_limit]:
            self.statistics.retries += 1
            highs.clear_solver()
            highs.set_options(options)
            self._timed_run()
            highs.set_options({name: self._options[name] for name in options})
            if highs.status(highs.handle) == OPTIMAL:
                return
        raise self._failure(int(self._openings[k]), int(self._scenarios[k]))

    def _failure(self, opening: int, scenario: int) -> SolverError:
        status = STATUS_NAMES.get(self.highs.status(self.highs.handle), "unknown")
        iteration = self.context.get("iteration")
        where = f"stage {self.number}, " + (f"iteration {iteration}, " if iteration else "")
        context: dict[str, Any] = {"stage": self.number, "scenario": scenario, "opening": opening, **self.context}
        suggestion = "look for a stage without a feasible decision for some state: give its limits penalised slacks"
        path = self._write_failed_model(f"unsolved_stage{self.number}_scenario{scenario}_opening{opening}.mps")
        if path is not None:
            context["model_file"] = str(path)
            suggestion += f"; the scaled model is in {path}"
        return SolverError(
            f"the LP of {where}scenario {scenario}, opening {opening} stayed {status} after {self.retry_limit} retries",
            stage=self.number,
            iteration=iteration or None,
            scenario=scenario,
            solver_status=status,
            context=context,
            suggestion=suggestion,
        )

    def _write_failed_model(self, name: str) -> Path | None:
        """Evidence, where it can be left: a folder that cannot be written must not hide the failure itself."""
        if self.failure_folder is None:
            return None
        with suppress(OSError):
            self.failure_folder.mkdir(parents=True, exist_ok=True)
        path = self.failure_folder / name
        return path if self.highs.write_model(path) else None
