"""What the format can say and a run here cannot do: refused by name, never passed over.

Defaults and empty lists of such features are harmless and accepted.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cobre.errors import DiagnosticKind
from cobre.hydro.diagnostics import Findings, closest
from cobre.hydro.files import CaseFiles
from cobre.hydro.schema_config import ConfigFile, ScenarioSource, SolverProfileConfig

__all__ = ["refuse_files", "refuse_policy", "refuse_settings", "refuse_simulation", "refuse_training"]

CONFIG_FILE = "config.json"
_READ = (
    "config.json", "penalties.json", "stages.json", "initial_conditions.json", "system/buses.json",
    "system/lines.json", "system/hydros.json", "system/thermals.json", "system/non_controllable_sources.json",
    "system/hydro_geometry.parquet", "system/hydro_production_models.json",
    "scenarios/inflow_seasonal_stats.parquet", "scenarios/load_seasonal_stats.parquet",
    "scenarios/load_factors.json", "scenarios/non_controllable_stats.parquet",
    "scenarios/non_controllable_factors.json", "scenarios/correlation.json", "scenarios/noise_openings.parquet",
    "constraints/thermal_bounds.parquet", "constraints/hydro_bounds.parquet",
    "constraints/hydro_unit_group_bounds.parquet", "constraints/line_bounds.parquet",
    "constraints/ncs_bounds.parquet", "constraints/penalty_overrides_bus.parquet",
    "constraints/penalty_overrides_line.parquet", "constraints/penalty_overrides_hydro.parquet",
    "constraints/penalty_overrides_ncs.parquet",
)  # fmt: skip
_REFUSED_TABLES = {
    "system/fpha_hyperplanes.parquet": "the FPHA production model",
    "system/hydro_energy_productivity.parquet": "productivity by energy table",
    "system/tailrace_curves.parquet": "tailrace curves",
    "scenarios/inflow_ar_coefficients.parquet": "autoregressive inflow",
    "scenarios/inflow_annual_component.parquet": "the annual component of inflow",
    "scenarios/inflow_history.parquet": "estimation from inflow history",
    "scenarios/external_inflow_scenarios.parquet": "external inflow scenarios",
    "scenarios/external_load_scenarios.parquet": "external load scenarios",
    "scenarios/external_ncs_scenarios.parquet": "external scenarios of sources",
    "constraints/pumping_bounds.parquet": "pumping stations",
    "constraints/contract_bounds.parquet": "energy contracts",
    "constraints/generic_constraint_bounds.parquet": "generic constraints",
}
_REFUSED_LISTS = {
    "system/pumping_stations.json": ("pumping_stations", "pumping stations"),
    "system/energy_contracts.json": ("contracts", "energy contracts"),
    "constraints/generic_constraints.json": ("constraints", "generic constraints"),
    "constraints/generic_parameters.json": ("scalar_parameters", "parameters of generic constraints"),
    "post_study_stages.json": ("stages", "stages after the study"),
}
_MOVED = {
    "constraints/exchange_factors.json": "give the capacity of blocks in constraints/line_bounds.parquet (block_id)",
    "system/scalar_parameters.json": "parameters stand in constraints/generic_parameters.json",
}
_FOLDERS = ("", "system", "scenarios", "constraints")


def refuse_files(files: CaseFiles, findings: Findings) -> None:
    """Reports files of the format that hold what is not supported, and files that no one reads."""
    for file, feature in _REFUSED_TABLES.items():
        content = files.read(file, required=False)
        if content is not None and _rows(content) != 0:
            _not_supported(file, feature, None, findings, "remove the file")
    for file, (key, feature) in _REFUSED_LISTS.items():
        data = files.json(file, required=False) if files.exists(file) else {}
        if data is not None and (not isinstance(data, dict) or _given(data)):
            _not_supported(file, feature, key, findings, "leave the list empty, or remove the file")
    for file, advice in _MOVED.items():
        if files.exists(file):
            _not_supported(file, "this file", None, findings, advice)
    _warn_of_strangers(files, findings)


def _rows(content: bytes) -> int:
    """Rows of a Parquet file, -1 where it is none."""
    try:
        return int(pq.ParquetFile(pa.BufferReader(content)).metadata.num_rows)
    except (pa.ArrowException, OSError, ValueError):
        return -1


def _given(data: dict[str, Any]) -> bool:
    return any(value for name, value in data.items() if name != "$schema")


def _warn_of_strangers(files: CaseFiles, findings: Findings) -> None:
    """A misspelt name would make an optional file disappear without a word."""
    known = [*_READ, *_REFUSED_TABLES, *_REFUSED_LISTS, *_MOVED]
    for folder in _FOLDERS:
        for file in files.listing(folder):
            if file not in known and file.endswith((".json", ".parquet")):
                meant = closest(file, known)
                findings.warn(
                    "SchemaViolation", file, "this file is not read",
                    suggestion=f"did you mean {meant!r}?" if meant else None,
                )  # fmt: skip


def refuse_training(config: ConfigFile, findings: Findings) -> None:
    """Reports what the training is asked for and cannot do."""
    training = config.training
    refused = [
        (not training.enabled, "training.enabled", "a run without training", "simulate a saved policy instead"),
        (
            training.solver.retry_time_budget_seconds != 30.0, "training.solver.retry_time_budget_seconds",
            "a time limit on retries, by which results would depend on the clock", "limit retry_max_attempts",
        ),
    ]  # fmt: skip
    _refuse(refused, findings)
    _refuse_scaling(training.solver.forward, "training.solver.forward", findings)
    _refuse_scaling(training.solver.backward, "training.solver.backward", findings)
    _refuse_schemes(training.scenario_source, "training.scenario_source", findings)


def refuse_simulation(config: ConfigFile, findings: Findings) -> None:
    """Reports what the simulation is asked for and cannot do."""
    _refuse_scaling(config.simulation.solver, "simulation.solver", findings)
    _refuse_schemes(config.simulation.scenario_source, "simulation.scenario_source", findings)


def refuse_policy(config: ConfigFile, findings: Findings) -> None:
    """Reports what is asked of saved policies and checkpoints and cannot be."""
    policy, saving = config.policy, config.policy.checkpointing
    without = "checkpoints without bases, from which a run would go on to other bits"
    refused = [
        (policy.boundary is not None, "policy.boundary", "boundary cuts", "remove it"),
        (saving.store_basis is False, "policy.checkpointing.store_basis", without, "leave it out"),
    ]
    _refuse(refused, findings)
    if saving.enabled and not saving.interval_iterations:
        findings.error(
            "OutOfRange", CONFIG_FILE, "interval_iterations must be at least 1 where checkpoints are enabled",
            field="policy.checkpointing", value=saving.interval_iterations,
        )  # fmt: skip
    if not policy.path.strip():
        findings.error("SchemaViolation", CONFIG_FILE, "must name a folder", field="policy.path", value=policy.path)


def refuse_settings(config: ConfigFile, findings: Findings) -> None:
    """Reports what the other settings ask for and is not supported, and those that change nothing."""
    exports = config.exports
    refused = [
        (exports.states, "exports.states", "the export of states", "set it to false"),
        (exports.stochastic, "exports.stochastic", "the export of stochastic data", "set it to false"),
        (exports.fpha_deviation_points, "exports.fpha_deviation_points", "FPHA exports", "set it to false"),
        (
            bool(config.upper_bound_evaluation.enabled), "upper_bound_evaluation.enabled",
            "an upper bound by inner approximation", "set it to false",
        ),
    ]  # fmt: skip
    _refuse(refused, findings)
    _warn_of_idle(config, findings)


def _refuse(features: list[tuple[bool, str, str, str]], findings: Findings) -> None:
    for present, field, feature, advice in features:
        if present:
            _not_supported(CONFIG_FILE, feature, field, findings, advice)


def _refuse_scaling(profile: SolverProfileConfig | None, field: str, findings: Findings) -> None:
    if profile is not None and profile.scale == "solver_scaling":
        _not_supported(CONFIG_FILE, "scaling by the solver", f"{field}.scale", findings, "leave it off")


def _refuse_schemes(source: ScenarioSource | None, field: str, findings: Findings) -> None:
    if source is None:
        return
    for name, chosen in (("inflow", source.inflow), ("load", source.load), ("ncs", source.ncs)):
        if chosen is not None and chosen.scheme != "in_sample":
            where = f"{field}.{name}.scheme"
            _not_supported(CONFIG_FILE, f"the scheme {chosen.scheme}", where, findings, "use in_sample")
    if source.historical_years is not None:
        _not_supported(CONFIG_FILE, "historical years", f"{field}.historical_years", findings, "remove them")


def _warn_of_idle(config: ConfigFile, findings: Findings) -> None:
    own, common = config.simulation.scenario_source, config.training.scenario_source
    idle: list[tuple[bool, DiagnosticKind, str, str]] = [
        (
            config.modeling.cost_scale_factor is not None, "IncompatibleSettings", "modeling.cost_scale_factor",
            "costs are scaled automatically: this changes nothing",
        ),
        (
            config.policy.path != "./policy" and config.policy.mode == "fresh", "IncompatibleSettings", "policy.path",
            "it is read from in the modes warm_start and resume alone; a policy goes to the output directory",
        ),
        (
            own is not None and own.openings is not None and own.openings != (common.openings if common else None),
            "IncompatibleSettings", "simulation.scenario_source.openings",
            "the simulation draws from the openings of the training: this changes nothing",
        ),
    ]  # fmt: skip
    for present, kind, field, message in idle:
        if present:
            findings.warn(kind, CONFIG_FILE, message, field=field)


def _not_supported(file: str, feature: str, field: str | None, findings: Findings, advice: str) -> None:
    findings.error("NotSupported", file, f"{feature}: not supported", field=field, suggestion=advice)
