"""How to train and simulate: frozen values, checked when made, that say nothing about cases or processes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from cobre.errors import ValidationError
from cobre.sddp.stopping import Gap, IterationLimit, StoppingRule

__all__ = [
    "CutSelection",
    "Domination",
    "Dynamic",
    "Enumerated",
    "Level1",
    "LimitedMemory",
    "Sampled",
    "SimulationSettings",
    "SolverProfile",
    "TrainingSettings",
]


def _require(holds: bool, message: str, kind: str = "OutOfRange") -> None:
    if not holds:
        raise ValidationError(message, kind=kind)


@dataclass(frozen=True)
class Sampled:
    """``count`` scenarios drawn from the openings: forward passes of an iteration, or simulated scenarios."""

    count: int

    def __post_init__(self) -> None:
        _require(self.count >= 1, f"at least one scenario must be sampled, not {self.count}")


@dataclass(frozen=True)
class Enumerated:
    """Every scenario of the tree of openings, with its probability; ``limit`` refuses trees too large to walk."""

    limit: int = 1_000_000

    def __post_init__(self) -> None:
        _require(self.limit >= 1, f"the limit on enumerated scenarios must be at least 1, not {self.limit}")


@dataclass(frozen=True)
class Level1:
    """Keeps every cut that is within ``tie_tolerance`` of the highest at some visited state.

    de Matos, Philpott, Finardi, Improving the performance of stochastic dual dynamic programming, 2015.
    """

    check_frequency: int = 5
    tie_tolerance: float = 1e-10

    def __post_init__(self) -> None:
        _require(self.check_frequency >= 1, "check_frequency must be at least 1")
        _require(self.tie_tolerance >= 0.0, "tie_tolerance must not be negative")


@dataclass(frozen=True)
class LimitedMemory:
    """Limited-memory level 1: of the cuts that tie at a visited state, keeps the oldest only.

    Guigues and Bandarra, Single cut and multicut SDDP with cut selection, 2019.
    """

    check_frequency: int = 5
    tie_tolerance: float = 1e-10

    def __post_init__(self) -> None:
        _require(self.check_frequency >= 1, "check_frequency must be at least 1")
        _require(self.tie_tolerance >= 0.0, "tie_tolerance must not be negative")


@dataclass(frozen=True)
class Domination:
    """Drops a cut that is more than ``tolerance`` below the highest at every visited state."""

    tolerance: float
    check_frequency: int = 5

    def __post_init__(self) -> None:
        _require(self.check_frequency >= 1, "check_frequency must be at least 1")
        _require(self.tolerance >= 0.0, "domination_tolerance must not be negative")


@dataclass(frozen=True)
class Dynamic:
    """Cuts enter a solve's LP when they are violated, at most ``max_added_per_round`` at a time, and leave after it.

    The LP starts with the cuts of the last ``seed_window`` iterations (0: those of this one). Exact, unless
    ``candidate_recency`` limits the cuts looked at to those of the last so many iterations.
    """

    start_iteration: int = 2
    seed_window: int = 5
    max_added_per_round: int = 10
    violation_tolerance: float = 1e-10
    candidate_recency: int | None = None

    def __post_init__(self) -> None:
        _require(self.start_iteration >= 1, "start_iteration must be at least 1")
        _require(self.seed_window >= 0, "seed_window must not be negative")
        _require(self.max_added_per_round >= 1, "max_added_per_round must be at least 1")
        _require(self.violation_tolerance > 0.0, "violation_tolerance must be above 0")
        _require(self.candidate_recency is None or self.candidate_recency >= 1, "candidate_recency must be at least 1")


@dataclass(frozen=True)
class CutSelection:
    """Which cuts the stage LPs carry. The pool keeps all of them; the reported bound is the best one met."""

    method: Level1 | LimitedMemory | Domination | Dynamic | None = None
    max_active_per_stage: int | None = None
    row_activity_tolerance: float = 0.0

    def __post_init__(self) -> None:
        _require(
            self.max_active_per_stage is None or self.max_active_per_stage >= 1,
            "max_active_per_stage must be at least 1",
        )
        _require(self.row_activity_tolerance >= 0.0, "row_activity_tolerance must not be negative")


@dataclass(frozen=True)
class SolverProfile:
    """Simplex options of one phase; None keeps the tuned value. Nothing here may depend on the clock."""

    cost_perturbation: float | None = None
    dual_edge_weight: Literal["devex", "steepest_edge", "dantzig"] | None = None
    dual_feasibility_tolerance: float | None = None
    primal_feasibility_tolerance: float | None = None
    factor_pivot_threshold: float | None = None
    presolve: Literal["on", "off", "choose"] | None = None
    price: Literal["row", "row_hyper_sparse"] | None = None
    refactor_error_tolerance: float | None = None
    simplex_update_limit: int | None = None
    steepest_edge_devex_fallback_threshold: float | None = None
    use_warm_start: bool = True

    def __post_init__(self) -> None:
        """The ranges are those that HiGHS takes."""
        for name, least, most in (
            ("cost_perturbation", 0.0, math.inf),
            ("dual_feasibility_tolerance", 1e-10, math.inf),
            ("primal_feasibility_tolerance", 1e-10, math.inf),
            ("factor_pivot_threshold", 8e-4, 0.5),
            ("simplex_update_limit", 0, 2**31 - 1),
            ("steepest_edge_devex_fallback_threshold", 1.0, math.inf),
        ):
            value = getattr(self, name)
            _require(value is None or least <= value <= most, f"{name} must lie in [{least:g}, {most:g}], not {value}")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    passes: forward passes of an iteration. stopping: must hold an IterationLimit. seed: of the forward draws.
    retry_limit: how many other ways a failed solve is tried before it is a SolverError.
    openings_per_unit: openings of the backward pass that one unit of work solves in a chain (None: all of them, or
        fewer where a stage has less than four trial points). Part of what the bits depend on, unlike the number of
        workers.
    dual_reuse: whether openings are answered from dual vertices kept from earlier solves. ``exact``: each at its
        optimum, with as few solves as possible; ``adaptive``: some are solved, as many as pays, and the others take a
        lower bound, until the last iterations; ``auto``: exact where stage LPs are small, else adaptive.
    kept_vertices, kept_vertices_bytes: how many a stage keeps at most, and how much memory all of them take; those
        used least lately go first.
    upper_bound_passes: the upper bound's mean, deviation and interval are taken over the passes of the last
        iterations, just as many as give this number.
    """

    passes: Sampled | Enumerated = field(default_factory=lambda: Sampled(1))
    stopping: tuple[StoppingRule, ...] = field(default_factory=lambda: (IterationLimit(100),))
    stopping_mode: Literal["any", "all"] = "any"
    seed: int = 42
    cut_selection: CutSelection = field(default_factory=CutSelection)
    forward: SolverProfile = field(default_factory=SolverProfile)
    backward: SolverProfile = field(default_factory=SolverProfile)
    retry_limit: int = 5
    openings_per_unit: int | None = None
    upper_bound_passes: int = 100
    dual_reuse: Literal["auto", "off", "exact", "adaptive"] = "auto"
    kept_vertices: int = 2000
    kept_vertices_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        limits = [rule for rule in self.stopping if isinstance(rule, IterationLimit)]
        _require(bool(limits), "stopping rules must hold an iteration_limit", "SchemaViolation")
        _require(all(rule.limit >= 1 for rule in limits), "iteration_limit must be at least 1")
        _require(self.retry_limit >= 0, "retry_limit must not be negative")
        _require(self.openings_per_unit is None or self.openings_per_unit >= 1, "openings_per_unit must be at least 1")
        _require(self.kept_vertices >= 1, "kept_vertices must be at least 1")
        _require(self.kept_vertices_bytes >= 1, "kept_vertices_bytes must be at least 1")
        _require(self.upper_bound_passes >= 1, "upper_bound_passes must be at least 1")
        if any(isinstance(rule, Gap) for rule in self.stopping):
            _require(
                isinstance(self.passes, Enumerated),
                "the gap rule needs an exact upper bound: it goes with enumerated forward passes only",
                "IncompatibleSettings",
            )


@dataclass(frozen=True)
class SimulationSettings:
    """How to simulate a policy.

    block: how many scenarios are in memory, and in one file, at a time. None takes a quarter of them, but at least 16
        and at most 100, and fewer where stages are large.
    """

    scenarios: Sampled | Enumerated = field(default_factory=lambda: Sampled(2000))
    seed: int = 42
    solver: SolverProfile = field(default_factory=SolverProfile)
    retry_limit: int = 5
    block: int | None = None

    def __post_init__(self) -> None:
        _require(self.block is None or self.block >= 1, "block must be at least 1")
        _require(self.retry_limit >= 0, "retry_limit must not be negative")
