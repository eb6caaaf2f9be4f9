"""Correlation between the noises, and openings that come from a file."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings, did_you_mean
from cobre.hydro.entities import Buses, CorrelationGroup, Hydros, NonControllables
from cobre.hydro.files import CaseFiles
from cobre.hydro.resolve import Timeline, locate, reference
from cobre.hydro.schema_config import ConfigFile, FileOpenings
from cobre.hydro.schema_study import CorrelationFile, CorrelationGroupEntry, CorrelationProfile
from cobre.hydro.tables import MAX_ROWS_REPORTED, Table, TableSpec, integer, real

__all__ = ["resolve_correlation", "resolve_openings"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Classes = dict[Literal["inflow", "load", "ncs"], IntArray]

CORRELATION_FILE = "scenarios/correlation.json"
_DEFAULT_PROFILE = "default"
_SYMMETRY = 1e-10
# Rounding of estimated matrices makes eigenvalues this far below zero; anything lower is no correlation.
_EIGENVALUE = -1e-6
OPENINGS = TableSpec(
    "scenarios/noise_openings.parquet",
    (
        integer("stage_id"), integer("opening_index", unsigned=True), integer("entity_index", unsigned=True),
        real("value"),
    ),
    ("stage_id", "opening_index", "entity_index"),
)  # fmt: skip


def resolve_correlation(
    files: CaseFiles, hydros: IntArray, buses: IntArray, sources: IntArray, timeline: Timeline, findings: Findings
) -> tuple[tuple[CorrelationGroup, ...], ...]:
    """The groups that hold in each stage: those of the profile scheduled for it, else of the default profile."""
    document = files.document(CORRELATION_FILE, CorrelationFile, required=False)
    if document is None:
        return ((),) * len(timeline)
    classes: Classes = {"inflow": hydros, "load": buses, "ncs": sources}
    profiles = {name: _profile(profile, name, classes, findings) for name, profile in document.profiles.items()}
    if _DEFAULT_PROFILE not in profiles and len(profiles) > 1:
        findings.error(
            "SchemaViolation", CORRELATION_FILE, f"{len(profiles)} profiles, and none is called {_DEFAULT_PROFILE!r}",
            field="profiles", suggestion=f"call the one that holds where no other is scheduled {_DEFAULT_PROFILE!r}",
        )  # fmt: skip
    chosen: dict[int, str] = {}
    for i, entry in enumerate(document.schedule or []):
        name, field = f"stage {entry.stage_id}", f"schedule[{i}]"
        reference(timeline.ids, entry.stage_id, "stage", CORRELATION_FILE, name, f"{field}.stage_id", findings)
        if entry.profile_name not in profiles:
            findings.error(
                "MissingReference", CORRELATION_FILE,
                f"refers to the profile {entry.profile_name[:80]!r}, which does not exist",
                entity=name, field=f"{field}.profile_name", value=entry.profile_name,
                suggestion=did_you_mean(entry.profile_name, profiles),
            )  # fmt: skip
        if entry.stage_id in chosen:
            findings.error("DuplicateId", CORRELATION_FILE, "it is scheduled twice", entity=name, field=field)
        chosen[entry.stage_id] = entry.profile_name
    fallback = profiles.get(_DEFAULT_PROFILE, next(iter(profiles.values())))
    return tuple(profiles.get(chosen.get(spec.id, _DEFAULT_PROFILE), fallback) for spec in timeline.specs)


def _profile(
    profile: CorrelationProfile, name: str, classes: Classes, findings: Findings
) -> tuple[CorrelationGroup, ...]:
    seen: set[tuple[str, int]] = set()
    groups = []
    for i, entry in enumerate(profile.correlation_groups):
        field = f"profiles.{name}.correlation_groups[{i}]"
        for member in entry.entities:
            if (member.type, member.id) in seen:
                findings.error(
                    "DuplicateId", CORRELATION_FILE, f"{member.type} {member.id} stands twice in the profile {name!r}",
                    entity=f"group {entry.name}", field=f"{field}.entities", value=member.id,
                    suggestion="the groups of a profile share no entity",
                )  # fmt: skip
            seen.add((member.type, member.id))
        group = _group(entry, field, classes, findings)
        if group is not None:
            groups.append(group)
    return tuple(groups)


def _group(entry: CorrelationGroupEntry, field: str, classes: Classes, findings: Findings) -> CorrelationGroup | None:
    name = f"group {entry.name}"
    kinds = sorted({member.type for member in entry.entities})
    if len(kinds) > 1:
        findings.error(
            "IncompatibleSettings", CORRELATION_FILE, f"a group mixes {' and '.join(kinds)}", entity=name,
            field=f"{field}.entities", suggestion="make a group of each class",
        )  # fmt: skip
    noun = {"inflow": "hydro", "load": "bus", "ncs": "ncs"}
    positions = [
        reference(classes[e.type], e.id, noun[e.type], CORRELATION_FILE, name, f"{field}.entities", findings)
        for e in entry.entities
    ]
    size = len(entry.entities)
    if len(entry.matrix) != size or any(len(row) != size for row in entry.matrix):
        findings.error(
            "CoverageMismatch", CORRELATION_FILE, f"the matrix is not of {size} rows and columns, one for each entity",
            entity=name, field=f"{field}.matrix",
        )  # fmt: skip
        return None
    matrix = np.array(entry.matrix, dtype=np.float64)
    faults = [
        (np.abs(matrix - matrix.T).max() > _SYMMETRY, "is not symmetric"),
        (np.abs(np.diag(matrix) - 1.0).max() > _SYMMETRY, "has a diagonal that is not 1 throughout"),
        (np.linalg.eigvalsh(matrix)[0] < _EIGENVALUE, "is not positive semidefinite: no variables correlate like that"),
    ]
    for wrong, message in faults:
        if wrong:
            findings.error(
                "OutOfRange", CORRELATION_FILE, f"the matrix {message}", entity=name, field=f"{field}.matrix"
            )
    return CorrelationGroup(kinds[0], np.array(positions, dtype=np.int64), matrix)


def resolve_openings(
    files: CaseFiles,
    config: ConfigFile,
    hydros: Hydros,
    buses: Buses,
    sources: NonControllables,
    timeline: Timeline,
    findings: Findings,
) -> tuple[FloatArray, ...] | None:
    """Per stage (openings, noise entities), where they come from a file; None where they are to be generated."""
    source = config.training.scenario_source
    if source is None or not isinstance(source.openings, FileOpenings):
        random = any(bool((std > 0.0).any()) for std in (hydros.inflow_std, buses.load_std, sources.std))
        if random:
            _refuse_shared_noise(timeline, findings)
        return None
    table = files.table(OPENINGS, required=True)
    if table is None:
        return None
    statistics = 0 if sources.has_statistics is None else int(sources.has_statistics.sum())
    random_loads = int((buses.load_std > 0.0).any(axis=0).sum())
    sizes = {"hydros": hydros.ids.size, "buses with random load": random_loads, "sources with statistics": statistics}
    return _trees(table, sizes, timeline, findings)


def _refuse_shared_noise(timeline: Timeline, findings: Findings) -> None:
    """Stages that share a season in one year share their noise in this format; draws here are independent."""
    seen: dict[tuple[int, int], int] = {}
    for spec in timeline.specs:
        if spec.season_id is None:
            continue
        first = seen.setdefault((spec.season_id, spec.start_date.year), spec.id)
        if first != spec.id:
            findings.error(
                "NotSupported", "stages.json",
                f"it shares season and year with stage {first}, and with them its noise: not supported",
                entity=f"stage {spec.id}", field="season_id", value=spec.season_id,
                suggestion="remove season_id and season_definitions, or give the openings in a file",
            )  # fmt: skip


def _trees(table: Table, sizes: dict[str, int], timeline: Timeline, findings: Findings) -> tuple[FloatArray, ...]:
    stage = locate(timeline.ids, table["stage_id"])
    for unknown in np.unique(table["stage_id"][stage < 0])[:MAX_ROWS_REPORTED].tolist():
        reference(timeline.ids, unknown, "stage", OPENINGS.file, f"stage {unknown}", "stage_id", findings)
    order = np.argsort(stage, kind="stable")
    edges = np.searchsorted(stage[order], np.arange(len(timeline) + 1))
    size = sum(sizes.values())
    trees = []
    for t, spec in enumerate(timeline.specs):
        rows = order[edges[t] : edges[t + 1]]
        opening, entity = table["opening_index"][rows], table["entity_index"][rows]
        wrong = _tree_fault(opening, entity, spec.openings, sizes)
        tree = np.zeros((spec.openings, size)) if wrong is None else np.zeros((0, size))
        if wrong is None:
            tree[opening, entity] = table["value"][rows]
        else:
            findings.error("CoverageMismatch", OPENINGS.file, wrong[1], entity=f"stage {spec.id}", field=wrong[0])
        trees.append(tree)
    return tuple(trees)


def _tree_fault(opening: IntArray, entity: IntArray, openings: int, sizes: dict[str, int]) -> tuple[str, str] | None:
    size = sum(sizes.values())
    what = " + ".join(f"{count} {name}" for name, count in sizes.items())
    if entity.size and (entity.min() < 0 or entity.max() >= size):
        return "entity_index", f"names entity {int(entity.max())} of {size} ({what})"
    if opening.size and (opening.min() < 0 or opening.max() >= openings):
        return "opening_index", f"names opening {int(opening.max())}, but stages.json gives the stage {openings}"
    if opening.size != openings * size:
        return "value", f"{opening.size} values, not one for each of {openings} openings and {size} entities ({what})"
    return None
