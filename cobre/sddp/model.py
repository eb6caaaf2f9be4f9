"""What a run holds of a problem: its stage LPs, the cuts learned so far, and the bases that solves start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.batch import Basis, SolverStatistics
from cobre.sddp.cuts import CutPool
from cobre.sddp.lp import StageLP
from cobre.sddp.problem import Problem, Stage
from cobre.sddp.right_hand_sides import opening_order
from cobre.sddp.risk import FloatArray
from cobre.sddp.settings import SolverProfile

if TYPE_CHECKING:
    from cobre.sddp.reuse import Reuse

__all__ = ["Model", "Share", "StageModel"]

IntArray = NDArray[np.int64]
_SHARES = 32  # remembered: trial points that coincide count once, so that their number varies


@dataclass(frozen=True, eq=False)
class Share:
    """One rank's units of the backward pass of a stage, of which there is one for each trial point and block.

    starts: where each block begins in the stage's order of openings. openings, points, own_units: (r,) of each solve.
    ends: (u,) where each unit ends. blocks: of each unit, where its block begins; first: whether it is of the first
    trial point.

    Of the units of all ranks: rows, firsts: (units,) how many openings each has, and whether it is of the first point.
    units: (P N,) the unit of each solve. every_opening, every_point: (P N,) all solves, by point and then by number of
    the opening.
    """

    starts: list[int]
    openings: IntArray
    points: IntArray
    own_units: IntArray
    ends: IntArray
    blocks: list[int]
    first: list[bool]
    rows: IntArray
    firsts: IntArray
    units: IntArray
    every_opening: IntArray
    every_point: IntArray

    @classmethod
    def of(cls, order: IntArray, starts: list[int], points: int, mine: Sequence[int]) -> Share:
        places, rest = _laid_out(order.size, tuple(starts), points, tuple(mine))
        return cls(starts=starts, openings=order.take(places), **rest)


@lru_cache(maxsize=256)
def _laid_out(
    openings: int, starts: tuple[int, ...], points: int, mine: tuple[int, ...]
) -> tuple[IntArray, dict[str, Any]]:
    """Where each solve's opening stands in a stage's order, and all of a ``Share`` that is the same for every stage."""
    count = len(starts)
    begins = np.tile(np.array(starts, np.int64), points)
    sizes = np.tile(np.diff(starts, append=openings), points)
    own = np.array(mine, np.int64)
    ends = np.cumsum(sizes[own])
    places = np.arange(sizes[own].sum()) + np.repeat(begins[own] - ends + sizes[own], sizes[own])
    return places, {
        "points": np.repeat(own // count, sizes[own]),
        "own_units": np.repeat(own, sizes[own]),
        "ends": ends,
        "blocks": [starts[unit % count] for unit in mine],
        "first": [unit < count for unit in mine],
        "rows": sizes,
        "firsts": (np.arange(sizes.size) < count).astype(np.int64),
        "units": np.repeat(np.arange(sizes.size), sizes),
        "every_opening": np.tile(np.arange(openings), points),
        "every_point": np.repeat(np.arange(points), openings),
    }


class StageModel:
    """One stage: its LP, the pool of cuts on its cost-to-go, and its openings in the order they are solved in.

    bases: what a unit of work that begins at a place of that order starts from, agreed by all ranks. least_units: of
    work that the backward pass is cut into at least, where there are as many openings.
    """

    least_units = 4

    def __init__(
        self, stage: Stage, *, sign: float, last: bool, number: int, retry_limit: int, openings_per_unit: int | None
    ) -> None:
        self.stage, self.number = stage, number
        self.lp = StageLP(stage, sign=sign, last=last, number=number, retry_limit=retry_limit)
        self.pool = CutPool(stage.states)
        self.order = opening_order(stage)
        self.places = np.argsort(self.order)  # of each opening in that order
        self.bases: dict[int, Basis] = {}
        self.iteration = 0  # the one under way
        self.reuse: Reuse | None = None  # what kept vertices answer
        self.openings_per_unit = openings_per_unit
        self._shares: dict[int, tuple[Sequence[int], Share]] = {}  # the latest of so many trial points

    def basis_at(self, place: int) -> Basis | None:
        """What a unit that begins at this place of the order of openings starts from; None before there is any."""
        return self.bases.get(place) or self.bases.get(0)

    def blocks(self, points: int) -> int:
        """Into how many blocks the openings are cut at each of so many trial points, whatever the number of workers.

        Where the size is not given, a block is all of them, for a chain of solves is the cheaper the longer it is,
        unless there are too few trial points to share out.
        """
        if self.openings_per_unit is not None:
            return -(-self.order.size // self.openings_per_unit)
        return max(1, min(-(-self.least_units // points), self.order.size // 2))

    def share(self, points: int, mine: Sequence[int]) -> Share:
        """What the units ``mine`` of the backward pass at so many trial points consist of."""
        latest = self._shares.get(points)
        if latest is None or latest[0] != mine:
            # block b begins at b N / blocks: even runs of blocks hold even numbers of openings
            starts = np.arange(self.blocks(points)) * self.order.size // self.blocks(points)
            if len(self._shares) >= _SHARES:
                self._shares.clear()
            latest = self._shares[points] = mine, Share.of(self.order, starts.tolist(), points, mine)
        return latest[1]

    def encode_bases(self, bases: list[Basis]) -> FloatArray:
        """A row for each basis, of the same width on all ranks, also where there is none."""
        width = 3 * (self.stage.columns + 1) + 2 * self.stage.rows
        return np.array([basis.encode() for basis in bases]) if bases else np.zeros((0, width))

    def agree_on_bases(self, rows: FloatArray, starts: Sequence[int]) -> None:
        """Start the next units that begin at these places from these bases."""
        columns, count = self.stage.columns + 1, self.stage.rows
        self.bases.update((start, Basis.decode(row, columns, count)) for start, row in zip(starts, rows, strict=True))

    def activity(self, active: list[IntArray]) -> FloatArray:
        """(cuts,) in how many of this rank's units each had a multiplier; active: their ids in each unit."""
        times = np.zeros(self.pool.size)
        for ids in active:
            times[ids] += 1.0
        return times

    def note_activity(self, times: FloatArray) -> None:
        """Count the cuts that had a multiplier, as ``activity`` has it, summed over the ranks."""
        self.pool.times_active[:] += times.astype(np.int64)
        self.pool.last_active[times > 0.0] = self.iteration

    def extend_resident(self) -> None:
        """After cuts were added to a LP that fetches others when they are violated: the new ones stay in it."""
        assert self.lp.lazy is not None
        self.lp.lazy = replace(self.lp.lazy, resident=self.lp.cut_ids.size)

    def clip(self, states: FloatArray) -> FloatArray:
        """Outgoing states (r, S) within their bounds: a hair outside would make the next stage infeasible."""
        at = self.stage.outgoing
        return np.minimum(np.maximum(states, self.stage.lower[at]), self.stage.upper[at])


class Model:
    """A problem made ready to be solved; ``sign`` turns a maximisation into the minimisation solved inside."""

    def __init__(
        self,
        problem: Problem,
        *,
        retry_limit: int = 5,
        openings_per_unit: int | None = None,
        failure_folder: Path | None = None,
    ) -> None:
        self.problem = problem
        self.sign = 1.0 if problem.sense == "min" else -1.0
        self._profile: SolverProfile | None = None
        self._counts = SolverStatistics()
        last = len(problem.stages) - 1
        self.stages = [
            StageModel(
                stage,
                sign=self.sign,
                last=t == last,
                number=t + 1,
                retry_limit=retry_limit,
                openings_per_unit=openings_per_unit,
            )
            for t, stage in enumerate(problem.stages)
        ]
        for stage_model in self.stages:
            stage_model.lp.failure_folder = failure_folder
            stage_model.lp.statistics = self._counts  # asked for before and after every iteration, as a whole

    def use_profile(self, profile: SolverProfile) -> None:
        """Solve with these options from now on."""
        if profile == self._profile:
            return
        self._profile = profile
        for stage in self.stages:
            stage.lp.use_profile(profile)

    def begin(self, iteration: int) -> None:
        """Start an iteration (0: a simulation); errors of its solves carry it."""
        for stage in self.stages:
            stage.iteration = iteration
            stage.lp.context = {"iteration": iteration}

    def statistics(self) -> SolverStatistics:
        """The solves of all stages since the model was made."""
        return self._counts.copy()

    def count_reuse(self, seconds: float, reused: int, solves: int, pivots: int) -> None:
        """What the compiled kernel did in so many seconds."""
        self._counts.count_reuse(seconds, reused, solves, pivots)

    def close(self) -> None:
        """Free the solvers."""
        for stage in self.stages:
            stage.lp.close()
