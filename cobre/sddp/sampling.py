"""Which openings a scenario meets: draws keyed by what they are for, and the tree walked whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cobre.errors import ValidationError
from cobre.sddp.problem import Problem, Stage
from cobre.sddp.risk import FloatArray

__all__ = ["draw_paths", "enumerated_paths", "scenario_count"]

IntArray = NDArray[np.int64]
_PURPOSES = {"training": 1, "simulation": 2}


def draw_paths(
    problem: Problem, purpose: Literal["training", "simulation"], seed: int, iteration: int, scenarios: Sequence[int]
) -> IntArray:
    """The opening (scenarios, T) that each scenario meets in each stage, drawn with the openings' probabilities.

    A draw is a function of (seed, purpose, iteration, scenario, stage) alone, by a counter-based generator (Philox,
    Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011): it does not matter who draws it, or when.
    """
    stages = problem.stages
    raw = np.empty((len(scenarios), len(stages)), np.uint64)
    bits = np.random.Philox(key=[seed % 2**64, _PURPOSES[purpose]])
    state = bits.state  # that of an unused generator: to be set anew takes a quarter of making another
    state["state"]["counter"] = counter = np.array([0, 0, iteration, 0], np.uint64)
    for row, scenario in enumerate(scenarios):
        counter[3] = scenario
        bits.state = state
        raw[row] = bits.random_raw(len(stages))
    uniform = (raw >> np.uint64(11)) * 2.0**-53
    paths = np.empty(uniform.shape, np.int64)
    alike: dict[bytes, list[int]] = {}
    for t, stage in enumerate(stages):
        alike.setdefault(stage.openings.probability.tobytes(), []).append(t)
    for among in alike.values():
        steps = np.cumsum(stages[among[0]].openings.probability)[:-1]
        if len(alike) == 1:
            return np.searchsorted(steps, uniform, side="right")
        paths[:, among] = np.searchsorted(steps, uniform[:, among], side="right")
    return paths


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
