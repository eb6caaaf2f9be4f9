"""Which stages of a run answer from kept dual vertices, and how exactly the backward pass answers."""

from __future__ import annotations

import logging

import numpy as np

from cobre.sddp.model import Model, StageModel
from cobre.sddp.reuse import Reuse, is_small
from cobre.sddp.risk import FloatArray
from cobre.sddp.settings import Dynamic, SolverProfile, TrainingSettings
from cobre.sddp.stopping import IterationLimit

__all__ = ["Exactness", "reuse_vertices"]

log = logging.getLogger(__name__)
_FINAL = 0.05  # of the iterations that a limit allows, which are exact
_LEAST = 64  # vertices that a stage may keep however large they are


def reuse_vertices(model: Model, settings: TrainingSettings, *, leads: bool) -> bool:
    """Have the stages of a model keep dual vertices where the settings and the stages allow it; whether any does.

    What cannot is solved as ever, and where it was asked for, the log says so (on the rank that leads).
    """
    if settings.dual_reuse == "off":
        return False
    said = log.warning if settings.dual_reuse != "auto" else log.debug
    if isinstance(settings.cut_selection.method, Dynamic) or settings.cut_selection.max_active_per_stage is not None:
        if leads:
            said("dual vertices are not kept: cut selection by dynamic or max_active_per_stage needs every solve")
        return False
    if settings.forward != SolverProfile() or settings.backward != SolverProfile():
        if leads:
            said("dual vertices are not kept: options of the solver are asked for, which speak of every solve")
        return False
    able = [stage for stage in model.stages if not stage.stage.openings.cost_columns.size]
    if leads and len(able) < len(model.stages):
        numbers = ", ".join(str(stage.number) for stage in model.stages if stage not in able)
        said("stages %s are solved for every opening: their costs differ between openings", numbers)
    for stage in able:
        stage.reuse = Reuse(stage, _most(stage, settings, len(able)), _entry(model, stage))
    return bool(able)


def _entry(model: Model, stage: StageModel) -> FloatArray:
    """A state (S,) that the stage can be entered with: the initial one, as far as the stage before it lets it be."""
    state = model.problem.initial_state
    if stage.number > 1:
        before = model.stages[stage.number - 2].stage
        state = np.clip(state, before.lower[before.outgoing], before.upper[before.outgoing])
    return state


def _most(stage: StageModel, settings: TrainingSettings, stages: int) -> int:
    """Vertices that a stage may keep: as the settings say, and its share of the memory."""
    template = stage.lp.template()
    rows, columns = map(int, template.matrix.shape)
    states = stage.stage.states
    floats = len(stage.stage.openings) + 3 * states + 2
    if is_small(template):  # what proves a basis optimal
        floats += (rows + states + 2) * (3 + int(template.moving.size)) + 2 * states + 2
    share = settings.kept_vertices_bytes // stages
    return min(settings.kept_vertices, max(_LEAST, share // (8 * floats + rows + columns)))


class Exactness:
    """How many openings of each trial point the backward pass solves; the others take the best kept vertex.

    All where the mode is exact. Where it is adaptive, one at first; then more as soon as what solving adds to a value
    is more than what an iteration adds to the bound, and fewer when it is much less: cuts gain from exact openings
    no sooner than the stages behind them have settled. All in the last iterations that a limit allows, and, once a
    rule about the bound says stop, until it says so again of exact iterations alone.
    """

    def __init__(self, settings: TrainingSettings, openings: int, *, kernel: bool) -> None:
        mode = settings.dual_reuse
        self.adaptive = mode == "adaptive" or (mode == "auto" and not kernel)
        self.openings = openings
        self.picks = 1 if self.adaptive else openings
        self.exact_from: int | None = None if self.adaptive else 1
        limit = min(rule.limit for rule in settings.stopping if isinstance(rule, IterationLimit))
        self._final = limit - max(1, round(_FINAL * limit)) + 1

    def now(self, iteration: int) -> int | None:
        """How many are solved in this iteration, None: all."""
        if self.exact_from is None and iteration >= self._final:
            self.exact_from = iteration
        return None if self.exact_from is not None else self.picks

    def learn(self, bounds: list[float], risen: float, solved: int) -> None:
        """After an iteration: bounds so far; sum of the relative rises of the pairs solved, and their number."""
        if self.exact_from is not None or len(bounds) < 2 or not solved:
            return
        gain = (bounds[-1] - bounds[-2]) / max(1.0, abs(bounds[-1]))
        missing = risen / solved * (1.0 - self.picks / self.openings)
        if missing > gain:
            self.picks = min(self.openings, self.picks + 1)
        elif missing < 0.25 * gain:
            self.picks = max(1, self.picks - 1)

    def confirm(self, iteration: int) -> bool:
        """A rule about bounds says stop after this iteration: whether it may; if not, what follows is exact."""
        if self.exact_from is None:
            self.exact_from = iteration + 1
            return False
        return True
