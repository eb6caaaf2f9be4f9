"""The costs of a plant's water and of breaking its limits, from the case's, the plant's and the stage's penalties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings
from cobre.hydro.files import CaseFiles
from cobre.hydro.resolve import Overrides, Timeline, spread
from cobre.hydro.schema_study import PenaltiesFile
from cobre.hydro.schema_system import HydroEntry
from cobre.hydro.tables import TableSpec, integer, optional

__all__ = ["resolve_costs"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_PENALTIES_FILE = "penalties.json"
_DIRECTIONS = {
    "evaporation_violation_pos_cost": "evaporation_violation_cost",
    "evaporation_violation_neg_cost": "evaporation_violation_cost",
    "water_withdrawal_violation_pos_cost": "water_withdrawal_violation_cost",
    "water_withdrawal_violation_neg_cost": "water_withdrawal_violation_cost",
}
_UNUSED = ("storage_violation_below_cost", "filling_target_violation_cost")
_SYMMETRIC = ("evaporation_violation_cost", "water_withdrawal_violation_cost")
_COSTS = (
    "spillage_cost", "turbined_cost", "diversion_cost", "turbined_violation_below_cost",
    "outflow_violation_below_cost", "outflow_violation_above_cost", "generation_violation_below_cost",
    "inflow_nonnegativity_cost", *_DIRECTIONS,
)  # fmt: skip
_FLOW_LIMITS = (
    "turbined_violation_below_cost", "outflow_violation_below_cost", "outflow_violation_above_cost", *_DIRECTIONS,
)  # fmt: skip
PENALTY_TABLE = TableSpec(
    "constraints/penalty_overrides_hydro.parquet",
    (integer("hydro_id"), integer("stage_id"), *optional(*_COSTS, *_SYMMETRIC, *_UNUSED, positive=True)),
    ("hydro_id", "stage_id"),
)
_DEFAULT_INFLOW_COST = 1000.0


def resolve_costs(
    files: CaseFiles,
    entries: Sequence[HydroEntry],
    penalties: PenaltiesFile,
    ids: IntArray,
    timeline: Timeline,
    findings: Findings,
) -> dict[str, FloatArray]:
    """Each cost (T, H), by its name in ``penalties.json``: the stage's override, else the plant's, else the case's.

    A symmetric cost stands for both directions where a place gives no directional one.
    """
    table = Overrides(files.table(PENALTY_TABLE), "hydro_id", "hydro", ids, timeline, findings)
    base: dict[str, list[float]] = {}
    costs: dict[str, FloatArray] = {}
    for name in _COSTS:
        symmetric = _DIRECTIONS.get(name)
        base[name] = [_cost(entry, penalties, name, symmetric) for entry in entries]
        column = spread(base[name], len(timeline))
        if symmetric is not None:
            column = table.apply(column, symmetric)
        costs[name] = table.apply(column, name)
    if entries:
        _check_ranking(base, penalties, ids, findings)
    return costs


def _cost(entry: HydroEntry, penalties: PenaltiesFile, name: str, symmetric: str | None) -> float:
    own = getattr(entry.penalties, symmetric or name) if entry.penalties else None
    given = [own, getattr(penalties.hydro, name), getattr(penalties.hydro, symmetric) if symmetric else None]
    return next((float(cost) for cost in given if cost is not None), _DEFAULT_INFLOW_COST)


def _check_ranking(base: dict[str, list[float]], penalties: PenaltiesFile, ids: IntArray, findings: Findings) -> None:
    """Costs out of order still give an optimum, but one that breaks limits for the sake of bookkeeping."""
    water = {name: np.array(base[name]) for name in ("spillage_cost", "diversion_cost")}
    dearest = max(float(cost.max()) for cost in water.values())
    cheapest = np.min([base[name] for name in _FLOW_LIMITS], axis=0)
    deficit = penalties.bus.deficit_segments[-1].cost
    power = np.array(base["generation_violation_below_cost"])
    found = [
        (water["spillage_cost"] <= 0.0, "spillage_cost", "spilling is free: schedules are then arbitrary"),
        (water["diversion_cost"] <= 0.0, "diversion_cost", "diverting is free: schedules are then arbitrary"),
        (cheapest <= dearest, None, f"breaking a flow limit costs no more than the dearest spillage, {dearest:g}"),
        (
            power >= deficit, "generation_violation_below_cost",
            f"a missing MWh of minimum generation costs no less than one of deficit, {deficit:g}",
        ),
    ]  # fmt: skip
    for wrong, field, message in found:
        if wrong.any():
            findings.warn(
                "PenaltyConsistency", _PENALTIES_FILE, f"{message} ({int(wrong.sum())} plants)",
                entity=f"hydro {ids[np.flatnonzero(wrong)[0]]}", field=field,
            )  # fmt: skip
