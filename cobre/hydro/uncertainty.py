"""Correlation between the noises, and openings that come from a file."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import Buses, CorrelationGroup, Hydros, NonControllables
from cobre.hydro.files import CaseFiles
from cobre.hydro.resolve import Timeline, reference
from cobre.hydro.schema_config import ConfigFile, FileOpenings
from cobre.hydro.schema_study import CorrelationFile, CorrelationGroupEntry
from cobre.hydro.tables import Table, TableSpec, integer, real

__all__ = ["resolve_correlation", "resolve_openings"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CORRELATION_FILE = "scenarios/correlation.json"
OPENINGS = TableSpec(
    "scenarios/noise_openings.parquet",
    (integer("stage_id"), integer("opening_index"), integer("entity_index"), real("value")),
    ("stage_id", "opening_index", "entity_index"),
)


def resolve_correlation(
    files: CaseFiles, hydros: IntArray, buses: IntArray, sources: IntArray, timeline: Timeline, findings: Findings
) -> tuple[tuple[CorrelationGroup, ...], ...]:
    document = files.document(CORRELATION_FILE, CorrelationFile, required=False)
    if document is None:
        return ((),) * len(timeline)
    classes = {"inflow": hydros, "load": buses, "ncs": sources}
    profiles = {
        name: tuple(
            group
            for entry in profile.correlation_groups
            if (group := _group(entry, classes, f"profiles.{name}", findings)) is not None
        )
        for name, profile in document.profiles.items()
    }
    chosen = {entry.stage_id: entry.profile_name for entry in document.schedule or []}
    fallback = profiles.get("default", next(iter(profiles.values()), ()))
    return tuple(profiles.get(chosen.get(spec.id, ""), fallback) for spec in timeline.specs)


def _group(
    entry: CorrelationGroupEntry, classes: dict[str, IntArray], field: str, findings: Findings
) -> CorrelationGroup | None:
    if not entry.entities:
        return None
    kind = entry.entities[0].type
    positions = [
        reference(classes[e.type], e.id, e.type, CORRELATION_FILE, f"group {entry.name}", field, findings)
        for e in entry.entities
    ]
    return CorrelationGroup(kind, np.array(positions, dtype=np.int64), np.array(entry.matrix, dtype=np.float64))


def resolve_openings(
    files: CaseFiles,
    config: ConfigFile,
    hydros: Hydros,
    buses: Buses,
    sources: NonControllables,
    timeline: Timeline,
    findings: Findings,
) -> tuple[tuple[FloatArray, ...] | None, Timeline]:
    """The openings per stage where they come from a file, and the stages with the number of them."""
    source = config.training.scenario_source
    if source is None or not isinstance(source.openings, FileOpenings):
        return None, timeline
    table = files.table(OPENINGS, required=True)
    if table is None:
        return None, timeline
    random_buses = int((buses.load_std > 0.0).any(axis=0).sum())
    random_sources = int((sources.std > 0.0).any(axis=0).sum())
    size = hydros.ids.size + random_buses + random_sources
    openings = _tree(table, size, timeline, findings)
    specs = tuple(
        dataclasses.replace(spec, openings=values.shape[0])
        for spec, values in zip(timeline.specs, openings, strict=True)
    )
    return openings, Timeline(specs, timeline.ids)


def _tree(table: Table, size: int, timeline: Timeline, findings: Findings) -> tuple[FloatArray, ...]:
    trees: list[FloatArray] = []
    for stage in timeline.ids:
        rows = table["stage_id"] == stage
        opening, entity = table["opening_index"][rows], table["entity_index"][rows]
        count = int(opening.max(initial=-1)) + 1
        if opening.size != count * size or (entity >= size).any() or (opening < 0).any() or (entity < 0).any():
            findings.error(
                "CoverageMismatch", OPENINGS.file,
                f"{opening.size} values, not one for each of {count} openings and {size} noise entities",
                entity=f"stage {stage}", field="entity_index",
            )  # fmt: skip
            trees.append(np.zeros((0, size)))
            continue
        values = np.empty((count, size))
        values[opening, entity] = table["value"][rows]
        trees.append(values)
    return tuple(trees)
