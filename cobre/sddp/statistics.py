"""The statistical upper bound: what the latest policies cost in the scenarios they met."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from cobre.sddp.risk import FloatArray

__all__ = ["PassStatistics"]

_Z95 = 1.959963984540054  # two-sided 95 % quantile of the standard normal


class PassStatistics:
    """Costs of the forward passes of the last iterations: as many iterations as hold ``passes`` passes, at least one.

    One iteration's few passes say little, and the first iterations' policies are not the one being judged.
    """

    def __init__(self, passes: int) -> None:
        self._passes = passes
        self._latest: deque[FloatArray] = deque()
        self._count = 0  # of passes in them

    def add(self, costs: FloatArray) -> None:
        """The costs (M,) of an iteration's passes."""
        self._latest.append(costs)
        self._count += costs.size
        while self._count - self._latest[0].size >= self._passes:
            self._count -= self._latest.popleft().size

    @property
    def latest(self) -> tuple[FloatArray, ...]:
        """The costs that count, iteration by iteration; adding them again gives the same."""
        return tuple(self._latest)

    @property
    def full(self) -> bool:
        """Whether there are as many passes as asked for."""
        return self._count >= self._passes

    def estimate(self) -> tuple[float, float, float]:
        """Mean, sample deviation and half width of the 95 % interval of the mean (0 for a single pass)."""
        costs = np.concatenate(list(self._latest))
        mean = math.fsum(costs.tolist()) / costs.size
        if costs.size < 2:
            return mean, 0.0, 0.0
        deviation = math.sqrt(math.fsum(((costs - mean) ** 2).tolist()) / (costs.size - 1))
        return mean, deviation, _Z95 * deviation / math.sqrt(costs.size)
