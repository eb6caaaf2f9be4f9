"""The backward pass: one cut for each trial point, from all openings of the stage after it; and the bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.contracts import Exchange
from cobre.sddp.model import Model, Share, StageModel
from cobre.sddp.problem import Stage
from cobre.sddp.reuse import FRESH, NONE, Picks, Reuse
from cobre.sddp.risk import Expectation, FloatArray
from cobre.sddp.vertices import Fresh

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
        values, slopes = _outcomes(model.stages[t], states, scenarios, exchange, activity)
        cut_values, cut_slopes = _average(model.problem.stages[t], values, slopes)
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
    values, slopes = _outcomes(model.stages[0], initial, np.zeros(1, np.int64), exchange, None)
    value, _ = _average(model.problem.stages[0], values, slopes)
    return float(value[0])


def distinct(states: FloatArray) -> IntArray:
    """The rows of the states (r, S) that repeat none before them, rising: equal points give equal cuts."""
    first: dict[bytes, int] = {}
    for row, state in enumerate(states):
        first.setdefault(state.tobytes(), row)
    return np.array(list(first.values()), np.int64)


def _outcomes(
    stage: StageModel, states: FloatArray, scenarios: IntArray, exchange: Exchange, activity: float | None
) -> tuple[FloatArray, FloatArray]:
    """Values (r, N) and slopes (r, N, S) of every opening at every trial point, openings by their number.

    scenarios: (r,), the forward pass that each point comes from.

    A unit of work is (trial point, block of openings). The basis after the first solve of each block at the first
    trial point is what the block starts from next time.
    """
    points = states.shape[0]
    units = points * stage.blocks(points)
    share = stage.share(points, exchange.assigned(units))
    if stage.reuse is not None:
        return _reused(stage, stage.reuse, states, scenarios, exchange, share)
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


def _reused(
    stage: StageModel, reuse: Reuse, states: FloatArray, scenarios: IntArray, exchange: Exchange, share: Share
) -> tuple[FloatArray, FloatArray]:
    """``_outcomes`` from kept vertices: every pair comes to one, kept before or fresh from a solve."""
    points, count = states.shape[0], stage.order.size
    picks = None
    if reuse.picks is not None and stage.number > 1:
        of_a_unit = -(-reuse.picks // stage.blocks(points))
        picks = Picks(of_a_unit, share.ends, count, stage.iteration)
    answers = reuse.answer(share, states, scenarios, picks)
    told = answers.vertices[:, np.newaxis].astype(np.float64)
    if answers.rise is not None:
        told = np.concatenate([told, answers.rise[:, np.newaxis]], axis=1)
    gathered = exchange.gather((told, share.rows))[0]
    places = gathered[:, 0].astype(np.int64)
    new = places == FRESH
    if answers.rise is not None:
        reuse.tally(gathered[:, 1])
    if new.any():
        packed = exchange.gather((answers.fresh.pack(), np.bincount(share.units[new], minlength=share.rows.size)))[0]
        kept = reuse.keep(Fresh.unpack(packed, stage.stage))
        places[new] = kept
        again = np.flatnonzero(places < NONE)
        places[again] = kept[np.cumsum(new).take(again) - (NONE - places.take(again))]
    places = places.reshape(points, count).take(stage.places, axis=1).ravel()
    openings, at = share.every_opening, share.every_point
    if picks is not None:  # what was not solved takes the best vertex, those of this stage among them
        places = reuse.vertices.best(openings, at, states)[0]
    reuse.note_use(places)
    values = reuse.vertices.values(places, openings, states.take(at, axis=0))
    slopes = reuse.vertices.slopes.take(places, axis=1).T
    return values.reshape(points, count), slopes.reshape(points, count, -1)


def _average(stage: Stage, values: FloatArray, slopes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Values (r, N) and slopes (r, N, S) under the stage's risk measure: (r,) and (r, S), summed opening by opening."""
    probability = stage.openings.probability
    if isinstance(stage.risk, Expectation):
        weights = np.repeat(probability[np.newaxis], values.shape[0], axis=0)
    else:
        weights = np.array([stage.risk.adjust(probability, row) for row in values])
    value = np.add.accumulate(weights * values, axis=1)
    slope = np.add.accumulate(weights[:, :, np.newaxis] * slopes, axis=1)
    return value[:, -1], slope[:, -1]


def _row_dot(a: FloatArray, b: FloatArray) -> FloatArray:
    """Row by row products (r,), summed column by column: the same bits however many rows there are."""
    total = np.zeros(a.shape[0])
    for j in range(a.shape[1]):
        total += a[:, j] * b[:, j]
    return total
