"""Parquet tables of a case, as numpy columns, with their columns, types, nulls and keys checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings, closest

__all__ = ["MAX_ROWS_REPORTED", "Column", "Table", "TableSpec", "integer", "optional", "real", "read_table"]

MAX_ROWS_REPORTED = 5


@dataclass(frozen=True)
class Column:
    """A column: ``integer`` or real; ``required`` to be there, ``nullable`` where a null means no value."""

    name: str
    integer: bool = False
    required: bool = True
    nullable: bool = False
    minimum: float | None = None
    positive: bool = False
    maximum: float | None = None
    unsigned: bool = False


def integer(name: str, *, unsigned: bool = False) -> Column:
    return Column(name, integer=True, unsigned=unsigned)


def real(name: str, minimum: float | None = None, maximum: float | None = None) -> Column:
    return Column(name, minimum=minimum, maximum=maximum)


def optional(
    *names: str, integer: bool = False, positive: bool = False, minimum: float | None = None
) -> tuple[Column, ...]:
    """Columns of sparse overrides: they may be absent, and null where nothing is overridden."""
    return tuple(
        Column(name, integer, required=False, nullable=True, positive=positive, minimum=minimum) for name in names
    )


@dataclass(frozen=True)
class TableSpec:
    """``keys`` identify a row: no two rows may share them."""

    file: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length; a null real is NaN, ``present[name]`` says where an optional value is given."""

    spec: TableSpec
    columns: dict[str, NDArray[Any]]
    present: dict[str, NDArray[np.bool_]]
    rows: int

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]


def read_table(content: bytes, spec: TableSpec, findings: Findings) -> Table | None:
    """The table in ``content`` (a Parquet file), None where it is broken; every fault is reported."""
    try:
        raw = _open(content, spec, findings)
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, NotImplementedError) as error:
        findings.error(
            "ParseError", spec.file, f"not a readable Parquet file: {str(error)[:200]}",
            suggestion="write it with pyarrow.parquet.write_table(table, path, compression='zstd')",
        )  # fmt: skip
        return None
    before = len(findings.errors)
    _check_names(raw, spec, findings)
    columns: dict[str, NDArray[Any]] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    for column in spec.columns:
        if raw.column_names.count(column.name) > 1:
            continue
        if column.name in raw.column_names:
            read = _column(raw.column(column.name), column, spec, findings)
            if read is not None:
                columns[column.name], present[column.name] = read
        elif not column.required:
            columns[column.name] = np.full(raw.num_rows, 0 if column.integer else np.nan)
            present[column.name] = np.zeros(raw.num_rows, dtype=bool)
    if len(findings.errors) > before:
        return None
    table = Table(spec, columns, present, raw.num_rows)
    return table if _unique_keys(table, findings) else None


def _open(content: bytes, spec: TableSpec, findings: Findings) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
    # these tables are small: starting threads takes longer than reading them
    raw = file.read(use_threads=False)
    # only now: asking a damaged file for its column chunks ends the process, reading it raises
    codecs = {
        file.metadata.row_group(g).column(c).compression
        for g in range(file.metadata.num_row_groups)
        for c in range(file.metadata.num_columns)
    }
    if foreign := codecs - {"ZSTD", "UNCOMPRESSED"}:
        findings.warn(
            "SchemaViolation", spec.file,
            f"compressed with {', '.join(sorted(foreign))}, which not every reader of this format takes",
            suggestion="write it with compression='zstd'",
        )  # fmt: skip
    return raw


def _check_names(raw: pa.Table, spec: TableSpec, findings: Findings) -> None:
    known = [column.name for column in spec.columns]
    for name in raw.column_names:
        if name not in known:
            _report_unknown_column(name, [k for k in known if k not in raw.column_names], spec, findings)
    for name in sorted({name for name in raw.column_names if raw.column_names.count(name) > 1}):
        findings.error("SchemaViolation", spec.file, f"the column {name!r} stands twice", field=name)
    for column in spec.columns:
        if column.required and column.name not in raw.column_names:
            findings.error(
                "SchemaViolation", spec.file, f"the required column {column.name!r} is missing", field=column.name
            )


def _report_unknown_column(name: str, absent: list[str], spec: TableSpec, findings: Findings) -> None:
    """A misspelt column would be lost without a word; one of another purpose is left aside with a warning."""
    meant = closest(name, absent)
    if meant is None:
        findings.warn(
            "SchemaViolation", spec.file, f"the column {name[:80]!r} is not known and left aside", field=name[:80]
        )
    else:
        findings.error(
            "SchemaViolation", spec.file, f"the column {name[:80]!r} is not known",
            field=name[:80], suggestion=f"did you mean {meant!r}?",
        )  # fmt: skip


def _column(
    chunks: pa.ChunkedArray, column: Column, spec: TableSpec, findings: Findings
) -> tuple[NDArray[Any], NDArray[np.bool_]] | None:
    wanted = pa.uint32() if column.unsigned else pa.int32() if column.integer else pa.float64()
    if chunks.type != wanted and not (column.nullable and pa.types.is_null(chunks.type)):
        findings.error(
            "TypeMismatch", spec.file,
            f"the column has the type {str(chunks.type)[:80]}, not {wanted}", field=column.name,
            suggestion=f"cast it to {wanted} before writing",
        )  # fmt: skip
        return None
    given = ~np.asarray(chunks.is_null().to_numpy(), dtype=bool)
    if column.integer:
        values = np.asarray(chunks.cast(wanted).fill_null(0).to_numpy()).astype(np.int64)
        values[~given] = -1
    else:
        values = np.asarray(chunks.cast(pa.float64()).to_numpy(), dtype=np.float64)
    bad = np.zeros(values.size, dtype=bool) if column.nullable else ~given
    _report_rows(bad, "is null", "SchemaViolation", values, column.name, spec, findings)
    if not column.integer:
        infinite = given & ~np.isfinite(values)
        _report_rows(infinite, "is not a finite number", "OutOfRange", values, column.name, spec, findings)
        given = given & ~infinite
    if column.minimum is not None:
        low = given & (values < column.minimum)
        _report_rows(low, f"is below {column.minimum:g}", "OutOfRange", values, column.name, spec, findings)
    if column.maximum is not None:
        high = given & (values > column.maximum)
        _report_rows(high, f"is above {column.maximum:g}", "OutOfRange", values, column.name, spec, findings)
    if column.positive:
        _report_rows(given & (values <= 0), "is not positive", "OutOfRange", values, column.name, spec, findings)
    return values, given


def _report_rows(
    bad: NDArray[np.bool_],
    fault: str,
    kind: Any,
    values: NDArray[Any],
    name: str,
    spec: TableSpec,
    findings: Findings,
) -> None:
    rows = np.flatnonzero(bad)
    for row in rows[:MAX_ROWS_REPORTED]:
        findings.error(kind, spec.file, f"row {row} {fault}", field=name, value=values[row].item())
    if rows.size > MAX_ROWS_REPORTED:
        findings.error(kind, spec.file, f"and {rows.size - MAX_ROWS_REPORTED} rows more", field=name)


def _unique_keys(table: Table, findings: Findings) -> bool:
    """No two rows give the same thing: share a key, or, where values are optional, a key and a value given."""
    values = [column.name for column in table.spec.columns if column.nullable and not column.integer]
    before = len(findings.errors)
    if not values:
        _report_repeats(table, np.arange(table.rows), None, findings)
    for name in values:
        _report_repeats(table, np.flatnonzero(table.present[name]), name, findings)
    return len(findings.errors) == before


def _report_repeats(table: Table, rows: NDArray[np.int64], field: str | None, findings: Findings) -> None:
    keys = [table[name][rows] for name in table.spec.keys]
    order = np.lexsort(keys[::-1])
    same = np.ones(max(rows.size - 1, 0), dtype=bool)
    for key in keys:
        same &= np.diff(key[order]) == 0
    twice = np.sort(rows[order[1:][same]])
    for row in twice[:MAX_ROWS_REPORTED]:
        name = ", ".join(f"{key} {table[key][row]}" for key in table.spec.keys if table.present[key][row])
        findings.error("DuplicateId", table.spec.file, f"row {row} repeats {name}", entity=name, field=field)
    if twice.size > MAX_ROWS_REPORTED:
        findings.error("DuplicateId", table.spec.file, f"and {twice.size - MAX_ROWS_REPORTED} rows more", field=field)
