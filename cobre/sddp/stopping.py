"""Stopping rules: each looks at a read-only record of the run and gives the reason to stop, or None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cobre.errors import ValidationError

__all__ = [
    "BoundStalling",
    "Gap",
    "IterationLimit",
    "Progress",
    "StopReason",
    "StoppingRule",
    "TimeLimit",
    "stop_reason",
]

StopReason = Literal["bound_stalling", "simulation", "iteration_limit", "time_limit", "gap", "shutdown"]


@dataclass(frozen=True)
class Progress:
    """What a rule may look at, after an iteration. Bounds are those of the minimisation the run solves inside."""

    iteration: int  # 1-based, the one just ended
    seconds: float  # since the run began
    lower_bounds: Sequence[float]  # one per iteration, never falling
    exact_upper_bound: float | None  # None where it is an estimate only


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValidationError(message, kind="OutOfRange")


class StoppingRule(Protocol):
    """When to stop. Rules are values: they keep no state between calls."""

    def check(self, progress: Progress) -> StopReason | None: ...


@dataclass(frozen=True)
class IterationLimit:
    limit: int

    def __post_init__(self) -> None:
        _require(self.limit >= 1, "iteration_limit must be at least 1")

    def check(self, progress: Progress) -> StopReason | None:
        return "iteration_limit" if progress.iteration >= self.limit else None


@dataclass(frozen=True)
class TimeLimit:
    """Stops after the iteration in which ``seconds`` of wall time have passed; no other rule looks at the clock."""

    seconds: float

    def __post_init__(self) -> None:
        _require(self.seconds >= 0.0, "time_limit must not be negative")

    def check(self, progress: Progress) -> StopReason | None:
        return "time_limit" if progress.seconds >= self.seconds else None


@dataclass(frozen=True)
class BoundStalling:
    """Stops when the bound rose by less than ``tolerance`` (relative) over the last ``iterations``.

    A bound may rest for a while and rise again: the rule says that waiting has become slow, not that the policy is
    optimal.
    """

    iterations: int
    tolerance: float

    def __post_init__(self) -> None:
        _require(self.iterations >= 1, "bound_stalling must look at 1 iteration at least")
        _require(self.tolerance >= 0.0, "bound_stalling's tolerance must not be negative")

    def check(self, progress: Progress) -> StopReason | None:
        bounds = progress.lower_bounds
        if len(bounds) < self.iterations:
            return None
        rise = (bounds[-1] - bounds[-self.iterations]) / max(1.0, abs(bounds[-1]))
        return "bound_stalling" if rise < self.tolerance else None


@dataclass(frozen=True)
class Gap:
    """Stops when the exact upper bound is close to the lower one; needs enumerated forward passes.

    tolerance: in the objective's unit. relative_tolerance: percent of ``max(1, |lower bound|)``. Either is enough.
    """

    tolerance: float | None = None
    relative_tolerance: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.tolerance, self.relative_tolerance) if value is not None]
        _require(bool(given), "the gap rule needs a tolerance or a relative_tolerance")
        _require(all(value >= 0.0 for value in given), "the gap rule's tolerances must not be negative")

    def check(self, progress: Progress) -> StopReason | None:
        if progress.exact_upper_bound is None:
            return None
        gap = progress.exact_upper_bound - progress.lower_bounds[-1]
        percent = 100.0 * gap / max(1.0, abs(progress.lower_bounds[-1]))
        close = self.tolerance is not None and gap <= self.tolerance
        close = close or (self.relative_tolerance is not None and percent <= self.relative_tolerance)
        return "gap" if close else None


def stop_reason(rules: Sequence[StoppingRule], mode: Literal["any", "all"], progress: Progress) -> StopReason | None:
    """The reason of the first rule that says stop; with ``all``, only when every rule but the iteration limit does.

    The iteration limit always ends a run, in both modes.
    """
    reasons = [(rule, rule.check(progress)) for rule in rules]
    given = [reason for _, reason in reasons if reason is not None]
    if mode == "any":
        return given[0] if given else None
    others = [reason for rule, reason in reasons if not isinstance(rule, IterationLimit)]
    agreed = [reason for reason in others if reason is not None]
    if others and len(agreed) == len(others):
        return agreed[-1]
    limits = [rule.limit for rule in rules if isinstance(rule, IterationLimit)]
    return "iteration_limit" if limits and progress.iteration >= max(limits) else None
