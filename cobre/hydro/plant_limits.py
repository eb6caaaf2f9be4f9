"""What a plant may store, turbine, release, divert and generate, stage by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import ByStage
from cobre.hydro.files import CaseFiles
from cobre.hydro.resolve import Overrides, Timeline, check_order, combine, spread
from cobre.hydro.schema_system import HydroEntry, UnitGroup
from cobre.hydro.tables import MAX_ROWS_REPORTED, Table, TableSpec, integer, optional

__all__ = ["PlantLimits", "resolve_limits"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

HYDROS_FILE = "system/hydros.json"
_GROUP_LIMITS = ("min_turbined_m3s", "max_turbined_m3s", "min_generation_mw", "max_generation_mw")
BOUNDS = TableSpec(
    "constraints/hydro_bounds.parquet",
    (
        integer("hydro_id"), integer("stage_id"), *optional("block_id", integer=True),
        *optional(
            *_GROUP_LIMITS, "min_storage_hm3", "max_storage_hm3", "min_outflow_m3s", "max_outflow_m3s",
            "min_diversion_m3s", "max_diversion_m3s", "min_spillage_m3s", "filling_min_rate_m3s", minimum=0.0,
        ),
        *optional("water_withdrawal_m3s"),
    ),
    ("hydro_id", "stage_id", "block_id"),
)  # fmt: skip
GROUP_BOUNDS = TableSpec(
    "constraints/hydro_unit_group_bounds.parquet",
    (
        integer("hydro_id"), integer("hydro_unit_group_id"), integer("stage_id"),
        *optional("block_id", integer=True), *optional(*_GROUP_LIMITS, minimum=0.0),
    ),
    ("hydro_id", "hydro_unit_group_id", "stage_id", "block_id"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class PlantLimits:
    """As in ``Hydros``."""

    min_storage: FloatArray
    max_storage: FloatArray
    withdrawal: FloatArray
    min_turbined: ByStage
    max_turbined: ByStage
    min_outflow: ByStage
    max_outflow: ByStage
    max_diversion: ByStage
    min_generation: ByStage
    max_generation: ByStage


def resolve_limits(
    files: CaseFiles,
    entries: Sequence[HydroEntry],
    ids: IntArray,
    productivity: FloatArray,
    timeline: Timeline,
    findings: Findings,
) -> PlantLimits:
    """The plant's limits with the stage's over them, narrowed to what its unit groups can do."""
    content = files.table(BOUNDS)
    table = Overrides(content, "hydro_id", "hydro", ids, timeline, findings)
    stages = len(timeline)

    def limits(values: Sequence[float], column: str) -> ByStage:
        return table.limits(spread(values, stages), column)

    def whole(values: Sequence[float], column: str) -> FloatArray:
        return table.apply(spread(values, stages), column)

    most_out = [np.inf if e.outflow.max_outflow_m3s is None else e.outflow.max_outflow_m3s for e in entries]
    channel = [e.diversion.max_flow_m3s if e.diversion else 0.0 for e in entries]
    found = PlantLimits(
        min_storage=whole([e.reservoir.min_storage_hm3 for e in entries], "min_storage_hm3"),
        max_storage=whole([e.reservoir.max_storage_hm3 for e in entries], "max_storage_hm3"),
        withdrawal=whole([0.0] * ids.size, "water_withdrawal_m3s"),
        min_turbined=limits([e.generation.min_turbined_m3s for e in entries], "min_turbined_m3s"),
        max_turbined=limits([e.generation.max_turbined_m3s for e in entries], "max_turbined_m3s"),
        min_outflow=limits([e.outflow.min_outflow_m3s for e in entries], "min_outflow_m3s"),
        max_outflow=limits(most_out, "max_outflow_m3s"),
        max_diversion=limits(channel, "max_diversion_m3s"),
        min_generation=limits([e.generation.min_generation_mw for e in entries], "min_generation_mw"),
        max_generation=limits([e.generation.max_generation_mw for e in entries], "max_generation_mw"),
    )
    has_channel = np.array([e.diversion is not None for e in entries], dtype=bool)
    found = dataclasses.replace(
        found, max_diversion=combine(np.multiply, found.max_diversion, has_channel * np.ones((stages, 1)))
    )
    _refuse_columns(table, findings)
    _check_rises(table, entries, findings)
    _check_all(found, ids, timeline, findings)
    return _within_groups(files, found, entries, ids, productivity, timeline, findings)


def _refuse_columns(table: Overrides, findings: Findings) -> None:
    if table.table is None:
        return
    for column in ("min_diversion_m3s", "min_spillage_m3s"):
        used = table.table.present[column] & (table.table[column] > 0.0)
        if used.any():
            findings.error(
                "NotSupported", BOUNDS.file, f"{column}: not supported", field=column,
                entity=f"hydro {table.table['hydro_id'][np.flatnonzero(used)[0]]}", suggestion="leave the column empty",
            )  # fmt: skip


def _check_rises(table: Overrides, entries: Sequence[HydroEntry], findings: Findings) -> None:
    """A plant is declared at its largest; stages only narrow it."""
    if table.table is None:
        return
    for column in ("max_turbined_m3s", "max_generation_mw"):
        declared = np.array([getattr(e.generation, column) for e in entries], dtype=np.float64)[table.entity]
        value = table.table[column][table.rows]
        above = np.flatnonzero(table.table.present[column][table.rows] & (value > declared))
        for row in above[:MAX_ROWS_REPORTED]:
            findings.error(
                "OutOfRange", BOUNDS.file, f"{value[row]:g} is above the plant's own {declared[row]:g}",
                entity=f"hydro {entries[table.entity[row]].id}", field=column, value=float(value[row]),
                suggestion="declare the plant at its largest in system/hydros.json",
            )  # fmt: skip


def _check_all(found: PlantLimits, ids: IntArray, timeline: Timeline, findings: Findings) -> None:
    for low, high, what in (
        (found.min_storage, found.max_storage, "storage_hm3"),
        (found.min_turbined, found.max_turbined, "turbined_m3s"),
        (found.min_outflow, found.max_outflow, "outflow_m3s"),
        (found.min_generation, found.max_generation, "generation_mw"),
    ):
        names = (f"min_{what}", f"max_{what}")
        check_order(low, high, names, ids, "hydro", HYDROS_FILE, timeline, findings)


def _within_groups(
    files: CaseFiles,
    found: PlantLimits,
    entries: Sequence[HydroEntry],
    ids: IntArray,
    productivity: FloatArray,
    timeline: Timeline,
    findings: Findings,
) -> PlantLimits:
    """The groups of a plant feed one bus with one productivity: their sums bound the plant as a whole.

    A group turbines no more than ``min(max_turbined, max_generation / productivity)``.
    """
    groups = [(place, group) for place, entry in enumerate(entries) for group in entry.unit_groups]
    owner = np.array([place for place, _ in groups], dtype=np.int64)
    _check_groups(entries, findings)
    content = _keyed(files.table(GROUP_BOUNDS), entries, ids, findings)
    keys = np.arange(owner.size, dtype=np.int64)
    table = Overrides(content, "group", "unit group", keys, timeline, findings)
    own = {
        name: table.limits(spread([getattr(group, name) for _, group in groups], len(timeline)), name)
        for name in _GROUP_LIMITS
    }
    rho = productivity[:, owner]
    by_power = combine(
        lambda power, r: np.divide(power, r, out=np.full(power.shape, np.inf), where=r > 0.0),
        own["max_generation_mw"], rho,
    )  # fmt: skip
    able = combine(np.minimum, own["max_turbined_m3s"], by_power)

    def total(values: ByStage) -> ByStage:
        if isinstance(values, tuple):
            return tuple(_sums(part, owner, ids.size) for part in values)
        return np.stack([_sums(part, owner, ids.size) for part in values]) if len(values) else values

    return dataclasses.replace(
        found,
        min_turbined=combine(np.maximum, found.min_turbined, total(own["min_turbined_m3s"])),
        max_turbined=combine(np.minimum, found.max_turbined, total(able)),
        min_generation=combine(np.maximum, found.min_generation, total(own["min_generation_mw"])),
    )


def _sums(values: FloatArray, owner: IntArray, size: int) -> FloatArray:
    """Sums over the groups (first axis) of each plant."""
    sums = np.zeros((size, *values.shape[1:]))
    np.add.at(sums, owner, values)
    return sums


def _keyed(table: Table | None, entries: Sequence[HydroEntry], ids: IntArray, findings: Findings) -> Table | None:
    """``table`` with a column ``group``, the position of its unit group among all; rows of unknown ones left out."""
    if table is None:
        return None
    known = {(e.id, group.id): 0 for e in entries for group in e.unit_groups}
    places = {key: place for place, key in enumerate(known)}
    pairs = list(zip(table["hydro_id"].tolist(), table["hydro_unit_group_id"].tolist(), strict=True))
    group = np.array([places.get(pair, -1) for pair in pairs], dtype=np.int64)
    for row in np.flatnonzero(group < 0)[:MAX_ROWS_REPORTED]:
        findings.error(
            "MissingReference", GROUP_BOUNDS.file, f"hydro {pairs[row][0]} has no unit group {pairs[row][1]}",
            entity=f"hydro {pairs[row][0]}", field="hydro_unit_group_id", value=pairs[row][1],
        )  # fmt: skip
    keep = group >= 0
    columns = {name: values[keep] for name, values in table.columns.items()} | {"group": group[keep]}
    return Table(table.spec, columns, {n: v[keep] for n, v in table.present.items()}, int(keep.sum()))


def _check_groups(entries: Sequence[HydroEntry], findings: Findings) -> None:
    for entry in entries:
        name, own = f"hydro {entry.id}", entry.generation
        numbers = [group.id for group in entry.unit_groups]
        if len(set(numbers)) < len(numbers):
            findings.error(
                "DuplicateId", HYDROS_FILE, "two of its unit groups share an id", entity=name, field="unit_groups"
            )
        for limit in _GROUP_LIMITS:
            total, declared = sum(getattr(group, limit) for group in entry.unit_groups), getattr(own, limit)
            slack = 1e-9 * max(1.0, abs(declared))
            wrong = total > declared + slack if limit.startswith("max") else total < declared - slack
            if wrong:
                side = "above" if limit.startswith("max") else "below"
                findings.error(
                    "PhysicalConstraint", HYDROS_FILE,
                    f"its unit groups sum to {total:g}, {side} the plant's own {declared:g}",
                    entity=name, field=f"unit_groups.{limit}", value=total,
                )  # fmt: skip
        for group in entry.unit_groups:
            _check_group(group, name, findings)


def _check_group(group: UnitGroup, name: str, findings: Findings) -> None:
    for low, high in (("min_turbined_m3s", "max_turbined_m3s"), ("min_generation_mw", "max_generation_mw")):
        if getattr(group, low) > getattr(group, high):
            findings.error(
                "PhysicalConstraint", HYDROS_FILE, f"{low} of its unit group {group.id} is above {high}",
                entity=name, field=f"unit_groups.{low}", value=getattr(group, low),
            )  # fmt: skip
