"""The options that stage LPs are solved with, and what a failed solve is tried with."""

from __future__ import annotations

from cobre.sddp.settings import SolverProfile

__all__ = ["RETRIES", "Option", "profile_options"]

Option = bool | int | float | str

# scaling, threads and presolve are what determinism asks for; the others were measured (docs/performance.md)
_TUNED: dict[str, Option] = {
    "solver": "simplex",
    "presolve": "off",
    "run_crossover": "on",
    "simplex_strategy": 1,
    "simplex_scale_strategy": 0,
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-9,
    "small_matrix_value": 1e-12,
    "simplex_dual_edge_weight_strategy": 1,
    "dual_simplex_cost_perturbation_multiplier": 0.0,
}

# in this order, each from a clean start; the number of them is what limits a retry, never the clock
RETRIES: tuple[dict[str, Option], ...] = (
    {},
    {"simplex_scale_strategy": 2, "dual_simplex_cost_perturbation_multiplier": 1.0},
    {"presolve": "on"},
    {"simplex_strategy": 4},
    {"solver": "ipm"},
)

_EDGE_WEIGHTS = {"dantzig": 0, "devex": 1, "steepest_edge": 2}
_PRICES = {"row": 1, "row_hyper_sparse": 3}


def profile_options(profile: SolverProfile) -> dict[str, Option]:
    """HiGHS's options for a profile: the tuned ones, with what the profile sets in their place."""
    given: dict[str, Option | None] = {
        "dual_simplex_cost_perturbation_multiplier": profile.cost_perturbation,
        "simplex_dual_edge_weight_strategy": _EDGE_WEIGHTS.get(profile.dual_edge_weight or ""),
        "dual_feasibility_tolerance": profile.dual_feasibility_tolerance,
        "primal_feasibility_tolerance": profile.primal_feasibility_tolerance,
        "factor_pivot_threshold": profile.factor_pivot_threshold,
        "presolve": profile.presolve,
        "simplex_price_strategy": _PRICES.get(profile.price or ""),
        "rebuild_refactor_solution_error_tolerance": profile.refactor_error_tolerance,
        "simplex_update_limit": profile.simplex_update_limit,
        "dual_steepest_edge_weight_log_error_threshold": profile.steepest_edge_devex_fallback_threshold,
    }
    return _TUNED | {name: value for name, value in given.items() if value is not None}
