"""A stage LP without its cuts as dense arrays, for what is done to many of its bases at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.risk import FloatArray

__all__ = ["Template"]

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Template:
    """A stage LP without its cuts, dense and scaled; n counts the cost-to-go, the last column.

    matrix: (m, n). cost, lower, upper: (n,). rhs: (m,), zero where it moves. sense: (m,). moving: (K,) rows.
    watched: (S + 1,) the outgoing columns and the cost-to-go; watched_scale: (S + 1,) what makes states and the
    cost-to-go of them. cut_scale: (S,) of the slopes in a cut's row. intercept_scale: of its right-hand side.
    """

    matrix: FloatArray
    cost: FloatArray
    lower: FloatArray
    upper: FloatArray
    rhs: FloatArray
    sense: NDArray[np.int8]
    moving: IntArray
    watched: IntArray
    watched_scale: FloatArray
    cut_scale: FloatArray
    intercept_scale: float

    @property
    def width(self) -> int:
        """Basic variables of a basis, W: one for each row, and for each of the ``S + 1`` cuts that can be tight."""
        return int(self.matrix.shape[0] + self.watched.size)

    def dense_size(self) -> int:
        """Numbers in one basis's matrix of rows."""
        return int(self.width * self.matrix.shape[1])
