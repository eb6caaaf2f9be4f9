"""Cut selection: which cuts of its pool a stage's LP carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.cuts import CutPool
from cobre.sddp.lazy import LazyCuts
from cobre.sddp.model import Model, StageModel
from cobre.sddp.risk import FloatArray
from cobre.sddp.settings import CutSelection, Domination, Dynamic, Level1, LimitedMemory

__all__ = ["Selector"]

_CHUNK = 256  # visited states whose heights are held at once


class Selector:
    """Applies a run's cut selection between iterations.

    visited: by stage, the states at which cuts are compared, iteration by iteration.

    The first stage keeps all its cuts, except under ``Dynamic``, which is exact: so the bound never falls by it.
    """

    def __init__(self, settings: CutSelection, stages: int) -> None:
        self.settings = settings
        self.visited: list[list[FloatArray]] = [[] for _ in range(stages)]
        self.activity = settings.row_activity_tolerance if settings.max_active_per_stage is not None else None

    def before(self, model: Model, iteration: int) -> None:
        """Make the LPs ready for an iteration."""
        method = self.settings.method
        if isinstance(method, Dynamic) and iteration >= method.start_iteration:
            for stage in model.stages[:-1]:
                _make_lazy(stage, method, iteration)

    def visit(self, trial_points: list[FloatArray] | FloatArray) -> None:
        """Remember the states at which cuts are compared; trial_points[t] are those that stage t is entered with."""
        if isinstance(self.settings.method, Level1 | LimitedMemory | Domination):
            for t, states in enumerate(trial_points[1:]):
                self.visited[t].append(states)

    def after(self, model: Model, iteration: int) -> int:
        """Drop cuts after an iteration; returns how many cuts the LPs then carry."""
        method, most = self.settings.method, self.settings.max_active_per_stage
        selects = method is not None or most is not None
        for t, stage in enumerate(model.stages[1:-1] if selects else (), start=1):
            changed = False
            if isinstance(method, Level1 | LimitedMemory | Domination) and iteration % method.check_frequency == 0:
                keep = _highest(stage.pool, np.concatenate(self.visited[t]), method)
                stage.pool.choose(keep | (stage.pool.iterations == iteration))
                changed = True
            if most is not None:
                changed |= _cap(stage, most, iteration)
            if changed and stage.lp.lazy is None and stage.reuse is None:
                ids = np.flatnonzero(stage.pool.active)
                stage.lp.set_cuts(ids, stage.pool.slopes[ids], stage.pool.intercepts[ids])
        return sum(stage.pool.size - stage.pool.inactive for stage in model.stages)


def _make_lazy(stage: StageModel, method: Dynamic, iteration: int) -> None:
    """Let the LP carry the latest cuts only, and fetch others of the active ones when they are violated."""
    pool = stage.pool
    resident = np.flatnonzero((pool.iterations >= iteration - method.seed_window) & pool.active)
    stage.lp.set_cuts(resident, pool.slopes[resident], pool.intercepts[resident])
    oldest = 0 if method.candidate_recency is None else iteration - method.candidate_recency
    stage.lp.lazy = LazyCuts(
        pool=pool,
        first=int(np.searchsorted(pool.iterations, oldest)),
        resident=resident.size,
        most=method.max_added_per_round,
        tolerance=method.violation_tolerance,
    )


def _highest(pool: CutPool, visited: FloatArray, method: Level1 | LimitedMemory | Domination) -> NDArray[np.bool_]:
    """Which cuts (size,) are among the highest at some visited state (v, S), as the method counts it."""
    keep = np.zeros(pool.size, bool)
    for first in range(0, visited.shape[0], _CHUNK):
        states = visited[first : first + _CHUNK]
        heights = np.repeat(pool.intercepts[np.newaxis], states.shape[0], axis=0)
        for j in range(states.shape[1]):
            heights += states[:, j, np.newaxis] * pool.slopes[:, j]
        best = heights.max(axis=1)
        if isinstance(method, Domination):
            slack = np.full(best.size, method.tolerance)
        else:
            slack = method.tie_tolerance * np.maximum(1.0, np.abs(best))
        near = heights >= (best - slack)[:, np.newaxis]
        if isinstance(method, LimitedMemory):
            keep[np.argmax(near, axis=1)] = True
        else:
            keep |= near.any(axis=0)
    return keep


def _cap(stage: StageModel, most: int, iteration: int) -> bool:
    """Deactivate the least recently active cuts beyond ``most``; those of this iteration stay."""
    pool = stage.pool
    over = int(pool.active.sum()) - most
    candidates = np.flatnonzero(pool.active & (pool.iterations < iteration))
    if over <= 0 or not candidates.size:
        return False
    order = np.lexsort((candidates, pool.times_active[candidates], pool.last_active[candidates]))
    active = pool.active.copy()
    active[candidates[order[:over]]] = False
    pool.choose(active)
    return True
