"""Simulation: a policy applied to many scenarios, block by block, everything it did kept for a block at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.batch import SolverStatistics
from cobre.sddp.model import Model
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.risk import FloatArray
from cobre.sddp.sampling import draw_paths, enumerated_paths, scenario_count
from cobre.sddp.settings import Enumerated, Sampled, SimulationSettings

__all__ = ["SimulatedBlock", "SimulationOutcome", "StageResult", "simulate"]

IntArray = NDArray[np.int64]
_BLOCK_NUMBERS = 4_000_000


@dataclass(frozen=True, eq=False)
class StageResult:
    """One stage of a block of k scenarios, in the problem's own sense.

    primal: (k, n) values of the stage's columns. duals: (k, m) change of the objective per unit of right-hand side.
    stage_cost: (k,) the stage's own, undiscounted. cost_to_go: (k,) as the cuts have it, undiscounted.
    discount: factor from this stage to the first.
    """

    opening: IntArray  # (k,)
    incoming: FloatArray  # (k, S)
    primal: FloatArray
    duals: FloatArray
    stage_cost: FloatArray
    cost_to_go: FloatArray
    discount: float


@dataclass(frozen=True, eq=False)
class SimulatedBlock:
    """A block of k scenarios: their numbers, probabilities, stages and total discounted costs (k,)."""

    scenarios: IntArray
    probability: FloatArray
    stages: list[StageResult]
    costs: FloatArray


@dataclass(frozen=True, eq=False)
class SimulationOutcome:
    """Costs (scenarios,) and probabilities of all scenarios simulated; fewer than asked for if it was stopped."""

    costs: FloatArray
    probability: FloatArray
    statistics: SolverStatistics
    seconds: float
    sampled: bool
    stopped: bool

    @property
    def mean(self) -> float:
        return math.fsum(self.costs * self.probability) / math.fsum(self.probability)

    @property
    def deviation(self) -> float:
        """Of a sample for sampled scenarios (0 for one), of the whole distribution for enumerated ones."""
        spread = math.fsum((self.costs - self.mean) ** 2 * self.probability) / math.fsum(self.probability)
        n = self.costs.size
        return math.sqrt(spread * (n / max(n - 1, 1) if self.sampled else 1.0))


def simulate(
    problem: Problem,
    policy: Policy,
    settings: SimulationSettings,
    *,
    consume: Callable[[SimulatedBlock], None] | None = None,
    observe: Callable[[int, int], object] | None = None,
    failure_folder: Path | None = None,
    strict: bool = True,
) -> SimulationOutcome:
    """Apply ``policy`` to the scenarios that ``settings`` names.

    consume: takes each block as it is done; nothing of it is kept after. observe: called with (scenarios complete,
    scenarios in all) after each block; returning ``False`` stops. strict: see ``Policy.check``.

    Raises ValidationError for a policy of another problem, SolverError when a solve fails whatever is tried.
    """
    policy.check(problem, strict=strict)
    scenarios = settings.scenarios
    total = scenarios.count if isinstance(scenarios, Sampled) else scenario_count(problem.stages, scenarios.limit)
    began = perf_counter()
    model = Model(problem, retry_limit=settings.retry_limit, failure_folder=failure_folder)
    costs, probability, stopped = [], [], False
    try:
        _load(model, policy)
        model.use_profile(settings.solver)
        _find_bases(model)
        for numbers in _blocks(problem, settings, total):
            block = _simulate_block(model, settings, numbers, total)
            costs.append(block.costs)
            probability.append(block.probability)
            if consume is not None:
                consume(block)
            if observe is not None and observe(numbers.stop, total) is False:
                stopped = numbers.stop < total
                break
    finally:
        model.close()
    return SimulationOutcome(
        costs=np.concatenate(costs),
        probability=np.concatenate(probability),
        statistics=model.statistics(),
        seconds=perf_counter() - began,
        sampled=isinstance(scenarios, Sampled),
        stopped=stopped,
    )


def _blocks(problem: Problem, settings: SimulationSettings, total: int) -> Iterator[range]:
    """A hundred scenarios at a time, or as many as keep their decisions at four million numbers."""
    room = max(1, _BLOCK_NUMBERS // sum(stage.columns for stage in problem.stages))
    size = settings.block or min(100, room)
    return (range(first, min(first + size, total)) for first in range(0, total, size))


def _paths(problem: Problem, settings: SimulationSettings, numbers: range, total: int) -> tuple[IntArray, FloatArray]:
    if isinstance(settings.scenarios, Enumerated):
        return enumerated_paths(problem, numbers)
    paths = draw_paths(problem, "simulation", settings.seed, 0, numbers)
    return paths, np.full(len(numbers), 1.0 / total)


def _load(model: Model, policy: Policy) -> None:
    """Put the policy's active cuts into the stage LPs."""
    for stage, cuts in zip(model.stages, policy.stages, strict=True):
        ids = np.flatnonzero(cuts.active)
        stage.lp.set_cuts(ids, model.sign * cuts.coefficients[ids], model.sign * cuts.intercepts[ids])


def _find_bases(model: Model) -> None:
    """Give every stage a basis to start from, by one scenario that is the same whoever simulates which others."""
    model.begin(0)
    state = model.problem.initial_state[np.newaxis]
    for stage in model.stages:
        batch = stage.lp.solve(stage.order[:1], state, np.ones(1, np.int64), [None], np.zeros(1, np.int64))
        stage.bases[0] = stage.lp.basis()
        state = stage.clip(batch.states)


def _simulate_block(model: Model, settings: SimulationSettings, numbers: range, total: int) -> SimulatedBlock:
    paths, probability = _paths(model.problem, settings, numbers, total)
    model.begin(0)
    count, numbered = paths.shape[0], np.asarray(numbers, np.int64)
    state = np.repeat(model.problem.initial_state[np.newaxis], count, axis=0)
    ends, discount, cost_so_far = np.arange(1, count + 1), 1.0, np.zeros(count)
    stages = []
    for t, stage in enumerate(model.stages):
        batch = stage.lp.solve(paths[:, t], state, ends, [stage.bases[0]] * count, numbered, primal=True)
        cost = batch.values - stage.stage.discount * batch.cost_to_go
        stages.append(
            StageResult(
                opening=paths[:, t],
                incoming=state,
                primal=batch.primal,
                duals=model.sign * batch.duals,
                stage_cost=model.sign * cost,
                cost_to_go=model.sign * batch.cost_to_go,
                discount=discount,
            )
        )
        cost_so_far += discount * model.sign * cost
        discount *= stage.stage.discount
        state = stage.clip(batch.states)
    return SimulatedBlock(numbered, probability, stages, cost_so_far)
