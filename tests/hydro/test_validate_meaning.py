"""Cases whose files are well formed and contradict each other, or ask for what is not supported."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cobre.hydro.validate import validate_case
from tests.hydro.cases import case_files, hydro, source, with_openings, write_case

Files = dict[str, Any]


def edit(path: str, value: Any) -> Callable[[Files], None]:
    """Set ``file:key.key.0.key`` to ``value``."""
    file, _, keys = path.partition(":")
    place = [int(key) if key.isdigit() else key for key in keys.split(".")]

    def change(files: Files) -> None:
        target = files[file]
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = value

    return change


def rows(file: str, *added: dict[str, Any]) -> Callable[[Files], None]:
    return lambda files: files.update({file: list(added)})


BOUNDS = "constraints/hydro_bounds.parquet"
WINDOW = {"hydro_id": 0, "start_date": "2023-12-01", "end_date": "2024-01-01", "value_m3s": 4.0}
GROUP = {"name": "g", "entities": [{"type": "inflow", "id": 0}, {"type": "inflow", "id": 1}]}


def correlation(matrix: list[list[float]], **changes: Any) -> Callable[[Files], None]:
    group = GROUP | {"matrix": matrix} | changes
    content = {"method": "spectral", "profiles": {"default": {"correlation_groups": [group]}}}
    return lambda files: files.update({"scenarios/correlation.json": content})


@pytest.mark.parametrize(
    ("kind", "file", "change"),
    [
        ("PhysicalConstraint", "system/hydros.json", edit("system/hydros.json:hydros.1.downstream_id", 0)),
        (
            "PhysicalConstraint", "system/hydros.json",
            edit("system/hydros.json:hydros.1.diversion", {"downstream_id": 0, "max_flow_m3s": 1.0}),
        ),
        ("MissingReference", "system/hydros.json", edit("system/hydros.json:hydros.0.downstream_id", 7)),
        ("MissingReference", "system/thermals.json", edit("system/thermals.json:thermals.0.bus_id", 7)),
        (
            "PhysicalConstraint", "system/hydros.json",
            edit("system/hydros.json:hydros.0.reservoir", {"min_storage_hm3": 300.0, "max_storage_hm3": 200.0}),
        ),
        (
            "PhysicalConstraint", "system/thermals.json",
            edit("system/thermals.json:thermals.0.generation", {"min_mw": 5.0, "max_mw": 4.0}),
        ),
        ("PhysicalConstraint", "initial_conditions.json", edit("initial_conditions.json:storage.0.value_hm3", 201.0)),
        ("CoverageMismatch", "initial_conditions.json", edit("initial_conditions.json:storage", [])),
        ("NotSupported", "initial_conditions.json", edit("initial_conditions.json:filling_storage",
                                                         [{"hydro_id": 0, "value_hm3": 1.0}])),
        ("OutOfRange", "initial_conditions.json", edit("initial_conditions.json:recent_observations",
                                                       [WINDOW | {"end_date": "2023-11-01"}])),
        ("OutOfRange", "stages.json", edit("stages.json:stages.0.end_date", "2023-01-01")),
        ("SchemaViolation", "stages.json", edit("stages.json:stages.0.end_date", "2024-W05-1")),
        ("SchemaViolation", "stages.json", edit("stages.json:stages.0.blocks.0.id", 1)),
        ("NotSupported", "stages.json", edit("stages.json:stages.0.block_mode", "chronological")),
        ("NotSupported", "stages.json", edit("stages.json:stages.0.sampling_method", "selective")),
        ("NotSupported", "stages.json", edit("stages.json:stages.0.state_variables", {"inflow_lags": True})),
        ("NotSupported", "stages.json", edit("stages.json:policy_graph.type", "cyclic")),
        ("NotSupported", "stages.json", edit("stages.json:policy_graph.nodes", [{"id": 0, "stage_id": 0}])),
        ("NotSupported", "stages.json", edit("stages.json:policy_graph.transitions",
                                             [{"source_id": 1, "target_id": 0, "probability": 1.0}])),
        ("OutOfRange", "stages.json", edit("stages.json:policy_graph.transitions",
                                           [{"source_id": 0, "target_id": 1, "probability": 0.5}])),
        ("OutOfRange", "stages.json", edit("stages.json:stages.0.annual_discount_rate_override", -1.0)),
        ("OutOfRange", "stages.json", edit("stages.json:stages.0.risk_measure", {"cvar": {"alpha": 0.0, "lambda": 1}})),
        ("InvalidEnum", "stages.json", edit("stages.json:stages.0.risk_measure", "expectaton")),
        ("NotSupported", "stages.json", edit("stages.json:stages.1.season_id", 0)),
        ("NotSupported", "system/hydros.json", edit("system/hydros.json:hydros.0.travel_time_hours", 24.0)),
        ("NotSupported", "system/hydros.json", edit("system/hydros.json:hydros.0.filling", {"start_stage_id": 0})),
        ("NotSupported", "system/hydros.json", edit("system/hydros.json:hydros.0.generation.model", "fpha")),
        ("NotSupported", "system/thermals.json", edit("system/thermals.json:thermals.0.anticipated_config",
                                                      {"lead_stages": 1})),
        ("TypeMismatch", "system/thermals.json", edit("system/thermals.json:thermals.0.operational_start_date", None)),
        ("OutOfRange", "penalties.json", edit("penalties.json:bus.deficit_segments",
                                              [{"depth_mw": 5.0, "cost": 9.0}, {"depth_mw": None, "cost": 8.0}])),
        ("SchemaViolation", "penalties.json", edit("penalties.json:bus.deficit_segments",
                                                   [{"depth_mw": 5.0, "cost": 9.0}])),
        ("OutOfRange", BOUNDS, rows(BOUNDS, {"hydro_id": 0, "stage_id": 0, "max_turbined_m3s": 51.0})),
        ("NotSupported", BOUNDS, rows(BOUNDS, {"hydro_id": 0, "stage_id": 0, "min_spillage_m3s": 1.0})),
        ("PhysicalConstraint", "system/hydros.json",
         rows(BOUNDS, {"hydro_id": 0, "stage_id": 1, "min_storage_hm3": 500.0})),
        ("SchemaViolation", BOUNDS,
         rows(BOUNDS, {"hydro_id": 0, "stage_id": 1, "block_id": 0, "max_storage_hm3": 100.0})),
        ("MissingReference", BOUNDS,
         rows(BOUNDS, {"hydro_id": 0, "stage_id": 1, "block_id": 4, "max_turbined_m3s": 10.0})),
        ("OutOfRange", "scenarios/correlation.json", correlation([[1.0, 0.5], [0.4, 1.0]])),
        ("OutOfRange", "scenarios/correlation.json", correlation([[0.9, 0.5], [0.5, 1.0]])),
        ("CoverageMismatch", "scenarios/correlation.json", correlation([[1.0, 0.5]])),
        ("MissingReference", "scenarios/correlation.json",
         correlation([[1.0]], entities=[{"type": "inflow", "id": 9}])),
        ("DuplicateId", "scenarios/correlation.json",
         correlation([[1.0, 0.0], [0.0, 1.0]], entities=[{"type": "inflow", "id": 0}] * 2)),
        ("NotSupported", "constraints/exchange_factors.json",
         lambda files: files.update({"constraints/exchange_factors.json": {}})),
        ("NotSupported", "system/pumping_stations.json",
         lambda files: files.update({"system/pumping_stations.json": {"pumping_stations": [{"id": 0}]}})),
        ("NotSupported", "scenarios/inflow_history.parquet", rows("scenarios/inflow_history.parquet", {"hydro_id": 0})),
        ("StageMismatch", "constraints/penalty_overrides_bus.parquet",
         rows("constraints/penalty_overrides_bus.parquet", {"bus_id": 0, "stage_id": 9, "excess_cost": 1.0})),
    ],
)  # fmt: skip
def test_what_contradicts_itself(kind: str, file: str, change: Callable[[Files], None], tmp_path: Path) -> None:
    files = copy.deepcopy(case_files(hydros=(hydro(0, downstream=1), hydro(1)), inflow_std=1.0))
    change(files)
    result = validate_case(write_case(tmp_path, files))
    assert (kind, file) in {(d.kind, d.file) for d in result.errors}, result.errors


def test_empty_lists_and_tables_of_refused_features_are_harmless(tmp_path: Path) -> None:
    files = case_files()
    files |= {
        "system/pumping_stations.json": {"pumping_stations": []},
        "system/energy_contracts.json": {"contracts": []},
        "constraints/generic_constraints.json": {"constraints": []},
    }
    write_case(tmp_path, files)
    empty = pa.table({"hydro_id": pa.array([], pa.int32())})
    pq.write_table(empty, tmp_path / "scenarios/inflow_history.parquet")
    assert validate_case(tmp_path).valid


def test_a_file_that_no_one_reads_is_pointed_out(tmp_path: Path) -> None:
    files = case_files() | {"scenarios/load_factor.json": {"load_factors": []}}
    result = validate_case(write_case(tmp_path, files))
    assert result.valid
    assert [d.suggestion for d in result.warnings] == ["did you mean 'scenarios/load_factors.json'?"]


def test_penalties_out_of_order_are_a_warning(tmp_path: Path) -> None:
    files = case_files(hydros=(hydro(0, penalties={"spillage_cost": 5000.0}),))
    result = validate_case(write_case(tmp_path, files))
    assert result.valid
    assert {d.kind for d in result.warnings} == {"PenaltyConsistency"}


@pytest.mark.parametrize("change", ["one more", "one less", "another entity", "another stage"])
def test_openings_must_fill_their_tree(change: str, tmp_path: Path) -> None:
    files = with_openings(case_files(hydros=(hydro(0),), inflow_std=1.0), [[[0.1], [0.2]], [[0.3], [0.4]]])
    table_ = files["scenarios/noise_openings.parquet"]
    if change == "one less":
        table_.pop()
    else:
        replaced = {"one more": {"opening_index": 2}, "another entity": {"entity_index": 1}, "another stage": {}}[
            change
        ]
        table_.append(table_[-1] | replaced | ({"stage_id": 5} if change == "another stage" else {}))
    errors = validate_case(write_case(tmp_path, files)).errors
    assert {d.kind for d in errors} <= {"CoverageMismatch", "MissingReference"}
    assert errors


def test_a_source_with_a_bound_that_does_nothing_is_a_warning(tmp_path: Path) -> None:
    files = case_files(sources=(source(0),))
    files["scenarios/non_controllable_stats.parquet"] = [
        {"ncs_id": 0, "stage_id": t, "mean": 0.5, "std": 0.0} for t in (0, 1)
    ]
    files["constraints/ncs_bounds.parquet"] = [{"ncs_id": 0, "stage_id": 0, "available_generation_mw": 1.0}]
    result = validate_case(write_case(tmp_path, files))
    assert [d.kind for d in result.warnings] == ["IncompatibleSettings"]
