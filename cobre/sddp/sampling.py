"""Which openings a scenario meets: draws keyed by what they are for, and the tree walked whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cobre.errors import ValidationError
from cobre.sddp.problem import Problem, Stage
from cobre.sddp.risk import FloatArray

__all__ = ["Draws", "draw_paths", "enumerated_paths", "scenario_count"]

IntArray = NDArray[np.int64]
_AT_ONCE = 64  # scenarios
_PURPOSES = {"training": 1, "simulation": 2}


class Draws:
    """Which opening each scenario meets in each stage, drawn with the openings' probabilities.

    A draw is a function of (seed, purpose, iteration, scenario, stage) alone, by a counter-based generator (Philox,
    Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011): it does not matter who draws it, or when.
    """

    def __init__(self, problem: Problem, purpose: Literal["training", "simulation"], seed: int) -> None:
        self._stages = len(problem.stages)
        self._bits = np.random.Philox(key=[seed % 2**64, _PURPOSES[purpose]])
        self._unused: Any = self._bits.state  # to be set anew takes a quarter of making another generator
        self._counter = self._unused["state"]["counter"] = np.zeros(4, np.uint64)
        self._ahead: tuple[int, IntArray] = 0, np.zeros((0, 0, self._stages), np.int64)
        alike: dict[bytes, list[int]] = {}
        for t, stage in enumerate(problem.stages):
            alike.setdefault(stage.openings.probability.tobytes(), []).append(t)
        self._steps = [
            (among, np.cumsum(problem.stages[among[0]].openings.probability)[:-1]) for among in alike.values()
        ]

    def of_iteration(self, iteration: int, count: int) -> IntArray:
        """(count, T) openings of scenarios 0 to count - 1; few of them are drawn for some iterations at a time."""
        first, ahead = self._ahead
        if not (first <= iteration < first + ahead.shape[0] and ahead.shape[1] == count):
            first, iterations = iteration, max(1, _AT_ONCE // count)
            ahead = self._draw([(first + i, n) for i in range(iterations) for n in range(count)])
            ahead = ahead.reshape(iterations, count, self._stages)
            self._ahead = first, ahead
        paths: IntArray = ahead[iteration - first]
        return paths

    def paths(self, iteration: int, scenarios: Sequence[int]) -> IntArray:
        """(scenarios, T) openings."""
        return self._draw([(iteration, scenario) for scenario in scenarios])

    def _draw(self, places: list[tuple[int, int]]) -> IntArray:
        bits, unused, counter, stages = self._bits, self._unused, self._counter, self._stages
        raw = np.empty((len(places), stages), np.uint64)
        for row, (counter[2], counter[3]) in enumerate(places):
            bits.state = unused
            raw[row] = bits.random_raw(stages)
        uniform = (raw >> np.uint64(11)) * 2.0**-53
        if len(self._steps) == 1:
            return np.searchsorted(self._steps[0][1], uniform, side="right")
        paths = np.empty(uniform.shape, np.int64)
        for among, steps in self._steps:
            paths[:, among] = np.searchsorted(steps, uniform[:, among], side="right")
        return paths


def draw_paths(
    problem: Problem, purpose: Literal["training", "simulation"], seed: int, iteration: int, scenarios: Sequence[int]
) -> IntArray:
    """One use of ``Draws``."""
    return Draws(problem, purpose, seed).paths(iteration, scenarios)


def scenario_count(stages: Sequence[Stage], limit: int) -> int:
    """How many scenarios the tree of these stages has. Raises ValidationError (OutOfRange) past ``limit``."""
    count = 1
    for stage in stages:
        count *= len(stage.openings)
    if count > limit:
        raise ValidationError(
            f"the tree has {count} scenarios, more than the {limit} that may be enumerated",
            kind="OutOfRange",
            suggestion="sample scenarios, or use fewer openings",
        )
    return count


def enumerated_paths(problem: Problem, scenarios: Sequence[int]) -> tuple[IntArray, FloatArray]:
    """Openings (scenarios, T) and probability (scenarios,) of scenarios by number, the last stage's opening fastest."""
    left = np.asarray(scenarios, np.int64).copy()
    paths = np.empty((left.size, len(problem.stages)), np.int64)
    probability = np.ones(left.size)
    for t in range(len(problem.stages) - 1, -1, -1):
        left, paths[:, t] = np.divmod(left, len(problem.stages[t].openings))
    for t, stage in enumerate(problem.stages):
        probability *= stage.openings.probability[paths[:, t]]
    return paths, probability
