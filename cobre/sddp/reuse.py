"""Answers from kept dual vertices: which solves of a stage are not needed, and what starts those that are.

    pairs of opening and incoming state -> the best kept vertex of each -> proved optimal | solved from its basis

A vertex proves a pair when its basis is feasible there and no cut of the pool is violated, whether the LP carries it
or not. Where a stage's LP is small, the compiled kernel proves and solves, and HiGHS has what it loses; where it is
large, HiGHS solves all, from the vertices' bases, in a LP that carries the cuts that mattered lately only, and fetches
others when a solution violates them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.found import Found
from cobre.sddp.hot_solves import Starts, solve_each
from cobre.sddp.kernel import OPTIMAL, SAME, KernelLP, Proofs, Walked, Walks, kernel_is_there
from cobre.sddp.kernel_vertices import MOST_PIVOTS, KernelVertices, Passes
from cobre.sddp.model import Share, StageModel
from cobre.sddp.risk import Expectation, FloatArray
from cobre.sddp.template import Template
from cobre.sddp.vertices import NONE, Vertices

__all__ = ["Answers", "Picks", "Reuse", "is_small"]

IntArray = NDArray[np.int64]
Bases = tuple[NDArray[np.int8], IntArray]
_AT_ONCE = 1 << 18  # heights of cuts that are held at once
_FETCHED = 10  # violated cuts that enter HiGHS's LP together
_WINDOW = 5  # iterations after its last use that a cut stays in HiGHS's LP
_LARGEST = 1 << 16  # numbers in one basis's rows, from which on the kernel's dense algebra costs what HiGHS does
_VIOLATED, _FEASIBLE = 1e-10, 1e-9  # of a cut, relative; of a scaled row (those of kernel.c)


def is_small(template: Template) -> bool:
    """Whether the kernel solves this LP."""
    return kernel_is_there() and template.dense_size() <= _LARGEST


@dataclass(frozen=True, eq=False)
class Answers:
    """What r pairs came to. told: (r, 1) their vertices, as ``Vertices.name`` tells them, NONE where nothing is known.
    packed: (u, width) the new ones.

    Where not all are answered exactly, told is (r, 2): by how much solving a pair raised its value, relative, NaN where
    it was not solved.
    """

    told: FloatArray
    packed: FloatArray


@dataclass(frozen=True, eq=False)
class Picks:
    """``count`` pairs of each unit of work (they end at ``ends``): of ``openings``, others in each ``iteration``."""

    count: int
    ends: IntArray
    openings: int
    iteration: int

    def among(self, openings: IntArray, points: IntArray, pairs: IntArray) -> IntArray:
        """Places, rising, of those that are picked of pairs (r,), rising, whose openings and points (r,) these are."""
        turn = (openings + (points + self.iteration) * self.count) % self.openings
        unit = np.searchsorted(self.ends, pairs, side="right")
        order = np.lexsort((turn, unit))
        ordered = unit[order]
        nth = np.arange(order.size) - np.searchsorted(ordered, ordered)
        return np.sort(order[nth < self.count])


@dataclass(frozen=True, eq=False)
class Pairs:
    """Those that are left to be solved, (v,) rising places, of pairs (r,), whose openings, units of work and scenarios
    these are."""

    left: IntArray
    openings: IntArray
    units: IntArray
    scenarios: IntArray


class Reuse:
    """One stage's kept vertices at work. most: vertices kept. state: (S,) one that the stage can be entered with.

    picks: how many openings of a trial point the backward pass solves at most, None: all that are not proved.
    risen, solved: sum of the relative rises of the pairs it solved in this iteration, and their number.
    """

    def __init__(self, stage: StageModel, most: int, state: FloatArray) -> None:
        self.stage, self.lp, self.pool = stage, stage.lp, stage.pool
        self._state = state
        self._first: Bases | None = None
        template = stage.lp.template()
        self._watched, self._watched_scale = template.watched, template.watched_scale
        kernel = KernelLP(stage.lp) if kernel_is_there() else None
        self.small = kernel if is_small(template) else None
        self.vertices = Vertices(stage.lp, most)
        if kernel is not None:
            self.vertices = KernelVertices(stage.lp, kernel, most, proves=self.small is not None)
        self.picks: int | None = None
        self.risen, self.solved = 0.0, 0

    def begin(self) -> None:
        """Before an iteration: forget what the budget does not hold."""
        self.risen, self.solved = 0.0, 0
        self.vertices.evict()
        if self.small is None:
            self._fit_cuts()
        if self._first is None and not self.vertices.size and (self.small is None or self.small.slack_start is None):
            self._first = self._solved_first()

    def _solved_first(self) -> Bases:
        """What solves start from before any vertex is kept: the basis of one that is the same on every rank."""
        opening = self.stage.order[:1]
        self.lp.name_solves(opening, np.zeros(1, np.int64))
        found = self._by_highs(self.lp.sides.moved(opening, self._state[np.newaxis]), np.full(1, NONE))
        return found.status, found.tight

    def _fit_cuts(self) -> None:
        """Let HiGHS carry the cuts that mattered lately."""
        pool = self.pool
        ids = np.flatnonzero(pool.active & (pool.last_active >= self.stage.iteration - _WINDOW))
        if not np.array_equal(ids, self.lp.cut_ids):
            self.lp.set_cuts(ids, pool.slopes[ids], pool.intercepts[ids])

    def follow(self, passes: Passes, t: int, scenarios: IntArray) -> None:
        """Take the passes through this stage, the t-th: its own costs, and the states that the next is entered with.

        scenarios: (M,) whose they are, for errors. Raises SolverError when a solve fails whatever is tried.
        """
        if self.small is not None and isinstance(self.vertices, KernelVertices):
            began = perf_counter()
            totals = self.vertices.follow(self.pool, passes, t)
            if totals is not None:
                self._count(began, totals)
                return
        openings, points, states = passes.openings[t], passes.rows, passes.states[t]
        best = self._best(openings, points, states)
        if best.count < openings.size:
            left = np.flatnonzero(~best.proved)
            solved = self._solve(Pairs(left, openings, scenarios, scenarios), best)
            best.outgoing[left] = solved.watched
            best.values[left] = self._unscaled(solved, points, left, states)
        outgoing = best.outgoing * self._watched_scale
        passes.costs[t] = best.values - self.stage.stage.discount * outgoing[:, -1]
        passes.states[t + 1] = self.stage.clip(outgoing[:, :-1])

    def answer(self, share: Share, states: FloatArray, scenarios: IntArray, picks: Picks | None = None) -> Answers:
        """The vertices of a share's pairs, whose points are rows of ``states`` (P, S), of scenarios (P,).

        picks: who is solved at most, where the others take the best vertex, which is a lower bound; None: all are
        answered exactly. Raises SolverError when a solve fails whatever is tried.
        """
        openings, points = share.openings, share.points
        if self.picks is None and self.small is not None and isinstance(self.vertices, KernelVertices):
            began = perf_counter()
            quickly = self.vertices.answer(self.pool, share, states)
            if quickly is not None:
                self._count(began, quickly[2])
                return Answers(quickly[0], quickly[1])
        best = self._best(openings, points, states)
        left = np.flatnonzero(~best.proved)
        if picks is not None:
            left = left[picks.among(openings[left], points[left], left)]
        told = np.empty((openings.size, 1 if self.picks is None else 2))
        told[:, 0] = np.where(best.vertices < 0, NONE, best.vertices)
        found = self._solve(Pairs(left, openings, share.own_units, scenarios.take(points)), best)
        if self.picks is not None:
            told[:, 1] = np.nan
            if self.vertices.size:
                solved = self._unscaled(found, points, left, states)
                told[left, 1] = (solved - best.values[left]) / np.maximum(1.0, np.abs(solved))
        return Answers(told, self.vertices.name(found, left, openings, points, states, told))

    def concludes_at_once(self) -> bool:
        """Whether ``KernelVertices.conclude`` can do what follows on answers of this iteration."""
        exact, neutral = self.picks is None, isinstance(self.stage.stage.risk, Expectation)
        return exact and neutral and isinstance(self.vertices, KernelVertices)

    def _best(self, openings: IntArray, points: IntArray, states: FloatArray) -> Proofs:
        if self.small is not None and isinstance(self.vertices, KernelVertices):
            began = perf_counter()
            proofs = self.vertices.prove(self.pool, states, openings, points)
            self.lp.statistics.count_reuse(perf_counter() - began, reused=proofs.count)
            return proofs
        count = openings.size
        sides = self.lp.sides.moved(openings, states.take(points, axis=0))
        none = np.full(count, -np.inf), np.zeros(count, bool), np.zeros((count, self._watched.size))
        if not self.vertices.size:
            return Proofs(sides, np.full(count, -1), np.full(count, -np.inf), *none)
        return Proofs(sides, *self.vertices.best(openings, points, states), *none)

    # -- solving ----------------------------------------------------------------------------------------------

    def _solve(self, pairs: Pairs, best: Proofs) -> Found:
        """Solve those pairs (v,), each from the basis of the best vertex."""
        walked = self._by_kernel(pairs, best)
        rest, found = pairs.left, None
        if walked is not None:
            found = Found(walked.objective, walked.outgoing, walked.duals, walked.status, walked.tight, walked.same)
            if walked.totals[OPTIMAL] + walked.totals[SAME] == rest.size:
                return found
            lost = np.flatnonzero((walked.outcome != OPTIMAL) & (walked.outcome != SAME))
            rest = rest[lost]
        if self.small is not None:
            self._fit_cuts()
        self.lp.name_solves(pairs.openings[rest], pairs.scenarios[rest])
        mended = self._by_highs(best.sides[rest], best.vertices[rest])
        if found is None:
            return mended
        found.put(lost, mended)
        return found

    def _by_kernel(self, pairs: Pairs, best: Proofs) -> Walked | None:
        """What the kernel makes of them; None where it does not know what to begin with, or is not there."""
        kept = self.vertices
        if self.small is None:
            return None
        if kept.size:
            starts, places = (kept.status, kept.tight), best.vertices
        elif self.small.slack_start is not None:
            starts, places = self.small.slack_start, np.zeros(best.vertices.size, np.int64)
        else:
            return None
        began = perf_counter()
        walks = Walks(pairs.left, pairs.units, places, best.known)
        walked = self.small.walk(self.pool, starts, walks, best.sides, MOST_PIVOTS)
        totals = walked.totals.tolist()
        self.lp.statistics.count_reuse(perf_counter() - began, totals[SAME], totals[OPTIMAL], totals[-1])
        return walked

    def _by_highs(self, sides: FloatArray, vertices: IntArray) -> Found:
        """Solve them, each from its vertex's basis; all from the first one's where no vertex is kept yet."""
        kept, lp, m = self.vertices, self.lp, self.lp.stage.rows
        starts = None
        if kept.size:
            starts = Starts.of(kept.status[vertices], kept.tight[vertices], m)
        elif self._first is not None:
            status, tight = self._first
            starts = Starts.of(status.repeat(vertices.size, axis=0), tight.repeat(vertices.size, axis=0), m)
        found = Found.of(solve_each(lp, sides, starts), lp.cut_ids, m, self._watched)
        violated, worst = self._violations(found.watched * self._watched_scale, lp.cut_ids)
        for k, ids in zip(np.flatnonzero(violated).tolist(), worst, strict=True):
            self._mend(found, k, sides[k : k + 1], ids)
        return found

    def _mend(self, found: Found, k: int, sides: FloatArray, ids: IntArray) -> None:
        """Solve one again with the cuts that it violates, until it violates none; they leave the LP after it."""
        lp, resident, m = self.lp, self.lp.cut_ids.size, self.lp.stage.rows
        at = slice(k, k + 1)
        while True:
            lp.append_cuts(ids, self.pool.slopes[ids], self.pool.intercepts[ids])
            solved = solve_each(lp, sides, Starts.of(found.status[at], found.tight[at], m))
            lp.statistics.solves -= 1  # the same one, gone on with
            found.put(np.array([k]), Found.of(solved, lp.cut_ids, m, self._watched))
            violated, worst = self._violations(found.watched[at] * self._watched_scale, lp.cut_ids)
            if not violated[0]:
                break
            ids = worst[0]
        lp.drop_cuts_behind(resident)

    def _violations(self, outgoing: FloatArray, present: IntArray) -> tuple[NDArray[np.bool_], list[IntArray]]:
        """Whether each solution (r, S + 1) violates an active cut, and the cuts that those which do violate most.

        present: ids of cuts that the LP had, and kept within its own tolerance.
        """
        pool, count = self.pool, outgoing.shape[0]
        violated, worst = np.zeros(count, bool), []
        if not pool.size or not count:
            return violated, []
        hidden = ~pool.active
        hidden[present] = True
        most = max(1, _AT_ONCE // pool.size)
        for first in range(0, count, most):
            part = outgoing[first : first + most]
            above = pool.heights_at(part[:, :-1], hidden)
            slack = np.maximum(
                _VIOLATED * np.maximum(1.0, np.abs(part[:, -1])), 2.0 * _FEASIBLE * self._watched_scale[-1]
            )
            rows = (above.max(axis=1) - part[:, -1] > slack).nonzero()[0]
            above -= part[:, -1:]
            violated[first + rows] = True
            for row in rows:
                order = np.argsort(-above[row], kind="stable")[:_FETCHED]
                worst.append(np.sort(order[above[row, order] > slack[row]]))
        return violated, worst

    def _unscaled(self, found: Found, points: IntArray, left: IntArray, states: FloatArray) -> FloatArray:
        """Values (v,) of the pairs that are left of those at these points (r,)."""
        value: FloatArray = found.objective / self.lp.scaling.cost
        if self.lp.sides.priced:
            value = value + self.lp.sides.incoming_cost(states.take(points.take(left), axis=0))
        return value

    def _count(self, began: float, totals: list[int]) -> None:
        proved, solved, same, pivots = totals
        self.lp.statistics.count_reuse(perf_counter() - began, proved + same, solved, pivots)

    def tally(self, rise: FloatArray) -> None:
        """Count the rises (r,) of all ranks' pairs, NaN where there is none."""
        risen = rise[~np.isnan(rise)]
        self.risen, self.solved = self.risen + math.fsum(risen), self.solved + risen.size
