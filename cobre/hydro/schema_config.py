"""The shape of ``config.json``. What no run here can do is read, so that it can be refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

from cobre.hydro.schema import Amount, Count, Document, File, Positive

__all__ = [
    "AUTO_PASSES",
    "BoundStallingRule",
    "ByNode",
    "ConfigFile",
    "DominationMethod",
    "DynamicMethod",
    "EnumeratedTree",
    "FileOpenings",
    "IterationLimitRule",
    "Level1Method",
    "LimitedMemoryMethod",
    "SampledPasses",
    "SampledScenarios",
    "ScenarioSource",
    "SolverProfileConfig",
    "StoppingRuleConfig",
    "TimeLimitRule",
]

Scheme = Literal["in_sample", "out_of_sample", "external", "historical"]
Frequency = Annotated[int, Field(ge=1, lt=2**32)]
Year = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


AUTO_PASSES = 0  # what "auto", which is no part of the format, becomes


def _number_or_auto(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return AUTO_PASSES if value == "auto" else check(value)


class SampledPasses(Document):
    method: Literal["sampled"]
    forward_passes: Annotated[Frequency, WrapValidator(_number_or_auto)]


class SampledScenarios(Document):
    method: Literal["sampled"]
    num_scenarios: Frequency


class EnumeratedTree(Document):
    method: Literal["enumerated"]


class IterationLimitRule(Document):
    type: Literal["iteration_limit"]
    limit: Frequency


class TimeLimitRule(Document):
    type: Literal["time_limit"]
    seconds: Positive


class BoundStallingRule(Document):
    type: Literal["bound_stalling"]
    iterations: Frequency
    tolerance: Positive


class GapRule(Document):
    type: Literal["gap"]
    tolerance: Amount | None = None
    relative_tolerance: Amount | None = None


StoppingRuleConfig = IterationLimitRule | TimeLimitRule | BoundStallingRule | GapRule


class Level1Method(Document):
    method: Literal["level1"]
    check_frequency: Frequency = 5
    tie_tolerance: Amount = 1e-10


class LimitedMemoryMethod(Document):
    method: Literal["lml1"]
    check_frequency: Frequency = 5
    tie_tolerance: Amount = 1e-10


class DominationMethod(Document):
    method: Literal["domination"]
    domination_tolerance: Amount
    check_frequency: Frequency = 5


class DynamicMethod(Document):
    method: Literal["dynamic"]
    start_iteration: Frequency = 2
    seed_window: Count = 5
    max_added_per_round: Frequency = 10
    violation_tolerance: Positive = 1e-10
    candidate_recency: Frequency | None = None


class CutSelectionConfig(Document):
    selection: (
        Annotated[Level1Method | LimitedMemoryMethod | DominationMethod | DynamicMethod, Field(discriminator="method")]
        | None
    ) = None
    max_active_per_stage: Frequency | None = None
    row_activity_tolerance: Amount | None = None


class SolverProfileConfig(Document):
    cost_perturbation: Amount | None = None
    dual_edge_weight: Literal["devex", "steepest_edge", "dantzig"] | None = None
    dual_feasibility_tolerance: Positive | None = None
    factor_pivot_threshold: Positive | None = None
    presolve: Literal["on", "off", "choose"] | None = None
    price: Literal["row", "row_hyper_sparse"] | None = None
    primal_feasibility_tolerance: Positive | None = None
    refactor_error_tolerance: Positive | None = None
    scale: Literal["off", "solver_scaling"] | None = None
    simplex_update_limit: Count | None = None
    steepest_edge_devex_fallback_threshold: Positive | None = None
    use_warm_start: bool | None = None


class SolverConfig(Document):
    forward: SolverProfileConfig | None = None
    backward: SolverProfileConfig | None = None
    retry_max_attempts: Count = 5
    retry_time_budget_seconds: Amount = 30.0


class ByScenario(Document):
    method: Literal["by_scenario"]


class ByNode(Document):
    method: Literal["by_node"]
    block_size: Annotated[int, Field(ge=1, lt=2**64)] | None = None


class Parallelism(Document):
    backward_scheduler: Annotated[ByScenario | ByNode, Field(discriminator="method")] = ByScenario(method="by_scenario")


class ClassScheme(Document):
    scheme: Scheme


class GeneratedOpenings(Document):
    source: Literal["generated"]


class FileOpenings(Document):
    source: Literal["file"]


class YearRange(Document):
    from_: Year = Field(alias="from")
    to: Year


class ScenarioSource(Document):
    seed: Seed | None = None
    inflow: ClassScheme | None = None
    load: ClassScheme | None = None
    ncs: ClassScheme | None = None
    openings: Annotated[GeneratedOpenings | FileOpenings, Field(discriminator="source")] | None = None
    historical_years: list[Year] | YearRange | None = None


class DualReuse(Document):
    """No part of the format: a setting of the runs here, which a case for other solvers leaves out."""

    mode: Literal["auto", "off", "exact", "adaptive"] = "auto"
    kept_vertices: Frequency = 2000
    kept_megabytes: Frequency = 256


class TrainingConfig(Document):
    selection: Annotated[SampledPasses | EnumeratedTree, Field(discriminator="method")]
    stopping_rules: list[Annotated[StoppingRuleConfig, Field(discriminator="type")]]
    stopping_mode: Literal["any", "all"] = "any"
    enabled: bool = True
    tree_seed: Seed | None = None
    cut_selection: CutSelectionConfig = CutSelectionConfig()
    parallelism: Parallelism = Parallelism()
    scenario_source: ScenarioSource | None = None
    solver: SolverConfig = SolverConfig()
    dual_reuse: DualReuse = DualReuse()


class InflowNonNegativity(Document):
    method: Literal["none", "truncation", "penalty", "truncation_with_penalty"] = "penalty"


class Modeling(Document):
    cost_scale_factor: Positive | None = None
    inflow_non_negativity: InflowNonNegativity = InflowNonNegativity()


class Boundary(Document):
    path: str
    strict: bool = False


class Checkpointing(Document):
    enabled: bool | None = None
    initial_iteration: Count | None = None
    interval_iterations: Count | None = None
    store_basis: bool | None = None
    compress: bool | None = None


class PolicyConfig(Document):
    path: str = "./policy"
    mode: Literal["fresh", "warm_start", "resume"] = "fresh"
    boundary: Boundary | None = None
    checkpointing: Checkpointing = Checkpointing()


class SimulationConfig(Document):
    enabled: bool = False
    io_channel_capacity: Count = 64
    selection: Annotated[SampledScenarios | EnumeratedTree, Field(discriminator="method")] | None = None
    scenario_source: ScenarioSource | None = None
    solver: SolverProfileConfig | None = None


class Exports(Document):
    states: bool = False
    stochastic: bool = False
    fpha_deviation_points: bool = False


class Lipschitz(Document):
    mode: str | None = None
    fallback_value: float | None = None
    scale_factor: float | None = None


class UpperBoundEvaluation(Document):
    enabled: bool | None = None
    initial_iteration: Count | None = None
    interval_iterations: Count | None = None
    lipschitz: Lipschitz = Lipschitz()


class Estimation(Document):
    max_order: Count = 6
    order_selection: Literal["pacf", "pacf_annual"] = "pacf"
    min_observations_per_season: Count = 30
    max_coefficient_magnitude: float | None = None


class ConfigFile(File):
    training: TrainingConfig
    modeling: Modeling = Modeling()
    simulation: SimulationConfig = SimulationConfig()
    policy: PolicyConfig = PolicyConfig()
    exports: Exports = Exports()
    estimation: Estimation = Estimation()
    upper_bound_evaluation: UpperBoundEvaluation = UpperBoundEvaluation()
