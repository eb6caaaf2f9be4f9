"""Hydro plants in columns: cascade, bounds, penalties, productivity, evaporation and inflows, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import Hydros
from cobre.hydro.evaporation import evaporation_line, month_hours
from cobre.hydro.files import CaseFiles
from cobre.hydro.resolve import Overrides, Timeline, by_id, reference, spread
from cobre.hydro.schema_study import HydroPenalties, InitialConditionsFile, PenaltiesFile
from cobre.hydro.schema_system import HydroEntry, HydrosFile, ProductionModelsFile, StageRangeModel
from cobre.hydro.tables import TableSpec, integer, optional, real

__all__ = ["resolve_hydros"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

HYDROS_FILE = "system/hydros.json"
MODELS_FILE = "system/hydro_production_models.json"

GEOMETRY = TableSpec(
    "system/hydro_geometry.parquet",
    (integer("hydro_id"), real("volume_hm3", minimum=0.0), real("height_m"), real("area_km2", minimum=0.0)),
    ("hydro_id", "volume_hm3"),
)
INFLOW_STATS = TableSpec(
    "scenarios/inflow_seasonal_stats.parquet",
    (integer("hydro_id"), integer("stage_id"), real("mean_m3s"), real("std_m3s", minimum=0.0)),
    ("hydro_id", "stage_id"),
)
BOUNDS = TableSpec(
    "constraints/hydro_bounds.parquet",
    (
        integer("hydro_id"), integer("stage_id"), *optional("block_id", integer=True),
        *optional(
            "min_turbined_m3s", "max_turbined_m3s", "min_storage_hm3", "max_storage_hm3", "min_outflow_m3s",
            "max_outflow_m3s", "min_generation_mw", "max_generation_mw", "min_diversion_m3s", "max_diversion_m3s",
            "filling_min_rate_m3s", "water_withdrawal_m3s",
        ),
    ),
    ("hydro_id", "stage_id", "block_id"),
)  # fmt: skip
_DIRECTIONS = {
    "evaporation_violation_cost": ("evaporation_violation_pos_cost", "evaporation_violation_neg_cost"),
    "water_withdrawal_violation_cost": ("water_withdrawal_violation_pos_cost", "water_withdrawal_violation_neg_cost"),
}
_PENALTIES = (
    "spillage_cost", "turbined_cost", "diversion_cost", "storage_violation_below_cost",
    "filling_target_violation_cost", "turbined_violation_below_cost", "outflow_violation_below_cost",
    "outflow_violation_above_cost", "generation_violation_below_cost", "evaporation_violation_cost",
    "evaporation_violation_pos_cost", "evaporation_violation_neg_cost", "water_withdrawal_violation_cost",
    "water_withdrawal_violation_pos_cost", "water_withdrawal_violation_neg_cost", "inflow_nonnegativity_cost",
)  # fmt: skip
PENALTY_TABLE = TableSpec(
    "constraints/penalty_overrides_hydro.parquet",
    (integer("hydro_id"), integer("stage_id"), *optional(*_PENALTIES, positive=True)),
    ("hydro_id", "stage_id"),
)
_DEFAULT_INFLOW_COST = 1000.0


def resolve_hydros(
    files: CaseFiles,
    document: HydrosFile,
    penalties: PenaltiesFile,
    initial: InitialConditionsFile,
    buses: IntArray,
    timeline: Timeline,
    findings: Findings,
) -> Hydros:
    entries = by_id(document.hydros, HYDROS_FILE, "hydro", findings)
    ids = np.array([entry.id for entry in entries], dtype=np.int64)
    stages = len(timeline)
    table = Overrides(files.table(BOUNDS), "hydro_id", "hydro", ids, timeline, findings)
    stats = Overrides(files.table(INFLOW_STATS), "hydro_id", "hydro", ids, timeline, findings)
    costs = _penalties(files, entries, penalties.hydro, ids, timeline, findings)
    surface = _evaporation(files, entries, ids, timeline, findings)

    def bound(values: Sequence[float], column: str) -> FloatArray:
        return table.apply(spread(values, stages), column)

    return Hydros(
        ids=ids,
        names=tuple(entry.name for entry in entries),
        bus=_links([e.unit_groups[0].bus_id for e in entries], ids, buses, "bus", "unit_groups[0].bus_id", findings),
        downstream=_links([e.downstream_id for e in entries], ids, ids, "hydro", "downstream_id", findings),
        diversion=_links(
            [e.diversion.downstream_id if e.diversion else None for e in entries],
            ids, ids, "hydro", "diversion.downstream_id", findings,
        ),
        initial_storage=_initial_storage(initial, ids, findings),
        min_storage=bound([e.reservoir.min_storage_hm3 for e in entries], "min_storage_hm3"),
        max_storage=bound([e.reservoir.max_storage_hm3 for e in entries], "max_storage_hm3"),
        min_turbined=bound([e.generation.min_turbined_m3s for e in entries], "min_turbined_m3s"),
        max_turbined=bound([e.generation.max_turbined_m3s for e in entries], "max_turbined_m3s"),
        min_outflow=bound([e.outflow.min_outflow_m3s for e in entries], "min_outflow_m3s"),
        max_outflow=bound([_limit(e.outflow.max_outflow_m3s) for e in entries], "max_outflow_m3s"),
        max_diversion=bound([e.diversion.max_flow_m3s if e.diversion else 0.0 for e in entries], "max_diversion_m3s"),
        min_generation=bound([e.generation.min_generation_mw for e in entries], "min_generation_mw"),
        max_generation=bound([e.generation.max_generation_mw for e in entries], "max_generation_mw"),
        withdrawal=bound([0.0] * ids.size, "water_withdrawal_m3s"),
        productivity=_productivity(files, ids, timeline, findings),
        has_evaporation=np.array([e.evaporation is not None for e in entries], dtype=bool),
        evaporation_intercept=surface[0],
        evaporation_slope=surface[1],
        spillage_cost=costs["spillage_cost"],
        turbined_cost=costs["turbined_cost"],
        diversion_cost=costs["diversion_cost"],
        turbined_violation_below_cost=costs["turbined_violation_below_cost"],
        outflow_violation_below_cost=costs["outflow_violation_below_cost"],
        outflow_violation_above_cost=costs["outflow_violation_above_cost"],
        generation_violation_below_cost=costs["generation_violation_below_cost"],
        evaporation_violation_pos_cost=costs["evaporation_violation_pos_cost"],
        evaporation_violation_neg_cost=costs["evaporation_violation_neg_cost"],
        withdrawal_violation_pos_cost=costs["water_withdrawal_violation_pos_cost"],
        withdrawal_violation_neg_cost=costs["water_withdrawal_violation_neg_cost"],
        inflow_nonnegativity_cost=costs["inflow_nonnegativity_cost"],
        inflow_mean=stats.apply(np.zeros((stages, ids.size)), "mean_m3s"),
        inflow_std=stats.apply(np.zeros((stages, ids.size)), "std_m3s"),
    )  # fmt: skip


def _limit(value: float | None) -> float:
    return np.inf if value is None else value


def _links(
    wanted: Sequence[int | None], ids: IntArray, targets: IntArray, noun: str, field: str, findings: Findings
) -> IntArray:
    return np.array(
        [
            -1 if other is None else reference(targets, other, noun, HYDROS_FILE, f"hydro {hydro}", field, findings)
            for other, hydro in zip(wanted, ids.tolist(), strict=True)
        ],
        dtype=np.int64,
    )


def _initial_storage(initial: InitialConditionsFile, ids: IntArray, findings: Findings) -> FloatArray:
    file = "initial_conditions.json"
    storage = np.full(ids.size, np.nan)
    for entry in initial.storage:
        name = f"hydro {entry.hydro_id}"
        place = reference(ids, entry.hydro_id, "hydro", file, name, "storage", findings)
        if place >= 0 and not np.isnan(storage[place]):
            findings.error("DuplicateId", file, "its storage is given twice", entity=name, field="storage")
        elif place >= 0:
            storage[place] = entry.value_hm3
    for missing in ids[np.isnan(storage)].tolist():
        findings.error(
            "CoverageMismatch", file, "its initial storage is missing", entity=f"hydro {missing}", field="storage",
            suggestion=f'add {{"hydro_id": {missing}, "value_hm3": ...}}',
        )  # fmt: skip
    return storage


def _penalties(
    files: CaseFiles,
    entries: Sequence[HydroEntry],
    common: HydroPenalties,
    ids: IntArray,
    timeline: Timeline,
    findings: Findings,
) -> dict[str, FloatArray]:
    """Each cost (T, H): the stage's override, else the plant's, else the case's.

    A symmetric cost stands for both directions where a place gives no directional one.
    """
    table = Overrides(files.table(PENALTY_TABLE), "hydro_id", "hydro", ids, timeline, findings)

    def own(entry: HydroEntry, name: str) -> Any:
        return getattr(entry.penalties, name, None) if entry.penalties else None

    costs: dict[str, FloatArray] = {}
    for name in _PENALTIES:
        symmetric = next((base for base, sides in _DIRECTIONS.items() if name in sides), None)
        given = getattr(common, name)
        if given is None:
            given = getattr(common, symmetric) if symmetric else _DEFAULT_INFLOW_COST
        values = [own(entry, symmetric or name) for entry in entries]
        column = spread([given if value is None else value for value in values], len(timeline))
        if symmetric:
            column = table.apply(column, symmetric)
        costs[name] = table.apply(column, name)
    return costs


def _productivity(files: CaseFiles, ids: IntArray, timeline: Timeline, findings: Findings) -> FloatArray:
    """(T, H) MW per m3/s, from the production models; every plant needs one for every stage."""
    values = np.full((len(timeline), ids.size), np.nan)
    document = files.document(MODELS_FILE, ProductionModelsFile, required=False)
    for model in document.production_models if document else []:
        name = f"hydro {model.hydro_id}"
        place = reference(ids, model.hydro_id, "hydro", MODELS_FILE, name, "hydro_id", findings)
        if place < 0:
            continue
        if isinstance(model, StageRangeModel):
            for part in model.stage_ranges:
                end = int(timeline.ids[-1]) if part.end_stage_id is None else part.end_stage_id
                use = (timeline.ids >= part.start_stage_id) & (timeline.ids <= end)
                if part.productivity_mw_per_m3s is not None:
                    values[use, place] = part.productivity_mw_per_m3s
        else:
            season = np.array([-1 if s.season_id is None else s.season_id for s in timeline.specs])
            for seasonal in model.seasons:
                if seasonal.productivity_mw_per_m3s is not None:
                    values[season == seasonal.season_id, place] = seasonal.productivity_mw_per_m3s
    for place in np.flatnonzero(np.isnan(values).any(axis=0)):
        stage = timeline.ids[np.flatnonzero(np.isnan(values[:, place]))[0]]
        findings.error(
            "CoverageMismatch", MODELS_FILE, f"no productivity for stage {stage}", entity=f"hydro {ids[place]}",
            field="productivity_mw_per_m3s", suggestion="let its stage ranges or seasons cover every stage",
        )  # fmt: skip
    return values


def _evaporation(
    files: CaseFiles, entries: Sequence[HydroEntry], ids: IntArray, timeline: Timeline, findings: Findings
) -> tuple[FloatArray, FloatArray]:
    """Intercept and slope (T, H) of each plant's evaporation, zero where it has none."""
    intercept, slope = np.zeros((len(timeline), ids.size)), np.zeros((len(timeline), ids.size))
    geometry = files.table(GEOMETRY)
    hours = np.array([month_hours(s.start_date) for s in timeline.specs])
    month = np.array([s.start_date.month - 1 for s in timeline.specs])
    for place, entry in enumerate(entries):
        if entry.evaporation is None or geometry is None:
            continue
        rows = np.flatnonzero(geometry["hydro_id"] == entry.id)
        rows = rows[np.argsort(geometry["volume_hm3"][rows])]
        middle = 0.5 * (entry.reservoir.min_storage_hm3 + entry.reservoir.max_storage_hm3)
        references = np.array(entry.evaporation.reference_volumes_hm3 or [middle] * 12)
        intercept[:, place], slope[:, place] = evaporation_line(
            np.array(entry.evaporation.coefficients_mm)[month],
            hours,
            references[month],
            geometry["volume_hm3"][rows],
            geometry["area_km2"][rows],
        )
    return intercept, slope
