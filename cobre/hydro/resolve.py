"""From records and sparse override tables to columns: what every kind of entity needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cobre.errors import DiagnosticKind
from cobre.hydro.dates import parse_date
from cobre.hydro.diagnostics import Findings, did_you_mean
from cobre.hydro.entities import ByStage, StageSpec
from cobre.hydro.tables import MAX_ROWS_REPORTED, Table

__all__ = [
    "Overrides",
    "Timeline",
    "by_id",
    "check_order",
    "check_service_dates",
    "combine",
    "in_service",
    "locate",
    "reference",
    "spread",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Identified(Protocol):
    @property
    def id(self) -> int: ...


class Dated(Identified, Protocol):
    @property
    def operational_start_date(self) -> str: ...


class Staged(Identified, Protocol):
    @property
    def entry_stage_id(self) -> int | None: ...
    @property
    def exit_stage_id(self) -> int | None: ...


E = TypeVar("E", bound=Identified)


@dataclass(frozen=True, eq=False)
class Timeline:
    """The stages of the study, in order."""

    specs: tuple[StageSpec, ...]
    ids: IntArray  # (T,), rising

    def __len__(self) -> int:
        return len(self.specs)

    def blocks(self, stage: int) -> int:
        return self.specs[stage].block_hours.size


def by_id(entries: Sequence[E], file: str, noun: str, findings: Findings) -> list[E]:
    """``entries`` in the order of their ids; a repeated id is an error."""
    ordered = sorted(entries, key=lambda entry: entry.id)
    for one, other in pairwise(ordered):
        if one.id == other.id:
            findings.error(
                "DuplicateId", file, f"the id {one.id} is given to two {noun} records",
                entity=f"{noun} {one.id}", field="id", value=one.id, suggestion="give each an id of its own",
            )  # fmt: skip
    return ordered


def locate(ids: IntArray, wanted: IntArray) -> IntArray:
    """Positions of ``wanted`` in the rising ``ids``, -1 where one is not there."""
    if not ids.size:
        return np.full(wanted.shape, -1, dtype=np.int64)
    place = np.minimum(np.searchsorted(ids, wanted), ids.size - 1)
    return np.where(ids[place] == wanted, place, -1).astype(np.int64)


def reference(ids: IntArray, wanted: int, noun: str, file: str, entity: str, field: str, findings: Findings) -> int:
    """The position of the entity ``wanted`` refers to, -1 and an error where there is none."""
    place = int(locate(ids, np.array([wanted]))[0])
    if place < 0:
        findings.error(
            "MissingReference", file, f"refers to {noun} {wanted}, which does not exist",
            entity=entity, field=field, value=wanted, suggestion=did_you_mean(wanted, ids.tolist()),
        )  # fmt: skip
    return place


def spread(values: Sequence[float], stages: int) -> FloatArray:
    """(T, E): one value per entity, the same in every stage."""
    return np.repeat(np.asarray(values, dtype=np.float64).reshape(1, -1), stages, axis=0)


def check_service_dates(entries: Sequence[Dated], file: str, noun: str, findings: Findings) -> None:
    """Entities name the day they were built; what counts in a study is their entry and exit stage."""
    for entry in entries:
        parse_date(entry.operational_start_date, file, f"{noun} {entry.id}", "operational_start_date", findings)


def in_service(
    entries: Sequence[Staged], timeline: Timeline, file: str, noun: str, findings: Findings
) -> NDArray[np.bool_]:
    """(T, E): whether the entity is in service: entry <= stage id < exit, each open where it is not given."""
    lowest, highest = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    entry = np.array([lowest if e.entry_stage_id is None else e.entry_stage_id for e in entries], dtype=np.int64)
    leave = np.array([highest if e.exit_stage_id is None else e.exit_stage_id for e in entries], dtype=np.int64)
    for place in np.flatnonzero(entry >= leave).tolist():
        findings.error(
            "OutOfRange", file, f"enters service at stage {entry[place]}, not before it leaves at {leave[place]}",
            entity=f"{noun} {entries[place].id}", field="exit_stage_id", value=int(leave[place]),
        )  # fmt: skip
    ids = timeline.ids[:, None]
    return np.asarray((ids >= entry) & (ids < leave))


def combine(function: Callable[[FloatArray, FloatArray], FloatArray], one: ByStage, other: ByStage) -> ByStage:
    """``function`` of two limits, stage by stage; (T, E) where both are, else (E, blocks) per stage."""
    if not isinstance(one, tuple) and not isinstance(other, tuple):
        return function(one, other)
    pairs = zip(one, other, strict=True)
    return tuple(function(*_same_blocks(a, b)) for a, b in pairs)


def _same_blocks(one: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    if one.ndim < other.ndim:
        one = one[:, None]
    return (one, other[:, None]) if other.ndim < one.ndim else (one, other)


def check_order(
    low: ByStage,
    high: ByStage,
    names: tuple[str, str],
    ids: IntArray,
    noun: str,
    file: str,
    timeline: Timeline,
    findings: Findings,
) -> None:
    """Reports each entity whose lower limit is above its upper one in some stage, at the first such stage."""
    reported: set[int] = set()
    if not ids.size:
        return
    for t, (a, b) in enumerate(zip(low, high, strict=True)):
        lower, upper = np.broadcast_arrays(*_same_blocks(a, b))
        above = (lower > upper).reshape(ids.size, -1)
        for place in np.flatnonzero(above.any(axis=1)):
            if int(place) in reported:
                continue
            reported.add(int(place))
            block = int(np.flatnonzero(above[place])[0])
            least, most = (float(x.reshape(ids.size, -1)[place, block]) for x in (lower, upper))
            findings.error(
                "PhysicalConstraint", file,
                f"{names[0]} {least:g} is above {names[1]} {most:g} in stage {timeline.ids[t]}",
                entity=f"{noun} {ids[place]}", field=names[0], value=least,
                suggestion="look at its own limits and at the stage overrides under constraints/",
            )  # fmt: skip


class Overrides:
    """The rows of a sparse table whose entity, stage and block exist, as positions; others are reported.

    lenient: rows for stages outside the study are left aside with a warning, not refused: statistics often cover
        more than the study, and those before it (negative ids) belong to lags.
    """

    def __init__(
        self,
        table: Table | None,
        key: str,
        noun: str,
        ids: IntArray,
        timeline: Timeline,
        findings: Findings,
        *,
        lenient: bool = False,
    ) -> None:
        self.table, self.key, self.noun = table, key, noun
        self.ids, self.timeline, self.findings = ids, timeline, findings
        self.rows = self.stage = self.entity = self.block = np.zeros(0, dtype=np.int64)
        if table is None:
            return
        entity, stage = locate(ids, table[key]), locate(timeline.ids, table["stage_id"])
        self._report_unknown(table[key][entity < 0], "MissingReference", key, noun, ids)
        if lenient:
            self._warn_of_stages(table["stage_id"][stage < 0])
        else:
            self._report_unknown(table["stage_id"][stage < 0], "StageMismatch", "stage_id", "stage", timeline.ids)
        block = np.full(table.rows, -1, dtype=np.int64)
        if "block_id" in table.columns:
            block = np.where(table.present["block_id"], table["block_id"], -1)
            self._report_blocks(table, stage, block)
        self.rows = np.flatnonzero((entity >= 0) & (stage >= 0))
        self.entity, self.stage, self.block = entity[self.rows], stage[self.rows], block[self.rows]

    def apply(self, values: FloatArray, column: str) -> FloatArray:
        """``values`` (T, E) with the rows written over them; for columns that have no values by block."""
        if self.table is None:
            return values
        use = self.table.present[column][self.rows]
        for row in np.flatnonzero(use & (self.block >= 0))[:MAX_ROWS_REPORTED]:
            self.findings.error(
                "SchemaViolation", self.table.spec.file,
                f"{column} holds for a whole stage, not for block {self.block[row]}",
                entity=self._name(row), field="block_id", value=int(self.block[row]),
                suggestion="leave block_id null in that row",
            )  # fmt: skip
        values = values.copy()
        values[self.stage[use], self.entity[use]] = self.table[column][self.rows[use]]
        return values

    def limits(self, values: FloatArray, column: str) -> ByStage:
        """As ``apply``, where single blocks may have values of their own: per stage (E, blocks) if any has."""
        if self.table is None:
            return values
        use = self.table.present[column][self.rows]
        whole, single = use & (self.block < 0), use & (self.block >= 0)
        values = values.copy()
        values[self.stage[whole], self.entity[whole]] = self.table[column][self.rows[whole]]
        if not single.any():
            return values
        stages = range(len(self.timeline))
        blocks = tuple(np.repeat(values[t][:, None], self.timeline.blocks(t), axis=1) for t in stages)
        for row in np.flatnonzero(single):
            if self.block[row] < self.timeline.blocks(self.stage[row]):
                blocks[self.stage[row]][self.entity[row], self.block[row]] = self.table[column][self.rows[row]]
        return blocks

    def listed(self) -> NDArray[np.bool_]:
        """(T, E): which entities have a row in which stages."""
        found = np.zeros((len(self.timeline), self.ids.size), dtype=bool)
        found[self.stage, self.entity] = True
        return found

    def report_gaps(self, needed: NDArray[np.bool_]) -> None:
        """An error for each entity that lacks a row in a stage where ``needed`` (T, E) asks for one."""
        if self.table is None:
            return
        lacking = needed & ~self.listed()
        for place in np.flatnonzero(lacking.any(axis=0)):
            stages = self.timeline.ids[lacking[:, place]]
            shown = ", ".join(map(str, stages[:5].tolist())) + (", ..." if stages.size > 5 else "")
            self.findings.error(
                "CoverageMismatch", self.table.spec.file, f"no row for stage {shown}",
                entity=f"{self.noun} {self.ids[place]}", field="stage_id",
                suggestion="a file that is there must cover every stage",
            )  # fmt: skip

    def _name(self, row: int) -> str:
        return f"{self.noun} {self.ids[self.entity[row]]}"

    def _report_unknown(self, wanted: IntArray, kind: DiagnosticKind, field: str, noun: str, ids: IntArray) -> None:
        assert self.table is not None
        for value in np.unique(wanted)[:MAX_ROWS_REPORTED].tolist():
            self.findings.error(
                kind, self.table.spec.file, f"refers to {noun} {value}, which does not exist",
                entity=f"{noun} {value}", field=field, value=value, suggestion=did_you_mean(value, ids.tolist()),
            )  # fmt: skip

    def _warn_of_stages(self, outside: IntArray) -> None:
        assert self.table is not None
        for value in np.unique(outside[outside >= 0])[:MAX_ROWS_REPORTED].tolist():
            self.findings.warn(
                "StageMismatch", self.table.spec.file,
                f"stage {value} is no stage of the study: its rows are left aside",
                entity=f"stage {value}", field="stage_id", value=value,
            )  # fmt: skip

    def _report_blocks(self, table: Table, stage: IntArray, block: IntArray) -> None:
        counts = np.array([self.timeline.blocks(t) for t in range(len(self.timeline))], dtype=np.int64)
        given = table.present["block_id"] & (stage >= 0)
        outside = given & ((block < 0) | (block >= counts[stage]))
        for row in np.flatnonzero(outside)[:MAX_ROWS_REPORTED]:
            self.findings.error(
                "MissingReference", table.spec.file, f"stage {table['stage_id'][row]} has no block {block[row]}",
                entity=f"{self.noun} {table[self.key][row]}", field="block_id", value=int(block[row]),
            )  # fmt: skip
