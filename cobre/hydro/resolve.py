"""From records and sparse override tables to columns: what every kind of entity needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings, did_you_mean
from cobre.hydro.entities import StageSpec
from cobre.hydro.tables import MAX_ROWS_REPORTED, Table

__all__ = ["Overrides", "Timeline", "by_id", "in_service", "locate", "reference", "spread"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Identified(Protocol):
    @property
    def id(self) -> int: ...


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
                "DuplicateId", file, f"two of the {noun}s have the id {one.id}",
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


def in_service(entries: Sequence[Staged], timeline: Timeline) -> NDArray[np.bool_]:
    """(T, E): whether the entity is in service: entry <= stage id < exit, each open where it is not given."""
    lowest, highest = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    entry = np.array([lowest if e.entry_stage_id is None else e.entry_stage_id for e in entries], dtype=np.int64)
    leave = np.array([highest if e.exit_stage_id is None else e.exit_stage_id for e in entries], dtype=np.int64)
    ids = timeline.ids[:, None]
    return np.asarray((ids >= entry) & (ids < leave))


class Overrides:
    """The rows of a sparse table whose entity and stage exist, as positions; others are reported."""

    def __init__(
        self, table: Table | None, key: str, noun: str, ids: IntArray, timeline: Timeline, findings: Findings
    ) -> None:
        self.table = table
        self.stage = self.entity = self.block = np.zeros(0, dtype=np.int64)
        self.rows = np.zeros(0, dtype=np.int64)
        if table is None:
            return
        entity, stage = locate(ids, table[key]), locate(timeline.ids, table["stage_id"])
        _report_unknown(table, key, noun, entity, ids, findings)
        _report_stages(table, stage, timeline, findings)
        self.rows = np.flatnonzero((entity >= 0) & (stage >= 0))
        self.stage, self.entity = stage[self.rows], entity[self.rows]
        self.block = np.full(self.rows.size, -1, dtype=np.int64)
        if "block_id" in table.columns:
            given = table.present["block_id"][self.rows]
            self.block = np.where(given, table["block_id"][self.rows], -1)
            self._report_blocks(given, key, timeline, findings)

    def apply(self, values: FloatArray, column: str) -> FloatArray:
        """``values`` (T, E) with the rows for whole stages written over them."""
        if self.table is None:
            return values
        use = self.table.present[column][self.rows] & (self.block < 0)
        values = values.copy()
        values[self.stage[use], self.entity[use]] = self.table[column][self.rows[use]]
        return values

    def apply_blocks(self, values: tuple[FloatArray, ...], column: str) -> tuple[FloatArray, ...]:
        """Per stage (E, blocks): ``values`` with the rows for single blocks written over them."""
        if self.table is None:
            return values
        for row in np.flatnonzero(self.table.present[column][self.rows] & (self.block >= 0)):
            stage = values[self.stage[row]]
            if self.block[row] < stage.shape[1]:
                stage[self.entity[row], self.block[row]] = self.table[column][self.rows[row]]
        return values

    def _report_blocks(self, given: NDArray[np.bool_], key: str, timeline: Timeline, findings: Findings) -> None:
        assert self.table is not None
        counts = np.array([timeline.blocks(t) for t in range(len(timeline))], dtype=np.int64)
        chosen = self.table["block_id"][self.rows]
        outside = given & ((chosen < 0) | (chosen >= counts[self.stage]))
        for row in np.flatnonzero(outside)[:MAX_ROWS_REPORTED]:
            findings.error(
                "MissingReference", self.table.spec.file,
                f"stage {timeline.ids[self.stage[row]]} has no block {chosen[row]}",
                entity=f"{key[:-3]} {self.table[key][self.rows[row]]}", field="block_id", value=int(chosen[row]),
            )  # fmt: skip


def _report_unknown(table: Table, key: str, noun: str, place: IntArray, ids: IntArray, findings: Findings) -> None:
    for wanted in np.unique(table[key][place < 0])[:MAX_ROWS_REPORTED].tolist():
        findings.error(
            "MissingReference", table.spec.file, f"refers to {noun} {wanted}, which does not exist",
            field=key, value=wanted, suggestion=did_you_mean(wanted, ids.tolist()),
        )  # fmt: skip


def _report_stages(table: Table, place: IntArray, timeline: Timeline, findings: Findings) -> None:
    for wanted in np.unique(table["stage_id"][place < 0])[:MAX_ROWS_REPORTED].tolist():
        findings.error(
            "StageMismatch", table.spec.file, f"stage {wanted} is no stage of the study",
            entity=f"stage {wanted}", field="stage_id", value=wanted,
            suggestion=f"stages run from {timeline.ids[0]} to {timeline.ids[-1]}",
        )  # fmt: skip
