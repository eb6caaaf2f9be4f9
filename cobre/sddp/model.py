"""What a run holds of a problem: its stage LPs, the cuts learned so far, and the bases that solves start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.batch import Basis, SolverStatistics
from cobre.sddp.contracts import Exchange
from cobre.sddp.cuts import CutPool
from cobre.sddp.lp import StageLP
from cobre.sddp.problem import Problem, Stage
from cobre.sddp.right_hand_sides import opening_order
from cobre.sddp.risk import FloatArray
from cobre.sddp.settings import SolverProfile

__all__ = ["Model", "StageModel"]

IntArray = NDArray[np.int64]


class StageModel:
    """One stage: its LP, the pool of cuts on its cost-to-go, and its openings in the order they are solved in.

    blocks: the openings that one unit of the backward pass solves, in their order. bases: what each block's first
    solve starts from, agreed by all ranks (None before the first iteration).
    """

    def __init__(
        self, stage: Stage, *, sign: float, last: bool, number: int, retry_limit: int, openings_per_unit: int | None
    ) -> None:
        self.stage = stage
        self.lp = StageLP(stage, sign=sign, last=last, number=number, retry_limit=retry_limit)
        self.pool = CutPool(stage.states)
        order = opening_order(stage)
        size = openings_per_unit or order.size
        self.blocks: list[IntArray] = [order[i : i + size] for i in range(0, order.size, size)]
        self.order = order
        self.bases: list[Basis | None] = [None] * len(self.blocks)
        self.iteration = 0  # the one under way

    def note_activity(self, active: list[IntArray], units: int, exchange: Exchange) -> None:
        """Count the cuts that had a multiplier: active, the ids for each of this rank's units."""
        flags = np.zeros((len(active), self.pool.size))
        for row, ids in enumerate(active):
            flags[row, ids] = 1.0
        times = exchange.gather(flags, np.ones(units, np.int64)).sum(axis=0).astype(np.int64)
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
        failure_folder: Path | None = None,
    ) -> None:
        self.problem = problem
        self.sign = 1.0 if problem.sense == "min" else -1.0
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
