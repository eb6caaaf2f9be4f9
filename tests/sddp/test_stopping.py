"""When a run stops, rule by rule and together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cobre.sddp.stopping import (
    BoundStalling,
    Gap,
    IterationLimit,
    Progress,
    StoppingRule,
    StopReason,
    TimeLimit,
    stop_reason,
)


def after(bounds: Sequence[float], seconds: float = 0.0, upper: float | None = None) -> Progress:
    return Progress(iteration=len(bounds), seconds=seconds, lower_bounds=bounds, exact_upper_bound=upper)


@pytest.mark.parametrize(
    ("iteration", "reason"), [(1, None), (2, None), (3, "iteration_limit"), (4, "iteration_limit")]
)
def test_iteration_limit(iteration: int, reason: StopReason | None) -> None:
    assert IterationLimit(3).check(after([0.0] * iteration)) == reason


@pytest.mark.parametrize(("seconds", "reason"), [(0.0, None), (4.99, None), (5.0, "time_limit"), (9.0, "time_limit")])
def test_time_limit(seconds: float, reason: StopReason | None) -> None:
    assert TimeLimit(5.0).check(after([1.0], seconds)) == reason


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ([100.0, 100.0], None),  # too few to look back over three
        ([50.0, 100.0, 100.5], None),
        ([100.0, 100.0, 100.5], "bound_stalling"),  # 0.5 / 100.5 < 0.01
        ([100.0, 100.0, 102.0], None),
        ([0.0, 100.0, 100.0, 100.0], "bound_stalling"),  # looks back over the last three only
        ([-0.009, 0.0, 0.0], "bound_stalling"),  # small bounds are compared with one
        ([-0.011, 0.0, 0.0], None),
        ([-102.0, -101.0, -100.0], None),
        ([-100.5, -100.0, -100.0], "bound_stalling"),
    ],
)
def test_bound_stalling(bounds: list[float], reason: StopReason | None) -> None:
    assert BoundStalling(iterations=3, tolerance=0.01).check(after(bounds)) == reason


def test_bound_stalling_is_strict() -> None:
    assert BoundStalling(2, 0.0).check(after([1.0, 1.0])) is None
    assert BoundStalling(2, 0.5).check(after([1.0, 2.0])) is None


@pytest.mark.parametrize(
    ("rule", "lower", "upper", "reason"),
    [
        (Gap(tolerance=1.0), 99.0, None, None),  # no exact upper bound, no gap
        (Gap(tolerance=1.0), 99.0, 100.0, "gap"),
        (Gap(tolerance=1.0), 98.9, 100.0, None),
        (Gap(relative_tolerance=1.0), 100.0, 101.0, "gap"),  # percent of the lower bound
        (Gap(relative_tolerance=1.0), 100.0, 101.1, None),
        (Gap(relative_tolerance=1.0), 0.0, 0.01, "gap"),
        (Gap(relative_tolerance=1.0), -100.0, -99.0, "gap"),
        (Gap(tolerance=0.5, relative_tolerance=1.0), 100.0, 101.0, "gap"),  # either is enough
        (Gap(tolerance=2.0, relative_tolerance=0.1), 100.0, 101.0, "gap"),
        (Gap(tolerance=0.0), 100.0, 99.9999999, "gap"),  # a bound that passed the other by rounding
    ],
)
def test_gap(rule: Gap, lower: float, upper: float | None, reason: StopReason | None) -> None:
    assert rule.check(after([lower], upper=upper)) == reason


STALLED = BoundStalling(2, 0.1)


@pytest.mark.parametrize(
    ("rules", "mode", "progress", "reason"),
    [
        ([IterationLimit(9), STALLED], "any", after([1.0]), None),
        ([IterationLimit(9), STALLED], "any", after([1.0, 1.0]), "bound_stalling"),
        ([IterationLimit(2), STALLED], "any", after([1.0, 1.0]), "iteration_limit"),  # the first that says so
        ([STALLED, IterationLimit(2)], "any", after([1.0, 1.0]), "bound_stalling"),
        ([IterationLimit(9), STALLED, TimeLimit(5.0)], "all", after([1.0, 1.0]), None),
        ([IterationLimit(9), STALLED, TimeLimit(5.0)], "all", after([1.0, 2.0], 6.0), None),
        ([IterationLimit(9), STALLED, TimeLimit(5.0)], "all", after([1.0, 1.0], 6.0), "time_limit"),
        ([IterationLimit(2), STALLED, TimeLimit(5.0)], "all", after([1.0, 2.0]), "iteration_limit"),
        ([IterationLimit(2)], "all", after([1.0]), None),
        ([IterationLimit(2)], "all", after([1.0, 2.0]), "iteration_limit"),
        ([IterationLimit(2), IterationLimit(3)], "any", after([1.0, 2.0]), "iteration_limit"),
    ],
)
def test_rules_together(rules: list[StoppingRule], mode: str, progress: Progress, reason: StopReason | None) -> None:
    assert stop_reason(rules, mode, progress) == reason  # type: ignore[arg-type]
