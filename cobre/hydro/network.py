"""Buses, lines, thermals and non-controllable sources in columns, every stage's value resolved."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import Buses, Lines, NonControllables, Thermals
from cobre.hydro.files import CaseFiles
from cobre.hydro.resolve import (
    Overrides,
    Timeline,
    by_id,
    check_order,
    check_service_dates,
    combine,
    in_service,
    reference,
    spread,
)
from cobre.hydro.schema_study import BlockFactor, DeficitSegment, LoadFactorsFile, PenaltiesFile, SourceFactorsFile
from cobre.hydro.schema_system import BusesFile, Entity, LinesFile, SourcesFile, ThermalsFile
from cobre.hydro.tables import TableSpec, integer, optional, real

__all__ = [
    "BUSES_FILE",
    "LINES_FILE",
    "SOURCES_FILE",
    "THERMALS_FILE",
    "check_segments",
    "resolve_buses",
    "resolve_lines",
    "resolve_sources",
    "resolve_thermals",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BUSES_FILE = "system/buses.json"
LINES_FILE = "system/lines.json"
THERMALS_FILE = "system/thermals.json"
SOURCES_FILE = "system/non_controllable_sources.json"
LOAD_FACTORS_FILE = "scenarios/load_factors.json"
SOURCE_FACTORS_FILE = "scenarios/non_controllable_factors.json"

LOAD_STATS = TableSpec(
    "scenarios/load_seasonal_stats.parquet",
    (integer("bus_id"), integer("stage_id"), real("mean_mw"), real("std_mw", 0.0)),
    ("bus_id", "stage_id"),
)
SOURCE_STATS = TableSpec(
    "scenarios/non_controllable_stats.parquet",
    (integer("ncs_id"), integer("stage_id"), real("mean", 0.0, 1.0), real("std", 0.0)),
    ("ncs_id", "stage_id"),
)
BUS_PENALTIES = TableSpec(
    "constraints/penalty_overrides_bus.parquet",
    (integer("bus_id"), integer("stage_id"), *optional("excess_cost", positive=True)),
    ("bus_id", "stage_id"),
)
LINE_PENALTIES = TableSpec(
    "constraints/penalty_overrides_line.parquet",
    (integer("line_id"), integer("stage_id"), *optional("exchange_cost", positive=True)),
    ("line_id", "stage_id"),
)
SOURCE_PENALTIES = TableSpec(
    "constraints/penalty_overrides_ncs.parquet",
    (integer("ncs_id"), integer("stage_id"), *optional("curtailment_cost", positive=True)),
    ("ncs_id", "stage_id"),
)
LINE_BOUNDS = TableSpec(
    "constraints/line_bounds.parquet",
    (
        integer("line_id"), integer("stage_id"), *optional("block_id", integer=True),
        *optional("direct_mw", "reverse_mw", minimum=0.0),
    ),
    ("line_id", "stage_id", "block_id"),
)  # fmt: skip
THERMAL_BOUNDS = TableSpec(
    "constraints/thermal_bounds.parquet",
    (
        integer("thermal_id"), integer("stage_id"), *optional("block_id", integer=True),
        *optional("min_generation_mw", "max_generation_mw", "cost_per_mwh", minimum=0.0),
    ),
    ("thermal_id", "stage_id", "block_id"),
)  # fmt: skip
SOURCE_BOUNDS = TableSpec(
    "constraints/ncs_bounds.parquet",
    (integer("ncs_id"), integer("stage_id"), real("available_generation_mw", 0.0)),
    ("ncs_id", "stage_id"),
)


def _ids(entries: Sequence[Entity]) -> IntArray:
    return np.array([entry.id for entry in entries], dtype=np.int64)


def check_segments(segments: Sequence[DeficitSegment], file: str, entity: str | None, findings: Findings) -> None:
    """Deficit costs rise from segment to segment, and the last segment alone is unbounded."""
    for i, (one, other) in enumerate(pairwise(segments)):
        if one.depth_mw is None:
            findings.error(
                "SchemaViolation", file, "only the last deficit segment is unbounded", entity=entity,
                field=f"deficit_segments[{i}].depth_mw", suggestion="give it a depth",
            )  # fmt: skip
        if other.cost <= one.cost:
            findings.error(
                "OutOfRange", file, f"the cost {other.cost:g} is not above that of the segment before, {one.cost:g}",
                entity=entity, field=f"deficit_segments[{i + 1}].cost", value=other.cost,
            )  # fmt: skip
    if segments[-1].depth_mw is not None:
        findings.error(
            "SchemaViolation", file, "the last deficit segment must be unbounded", entity=entity,
            field=f"deficit_segments[{len(segments) - 1}].depth_mw", value=segments[-1].depth_mw,
            suggestion="set its depth_mw to null",
        )  # fmt: skip


def resolve_buses(
    files: CaseFiles, document: BusesFile, penalties: PenaltiesFile, timeline: Timeline, findings: Findings
) -> Buses:
    """Load, deficit and excess of every bus. What is wrong goes to ``findings``."""
    entries = by_id(document.buses, BUSES_FILE, "bus", findings)
    ids, stages = _ids(entries), len(timeline)
    check_service_dates(entries, BUSES_FILE, "bus", findings)
    check_segments(penalties.bus.deficit_segments, "penalties.json", "bus", findings)
    for entry in entries:
        if entry.deficit_segments:
            check_segments(entry.deficit_segments, BUSES_FILE, f"bus {entry.id}", findings)
    segments = [entry.deficit_segments or penalties.bus.deficit_segments for entry in entries]
    stats = Overrides(files.table(LOAD_STATS), "bus_id", "bus", ids, timeline, findings, lenient=True)
    stats.report_gaps(np.ones((stages, ids.size), dtype=bool))
    costs = Overrides(files.table(BUS_PENALTIES), "bus_id", "bus", ids, timeline, findings)
    factors = files.document(LOAD_FACTORS_FILE, LoadFactorsFile, required=False)
    rows = [(f.bus_id, f.stage_id, f.block_factors) for f in factors.load_factors] if factors else []
    return Buses(
        ids=ids,
        names=tuple(entry.name for entry in entries),
        segment_depth=tuple(_depths(s) for s in segments),
        segment_cost=tuple(np.array([part.cost for part in s], dtype=np.float64) for s in segments),
        excess_cost=costs.apply(spread([penalties.bus.excess_cost] * ids.size, stages), "excess_cost"),
        load_mean=stats.apply(np.zeros((stages, ids.size)), "mean_mw"),
        load_std=stats.apply(np.zeros((stages, ids.size)), "std_mw"),
        load_factor=_factors(rows, ids, "bus", LOAD_FACTORS_FILE, timeline, findings),
    )


def _depths(segments: Sequence[DeficitSegment]) -> FloatArray:
    return np.array([np.inf if s.depth_mw is None else s.depth_mw for s in segments], dtype=np.float64)


def _factors(
    rows: Sequence[tuple[int, int, Sequence[BlockFactor]]],
    ids: IntArray,
    noun: str,
    file: str,
    timeline: Timeline,
    findings: Findings,
) -> tuple[FloatArray, ...]:
    """Per stage (E, blocks), 1 where none is given."""
    factors = tuple(np.ones((ids.size, timeline.blocks(t))) for t in range(len(timeline)))
    seen: set[tuple[int, int]] = set()
    for entity_id, stage_id, block_factors in rows:
        name = f"{noun} {entity_id}, stage {stage_id}"
        entity = reference(ids, entity_id, noun, file, name, f"{noun}_id", findings)
        stage = reference(timeline.ids, stage_id, "stage", file, name, "stage_id", findings)
        if (entity_id, stage_id) in seen:
            findings.error("DuplicateId", file, "its factors are given twice", entity=name)
        seen.add((entity_id, stage_id))
        chosen = [block.block_id for block in block_factors]
        if len(set(chosen)) < len(chosen):
            findings.error("DuplicateId", file, "one block has two factors", entity=name, field="block_factors")
        if entity < 0 or stage < 0:
            continue
        blocks = np.arange(timeline.blocks(stage), dtype=np.int64)
        for block in block_factors:
            if reference(blocks, block.block_id, "block", file, name, "block_factors.block_id", findings) >= 0:
                factors[stage][entity, block.block_id] = block.factor
    return factors


def resolve_lines(
    files: CaseFiles,
    document: LinesFile,
    penalties: PenaltiesFile,
    buses: IntArray,
    timeline: Timeline,
    findings: Findings,
) -> Lines:
    """Capacities and exchange costs of every line. What is wrong goes to ``findings``."""
    entries = by_id(document.lines, LINES_FILE, "line", findings)
    ids, stages = _ids(entries), len(timeline)
    check_service_dates(entries, LINES_FILE, "line", findings)
    bounds = Overrides(files.table(LINE_BOUNDS), "line_id", "line", ids, timeline, findings)
    costs = Overrides(files.table(LINE_PENALTIES), "line_id", "line", ids, timeline, findings)
    fallback = penalties.line.exchange_cost
    cost = spread([fallback if e.exchange_cost is None else e.exchange_cost for e in entries], stages)
    active = in_service(entries, timeline, LINES_FILE, "line", findings)

    def capacity(base: Sequence[float], column: str) -> tuple[FloatArray, ...]:
        limits = bounds.limits(spread(base, stages), column)
        return tuple(
            np.where(active[t][:, None], limits[t] if isinstance(limits, tuple) else limits[t][:, None], 0.0)
            * np.ones((1, timeline.blocks(t)))
            for t in range(stages)
        )

    return Lines(
        ids=ids,
        names=tuple(entry.name for entry in entries),
        source=_buses([e.source_bus_id for e in entries], ids, "line", "source_bus_id", LINES_FILE, buses, findings),
        target=_buses([e.target_bus_id for e in entries], ids, "line", "target_bus_id", LINES_FILE, buses, findings),
        direct_mw=capacity([e.capacity.direct_mw for e in entries], "direct_mw"),
        reverse_mw=capacity([e.capacity.reverse_mw for e in entries], "reverse_mw"),
        exchange_cost=costs.apply(cost, "exchange_cost"),
        losses_percent=np.array([e.losses_percent for e in entries], dtype=np.float64),
    )


def _buses(
    wanted: Sequence[int], ids: IntArray, noun: str, field: str, file: str, buses: IntArray, findings: Findings
) -> IntArray:
    return np.array(
        [
            reference(buses, bus, "bus", file, f"{noun} {entity}", field, findings)
            for bus, entity in zip(wanted, ids.tolist(), strict=True)
        ],
        dtype=np.int64,
    )


def resolve_thermals(
    files: CaseFiles, document: ThermalsFile, buses: IntArray, timeline: Timeline, findings: Findings
) -> Thermals:
    """Limits and costs of every thermal plant. What is wrong goes to ``findings``."""
    entries = by_id(document.thermals, THERMALS_FILE, "thermal", findings)
    ids, stages = _ids(entries), len(timeline)
    check_service_dates(entries, THERMALS_FILE, "thermal", findings)
    for entry in entries:
        if entry.anticipated_config is not None:
            findings.error(
                "NotSupported", THERMALS_FILE, "anticipated dispatch: not supported", entity=f"thermal {entry.id}",
                field="anticipated_config", suggestion="remove it",
            )  # fmt: skip
    bounds = Overrides(files.table(THERMAL_BOUNDS), "thermal_id", "thermal", ids, timeline, findings)
    active = in_service(entries, timeline, THERMALS_FILE, "thermal", findings).astype(np.float64)
    low = bounds.limits(spread([e.generation.min_mw for e in entries], stages), "min_generation_mw")
    high = bounds.limits(spread([e.generation.max_mw for e in entries], stages), "max_generation_mw")
    names = ("the minimum generation", "the maximum")
    check_order(low, high, names, ids, "thermal", THERMALS_FILE, timeline, findings)
    return Thermals(
        ids=ids,
        names=tuple(entry.name for entry in entries),
        bus=_buses([e.bus_id for e in entries], ids, "thermal", "bus_id", THERMALS_FILE, buses, findings),
        min_mw=combine(np.multiply, low, active),
        max_mw=combine(np.multiply, high, active),
        cost=bounds.apply(spread([e.cost_per_mwh for e in entries], stages), "cost_per_mwh"),
    )


def resolve_sources(
    files: CaseFiles,
    document: SourcesFile | None,
    penalties: PenaltiesFile,
    buses: IntArray,
    timeline: Timeline,
    findings: Findings,
) -> NonControllables:
    """Availability and curtailment of every source. What is wrong goes to ``findings``."""
    entries = by_id(document.non_controllable_sources if document else [], SOURCES_FILE, "ncs", findings)
    ids, stages = _ids(entries), len(timeline)
    check_service_dates(entries, SOURCES_FILE, "ncs", findings)
    stats = Overrides(files.table(SOURCE_STATS), "ncs_id", "ncs", ids, timeline, findings, lenient=True)
    bounds = Overrides(files.table(SOURCE_BOUNDS), "ncs_id", "ncs", ids, timeline, findings)
    costs = Overrides(files.table(SOURCE_PENALTIES), "ncs_id", "ncs", ids, timeline, findings)
    factors = files.document(SOURCE_FACTORS_FILE, SourceFactorsFile, required=False)
    rows = [(f.ncs_id, f.stage_id, f.block_factors) for f in factors.non_controllable_factors] if factors else []
    fallback = penalties.non_controllable_source.curtailment_cost
    cost = spread([fallback if e.curtailment_cost is None else e.curtailment_cost for e in entries], stages)
    listed = stats.listed()
    known: NDArray[np.bool_] = np.any(listed, axis=0)
    _warn_of_sources(listed, bounds, ids, timeline, findings)
    capacity = spread([e.max_generation_mw for e in entries], stages)
    # Statistics are shares of the capacity: where a source has them, they say what is available, and bounds do not.
    most = np.where(known[None, :], capacity, bounds.apply(capacity, "available_generation_mw"))
    return NonControllables(
        ids=ids,
        names=tuple(entry.name for entry in entries),
        bus=_buses([e.bus_id for e in entries], ids, "ncs", "bus_id", SOURCES_FILE, buses, findings),
        max_generation=np.where(in_service(entries, timeline, SOURCES_FILE, "ncs", findings), most, 0.0),
        curtailable=np.array([e.allow_curtailment for e in entries], dtype=bool),
        curtailment_cost=costs.apply(cost, "curtailment_cost"),
        mean=stats.apply(np.where(known[None, :], 0.0, np.ones((stages, ids.size))), "mean"),
        std=stats.apply(np.zeros((stages, ids.size)), "std"),
        factor=_factors(rows, ids, "ncs", SOURCE_FACTORS_FILE, timeline, findings),
        has_statistics=known,
    )


def _warn_of_sources(
    listed: NDArray[np.bool_], bounds: Overrides, ids: IntArray, timeline: Timeline, findings: Findings
) -> None:
    known = listed.any(axis=0)
    for place in np.flatnonzero(known & ~listed.all(axis=0)):
        stage = timeline.ids[np.flatnonzero(~listed[:, place])[0]]
        findings.warn(
            "CoverageMismatch", SOURCE_STATS.file, f"no statistics for stage {stage}: nothing is available there",
            entity=f"ncs {ids[place]}", field="stage_id",
        )  # fmt: skip
    for place in np.flatnonzero(known & bounds.listed().any(axis=0)):
        findings.warn(
            "IncompatibleSettings", SOURCE_BOUNDS.file, "its statistics say what is available: these bounds do nothing",
            entity=f"ncs {ids[place]}", field="available_generation_mw",
        )  # fmt: skip
