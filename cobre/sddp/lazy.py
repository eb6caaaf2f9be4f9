"""Cuts that enter a stage's LP only when a solution violates them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.cuts import CutPool
from cobre.sddp.risk import FloatArray

__all__ = ["LazyCuts"]


@dataclass(frozen=True, eq=False)
class LazyCuts:
    """What a solve may add to its LP: cuts of ``pool`` from id ``first`` on, at most ``most`` at a time.

    resident: cut rows that stay in the LP; those behind them leave at the end of a unit.
    tolerance: violation that counts, relative to ``max(1, |cost-to-go|)``.
    """

    pool: CutPool
    first: int
    resident: int
    most: int
    tolerance: float

    def violated(self, state: FloatArray, cost_to_go: float, present: NDArray[np.int64]) -> NDArray[np.int64]:
        """The cuts most violated at an outgoing state (S,), dearest first, equal ones by their ids; none: empty."""
        above = self.pool.heights(state) - cost_to_go
        above[present] = -np.inf
        above[: self.first] = -np.inf
        above[~self.pool.active] = -np.inf
        order = np.argsort(-above, kind="stable")[: self.most]
        return order[above[order] > self.tolerance * max(1.0, abs(cost_to_go))]
