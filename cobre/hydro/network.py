"""Buses, lines, thermals and non-controllable sources in columns, every stage's value resolved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import Buses, Lines, NonControllables, Thermals
from cobre.hydro.files import CaseFiles
from cobre.hydro.resolve import Overrides, Timeline, by_id, in_service, reference, spread
from cobre.hydro.schema_study import DeficitSegment, LoadFactorsFile, PenaltiesFile, SourceFactorsFile
from cobre.hydro.schema_system import BusesFile, LinesFile, SourcesFile, ThermalsFile
from cobre.hydro.tables import TableSpec, integer, optional, real

__all__ = ["resolve_buses", "resolve_lines", "resolve_sources", "resolve_thermals"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BUSES_FILE = "system/buses.json"
LINES_FILE = "system/lines.json"
THERMALS_FILE = "system/thermals.json"
SOURCES_FILE = "system/non_controllable_sources.json"

LOAD_STATS = TableSpec(
    "scenarios/load_seasonal_stats.parquet",
    (integer("bus_id"), integer("stage_id"), real("mean_mw"), real("std_mw", minimum=0.0)),
    ("bus_id", "stage_id"),
)
SOURCE_STATS = TableSpec(
    "scenarios/non_controllable_stats.parquet",
    (integer("ncs_id"), integer("stage_id"), real("mean", minimum=0.0), real("std", minimum=0.0)),
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
    (integer("source_id"), integer("stage_id"), *optional("curtailment_cost", positive=True)),
    ("source_id", "stage_id"),
)
LINE_BOUNDS = TableSpec(
    "constraints/line_bounds.parquet",
    (
        integer("line_id"), integer("stage_id"), *optional("block_id", integer=True),
        *optional("direct_mw", "reverse_mw"),
    ),
    ("line_id", "stage_id", "block_id"),
)  # fmt: skip
THERMAL_BOUNDS = TableSpec(
    "constraints/thermal_bounds.parquet",
    (
        integer("thermal_id"), integer("stage_id"), *optional("block_id", integer=True),
        *optional("min_generation_mw", "max_generation_mw", "cost_per_mwh"),
    ),
    ("thermal_id", "stage_id", "block_id"),
)  # fmt: skip
SOURCE_BOUNDS = TableSpec(
    "constraints/ncs_bounds.parquet",
    (integer("ncs_id"), integer("stage_id"), *optional("available_generation_mw")),
    ("ncs_id", "stage_id"),
)


def _ids(entries: Sequence[object]) -> IntArray:
    return np.array([entry.id for entry in entries], dtype=np.int64)  # type: ignore[attr-defined]


def resolve_buses(
    files: CaseFiles, document: BusesFile, penalties: PenaltiesFile, timeline: Timeline, findings: Findings
) -> Buses:
    entries = by_id(document.buses, BUSES_FILE, "bus", findings)
    ids, stages = _ids(entries), len(timeline)
    segments = [entry.deficit_segments or penalties.bus.deficit_segments for entry in entries]
    stats = Overrides(files.table(LOAD_STATS), "bus_id", "bus", ids, timeline, findings)
    costs = Overrides(files.table(BUS_PENALTIES), "bus_id", "bus", ids, timeline, findings)
    factors = files.document("scenarios/load_factors.json", LoadFactorsFile, required=False)
    rows = [(f.bus_id, f.stage_id, f) for f in factors.load_factors] if factors else []
    return Buses(
        ids=ids,
        names=tuple(entry.name for entry in entries),
        segment_depth=tuple(_depths(s) for s in segments),
        segment_cost=tuple(np.array([part.cost for part in s], dtype=np.float64) for s in segments),
        excess_cost=costs.apply(spread([penalties.bus.excess_cost] * ids.size, stages), "excess_cost"),
        load_mean=stats.apply(np.zeros((stages, ids.size)), "mean_mw"),
        load_std=stats.apply(np.zeros((stages, ids.size)), "std_mw"),
        load_factor=_factors(rows, ids, "bus", "scenarios/load_factors.json", timeline, findings),
    )


def _depths(segments: Sequence[DeficitSegment]) -> FloatArray:
    return np.array([np.inf if s.depth_mw is None else s.depth_mw for s in segments], dtype=np.float64)


def _factors(
    rows: Sequence[tuple[int, int, object]],
    ids: IntArray,
    noun: str,
    file: str,
    timeline: Timeline,
    findings: Findings,
) -> tuple[FloatArray, ...]:
    factors = tuple(np.ones((ids.size, timeline.blocks(t))) for t in range(len(timeline)))
    for entity_id, stage_id, entry in rows:
        name = f"{noun} {entity_id}"
        entity = reference(ids, entity_id, noun, file, name, f"{noun}_id", findings)
        stage = reference(timeline.ids, stage_id, "stage", file, name, "stage_id", findings)
        if entity < 0 or stage < 0:
            continue
        for block in entry.block_factors:  # type: ignore[attr-defined]
            if 0 <= block.block_id < timeline.blocks(stage):
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
    entries = by_id(document.lines, LINES_FILE, "line", findings)
    ids, stages = _ids(entries), len(timeline)
    bounds = Overrides(files.table(LINE_BOUNDS), "line_id", "line", ids, timeline, findings)
    costs = Overrides(files.table(LINE_PENALTIES), "line_id", "line", ids, timeline, findings)
    fallback = penalties.line.exchange_cost
    cost = spread([fallback if e.exchange_cost is None else e.exchange_cost for e in entries], stages)
    active = in_service(entries, timeline)

    def capacity(base: Sequence[float], column: str) -> tuple[FloatArray, ...]:
        whole = bounds.apply(spread(base, stages), column)
        blocks = tuple(np.repeat(whole[t][:, None], timeline.blocks(t), axis=1) for t in range(stages))
        blocks = bounds.apply_blocks(blocks, column)
        return tuple(np.where(active[t][:, None], blocks[t], 0.0) for t in range(stages))

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
    entries = by_id(document.thermals, THERMALS_FILE, "thermal", findings)
    ids, stages = _ids(entries), len(timeline)
    bounds = Overrides(files.table(THERMAL_BOUNDS), "thermal_id", "thermal", ids, timeline, findings)
    active = in_service(entries, timeline)
    low = bounds.apply(spread([e.generation.min_mw for e in entries], stages), "min_generation_mw")
    high = bounds.apply(spread([e.generation.max_mw for e in entries], stages), "max_generation_mw")
    return Thermals(
        ids=ids,
        names=tuple(entry.name for entry in entries),
        bus=_buses([e.bus_id for e in entries], ids, "thermal", "bus_id", THERMALS_FILE, buses, findings),
        min_mw=np.where(active, low, 0.0),
        max_mw=np.where(active, high, 0.0),
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
    listed = document.non_controllable_sources if document else []
    entries = by_id(listed, SOURCES_FILE, "ncs", findings)
    ids, stages = _ids(entries), len(timeline)
    stats = Overrides(files.table(SOURCE_STATS), "ncs_id", "ncs", ids, timeline, findings)
    bounds = Overrides(files.table(SOURCE_BOUNDS), "ncs_id", "ncs", ids, timeline, findings)
    costs = Overrides(files.table(SOURCE_PENALTIES), "source_id", "ncs", ids, timeline, findings)
    factors = files.document("scenarios/non_controllable_factors.json", SourceFactorsFile, required=False)
    rows = [(f.ncs_id, f.stage_id, f) for f in factors.non_controllable_factors] if factors else []
    fallback = penalties.non_controllable_source.curtailment_cost
    cost = spread([fallback if e.curtailment_cost is None else e.curtailment_cost for e in entries], stages)
    most = bounds.apply(spread([e.max_generation_mw for e in entries], stages), "available_generation_mw")
    return NonControllables(
        ids=ids,
        names=tuple(entry.name for entry in entries),
        bus=_buses([e.bus_id for e in entries], ids, "ncs", "bus_id", SOURCES_FILE, buses, findings),
        max_generation=np.where(in_service(entries, timeline), most, 0.0),
        curtailable=np.array([e.allow_curtailment for e in entries], dtype=bool),
        curtailment_cost=costs.apply(cost, "curtailment_cost"),
        mean=stats.apply(np.ones((stages, ids.size)), "mean"),
        std=stats.apply(np.zeros((stages, ids.size)), "std"),
        factor=_factors(rows, ids, "ncs", "scenarios/non_controllable_factors.json", timeline, findings),
    )
