"""The stage LPs against the reference: every feature's optimum, solved as one program over the whole tree."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cobre.hydro.entities import Case
from cobre.hydro.load import load_case
from cobre.hydro.stage_lp import HydroProblem, build_problem
from cobre.sddp.risk import CVaR, Expectation
from cobre.testing import extensive
from tests.hydro.cases import case_files, hydro, source, thermal, with_openings, write_case
from tests.hydro.features import FEATURES, REFERENCE

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases"
EXPECTED = json.loads((SHARED / "expected.json").read_text()) if SHARED.is_dir() else {}
EXACT = sorted(name for name, entry in EXPECTED.items() if entry.get("exact"))


def built(folder: Path, files: dict[str, object]) -> tuple[Case, HydroProblem]:
    case = load_case(write_case(folder, files))
    return case, build_problem(case)


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_costs_what_the_reference_says(name: str, tmp_path: Path) -> None:
    _, hydro_problem = built(tmp_path, FEATURES[name]())
    assert extensive.solve(hydro_problem.problem) == pytest.approx(REFERENCE[name], rel=1e-9)


@pytest.mark.skipif(not EXACT, reason="the example cases are not beside the repository")
@pytest.mark.parametrize("name", EXACT)
def test_an_example_case_costs_what_the_reference_says(name: str) -> None:
    problem = build_problem(load_case(SHARED / name)).problem
    assert extensive.solve(problem) == pytest.approx(EXPECTED[name]["lower_bound"], rel=1e-9)


def test_columns_that_could_only_be_zero_are_left_out(tmp_path: Path) -> None:
    _, hydro_problem = built(tmp_path, case_files(hydros=(hydro(0),)))
    stage, x, rows = hydro_problem.problem.stages[0], hydro_problem.layouts[0].columns, hydro_problem.layouts[0].rows
    # storage, turbined, spillage, thermal, deficit, excess; water and power balance
    assert (stage.columns, stage.rows) == (6, 2)
    for absent in (x.diversion, x.evaporation, x.outflow_below, x.withdrawal_over, x.inflow_slack, rows.min_turbined):
        assert (absent == -1).all()
    assert stage.outgoing.tolist() == x.storage.tolist()


def test_only_what_differs_between_openings_is_listed(tmp_path: Path) -> None:
    files = with_openings(
        case_files(hydros=(hydro(0), hydro(1)), inflow_std=3.0),
        [[[1.0, 0.0], [-1.0, 0.0]], [[0.5, 0.25], [0.5, -2.0]]],
    )
    _, hydro_problem = built(tmp_path, files)
    openings = [stage.openings for stage in hydro_problem.problem.stages]
    rows = [layout.rows for layout in hydro_problem.layouts]
    assert openings[0].rhs_rows.tolist() == [rows[0].water[0]]
    assert openings[1].rhs_rows.tolist() == [rows[1].water[1]]
    assert openings[0].rhs[:, 0] == pytest.approx(0.0036 * 730.0 * np.array([23.0, 17.0]))


def test_a_stage_carries_the_measure_that_the_stage_before_it_was_given(tmp_path: Path) -> None:
    _, hydro_problem = built(tmp_path, FEATURES["cvar, another each stage"]())
    measures = [stage.risk for stage in hydro_problem.problem.stages]
    assert measures == [CVaR(0.4, 0.6), CVaR(0.4, 0.6), CVaR(0.3, 1.0)]
    _, plain = built(tmp_path / "plain", FEATURES["one block"]())
    assert plain.problem.stages[0].risk == Expectation()


def test_rewards_lower_the_bound_on_what_follows(tmp_path: Path) -> None:
    files = case_files(stages=3, sources=(source(0, most=100.0, curtailment_cost=300.0),), load=50.0)
    files["scenarios/non_controllable_stats.parquet"] = [
        {"ncs_id": 0, "stage_id": t, "mean": 0.5, "std": 0.0} for t in range(3)
    ]
    _, hydro_problem = built(tmp_path, files)
    problem = hydro_problem.problem
    earned = -300.0 * 50.0 * 730.0
    assert [stage.cost_to_go_bound for stage in problem.stages] == pytest.approx([2 * earned, earned, 0.0])
    # every MW is used, so that the bound is the optimum: the reference's bound of zero would cut it off
    assert extensive.solve(problem) == pytest.approx(3 * earned)


def test_costs_that_are_never_negative_keep_the_bound_at_zero(tmp_path: Path) -> None:
    _, hydro_problem = built(tmp_path, FEATURES["one block"]())
    assert [stage.cost_to_go_bound for stage in hydro_problem.problem.stages] == [0.0, 0.0]


def test_a_case_without_hydros_has_no_state(tmp_path: Path) -> None:
    _, hydro_problem = built(tmp_path, case_files(thermals=(thermal(0, most=30.0), thermal(1, cost=70.0))))
    assert hydro_problem.problem.initial_state.size == 0
    assert extensive.solve(hydro_problem.problem) == pytest.approx(2 * 730.0 * (30.0 * 50.0 + 50.0 * 70.0))


def test_the_same_case_gives_the_same_problem(tmp_path: Path) -> None:
    case, one = built(tmp_path, FEATURES["everything"]())
    assert one.problem.fingerprint() == build_problem(case).problem.fingerprint()
    other = build_problem(replace(case, hydros=replace(case.hydros, spillage_cost=case.hydros.spillage_cost + 1.0)))
    assert one.problem.fingerprint() != other.problem.fingerprint()


def test_a_large_case_is_built_quickly(tmp_path: Path) -> None:
    plants = tuple(hydro(i, downstream=i + 1 if i % 10 < 9 else None) for i in range(160))
    files = case_files(
        stages=60, blocks=(100.0, 300.0, 330.0), openings=5, hydros=plants, inflow_std=5.0,
        thermals=tuple(thermal(i, cost=20.0 + i) for i in range(130)), method="penalty",
    )  # fmt: skip
    for stage in files["stages.json"]["stages"]:
        del stage["season_id"]
    case = load_case(write_case(tmp_path, files))
    began = time.perf_counter()
    problem = build_problem(case).problem
    assert time.perf_counter() - began < 5.0  # 0.3 s on an idle machine
    assert problem.stages[0].columns == 160 * 8 + 130 * 3 + 3 + 3
