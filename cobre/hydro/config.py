"""``config.json`` with its overrides, and the settings of training and simulation that it asks for."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError as SchemaError

from cobre.errors import ValidationError
from cobre.hydro.diagnostics import Findings
from cobre.hydro.files import report_schema_error
from cobre.hydro.schema_config import (
    BoundStallingRule,
    ByNode,
    ConfigFile,
    DominationMethod,
    DynamicMethod,
    IterationLimitRule,
    Level1Method,
    LimitedMemoryMethod,
    SampledPasses,
    SampledScenarios,
    SolverProfileConfig,
    StoppingRuleConfig,
    TimeLimitRule,
)
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
from cobre.sddp.stopping import BoundStalling, Gap, IterationLimit, StoppingRule, TimeLimit

__all__ = ["CONFIG_FILE", "parse_config", "simulation_settings", "training_settings"]

CONFIG_FILE = "config.json"
SETTINGS = "settings"
_DEFAULT_SEED = 42
_DEFAULT_SCENARIOS = 2000


def parse_config(data: Any, overrides: Mapping[str, Any] | None, findings: Findings) -> ConfigFile | None:
    """``data`` (the parsed file) with ``overrides`` merged into it, checked; None where it does not conform."""
    before = len(findings.errors)
    merged = _merge(data, overrides or {}, findings)
    if len(findings.errors) > before:
        return None
    try:
        return ConfigFile.model_validate(merged)
    except SchemaError as error:
        report_schema_error(error, ConfigFile, merged, CONFIG_FILE, findings)
        return None


def _merge(data: Any, overrides: Mapping[str, Any], findings: Findings) -> Any:
    if not overrides or not isinstance(data, dict):
        return data
    merged = copy.deepcopy(data)
    for key, value in overrides.items():
        target = merged
        *path, last = str(key).split(".")
        for part in path:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                findings.error("SchemaViolation", SETTINGS, f"{part!r} is no object that holds settings", field=key)
                break
        else:
            target[last] = _merge(target.get(last, {}), value, findings) if isinstance(value, Mapping) else value
    return merged


def training_settings(config: ConfigFile, findings: Findings) -> TrainingSettings | None:
    """The settings of the training run, None where they contradict each other."""
    training = config.training
    scheduler = training.parallelism.backward_scheduler
    selection = training.selection
    try:
        return TrainingSettings(
            passes=Sampled(selection.forward_passes) if isinstance(selection, SampledPasses) else Enumerated(),
            stopping=tuple(_rule(rule) for rule in training.stopping_rules),
            stopping_mode=training.stopping_mode,
            seed=_seed(config),
            cut_selection=_cut_selection(config),
            forward=_profile(training.solver.forward),
            backward=_profile(training.solver.backward),
            retry_limit=training.solver.retry_max_attempts,
            openings_per_unit=scheduler.block_size if isinstance(scheduler, ByNode) else None,
        )
    except ValidationError as error:
        findings.error(error.kind, CONFIG_FILE, error.message, field="training")  # type: ignore[arg-type]
        return None


def simulation_settings(config: ConfigFile, findings: Findings) -> SimulationSettings | None:
    """The settings of the simulation, None where they contradict each other."""
    selection = config.simulation.selection
    count = selection.num_scenarios if isinstance(selection, SampledScenarios) else _DEFAULT_SCENARIOS
    enumerated = selection is not None and not isinstance(selection, SampledScenarios)
    return SimulationSettings(
        scenarios=Enumerated() if enumerated else Sampled(count),
        seed=_seed(config),
        solver=_profile(config.simulation.solver),
        retry_limit=config.training.solver.retry_max_attempts,
    )


def _seed(config: ConfigFile) -> int:
    seed = config.training.tree_seed
    return _DEFAULT_SEED if seed is None else abs(seed)


def _rule(rule: StoppingRuleConfig) -> StoppingRule:
    if isinstance(rule, IterationLimitRule):
        return IterationLimit(rule.limit)
    if isinstance(rule, TimeLimitRule):
        return TimeLimit(rule.seconds)
    if isinstance(rule, BoundStallingRule):
        return BoundStalling(rule.iterations, rule.tolerance)
    return Gap(rule.tolerance, rule.relative_tolerance)


def _cut_selection(config: ConfigFile) -> CutSelection:
    chosen = config.training.cut_selection
    method: Level1 | LimitedMemory | Domination | Dynamic | None = None
    match chosen.selection:
        case Level1Method() as m:
            method = Level1(m.check_frequency, m.tie_tolerance)
        case LimitedMemoryMethod() as m:
            method = LimitedMemory(m.check_frequency, m.tie_tolerance)
        case DominationMethod() as m:
            method = Domination(m.domination_tolerance, m.check_frequency)
        case DynamicMethod() as m:
            method = Dynamic(
                m.start_iteration, m.seed_window, m.max_added_per_round, m.violation_tolerance, m.candidate_recency
            )
        case None:
            method = None
    return CutSelection(method, chosen.max_active_per_stage, chosen.row_activity_tolerance or 0.0)


def _profile(config: SolverProfileConfig | None) -> SolverProfile:
    if config is None:
        return SolverProfile()
    values = {name: value for name, value in config.model_dump(exclude={"scale"}).items() if value is not None}
    return SolverProfile(**values)
