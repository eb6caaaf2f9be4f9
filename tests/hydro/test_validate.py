"""Every field of every file broken, one at a time: always a report, never an exception, never a silent pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cobre.errors import Diagnostic
from cobre.hydro.validate import ValidationResult, validate_case
from tests.hydro.cases import write_case
from tests.hydro.full_case import full_files

Place = tuple[str | int, ...]
FULL = full_files()
DOCUMENTS = sorted(name for name in FULL if name.endswith(".json"))
TABLES = sorted(name for name in FULL if name.endswith(".parquet"))
REQUIRED = [name for name in DOCUMENTS if "/" not in name] + [
    f"system/{name}.json" for name in ("buses", "hydros", "lines", "thermals", "hydro_production_models")
]
# Keys that may be absent: what a file then says is its default.
OPTIONAL = frozenset(
    [
        "$schema",
        "modeling",
        "inflow_non_negativity",
        "simulation",
        "enabled",
        "cut_selection",
        "max_active_per_stage",
        "check_frequency",
        "parallelism",
        "backward_scheduler",
        "block_size",
        "solver",
        "forward",
        "presolve",
        "retry_max_attempts",
        "stopping_mode",
        "tree_seed",
        "evaporation_violation_neg_cost",
        "evaporation_violation_pos_cost",
        "inflow_nonnegativity_cost",
        "schedule",
        "transitions",
        "season_definitions",
        "season_id",
        "annual_discount_rate_override",
        "sampling_method",
        "deficit_segments",
        "depth_mw",
        "end_stage_id",
        "diversion",
        "downstream_id",
        "max_outflow_m3s",
        "exchange_cost",
        "losses_percent",
        "curtailment_cost",
        "allow_curtailment",
        "reference_volumes_hm3",
        "evaporation",
        "penalties",
        "spillage_cost",
        "evaporation_violation_cost",
        "risk_measure",
        "default",
    ]
)
OPTIONAL_THERE = [("cut_selection", "selection"), ("simulation", "selection"), ("inflow_non_negativity", "method")]
# ... and the same keys where they are needed
REQUIRED_HERE = ["bus.deficit_segments", "buses.0.deficit_segments.0.depth_mw", "hydros.0.diversion.downstream_id",
                 "line.exchange_cost", "non_controllable_source.curtailment_cost", "hydro.spillage_cost",
                 "hydro.evaporation_violation_cost"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_case(tmp_path_factory.mktemp("case"), full_files())


def with_file(folder: Path, name: str, content: bytes | None) -> ValidationResult:
    """What is found in the case with one file replaced, or removed; the case is as before afterwards."""
    path = folder / name
    before = path.read_bytes()
    try:
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return validate_case(folder)
    finally:
        path.write_bytes(before)


def with_json(folder: Path, name: str, change: Callable[[Any], None]) -> ValidationResult:
    data = copy.deepcopy(FULL[name])
    change(data)
    return with_file(folder, name, json.dumps(data).encode())


def places(data: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every key, and the first element of every list."""
    parts = data.items() if isinstance(data, dict) else [(0, data[0])] if isinstance(data, list) and data else []
    for key, value in parts:
        yield (*place, key), value
        yield from places(value, (*place, key))


def inside(data: Any, place: Place) -> Any:
    for key in place:
        data = data[key]
    return data


def reported(result: ValidationResult) -> list[Diagnostic]:
    """The errors, each of which must say where and what."""
    for diagnostic in (*result.errors, *result.warnings):
        assert diagnostic.file
        assert diagnostic.message
        assert len(str(diagnostic)) < 1200
    return list(result.errors)


def kinds(result: ValidationResult) -> set[str]:
    return {d.kind for d in result.errors}


def test_the_whole_case_is_valid(folder: Path) -> None:
    assert validate_case(folder).valid


def test_a_missing_file_is_named(folder: Path) -> None:
    for name in sorted(FULL):
        result = with_file(folder, name, None)
        if name in REQUIRED:
            assert {d.file for d in reported(result)} == {name}
        elif name in ("system/hydro_geometry.parquet", "system/non_controllable_sources.json"):
            assert not result.valid, name
        else:
            assert result.valid, name


BROKEN = [
    b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"null", b"[]", b'"x"', b'{"a": NaN}', b'{"a": 1, "a": 1}', b"9" * 5000,
    b"PAR1PAR1",
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(FULL))
def test_content_that_is_no_case_file(folder: Path, name: str) -> None:
    for content in BROKEN if name.endswith(".json") else (b"", b"{", b"PAR1PAR1"):
        assert {d.file for d in reported(with_file(folder, name, content))} >= {name}, content[:10]


@pytest.mark.parametrize("name", ["config.json", "stages.json", "scenarios/load_seasonal_stats.parquet"])
def test_truncated_files(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for end in range(0, len(content), max(1, len(content) // 12)):
        assert reported(with_file(folder, name, content[:end]))


def test_a_folder_where_a_file_should_be(folder: Path, tmp_path: Path) -> None:
    write_case(tmp_path, full_files())
    (tmp_path / "stages.json").unlink()
    (tmp_path / "stages.json").mkdir()
    assert [d.file for d in reported(validate_case(tmp_path))] == ["stages.json"]


def test_no_folder_at_all(tmp_path: Path) -> None:
    assert kinds(validate_case(tmp_path / "nowhere")) == {"MissingFile"}
    assert len(reported(validate_case(tmp_path))) == 8


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_field_missing(folder: Path, name: str) -> None:
    for place, value in places(FULL[name]):
        key = place[-1]
        if isinstance(key, int):
            continue
        result = with_json(folder, name, lambda data, p=place, k=key: inside(data, p[:-1]).pop(k))
        if ".".join(str(part) for part in place) not in REQUIRED_HERE:
            optional = key in OPTIONAL or place[-2:] in OPTIONAL_THERE
            assert result.valid == optional, place
        assert value is not None or not result.errors or key in ("depth_mw", "downstream_id"), place
        reported(result)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_field_of_a_wrong_type(folder: Path, name: str) -> None:
    for place, value in places(FULL[name]):
        wrong = ["x"] if isinstance(value, dict | bool) else True
        result = with_json(folder, name, lambda data, p=place, w=wrong: inside(data, p[:-1]).__setitem__(p[-1], w))
        assert any(d.file == name for d in reported(result)), (place, wrong)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_number_out_of_range(folder: Path, name: str) -> None:
    free = {"annual_discount_rate_override", "tree_seed"}
    for place, value in places(FULL[name]):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        signed = place[-1] in free or any(part in ("matrix", "coefficients_mm") for part in place)
        # ids that nothing else refers to may be any number
        signed = (
            signed or place[-1] == "start_stage_id" or place[-3:] in (("unit_groups", 0, "id"), ("thermals", 0, "id"))
        )
        for wrong in ("1", 10**400 if signed else -5):
            result = with_json(folder, name, lambda data, p=place, w=wrong: inside(data, p[:-1]).__setitem__(p[-1], w))
            assert not result.valid, (place, wrong)
            reported(result)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_misspelt_key_is_recognised(folder: Path, name: str) -> None:
    def objects(data: Any, place: Place = ()) -> Iterator[Place]:
        if isinstance(data, dict):
            yield place
        for key, value in places(data):
            if isinstance(value, dict) and len(key) < 4:
                yield (*place, *key)

    for place in set(objects(FULL[name])):
        if place and place[-1] == "profiles":
            continue
        result = with_json(folder, name, lambda data, p=place: inside(data, p).update(operatonal_start_dat="x"))
        assert any("operatonal_start_dat" in d.message for d in reported(result)), place


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_record_twice(folder: Path, name: str) -> None:
    for place, value in places(FULL[name]):
        identified = isinstance(value, list) and value and isinstance(value[0], dict)
        if identified and place[-1] not in ("stopping_rules", "deficit_segments", "stage_ranges", "seasons"):
            result = with_json(folder, name, lambda data, p=place: inside(data, p).append(inside(data, (*p, 0))))
            assert reported(result), place


def table(rows: list[dict[str, Any]], **types: pa.DataType) -> bytes:
    fields = {
        key: types.get(key) or (pa.int32() if key.endswith("_id") else pa.float64()) for row in rows for key in row
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(fields.items()))), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("name", TABLES)
def test_each_column_missing_or_of_a_wrong_type(folder: Path, name: str) -> None:
    rows = FULL[name]
    sparse = name.startswith("constraints/") and "ncs_bounds" not in name
    for key in rows[0]:
        short = table([{k: v for k, v in row.items() if k != key} for row in rows])
        result = with_file(folder, name, short)
        assert result.valid == (sparse and not (key.endswith("_id") and key != "block_id")), key
        text = table([row | {key: "x"} for row in rows], **{key: pa.string()})
        assert "TypeMismatch" in kinds(with_file(folder, name, text)), key


@pytest.mark.parametrize("name", TABLES)
def test_each_cell_null_nan_unknown_or_twice(folder: Path, name: str) -> None:
    rows = FULL[name]
    sparse = name.startswith("constraints/") and "ncs_bounds" not in name
    for key in rows[0]:
        is_id = key.endswith("_id")
        optional = sparse and (not is_id or key == "block_id")
        assert with_file(folder, name, table([rows[0] | {key: None}, *rows[1:]])).valid == optional, key
        if is_id:
            result = with_file(folder, name, table([rows[0] | {key: 99}, *rows[1:]]))
            assert {"MissingReference", "StageMismatch", "CoverageMismatch"} & {
                d.kind for d in (*result.errors, *result.warnings)
            }, key
        else:
            for wrong in (float("nan"), float("inf")):
                assert kinds(with_file(folder, name, table([rows[0] | {key: wrong}, *rows[1:]]))) == {"OutOfRange"}
    assert "DuplicateId" in kinds(with_file(folder, name, table([*rows, rows[0]])))


@pytest.mark.parametrize("name", TABLES)
def test_columns_that_are_not_known(folder: Path, name: str) -> None:
    rows = FULL[name]
    extra = with_file(folder, name, table([row | {"remark_of_the_author": 1.0} for row in rows]))
    assert extra.valid
    assert any("remark_of_the_author" in d.message for d in extra.warnings)
    key = list(rows[0])[-1]
    misspelt = with_file(folder, name, table([{k + "s" * (k == key): v for k, v in row.items()} for row in rows]))
    assert any(d.suggestion == f"did you mean {key!r}?" for d in misspelt.errors)


def test_a_column_twice(folder: Path) -> None:
    name = "scenarios/load_seasonal_stats.parquet"
    raw = pq.read_table(folder / name)
    sink = pa.BufferOutputStream()
    pq.write_table(raw.append_column("std_mw", raw.column("std_mw")), sink, compression="zstd")
    assert [d.field for d in reported(with_file(folder, name, sink.getvalue().to_pybytes()))] == ["std_mw"]


def test_damaged_parquet_never_ends_the_process(folder: Path) -> None:
    name = "scenarios/load_seasonal_stats.parquet"
    content = (folder / name).read_bytes()
    for place in range(4, len(content), 13):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        reported(with_file(folder, name, bytes(damaged)))


def test_snappy_is_read_with_a_warning(folder: Path) -> None:
    name = "scenarios/load_seasonal_stats.parquet"
    sink = pa.BufferOutputStream()
    pq.write_table(pq.read_table(folder / name), sink, compression="snappy")
    result = with_file(folder, name, sink.getvalue().to_pybytes())
    assert result.valid
    assert any("SNAPPY" in d.message for d in result.warnings)
