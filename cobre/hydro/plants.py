"""Hydro plants in columns: cascade, limits, costs, productivity, evaporation and inflows, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import Hydros
from cobre.hydro.files import CaseFiles
from cobre.hydro.plant_costs import resolve_costs
from cobre.hydro.plant_limits import resolve_limits
from cobre.hydro.production import resolve_productivity
from cobre.hydro.reservoirs import initial_storage, resolve_evaporation
from cobre.hydro.resolve import Overrides, Timeline, by_id, check_service_dates, in_service, reference
from cobre.hydro.schema_study import InitialConditionsFile, PenaltiesFile
from cobre.hydro.schema_system import HydroEntry, HydrosFile
from cobre.hydro.tables import TableSpec, integer, real

__all__ = ["HYDROS_FILE", "resolve_hydros"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

HYDROS_FILE = "system/hydros.json"
INFLOW_STATS = TableSpec(
    "scenarios/inflow_seasonal_stats.parquet",
    (integer("hydro_id"), integer("stage_id"), real("mean_m3s"), real("std_m3s", 0.0)),
    ("hydro_id", "stage_id"),
)


def resolve_hydros(
    files: CaseFiles,
    document: HydrosFile,
    penalties: PenaltiesFile,
    initial: InitialConditionsFile,
    buses: IntArray,
    timeline: Timeline,
    findings: Findings,
) -> Hydros:
    """Everything about the plants. What is wrong goes to ``findings``."""
    entries = by_id(document.hydros, HYDROS_FILE, "hydro", findings)
    ids = np.array([entry.id for entry in entries], dtype=np.int64)
    check_service_dates(entries, HYDROS_FILE, "hydro", findings)
    for entry in entries:
        _refuse(entry, findings)
    active = in_service(entries, timeline, HYDROS_FILE, "hydro", findings)
    stats = Overrides(files.table(INFLOW_STATS), "hydro_id", "hydro", ids, timeline, findings, lenient=True)
    stats.report_gaps(active)
    productivity = resolve_productivity(files, ids, timeline, findings)
    limits = resolve_limits(files, entries, ids, productivity, timeline, findings)
    costs = resolve_costs(files, entries, penalties, ids, timeline, findings)
    surface = resolve_evaporation(files, entries, ids, timeline, findings)
    downstream = _links([e.downstream_id for e in entries], ids, ids, "hydro", "downstream_id", findings)
    receivers = [e.diversion.downstream_id if e.diversion else None for e in entries]
    diversion = _links(receivers, ids, ids, "hydro", "diversion.downstream_id", findings)
    _check_cycles(ids, downstream, diversion, findings)
    none = np.zeros((len(timeline), ids.size))
    return Hydros(
        ids=ids,
        names=tuple(entry.name for entry in entries),
        bus=_links([e.unit_groups[0].bus_id for e in entries], ids, buses, "bus", "unit_groups[0].bus_id", findings),
        downstream=downstream,
        diversion=diversion,
        initial_storage=initial_storage(initial, entries, ids, findings),
        min_storage=limits.min_storage,
        max_storage=limits.max_storage,
        min_turbined=limits.min_turbined,
        max_turbined=limits.max_turbined,
        min_outflow=limits.min_outflow,
        max_outflow=limits.max_outflow,
        max_diversion=limits.max_diversion,
        min_generation=limits.min_generation,
        max_generation=limits.max_generation,
        withdrawal=limits.withdrawal,
        productivity=productivity,
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
        inflow_mean=stats.apply(none, "mean_m3s"),
        inflow_std=stats.apply(none, "std_m3s"),
        in_service=None if active.all() else active,
    )


def _refuse(entry: HydroEntry, findings: Findings) -> None:
    found = [
        (entry.generation.model == "fpha", "the FPHA model", "generation.model", "use constant_productivity"),
        (entry.travel_time_hours not in (None, 0, 0.0), "water travel time", "travel_time_hours", "set it to null"),
        (entry.filling is not None, "reservoir filling", "filling", "set it to null"),
        (
            len({group.bus_id for group in entry.unit_groups}) > 1, "unit groups on several buses", "unit_groups",
            "let all groups of a plant feed one bus",
        ),
    ]  # fmt: skip
    for present, feature, field, advice in found:
        if present:
            findings.error(
                "NotSupported", HYDROS_FILE, f"{feature}: not supported", entity=f"hydro {entry.id}", field=field,
                suggestion=advice,
            )  # fmt: skip


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


def _check_cycles(ids: IntArray, downstream: IntArray, diversion: IntArray, findings: Findings) -> None:
    """Water must not come back to where it left, by river or by channel: it would do so within the stage."""
    pending = np.zeros(ids.size, dtype=np.int64)
    for targets in (downstream, diversion):
        np.add.at(pending, targets[targets >= 0], 1)
    ready = np.flatnonzero(pending == 0).tolist()
    done = 0
    while ready:
        plant = ready.pop()
        done += 1
        for target in (downstream[plant], diversion[plant]):
            if target >= 0:
                pending[target] -= 1
                if pending[target] == 0:
                    ready.append(int(target))
    if done < ids.size:
        # What is left are the cycles and the plants below them; the former are those that reach themselves.
        turning = [i for i in np.flatnonzero(pending).tolist() if _returns(i, downstream, diversion)]
        names = ", ".join(str(ids[i]) for i in turning[:10])
        findings.error(
            "PhysicalConstraint", HYDROS_FILE, f"the water of hydro {names} comes back to it",
            entity=f"hydro {ids[turning[0]]}", field="downstream_id",
            suggestion="break the cycle of downstream_id and diversion.downstream_id",
        )  # fmt: skip


def _returns(start: int, downstream: IntArray, diversion: IntArray) -> bool:
    seen: set[int] = set()
    pending = [int(downstream[start]), int(diversion[start])]
    while pending:
        here = pending.pop()
        if here == start:
            return True
        if here >= 0 and here not in seen:
            seen.add(here)
            pending += [int(downstream[here]), int(diversion[here])]
    return False
