"""What the algorithm asks of whoever runs it: how units of work are spread and their results brought together.

The training loop is written once, for one rank of a group that all run it alike (single program, multiple data).
``Serial`` is the group of one, and the reference for every other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.risk import FloatArray

__all__ = ["SERIAL", "Exchange", "Serial", "Shuffled"]

IntArray = NDArray[np.int64]


class Exchange(Protocol):
    """How the ranks of a run share units of work. Every rank makes the same calls in the same order."""

    def assigned(self, units: int) -> Sequence[int]:
        """The units, of 0..units-1, that this rank computes, in the order in which it does so."""

    def gather(self, mine: FloatArray, counts: IntArray) -> FloatArray:
        """Everybody's rows, in the order of the units, the same on all ranks.

        mine: (rows, width), those of the assigned units in their assigned order. counts: (units,), rows of each unit.
        """

    def agree(self, value: float) -> float:
        """Rank 0's value, on all ranks."""


class Serial:
    """One rank that computes everything."""

    def assigned(self, units: int) -> Sequence[int]:
        return range(units)

    def gather(self, mine: FloatArray, counts: IntArray) -> FloatArray:
        return mine

    def agree(self, value: float) -> float:
        return value


class Shuffled:
    """One rank that computes its units in an order drawn anew each time: nothing in a result may change by it."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)

    def assigned(self, units: int) -> Sequence[int]:
        self._order = self._random.permutation(units)
        return [int(unit) for unit in self._order]

    def gather(self, mine: FloatArray, counts: IntArray) -> FloatArray:
        ends = np.cumsum(counts[self._order])
        parts = {int(u): mine[e - counts[u] : e] for u, e in zip(self._order, ends, strict=True)}
        return np.concatenate([parts[unit] for unit in range(counts.size)]) if parts else mine

    def agree(self, value: float) -> float:
        return value


SERIAL = Serial()
