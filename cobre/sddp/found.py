"""What solves of a stage LP came to, as kept vertices need it: values, duals, and the bases that cuts are part of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.highs import BASIC
from cobre.sddp.hot_solves import Solved
from cobre.sddp.risk import FloatArray

__all__ = ["Found"]

IntArray = NDArray[np.int64]


@dataclass(eq=False)
class Found:
    """r solutions, scaled: objective (r,), watched columns (r, S + 1), duals (r, m), and the bases: status (r, n + m),
    tight (r, S + 1) ids of cuts, rising, -1 behind them. same: (r,) which one has the basis and the duals, -1: itself.
    """

    objective: FloatArray
    watched: FloatArray
    duals: FloatArray
    status: NDArray[np.int8]
    tight: IntArray
    same: IntArray

    @classmethod
    def of(cls, solved: Solved, cut_ids: IntArray, m: int, watched: IntArray) -> Found:
        count, most = solved.objective.size, watched.size
        owner, place = np.nonzero(solved.rows[:, m:] != BASIC)
        order = np.arange(owner.size) - np.searchsorted(owner, np.arange(count))[owner]
        none = np.iinfo(np.int64).max
        tight = np.full((count, max(most, int(order.max(initial=-1)) + 1)), none)
        tight[owner, order] = cut_ids[place]
        tight.sort(axis=1)
        tight[tight == none] = -1
        status = np.concatenate([solved.columns, solved.rows[:, :m]], axis=1).astype(np.int8)
        same = np.full(count, -1)
        return cls(solved.objective, solved.x[:, watched], solved.duals, status, tight[:, :most], same)

    def put(self, rows: IntArray, other: Found) -> None:
        """Take the other's at these places."""
        for name, mine in vars(self).items():
            mine[rows] = getattr(other, name)

    def taken(self, rows: IntArray) -> Found:
        """Those at these places (v,)."""
        if rows.size == self.objective.size:
            return self
        return Found(*(mine.take(rows, axis=0) for mine in vars(self).values()))
