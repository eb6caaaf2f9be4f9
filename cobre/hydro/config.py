"""``config.json`` with its overrides, and the settings of training and simulation that it asks for."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError as SchemaError

from cobre.errors import ValidationError
from cobre.hydro.diagnostics import Findings
from cobre.hydro.files import report_schema_error
from cobre.hydro.schema_config import (
    AUTO_PASSES,
    BoundStallingRule,
    ByNode,
    ConfigFile,
    DominationMethod,
    DynamicMethod,
    EnumeratedTree,
    IterationLimitRule,
    Level1Method,
    LimitedMemoryMethod,
    SampledPasses,
    SampledScenarios,
    SolverProfileConfig,
    StoppingRuleConfig,
    TimeLimitRule,
)
from cobre.hydro.support import refuse_policy, refuse_simulation, refuse_training
from cobre.sddp.continuing import Checkpointing, PolicySettings
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

__all__ = [
    "CONFIG_FILE",
    "blame_overrides",
    "parse_config",
    "policy_settings",
    "simulation_settings",
    "training_settings",
]

CONFIG_FILE = "config.json"
SETTINGS = "settings"
_DEFAULT_SEED = 42
_DEFAULT_SCENARIOS = 2000
_PAIRS, _FEWEST, _MOST = 240, 4, 32  # of trial points and openings at a stage, and forward passes, where it is "auto"
_OPENINGS = 15  # where it is not known how many there are
_TAGS = ("method", "type", "source")


def parse_config(data: Any, overrides: Mapping[str, Any] | None, findings: Findings) -> ConfigFile | None:
    """``data`` (the parsed file) with ``overrides`` merged into it, checked; None where it does not conform.

    A dotted key sets what stands there, a dictionary at a plain key is merged with what the file holds; an object
    that is given another ``method``, ``type`` or ``source`` is replaced, since the old one's fields are not its own.
    """
    before = len(findings.errors)
    merged = copy.deepcopy(data)
    for key, value in (overrides or {}).items():
        if not isinstance(key, str) or not all(key.split(".")):
            findings.error(
                "SchemaViolation", SETTINGS, "a setting is named by a dotted key", field=str(key)[:80], value=key
            )
        elif isinstance(merged, dict):
            _set(merged, key, value, findings)
    if len(findings.errors) > before:
        return None
    try:
        return ConfigFile.model_validate(merged)
    except SchemaError as error:
        report_schema_error(error, ConfigFile, merged, CONFIG_FILE, findings)
        return None


def _set(merged: dict[str, Any], key: str, value: Any, findings: Findings) -> None:
    *path, last = key.split(".")
    target: Any = merged
    for part in path:
        if isinstance(target, dict) and (part not in target or target[part] is None):
            target[part] = {}
        target = target.get(part) if isinstance(target, dict) else None
    if not isinstance(target, dict):
        findings.error("SchemaViolation", SETTINGS, "there are no settings below this one", field=key)
    elif path:
        target[last] = _plain(value)
    else:
        target[last] = _merged(target.get(last), value)


def _plain(value: Any) -> Any:
    """Mappings and tuples as JSON has them."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, Mapping):
        return _plain(new)
    if any(tag in new and new[tag] != old.get(tag) for tag in _TAGS):
        return _plain(new)
    return old | {key: _merged(old.get(key), value) for key, value in new.items()}


def blame_overrides(overrides: Mapping[str, Any] | None, findings: Findings) -> None:
    """Diagnostics about fields that an override has set are moved from ``config.json`` to ``settings``."""
    paths = list(_paths(overrides or {}, ""))
    for found in (findings.errors, findings.warnings):
        for i, diagnostic in enumerate(found):
            field = diagnostic.field or ""
            inside = any(field == path or field.startswith((f"{path}.", f"{path}[")) for path in paths)
            around = bool(field) and any(path.startswith(f"{field}.") for path in paths)
            if diagnostic.file == CONFIG_FILE and (inside or around):
                found[i] = dataclasses.replace(diagnostic, file=SETTINGS)


def _paths(overrides: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in overrides.items():
        # an object set by a dotted key, or by its tag, is the override's as a whole
        merged = isinstance(value, Mapping) and not any(tag in value for tag in _TAGS)
        if merged and "." not in str(key):
            yield from _paths(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def training_settings(config: ConfigFile, findings: Findings, openings: int | None = None) -> TrainingSettings | None:
    """The settings of the training run, None where they contradict each other or ask for what is not supported.

    openings: the most that a stage has, where it is known: the scheduler by_node splits a stage's openings in two
        where it gives no size of block.
    """
    refuse_training(config, findings)
    training = config.training
    selection = training.selection
    try:
        return TrainingSettings(
            passes=_passes(selection, openings),
            stopping=tuple(_rule(rule) for rule in training.stopping_rules),
            stopping_mode=training.stopping_mode,
            seed=_seed(config),
            cut_selection=_cut_selection(config),
            forward=_profile(training.solver.forward),
            backward=_profile(training.solver.backward),
            retry_limit=training.solver.retry_max_attempts,
            openings_per_unit=_unit(config, openings),
            dual_reuse=training.dual_reuse.mode,
            kept_vertices=training.dual_reuse.kept_vertices,
            kept_vertices_bytes=training.dual_reuse.kept_megabytes << 20,
        )
    except ValidationError as error:
        field = "training.stopping_rules"
        findings.error(error.kind, CONFIG_FILE, error.message, field=field)  # type: ignore[arg-type]
        return None


def _passes(selection: SampledPasses | EnumeratedTree, openings: int | None) -> Sampled | Enumerated:
    """``auto``: as many as give a stage some 240 pairs of trial point and opening, at least 4 and at most 32.

    With fewer, what is done once a stage and iteration weighs more; with more, cuts come from trial points that an
    earlier iteration's cuts would have moved (docs/reuse.md has the measurements).
    """
    if not isinstance(selection, SampledPasses):
        return Enumerated()
    if selection.forward_passes == AUTO_PASSES:
        return Sampled(max(_FEWEST, min(_MOST, _PAIRS // (openings or _OPENINGS))))
    return Sampled(selection.forward_passes)


def _unit(config: ConfigFile, openings: int | None) -> int | None:
    scheduler = config.training.parallelism.backward_scheduler
    if not isinstance(scheduler, ByNode):
        return None
    half = None if openings is None else -(-openings // 2)
    return half if scheduler.block_size is None else scheduler.block_size


def simulation_settings(config: ConfigFile, findings: Findings) -> SimulationSettings:
    """The settings of the simulation; what they ask for and is not supported goes to ``findings``."""
    refuse_simulation(config, findings)
    selection = config.simulation.selection
    count = selection.num_scenarios if isinstance(selection, SampledScenarios) else _DEFAULT_SCENARIOS
    enumerated = selection is not None and not isinstance(selection, SampledScenarios)
    return SimulationSettings(
        scenarios=Enumerated() if enumerated else Sampled(count),
        seed=_seed(config),
        solver=_profile(config.simulation.solver),
        retry_limit=config.training.solver.retry_max_attempts,
    )


def policy_settings(config: ConfigFile, findings: Findings) -> PolicySettings:
    """How a training begins and is saved; what is asked of that and is not supported goes to ``findings``."""
    refuse_policy(config, findings)
    policy, saving = config.policy, config.policy.checkpointing
    checkpointing = None
    if saving.enabled and saving.interval_iterations:
        checkpointing = Checkpointing(saving.interval_iterations, saving.initial_iteration, bool(saving.compress))
    return PolicySettings(policy.mode, policy.path, checkpointing)


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
