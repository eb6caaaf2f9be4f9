"""What reservoirs hold at the start, and what evaporates from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.dates import parse_date
from cobre.hydro.diagnostics import Findings
from cobre.hydro.evaporation import evaporation_line, month_hours
from cobre.hydro.files import CaseFiles
from cobre.hydro.resolve import Timeline, locate, reference
from cobre.hydro.schema_study import InitialConditionsFile
from cobre.hydro.schema_system import HydroEntry
from cobre.hydro.tables import MAX_ROWS_REPORTED, Table, TableSpec, integer, real

__all__ = ["initial_storage", "resolve_evaporation"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

INITIAL_FILE = "initial_conditions.json"
HYDROS_FILE = "system/hydros.json"
GEOMETRY = TableSpec(
    "system/hydro_geometry.parquet",
    (integer("hydro_id"), real("volume_hm3", 0.0), real("height_m", 0.0), real("area_km2", 0.0)),
    ("hydro_id", "volume_hm3"),
)


def initial_storage(
    initial: InitialConditionsFile, entries: Sequence[HydroEntry], ids: IntArray, findings: Findings
) -> FloatArray:
    """(H,) hm3: every reservoir's, within its limits."""
    storage = np.full(ids.size, np.nan)
    for entry in initial.storage:
        name = f"hydro {entry.hydro_id}"
        place = reference(ids, entry.hydro_id, "hydro", INITIAL_FILE, name, "storage.hydro_id", findings)
        if place >= 0 and not np.isnan(storage[place]):
            findings.error("DuplicateId", INITIAL_FILE, "its storage is given twice", entity=name, field="storage")
        elif place >= 0:
            storage[place] = entry.value_hm3
    for place, plant in enumerate(entries):
        least, most = plant.reservoir.min_storage_hm3, plant.reservoir.max_storage_hm3
        if np.isnan(storage[place]):
            findings.error(
                "CoverageMismatch", INITIAL_FILE, "its initial storage is missing", entity=f"hydro {plant.id}",
                field="storage", suggestion=f'add {{"hydro_id": {plant.id}, "value_hm3": ...}}',
            )  # fmt: skip
        elif not least <= storage[place] <= most:
            findings.error(
                "PhysicalConstraint", INITIAL_FILE,
                f"{storage[place]:g} hm3 is outside the reservoir's {least:g} to {most:g}",
                entity=f"hydro {plant.id}", field="storage.value_hm3", value=float(storage[place]),
            )  # fmt: skip
    _check_history(initial, ids, findings)
    return storage


def _check_history(initial: InitialConditionsFile, ids: IntArray, findings: Findings) -> None:
    """What happened before the study feeds lags, travel times and filling; inflows without lags need none of it."""
    refused = {
        "filling_storage": initial.filling_storage,
        "past_anticipated_commitments": initial.past_anticipated_commitments,
    }
    for field, given in refused.items():
        if given:
            findings.error(
                "NotSupported", INITIAL_FILE, f"{field}: not supported", field=field, suggestion="leave the list empty"
            )
    for field, windows in (
        ("recent_observations", initial.recent_observations), ("past_defluences", initial.past_defluences),
    ):  # fmt: skip
        for window in windows or []:
            name = f"hydro {window.hydro_id}"
            reference(ids, window.hydro_id, "hydro", INITIAL_FILE, name, f"{field}.hydro_id", findings)
            start = parse_date(window.start_date, INITIAL_FILE, name, f"{field}.start_date", findings)
            end = parse_date(window.end_date, INITIAL_FILE, name, f"{field}.end_date", findings)
            if start is not None and end is not None and end <= start:
                findings.error(
                    "OutOfRange", INITIAL_FILE, f"it ends on {end}, which is not after its start {start}",
                    entity=name, field=f"{field}.end_date", value=str(end),
                )  # fmt: skip


def resolve_evaporation(
    files: CaseFiles, entries: Sequence[HydroEntry], ids: IntArray, timeline: Timeline, findings: Findings
) -> tuple[FloatArray, FloatArray]:
    """Intercept and slope (T, H) of each plant's evaporation, zero where it has none."""
    intercept, slope = np.zeros((len(timeline), ids.size)), np.zeros((len(timeline), ids.size))
    geometry = files.table(GEOMETRY)
    broken = geometry is None and files.exists(GEOMETRY.file)
    curves = _curves(geometry, ids, findings) if geometry is not None else {}
    hours = np.array([month_hours(spec.start_date) for spec in timeline.specs])
    month = np.array([spec.start_date.month - 1 for spec in timeline.specs])
    for place, entry in enumerate(entries):
        if entry.evaporation is None:
            continue
        least, most = entry.reservoir.min_storage_hm3, entry.reservoir.max_storage_hm3
        given = entry.evaporation.reference_volumes_hm3
        references = np.array(given or [0.5 * (least + most)] * 12)
        if given and not all(least <= volume <= most for volume in given):
            findings.error(
                "PhysicalConstraint", HYDROS_FILE,
                f"a reference volume is outside the reservoir's {least:g} to {most:g}",
                entity=f"hydro {entry.id}", field="evaporation.reference_volumes_hm3", value=given,
            )  # fmt: skip
        if place in curves:
            intercept[:, place], slope[:, place] = evaporation_line(
                np.array(entry.evaporation.coefficients_mm)[month], hours, references[month], *curves[place]
            )
        elif not broken:
            findings.error(
                "CoverageMismatch", GEOMETRY.file, "it evaporates, and its geometry is missing",
                entity=f"hydro {entry.id}", field="hydro_id", suggestion="add rows of volume and area for it",
            )  # fmt: skip
    return intercept, slope


def _curves(geometry: Table, ids: IntArray, findings: Findings) -> dict[int, tuple[FloatArray, FloatArray]]:
    """By plant: volumes, rising, and areas, which must not fall."""
    place = locate(ids, geometry["hydro_id"])
    for unknown in np.unique(geometry["hydro_id"][place < 0])[:MAX_ROWS_REPORTED].tolist():
        reference(ids, unknown, "hydro", GEOMETRY.file, f"hydro {unknown}", "hydro_id", findings)
    curves = {}
    for plant in np.unique(place[place >= 0]).tolist():
        rows = np.flatnonzero(place == plant)
        rows = rows[np.argsort(geometry["volume_hm3"][rows])]
        volumes, areas = geometry["volume_hm3"][rows], geometry["area_km2"][rows]
        for field in ("area_km2", "height_m"):
            if (np.diff(geometry[field][rows]) < 0.0).any():
                findings.error(
                    "PhysicalConstraint", GEOMETRY.file, f"{field} falls while the volume rises",
                    entity=f"hydro {ids[plant]}", field=field,
                )  # fmt: skip
        curves[plant] = (volumes, areas)
    return curves
