"""The forward pass: the policy applied to scenarios, stage after stage, all scenarios of a stage together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.contracts import Exchange
from cobre.sddp.kernel_vertices import Passes
from cobre.sddp.model import Model, StageModel
from cobre.sddp.problem import Problem
from cobre.sddp.risk import FloatArray
from cobre.sddp.sweep import Sweep

__all__ = ["Trajectories", "enumerated_forward", "exact_cost", "sampled_forward"]

IntArray = NDArray[np.int64]


@dataclass(eq=False)
class Trajectories:
    """Where the passes went. incoming[t]: (r_t, S) states that stage t was entered with; stage_costs[t]: (r_t,).

    For sampled passes r_t is the number of passes M, and each of the two is one array, (T, M, S) and (T, M).

    For enumerated ones it is the number of nodes of the stage, and node i of a stage is followed by
    ``i * N ... i * N + N - 1``, the openings in the stage's solving order; incoming[t] then has one row for each node
    of the stage before. Costs are of the minimisation solved inside.
    """

    incoming: list[FloatArray] | FloatArray
    stage_costs: list[FloatArray] | FloatArray


def sampled_forward(
    model: Model, paths: IntArray, exchange: Exchange, activity: float | None = None, sweep: Sweep | None = None
) -> Trajectories:
    """Follow the openings ``paths`` (M, T). A pass is a chain of units of one solve, which needs nobody else's.

    sweep: takes them through all stages at once.
    """
    count, initial = paths.shape[0], model.problem.initial_state
    mine = np.asarray(list(exchange.assigned(count)), np.int64)
    passes = Passes(paths[mine].T, initial)
    if sweep is not None:
        return Trajectories(*sweep.forward(passes, mine, count))
    _stage_by_stage(model, passes, mine, exchange, activity)
    if exchange.alone:
        return Trajectories(passes.states[:-1], passes.costs)
    stages, width = len(model.stages), 1 + initial.size
    row = np.concatenate([passes.costs[:, :, np.newaxis], passes.states[1:]], axis=2).transpose(1, 0, 2)
    gathered = exchange.gather((row.reshape(mine.size, stages * width), np.ones(count, np.int64)))[0]
    whole = gathered.reshape(count, stages, width).transpose(1, 0, 2)
    states = np.empty((stages, count, initial.size))
    states[0], states[1:] = initial, whole[:-1, :, 1:]
    return Trajectories(states, np.ascontiguousarray(whole[:, :, 0]))


def _stage_by_stage(model: Model, passes: Passes, mine: IntArray, exchange: Exchange, activity: float | None) -> None:
    times: list[FloatArray] = []
    for t, stage in enumerate(model.stages):
        exchange.reached("forward", stage.iteration, t + 1)
        if stage.reuse is not None:
            stage.reuse.follow(passes, t, mine)
            continue
        bases = [stage.basis_at(0)] * mine.size
        batch = stage.lp.solve(passes.openings[t], passes.states[t], passes.rows + 1, bases, mine, activity=activity)
        passes.costs[t] = batch.values - stage.stage.discount * batch.cost_to_go
        passes.states[t + 1] = stage.clip(batch.states)
        if activity is not None:
            times.append(stage.activity(batch.active))
    if activity is not None:
        ends = np.cumsum([part.size for part in times])[:-1]
        for stage, part in zip(model.stages, np.split(exchange.total(np.concatenate(times)), ends), strict=True):
            stage.note_activity(part)


def enumerated_forward(model: Model, exchange: Exchange, activity: float | None = None) -> Trajectories:
    """Visit every node of the tree. A unit of work is all openings of one node of the stage before, in a chain."""
    state = model.problem.initial_state[np.newaxis]
    incoming, costs = [], []
    for t, stage in enumerate(model.stages):
        incoming.append(state)
        exchange.reached("forward", stage.iteration, t + 1)
        count = stage.order.size
        openings = np.tile(stage.order, state.shape[0])
        rows = _solve_rows(stage, openings, np.repeat(state, count, axis=0), count, exchange, activity)
        state, cost = stage.clip(rows[:, 1:]), rows[:, 0]
        costs.append(cost)
    return Trajectories(incoming, costs)


def exact_cost(problem: Problem, model: Model, stage_costs: list[FloatArray] | FloatArray) -> float:
    """The policy's own cost over the whole tree, under the stages' risk measures, from an enumerated forward pass."""
    value = np.zeros(0)
    for t in range(len(problem.stages) - 1, -1, -1):
        stage = problem.stages[t]
        total = stage_costs[t] + (stage.discount * value if t + 1 < len(problem.stages) else 0.0)
        order = model.stages[t].order
        probability = stage.openings.probability[order]
        groups = total.reshape(-1, order.size)
        value = np.array([_weighted(stage.risk.adjust(probability, group), group) for group in groups])
    return float(value[0])


def _weighted(weights: FloatArray, values: FloatArray) -> float:
    total = 0.0
    for weight, value in zip(weights.tolist(), values.tolist(), strict=True):
        total += weight * value
    return total


def _solve_rows(
    stage: StageModel, openings: IntArray, incoming: FloatArray, chain: int, exchange: Exchange, activity: float | None
) -> FloatArray:
    """Stage cost and outgoing state (r, 1 + S) of each row; ``chain`` rows make a unit of work."""
    units = openings.size // chain
    mine = np.asarray(list(exchange.assigned(units)), np.int64)
    rows = (mine[:, np.newaxis] * chain + np.arange(chain)).ravel()
    ends = np.arange(1, mine.size + 1) * chain
    if stage.reuse is not None:
        passes = Passes(openings[rows][np.newaxis], incoming[rows])
        stage.reuse.follow(passes, 0, rows // chain)
        found = np.concatenate([passes.costs[0][:, np.newaxis], passes.states[1]], axis=1)
        return exchange.gather((found, np.full(units, chain)))[0]
    batch = stage.lp.solve(
        openings[rows], incoming[rows], ends, [stage.basis_at(0)] * mine.size, rows // chain, activity=activity
    )
    cost = batch.values - stage.stage.discount * batch.cost_to_go
    found = np.concatenate([cost[:, np.newaxis], batch.states], axis=1)
    if activity is not None:
        stage.note_activity(exchange.total(stage.activity(batch.active)))
    return exchange.gather((found, np.full(units, chain)))[0]
