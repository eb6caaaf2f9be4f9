"""The backward pass: one cut for each trial point, from all openings of the stage after it; and the bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.contracts import Exchange
from cobre.sddp.cuts import CutPool
from cobre.sddp.kernel import KernelLP
from cobre.sddp.kernel_vertices import KernelVertices
from cobre.sddp.model import Model, Share, StageModel
from cobre.sddp.problem import Stage
from cobre.sddp.reuse import Answers, Picks, Reuse
from cobre.sddp.risk import Expectation, FloatArray
from cobre.sddp.vertices import FRESH

__all__ = ["backward", "lower_bound"]

IntArray = NDArray[np.int64]


def backward(
    model: Model,
    trial_points: list[FloatArray] | FloatArray,
    iteration: int,
    exchange: Exchange,
    activity: float | None = None,
) -> int:
    """Add to every stage but the last the cuts at its trial points, from the last stage to the first.

    trial_points[t]: (r, S) states that stage t is entered with. Returns how many cuts were added. The cuts of a
    stage are in its LP before the stage in front of it is solved.
    """
    added = 0
    for t in range(len(model.stages) - 1, 0, -1):
        exchange.reached("backward", iteration, t + 1)
        scenarios = distinct(trial_points[t])
        states = np.ascontiguousarray(trial_points[t][scenarios])
        added += _add_cuts(model.stages[t], model.stages[t - 1], states, scenarios, exchange, activity)
    return added


def lower_bound(model: Model, exchange: Exchange) -> float:
    """The value of the first stage over its openings at the initial state, under its risk measure."""
    exchange.reached("bound", model.stages[0].iteration, 1)
    stage, initial, first = model.stages[0], model.problem.initial_state[np.newaxis], np.zeros(1, np.int64)
    if stage.reuse is not None and stage.reuse.concludes_at_once():
        value = _conclude(stage, stage.reuse, initial, first, exchange, None)
    else:
        value = _means(stage, initial, first, exchange, None)[0]
    return float(value[0])


def distinct(states: FloatArray) -> IntArray:
    """The rows of the states (r, S) that repeat none before them, rising: equal points give equal cuts."""
    raw, width = states.tobytes(), states.itemsize * states.shape[1]
    first: dict[bytes, int] = {}
    for row in range(states.shape[0]):
        first.setdefault(raw[row * width : (row + 1) * width], row)
    return np.array(list(first.values()), np.int64)


def _add_cuts(
    stage: StageModel,
    before: StageModel,
    states: FloatArray,
    scenarios: IntArray,
    exchange: Exchange,
    activity: float | None,
) -> int:
    """Add to the stage before the cuts at these states (r, S); returns how many."""
    small = before.reuse.small if before.reuse is not None else None
    if small is not None and stage.reuse is not None and stage.reuse.concludes_at_once():
        return _conclude(stage, stage.reuse, states, scenarios, exchange, (small, before.pool)).size
    values, slopes = _means(stage, states, scenarios, exchange, activity)
    intercepts = values - _row_dot(slopes, states)
    ids = before.pool.add(slopes, intercepts, stage.iteration)
    if small is None:
        before.lp.append_cuts(ids, slopes, intercepts)
    if before.lp.lazy is not None:
        before.extend_resident()
    return ids.size


def _conclude(
    stage: StageModel,
    reuse: Reuse,
    states: FloatArray,
    scenarios: IntArray,
    exchange: Exchange,
    into: tuple[KernelLP, CutPool] | None,
) -> FloatArray:
    """Values (r,) at these states, as ``_means`` has them, and the cuts added to a pool, all in the kernel."""
    assert isinstance(reuse.vertices, KernelVertices)
    share = stage.share(states.shape[0], exchange.assigned(states.shape[0] * stage.blocks(states.shape[0])))
    told, packed = _told(reuse.answer(share, states, scenarios), exchange, share)
    return reuse.vertices.conclude(told, packed, states, stage.places, stage.pool, stage.iteration, into)


def _told(answers: Answers, exchange: Exchange, share: Share) -> tuple[FloatArray, FloatArray]:
    """All ranks' answers, unit after unit, and the rows of the new vertices among them."""
    if exchange.alone:
        return answers.told, answers.packed
    told = exchange.gather((answers.told, share.rows))[0]
    packed, new = answers.packed, told[:, 0] == FRESH
    if new.any():
        packed = exchange.gather((packed, np.bincount(share.units[new], minlength=share.rows.size)))[0]
    return told, packed


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
    told, packed = _told(reuse.answer(share, states, scenarios, picks), exchange, share)
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
