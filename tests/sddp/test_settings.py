"""Settings are values that cannot be made wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from cobre.errors import ValidationError
from cobre.sddp.settings import (
    CutSelection,
    Domination,
    Dynamic,
    Enumerated,
    Level1,
    LimitedMemory,
    Sampled,
    SimulationSettings,
    SolverProfile,
    TrainingSettings,
)
from cobre.sddp.stopping import BoundStalling, Gap, IterationLimit, TimeLimit


@pytest.mark.parametrize(
    ("kind", "words", "make"),
    [
        ("OutOfRange", "at least one scenario", lambda: Sampled(0)),
        ("OutOfRange", "max_active_per_stage", lambda: CutSelection(max_active_per_stage=0)),
        ("OutOfRange", "row_activity_tolerance", lambda: CutSelection(row_activity_tolerance=-1e-9)),
        ("OutOfRange", "check_frequency", lambda: CutSelection(Level1(check_frequency=0))),
        ("OutOfRange", "check_frequency", lambda: CutSelection(LimitedMemory(check_frequency=0))),
        ("OutOfRange", "check_frequency", lambda: CutSelection(Domination(1e-6, check_frequency=0))),
        ("OutOfRange", "limit on enumerated", lambda: Enumerated(0)),
        ("OutOfRange", "tie_tolerance", lambda: Level1(tie_tolerance=-1.0)),
        ("OutOfRange", "domination_tolerance", lambda: Domination(-1.0)),
        ("OutOfRange", "start_iteration", lambda: Dynamic(start_iteration=0)),
        ("OutOfRange", "seed_window", lambda: Dynamic(seed_window=-1)),
        ("OutOfRange", "max_added_per_round", lambda: Dynamic(max_added_per_round=0)),
        ("OutOfRange", "violation_tolerance", lambda: Dynamic(violation_tolerance=0.0)),
        ("OutOfRange", "candidate_recency", lambda: Dynamic(candidate_recency=0)),
        ("OutOfRange", "factor_pivot_threshold", lambda: SolverProfile(factor_pivot_threshold=0.9)),
        ("OutOfRange", "primal_feasibility_tolerance", lambda: SolverProfile(primal_feasibility_tolerance=0.0)),
        ("OutOfRange", "time_limit", lambda: TimeLimit(-1.0)),
        ("OutOfRange", "1 iteration", lambda: BoundStalling(0, 0.1)),
        ("OutOfRange", "needs a tolerance", lambda: Gap()),
        ("OutOfRange", "must not be negative", lambda: Gap(tolerance=-1.0)),
        ("OutOfRange", "block", lambda: SimulationSettings(block=0)),
        ("SchemaViolation", "must hold an iteration_limit", lambda: TrainingSettings(stopping=())),
        ("SchemaViolation", "must hold an iteration_limit", lambda: TrainingSettings(stopping=(TimeLimit(1.0),))),
        ("OutOfRange", "iteration_limit must be at least 1", lambda: TrainingSettings(stopping=(IterationLimit(0),))),
        ("OutOfRange", "retry_limit", lambda: TrainingSettings(retry_limit=-1)),
        ("OutOfRange", "openings_per_unit", lambda: TrainingSettings(openings_per_unit=0)),
        ("OutOfRange", "upper_bound_passes", lambda: TrainingSettings(upper_bound_passes=0)),
        ("IncompatibleSettings", "enumerated", lambda: TrainingSettings(stopping=(IterationLimit(5), Gap(1.0)))),
    ],
)
def test_what_cannot_be_is_refused(kind: str, words: str, make: Callable[[], object]) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        make()
    assert caught.value.kind == kind


def test_what_may_be_is_accepted() -> None:
    settings = TrainingSettings(
        passes=Enumerated(),
        stopping=(IterationLimit(5), Gap(relative_tolerance=0.1), BoundStalling(3, 1e-6)),
        stopping_mode="all",
        cut_selection=CutSelection(Dynamic(), max_active_per_stage=10),
        forward=SolverProfile(presolve="off"),
        openings_per_unit=3,
    )
    assert settings.passes == Enumerated()
    assert TrainingSettings().stopping == (IterationLimit(100),)
    assert SimulationSettings().scenarios == Sampled(2000)


def test_settings_are_values() -> None:
    settings = TrainingSettings(cut_selection=CutSelection(Level1(3)))
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert len({settings, TrainingSettings(cut_selection=CutSelection(Level1(3)))}) == 1
    with pytest.raises(FrozenInstanceError):
        settings.seed = 3  # type: ignore[misc]
