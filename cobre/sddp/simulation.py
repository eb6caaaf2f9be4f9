"""Simulation: a policy applied to many scenarios, block by block, everything it did kept for a block at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.batch import SolverStatistics
from cobre.sddp.contracts import SERIAL, Exchange
from cobre.sddp.model import Model
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.risk import FloatArray
from cobre.sddp.sampling import draw_paths, enumerated_paths, scenario_count
from cobre.sddp.settings import Enumerated, Sampled, SimulationSettings

__all__ = ["FinishedBlock", "SimulatedBlock", "SimulationOutcome", "StageResult", "simulate"]

IntArray = NDArray[np.int64]
_BLOCK_NUMBERS = 4_000_000
_SMALLEST_BLOCK, _LARGEST_BLOCK = 16, 100  # scenarios


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
class FinishedBlock:
    """What the outcome of a simulation needs of a block of k scenarios that was simulated and consumed.

    costs, probability: (k,). statistics: of its solves.
    """

    number: int
    costs: FloatArray
    probability: FloatArray
    statistics: SolverStatistics


@dataclass(frozen=True, eq=False)
class SimulationOutcome:
    """Costs (scenarios,) and probabilities of all scenarios simulated; fewer than asked for if it was stopped.

    statistics: of the solves of all ranks, own_statistics: of this rank's. seconds: wall time of this rank.
    """

    costs: FloatArray
    probability: FloatArray
    statistics: SolverStatistics
    seconds: float
    sampled: bool
    stopped: bool
    own_statistics: SolverStatistics = field(default_factory=SolverStatistics)

    @property
    def mean(self) -> float:
        return math.fsum(self.costs * self.probability) / math.fsum(self.probability)

    @property
    def deviation(self) -> float:
        """Of a sample for sampled scenarios (0 for one), of the whole distribution for enumerated ones."""
        spread = math.fsum((self.costs - self.mean) ** 2 * self.probability) / math.fsum(self.probability)
        n = self.costs.size
        return math.sqrt(spread * (n / max(n - 1, 1) if self.sampled else 1.0))


Consumer = Callable[[SimulatedBlock, int], None]
Observer = Callable[[int, int], object]
Keeper = Callable[[FinishedBlock], object]


def simulate(
    problem: Problem,
    policy: Policy,
    settings: SimulationSettings,
    *,
    exchange: Exchange = SERIAL,
    consume: Consumer | None = None,
    observe: Observer | None = None,
    failure_folder: Path | None = None,
    strict: bool = True,
    finished: Mapping[int, FinishedBlock] | None = None,
    keep: Keeper | None = None,
) -> SimulationOutcome:
    """Apply ``policy`` to the scenarios that ``settings`` names.

    exchange: how ranks share the blocks; the result has the same bits whatever it is. consume: takes each block and
    its number (from 0), on the rank that simulated it; nothing of the block is kept after. observe: called on every
    rank with (scenarios complete, scenarios in all) of all ranks, whenever each has simulated one more block;
    returning ``False`` on rank 0 stops all. strict: see ``Policy.check``. finished: blocks by their numbers, the same
    on all ranks, that an earlier attempt simulated and consumed: they are not simulated again, and the outcome is that
    of one attempt. keep: called with each block after it was consumed.

    Raises ValidationError for a policy of another problem, SolverError when a solve fails whatever is tried.
    """
    policy.check(problem, strict=strict)
    scenarios = settings.scenarios
    total = scenarios.count if isinstance(scenarios, Sampled) else scenario_count(problem.stages, scenarios.limit)
    began = perf_counter()
    model = Model(problem, retry_limit=settings.retry_limit, failure_folder=failure_folder)
    try:
        return _Run(model, policy, settings, exchange, total, finished or {}).go(began, consume, observe, keep)
    finally:
        model.close()


class _Run:
    """The state of one simulation on one rank."""

    def __init__(
        self,
        model: Model,
        policy: Policy,
        settings: SimulationSettings,
        exchange: Exchange,
        total: int,
        finished: Mapping[int, FinishedBlock],
    ) -> None:
        self.model, self.settings, self.exchange, self.total = model, settings, exchange, total
        _load(model, policy)
        model.use_profile(settings.solver)
        _find_bases(model)
        self.common = model.statistics()  # of the solves that every rank makes for itself
        self.blocks = _blocks(model.problem, settings, total)
        self.finished = finished
        self.left = [number for number in range(len(self.blocks)) if number not in finished]
        self.mine = [self.left[place] for place in exchange.assigned(len(self.left))]
        self.complete = sum(len(self.blocks[number]) for number in finished)  # scenarios, of all ranks

    def go(
        self, began: float, consume: Consumer | None, observe: Observer | None, keep: Keeper | None
    ) -> SimulationOutcome:
        found: list[FloatArray] = []
        stopped = False
        for turn in range(self.exchange.most(len(self.left))):
            if turn < len(self.mine):
                number, before = self.mine[turn], self.model.statistics()
                block = self.simulate(number)
                found.append(np.stack([block.costs, block.probability], axis=1))
                if consume is not None:
                    consume(block, number)
                if keep is not None:
                    spent = SolverStatistics.of(self.model.statistics().since(before))
                    keep(FinishedBlock(number, block.costs, block.probability, spent))
            if self.stops(found[turn].shape[0] if turn < len(found) else 0, observe):
                stopped = self.complete < self.total
                break
        return self.outcome(found, stopped, began)

    def simulate(self, number: int) -> SimulatedBlock:
        def reached(stage: int) -> None:
            self.exchange.reached("simulation", number + 1, stage)

        return _simulate_block(self.model, self.settings, self.blocks[number], self.total, reached)

    def stops(self, done: int, observe: Observer | None) -> bool:
        """Whether rank 0 stops after this turn, in which this rank simulated ``done`` scenarios."""
        self.complete += int(self.exchange.total(np.array([float(done)]))[0])
        asked = observe is not None and observe(self.complete, self.total) is False
        return self.exchange.agree(float(asked)) != 0.0

    def outcome(self, found: list[FloatArray], stopped: bool, began: float) -> SimulationOutcome:
        """What all ranks found, and had found before: costs and probabilities, by the numbers of the scenarios."""
        flags = (np.arange(len(self.mine)) < len(found)).astype(np.float64)[:, np.newaxis]
        done = self.exchange.gather((flags, np.ones(len(self.left), np.int64)))[0]
        counts = np.array([len(self.blocks[n]) for n in self.left], np.int64) * done[:, 0].astype(np.int64)
        new = self.exchange.gather((np.concatenate([np.zeros((0, 2)), *found]), counts))[0]
        parts = dict(zip(self.left, np.split(new, np.cumsum(counts)[:-1]), strict=True)) if self.left else {}
        parts |= {n: np.stack([block.costs, block.probability], axis=1) for n, block in self.finished.items()}
        rows = np.concatenate([np.zeros((0, 2)), *(parts[n] for n in sorted(parts))])
        statistics = SolverStatistics.of(self.exchange.total(self.model.statistics().since(self.common)))
        statistics.add(self.common)
        for block in self.finished.values():
            statistics.add(block.statistics)
        return SimulationOutcome(
            costs=rows[:, 0].copy(),
            probability=rows[:, 1].copy(),
            statistics=statistics,
            seconds=perf_counter() - began,
            sampled=isinstance(self.settings.scenarios, Sampled),
            stopped=stopped,
            own_statistics=self.model.statistics(),
        )


def _blocks(problem: Problem, settings: SimulationSettings, total: int) -> list[range]:
    """Scenarios at a time: by a rule of the settings, never of the number of workers, for a block is a file.

    A quarter of them, so that there is something to share out, but at least 16 and at most 100, and no more than
    keep their decisions at four million numbers.
    """
    room = max(1, _BLOCK_NUMBERS // sum(stage.columns for stage in problem.stages))
    size = settings.block or min(_LARGEST_BLOCK, room, max(_SMALLEST_BLOCK, -(-total // 4)))
    return [range(first, min(first + size, total)) for first in range(0, total, size)]


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
    """Give every stage a basis to start from, by one scenario that every rank solves for itself."""
    model.begin(0)
    state = model.problem.initial_state[np.newaxis]
    for stage in model.stages:
        batch = stage.lp.solve(stage.order[:1], state, np.ones(1, np.int64), [None], np.zeros(1, np.int64))
        stage.bases[0] = stage.lp.basis()
        state = stage.clip(batch.states)


def _simulate_block(
    model: Model, settings: SimulationSettings, numbers: range, total: int, reached: Callable[[int], None]
) -> SimulatedBlock:
    paths, probability = _paths(model.problem, settings, numbers, total)
    model.begin(0)
    count, numbered = paths.shape[0], np.asarray(numbers, np.int64)
    state = np.repeat(model.problem.initial_state[np.newaxis], count, axis=0)
    ends, discount, cost_so_far = np.arange(1, count + 1), 1.0, np.zeros(count)
    stages = []
    for t, stage in enumerate(model.stages):
        reached(t + 1)
        batch = stage.lp.solve(paths[:, t], state, ends, [stage.basis_at(0)] * count, numbered, primal=True)
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
