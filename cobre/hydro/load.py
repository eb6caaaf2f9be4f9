"""Reading a case directory into a ``Case``, or into everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cobre.errors import ValidationError
from cobre.hydro.config import CONFIG_FILE, parse_config, simulation_settings, training_settings
from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import Case
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
from cobre.hydro.schema_study import InitialConditionsFile, PenaltiesFile, StagesFile
from cobre.hydro.schema_system import BusesFile, HydrosFile, LinesFile, SourcesFile, ThermalsFile
from cobre.hydro.stages import STAGES_FILE, resolve_stages
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
    """The case in ``root``, None where it is too broken to resolve; what is wrong goes to ``findings``."""
    if not root.is_dir():
        findings.error("MissingFile", str(root), "the case directory does not exist or is no directory")
        return None
    files = CaseFiles(root, findings)
    data = files.json(CONFIG_FILE)
    config = None if data is None else parse_config(data, overrides, findings)
    stages = files.document(STAGES_FILE, StagesFile)
    penalties = files.document("penalties.json", PenaltiesFile)
    initial = files.document("initial_conditions.json", InitialConditionsFile)
    buses = files.document(BUSES_FILE, BusesFile)
    lines = files.document(LINES_FILE, LinesFile)
    hydros = files.document(HYDROS_FILE, HydrosFile)
    thermals = files.document(THERMALS_FILE, ThermalsFile)
    sources = files.document(SOURCES_FILE, SourcesFile, required=False)
    training = training_settings(config, findings) if config else None
    simulation = simulation_settings(config, findings) if config else None
    timeline = resolve_stages(stages, findings) if stages else None
    if not (timeline and penalties and initial and buses and lines and hydros and thermals):
        return None
    bus = resolve_buses(files, buses, penalties, timeline, findings)
    hydro = resolve_hydros(files, hydros, penalties, initial, bus.ids, timeline, findings)
    source = resolve_sources(files, sources, penalties, bus.ids, timeline, findings)
    line = resolve_lines(files, lines, penalties, bus.ids, timeline, findings)
    thermal = resolve_thermals(files, thermals, bus.ids, timeline, findings)
    correlation = resolve_correlation(files, hydro.ids, bus.ids, source.ids, timeline, findings)
    if not (config and training and simulation):
        return None
    openings, timeline = resolve_openings(files, config, hydro, bus, source, timeline, findings)
    if findings.errors:
        return None
    return Case(
        path=root,
        name=root.resolve().name,
        stages=timeline.specs,
        buses=bus,
        lines=line,
        hydros=hydro,
        thermals=thermal,
        non_controllables=source,
        correlation=correlation,
        inflow_method=config.modeling.inflow_non_negativity.method,
        opening_file=openings,
        tree_seed=training.seed,
        training=training,
        simulation=simulation,
        simulation_enabled=config.simulation.enabled,
        file_hashes=files.hashes,
    )
