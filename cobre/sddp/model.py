"""What a run holds of a problem: its stage LPs, the cuts learned so far, and the bases that solves start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.batch import Basis, SolverStatistics
from cobre.sddp.cuts import CutPool
from cobre.sddp.lp import StageLP
from cobre.sddp.problem import Problem, Stage
from cobre.sddp.right_hand_sides import opening_order
from cobre.sddp.risk import FloatArray
from cobre.sddp.settings import SolverProfile

__all__ = ["Model", "StageModel"]

IntArray = NDArray[np.int64]
_UNITS = 4  # of work that a stage of the backward pass is cut into at least, where it has the openings


@dataclass(frozen=True, eq=False)
class Share:
    """One rank's units of the backward pass of a stage, of which there is one for each trial point and block.

    openings, points: (r,) of each solve. ends: (u,) where each unit ends. blocks, first: of each unit, which block it
    is of, and whether it is the first with it. rows, firsts: (units,) of all ranks' units, how many openings each has,
    and whether it is the first with its block.
    """

    openings: IntArray
    points: IntArray
    ends: IntArray
    blocks: list[int]
    first: list[bool]
    rows: IntArray
    firsts: IntArray

    @classmethod
    def of(cls, blocks: list[IntArray], units: int, mine: Sequence[int]) -> Share:
        sizes = np.array([blocks[unit % len(blocks)].size for unit in range(units)], np.int64)
        own = np.array(mine, np.int64)
        return cls(
            openings=np.concatenate([np.zeros(0, np.int64), *(blocks[unit % len(blocks)] for unit in mine)]),
            points=np.repeat(own // len(blocks), sizes[own]),
            ends=np.cumsum(sizes[own]),
            blocks=[unit % len(blocks) for unit in mine],
            first=[unit < len(blocks) for unit in mine],
            rows=sizes,
            firsts=(np.arange(units) < len(blocks)).astype(np.int64),
        )


class StageModel:
    """One stage: its LP, the pool of cuts on its cost-to-go, and its openings in the order they are solved in.

    blocks: the openings that one unit of the backward pass solves, in their order. bases: what each block's first
    solve starts from, agreed by all ranks (None before the first iteration).
    """

    def __init__(self, stage: Stage, *, sign: float, last: bool, number: int, retry_limit: int, blocks: int) -> None:
        self.stage = stage
        self.lp = StageLP(stage, sign=sign, last=last, number=number, retry_limit=retry_limit)
        self.pool = CutPool(stage.states)
        self.order = opening_order(stage)
        self.blocks: list[IntArray] = np.array_split(self.order, blocks)
        self.places = np.argsort(self.order)  # of each opening in that order
        self.bases: list[Basis | None] = [None] * len(self.blocks)
        self._share: tuple[int, Sequence[int], Share] | None = None  # the latest
        self.iteration = 0  # the one under way

    def share(self, units: int, mine: Sequence[int]) -> Share:
        """What the units ``mine``, of so many of the backward pass, consist of."""
        if self._share is None or self._share[:2] != (units, mine):
            self._share = units, mine, Share.of(self.blocks, units, mine)
        return self._share[2]

    def encode_bases(self, bases: list[Basis]) -> FloatArray:
        """A row for each basis, of the same width on all ranks, also where there is none."""
        width = 3 * (self.stage.columns + 1) + 2 * self.stage.rows
        return np.array([basis.encode() for basis in bases]).reshape(-1, width)

    def agree_on_bases(self, rows: FloatArray) -> None:
        """Start the blocks' next solves from these, one row a block."""
        self.bases = [Basis.decode(row, self.stage.columns + 1, self.stage.rows) for row in rows]

    def flags(self, active: list[IntArray]) -> FloatArray:
        """(units, cuts), 1 where a cut had a multiplier; active: the ids for each of this rank's units."""
        flags = np.zeros((len(active), self.pool.size))
        for row, ids in enumerate(active):
            flags[row, ids] = 1.0
        return flags

    def note_activity(self, flags: FloatArray) -> None:
        """Count the cuts that had a multiplier, by the flags of all units."""
        times = flags.sum(axis=0).astype(np.int64)
        self.pool.times_active[:] += times
        self.pool.last_active[times > 0] = self.iteration

    def extend_resident(self) -> None:
        """After cuts were added to a LP that fetches others when they are violated: the new ones stay in it."""
        assert self.lp.lazy is not None
        self.lp.lazy = replace(self.lp.lazy, resident=self.lp.cut_ids.size)

    def clip(self, states: FloatArray) -> FloatArray:
        """Outgoing states (r, S) within their bounds: a hair outside would make the next stage infeasible."""
        at = self.stage.outgoing
        clipped: FloatArray = np.clip(states, self.stage.lower[at], self.stage.upper[at])
        return clipped


class Model:
    """A problem made ready to be solved; ``sign`` turns a maximisation into the minimisation solved inside."""

    def __init__(
        self,
        problem: Problem,
        *,
        retry_limit: int = 5,
        openings_per_unit: int | None = None,
        passes: int | None = 1,
        failure_folder: Path | None = None,
    ) -> None:
        """passes: forward passes of an iteration, None where every node of the tree is visited."""
        self.problem = problem
        self.sign = 1.0 if problem.sense == "min" else -1.0
        last = len(problem.stages) - 1
        blocks = _blocks(problem, openings_per_unit, passes)
        self.stages = [
            StageModel(
                stage,
                sign=self.sign,
                last=t == last,
                number=t + 1,
                retry_limit=retry_limit,
                blocks=blocks[t],
            )
            for t, stage in enumerate(problem.stages)
        ]
        for stage_model in self.stages:
            stage_model.lp.failure_folder = failure_folder

    def use_profile(self, profile: SolverProfile) -> None:
        """Solve with these options from now on."""
        for stage in self.stages:
            stage.lp.use_profile(profile)

    def begin(self, iteration: int) -> None:
        """Start an iteration (0: a simulation); errors of its solves carry it."""
        for stage in self.stages:
            stage.iteration = iteration
            stage.lp.context = {"iteration": iteration}

    def statistics(self) -> SolverStatistics:
        """The solves of all stages since the model was made."""
        total = SolverStatistics()
        for stage in self.stages:
            total.add(stage.lp.statistics)
        return total

    def close(self) -> None:
        """Free the solvers."""
        for stage in self.stages:
            stage.lp.close()


def _blocks(problem: Problem, openings_per_unit: int | None, passes: int | None) -> list[int]:
    """How many blocks each stage's openings are cut into: a rule of the settings, never of the number of workers.

    Where the size is not given, a block is a stage's openings whole, for a chain of solves is the cheaper the longer
    it is, unless the stage has too few trial points to share out.
    """
    found, points = [], 1
    for stage in problem.stages:
        count = len(stage.openings)
        if openings_per_unit is not None:
            found.append(-(-count // openings_per_unit))
        else:
            found.append(max(1, min(-(-_UNITS // points), count // 2)))
        points = min(points * count, _UNITS if passes is None else min(passes, _UNITS))
    return found
