"""The backward pass: one cut for each trial point, from all openings of the stage after it; and the bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.contracts import Exchange
from cobre.sddp.model import Model, Share, StageModel
from cobre.sddp.problem import Stage
from cobre.sddp.reuse import Picks, Reuse
from cobre.sddp.risk import Expectation, FloatArray
from cobre.sddp.vertices import FRESH

__all__ = ["backward", "lower_bound"]

IntArray = NDArray[np.int64]


def backward(
    model: Model, trial_points: list[FloatArray], iteration: int, exchange: Exchange, activity: float | None = None
) -> int:
    """Add to every stage but the last the cuts at its trial points, from the last stage to the first.

    trial_points[t]: (r, S) states that stage t is entered with. Returns how many cuts were added. The cuts of a
    stage are in its LP before the stage in front of it is solved.
    """
    added = 0
    for t in range(len(model.stages) - 1, 0, -1):
        exchange.reached("backward", iteration, t + 1)
        scenarios = distinct(trial_points[t])
        states = trial_points[t][scenarios]
        cut_values, cut_slopes = _means(model.stages[t], states, scenarios, exchange, activity)
        intercepts = cut_values - _row_dot(cut_slopes, states)
        before = model.stages[t - 1]
        ids = before.pool.add(cut_slopes, intercepts, iteration)
        if before.reuse is None or before.reuse.small is None:
            before.lp.append_cuts(ids, cut_slopes, intercepts)
        if before.lp.lazy is not None:
            before.extend_resident()
        added += ids.size
    return added


def lower_bound(model: Model, exchange: Exchange) -> float:
    """The value of the first stage over its openings at the initial state, under its risk measure."""
    exchange.reached("bound", model.stages[0].iteration, 1)
    initial = model.problem.initial_state[np.newaxis]
    value, _ = _means(model.stages[0], initial, np.zeros(1, np.int64), exchange, None)
    return float(value[0])


def distinct(states: FloatArray) -> IntArray:
    """The rows of the states (r, S) that repeat none before them, rising: equal points give equal cuts."""
    raw, width = states.tobytes(), states.itemsize * states.shape[1]
    first: dict[bytes, int] = {}
    for row in range(states.shape[0]):
        first.setdefault(raw[row * width : (row + 1) * width], row)
    return np.array(list(first.values()), np.int64)


def _means(
    stage: StageModel, states: FloatArray, scenarios: IntArray, exchange: Exchange, activity: float | None
) -> tuple[FloatArray, FloatArray]:
    """Values (r,) and slopes (r, S) at these states (r, S), over the openings and under the stage's risk measure.

    scenarios: (r,), the forward pass that each point comes from.
    """
    points = states.shape[0]
    share = stage.share(points, exchange.assigned(points * stage.blocks(points)))
    if stage.reuse is not None:
        places = _vertices(stage, stage.reuse, states, scenarios, exchange, share)
        values = stage.reuse.vertices.outcomes(places, states, stage.pool, stage.iteration)
        return stage.reuse.vertices.average(places, values, _weights(stage.stage, values))
    values, slopes = _outcomes(stage, states, scenarios, exchange, activity, share)
    weights = _weights(stage.stage, values)
    value = np.add.accumulate(weights * values, axis=1)
    slope = np.add.accumulate(weights[:, :, np.newaxis] * slopes, axis=1)
    return value[:, -1], slope[:, -1]


def _outcomes(
    stage: StageModel,
    states: FloatArray,
    scenarios: IntArray,
    exchange: Exchange,
    activity: float | None,
    share: Share,
) -> tuple[FloatArray, FloatArray]:
    """Values (r, N) and slopes (r, N, S) of every opening at every trial point, openings by their number.

    A unit of work is (trial point, block of openings). The basis after the first solve of each block at the first
    trial point is what the block starts from next time.
    """
    points = states.shape[0]
    batch = stage.lp.solve(
        share.openings,
        states.take(share.points, axis=0),
        share.ends,
        [stage.basis_at(place) for place in share.blocks],
        scenarios.take(share.points),
        first_bases=share.first,
        activity=activity,
    )
    found = np.empty((share.openings.size, 1 + stage.stage.states))
    found[:, 0], found[:, 1:] = batch.values, stage.lp.sides.slopes(batch.duals)
    parts = [(found, share.rows), (stage.encode_bases(batch.first_bases), share.firsts)]
    gathered = exchange.gather(*parts)
    stage.agree_on_bases(gathered[1], share.starts)
    if activity is not None:
        stage.note_activity(exchange.total(stage.activity(batch.active)))
    table = gathered[0].reshape(points, stage.order.size, -1).take(stage.places, axis=1)
    return table[:, :, 0], table[:, :, 1:]


def _vertices(
    stage: StageModel, reuse: Reuse, states: FloatArray, scenarios: IntArray, exchange: Exchange, share: Share
) -> IntArray:
    """The vertices (r, N) that all pairs come to, kept before or new from a solve, by the openings' numbers."""
    points, count = states.shape[0], stage.order.size
    picks = None
    if reuse.picks is not None and stage.number > 1:
        of_a_unit = -(-reuse.picks // stage.blocks(points))
        picks = Picks(of_a_unit, share.ends, count, stage.iteration)
    answers = reuse.answer(share, states, scenarios, picks)
    told = exchange.gather((answers.told, share.rows))[0]
    packed, new = answers.packed, told[:, 0] == FRESH
    if new.any():
        packed = exchange.gather((packed, np.bincount(share.units[new], minlength=share.rows.size)))[0]
    places = reuse.vertices.keep(told, packed, stage.places, points, stage.iteration)
    if told.shape[1] > 1:
        reuse.tally(told[:, 1])
    if picks is not None:  # what was not solved takes the best vertex, those of this stage among them
        places = reuse.vertices.best(share.every_opening, share.every_point, states)[0].reshape(points, count)
    return places


def _weights(stage: Stage, values: FloatArray) -> FloatArray:
    """Of the openings at each point, whose values are (r, N): (r, N), or (1, N) where they are everywhere the same."""
    probability = stage.openings.probability
    if isinstance(stage.risk, Expectation):
        return probability[np.newaxis]
    return np.array([stage.risk.adjust(probability, row) for row in values])


def _row_dot(a: FloatArray, b: FloatArray) -> FloatArray:
    """Row by row products (r,), summed column by column: the same bits however many rows there are."""
    if not a.shape[1]:
        return np.zeros(a.shape[0])
    total: FloatArray = np.add.accumulate(a * b, axis=1)[:, -1]
    return total
