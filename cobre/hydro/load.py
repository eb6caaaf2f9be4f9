"""Reading a case directory into a ``Case``, or into everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cobre.errors import ValidationError
from cobre.hydro.config import (
    CONFIG_FILE,
    blame_overrides,
    parse_config,
    policy_settings,
    simulation_settings,
    training_settings,
)
from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import Buses, Case, CorrelationGroup, Hydros, Lines, NonControllables, Thermals
from cobre.hydro.files import CaseFiles
from cobre.hydro.network import (
    BUSES_FILE,
    LINES_FILE,
    SOURCES_FILE,
    THERMALS_FILE,
    resolve_buses,
    resolve_lines,
    resolve_sources,
    resolve_thermals,
)
from cobre.hydro.plants import HYDROS_FILE, resolve_hydros
from cobre.hydro.resolve import Timeline
from cobre.hydro.schema_config import ConfigFile
from cobre.hydro.schema_study import InitialConditionsFile, PenaltiesFile, StagesFile
from cobre.hydro.schema_system import BusesFile, HydrosFile, LinesFile, SourcesFile, ThermalsFile
from cobre.hydro.stages import STAGES_FILE, resolve_stages
from cobre.hydro.support import refuse_files, refuse_settings
from cobre.hydro.uncertainty import resolve_correlation, resolve_openings

__all__ = ["load_case", "read_case"]


def load_case(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Case:
    """The case in the directory ``path``, valid and resolved.

    overrides: settings that replace those of ``config.json``, as dotted keys or nested dictionaries.
    Raises ValidationError with every problem found, whatever the files hold.
    """
    findings = Findings()
    case = read_case(Path(path), overrides, findings)
    if case is None or findings.errors:
        raise ValidationError.of(findings.errors, f"the case {path}")
    return case


def read_case(root: Path, overrides: Mapping[str, Any] | None, findings: Findings) -> Case | None:
    """The case in ``root``, None where something is wrong with it; what is wrong goes to ``findings``."""
    if not root.is_dir():
        findings.error(
            "MissingFile", str(root), "there is no such case directory",
            suggestion="give the folder that holds config.json",
        )  # fmt: skip
        return None
    files = CaseFiles(root, findings)
    data = files.json(CONFIG_FILE)
    config = None if findings.errors else parse_config(data, overrides, findings)
    refuse_files(files, findings)
    case = _read(files, config, findings)
    blame_overrides(overrides, findings)
    return None if findings.errors else case


def _read(files: CaseFiles, config: ConfigFile | None, findings: Findings) -> Case | None:
    stages = files.document(STAGES_FILE, StagesFile)
    system = _system(files)
    timeline = resolve_stages(stages, findings) if stages else None
    most = max((entry.num_openings for entry in stages.stages), default=1) if stages else 1
    training = training_settings(config, findings, most) if config else None
    if config:
        refuse_settings(config, findings)
    simulation = simulation_settings(config, findings) if config else None
    policy = policy_settings(config, findings) if config else None
    parts = _resolve(files, system, timeline, findings) if system and timeline else None
    if not (parts and timeline and config and training and simulation and policy):
        return None
    buses, hydros, sources = parts.buses, parts.hydros, parts.non_controllables
    return Case(
        path=files.root,
        name=files.root.resolve().name,
        stages=timeline.specs,
        buses=buses,
        lines=parts.lines,
        hydros=hydros,
        thermals=parts.thermals,
        non_controllables=sources,
        correlation=parts.correlation,
        inflow_method=config.modeling.inflow_non_negativity.method,
        opening_file=resolve_openings(files, config, hydros, buses, sources, timeline, findings),
        tree_seed=training.seed,
        training=training,
        simulation=simulation,
        simulation_enabled=config.simulation.enabled,
        policy=policy,
        file_hashes=files.hashes,
    )


@dataclass(frozen=True)
class _Documents:
    penalties: PenaltiesFile
    initial: InitialConditionsFile
    buses: BusesFile
    lines: LinesFile
    hydros: HydrosFile
    thermals: ThermalsFile
    sources: SourcesFile | None


def _system(files: CaseFiles) -> _Documents | None:
    """The documents that describe the system; all of them are read, so that all faults are found."""
    penalties = files.document("penalties.json", PenaltiesFile)
    initial = files.document("initial_conditions.json", InitialConditionsFile)
    buses = files.document(BUSES_FILE, BusesFile)
    lines = files.document(LINES_FILE, LinesFile)
    hydros = files.document(HYDROS_FILE, HydrosFile)
    thermals = files.document(THERMALS_FILE, ThermalsFile)
    sources = files.document(SOURCES_FILE, SourcesFile, required=False)
    if not (penalties and initial and buses and lines and hydros and thermals):
        return None
    return _Documents(penalties, initial, buses, lines, hydros, thermals, sources)


@dataclass(frozen=True)
class _System:
    buses: Buses
    lines: Lines
    hydros: Hydros
    thermals: Thermals
    non_controllables: NonControllables
    correlation: tuple[tuple[CorrelationGroup, ...], ...]


def _resolve(files: CaseFiles, given: _Documents, timeline: Timeline, findings: Findings) -> _System:
    bus = resolve_buses(files, given.buses, given.penalties, timeline, findings)
    hydro = resolve_hydros(files, given.hydros, given.penalties, given.initial, bus.ids, timeline, findings)
    source = resolve_sources(files, given.sources, given.penalties, bus.ids, timeline, findings)
    return _System(
        buses=bus,
        hydros=hydro,
        non_controllables=source,
        correlation=resolve_correlation(files, hydro.ids, bus.ids, source.ids, timeline, findings),
        lines=resolve_lines(files, given.lines, given.penalties, bus.ids, timeline, findings),
        thermals=resolve_thermals(files, given.thermals, bus.ids, timeline, findings),
    )
