"""A case directory becomes columns: every override at its place, every default as the format has it."""

from __future__ import annotations

import json
import pickle
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cobre.errors import ValidationError
from cobre.hydro.entities import Case
from cobre.hydro.load import load_case
from cobre.sddp.risk import CVaR, Expectation
from cobre.sddp.settings import Enumerated, Sampled
from tests.hydro.cases import bus, case_files, hydro, line, source, thermal, with_openings, write_case
from tests.hydro.full_case import full_files

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return load_case(write_case(tmp_path_factory.mktemp("full"), full_files()))


def loaded(folder: Path, files: dict[str, Any], **overrides: Any) -> Case:
    return load_case(write_case(folder, files), overrides or None)


def test_entities_stand_in_the_order_of_their_ids(full: Case) -> None:
    assert full.buses.ids.tolist() == [0, 1, 2]
    assert full.hydros.ids.tolist() == [1, 3, 4, 5]
    assert full.hydros.downstream.tolist() == [1, 3, 3, -1]
    assert full.hydros.diversion.tolist() == [3, -1, -1, -1]
    assert full.hydros.bus.tolist() == [0, 0, 1, 1]
    assert full.thermals.ids.tolist() == [0, 1, 7]
    assert full.lines.source.tolist() == [0, 1]
    assert full.lines.target.tolist() == [1, 2]
    assert full.lines.losses_percent.tolist() == [0.0, 1.5]


def test_stages_have_their_calendar_risk_and_discount(full: Case) -> None:
    stages = full.stages
    assert [stage.start_date for stage in stages] == [date(2024, month, 1) for month in range(1, 5)]
    assert [stage.season_id for stage in stages] == [0, 1, 2, 3]
    assert [stage.sampling for stage in stages] == ["saa", "lhs", "qmc_sobol", "qmc_halton"]
    assert [stage.risk for stage in stages] == [Expectation(), CVaR(0.5, 0.3), Expectation(), Expectation()]
    rates = [0.08, 0.08, 0.08, 0.1]
    days = [31, 29, 31, 30]
    expected = [(1.0 + rate) ** (-d / 365.25) for rate, d in zip(rates, days, strict=True)]
    np.testing.assert_allclose([stage.discount for stage in stages], expected, rtol=1e-15)
    assert stages[0].block_hours.tolist() == [200.0, 520.0]
    assert stages[0].block_names == ("K0", "K1")


def test_the_stage_wins_over_the_plant_and_the_plant_over_the_case(full: Case) -> None:
    hydros = full.hydros
    assert hydros.spillage_cost[:, 2].tolist() == [0.5] * 4
    assert hydros.spillage_cost[:, 1].tolist() == [0.01, 0.7, 0.01, 0.01]
    # an own symmetric cost holds in both directions, over the case's directional ones
    assert hydros.evaporation_violation_pos_cost[0].tolist() == [601.0, 601.0, 700.0, 601.0]
    assert hydros.evaporation_violation_neg_cost[0].tolist() == [602.0, 602.0, 700.0, 602.0]
    assert hydros.evaporation_violation_pos_cost[1, 1] == 650.0
    assert hydros.withdrawal_violation_neg_cost[0, 0] == 506.0
    assert full.buses.excess_cost[:, 0].tolist() == [0.01, 0.01, 0.05, 0.01]
    assert full.lines.exchange_cost.tolist() == [[0.2, 0.3], [0.2, 0.01], [0.2, 0.01], [0.2, 0.01]]
    assert full.non_controllables.curtailment_cost[:, 0].tolist() == [0.4, 0.4, 0.4, 0.6]


def test_bounds_hold_in_their_stage_and_block(full: Case) -> None:
    assert np.array(full.thermals.min_mw)[:, 1].tolist() == [5.0, 8.0, 5.0, 5.0]
    assert np.array(full.thermals.max_mw)[:, 2].tolist() == [90.0, 90.0, 90.0, 70.0]
    assert full.thermals.cost[:, 1].tolist() == [45.0, 50.0, 45.0, 45.0]
    assert np.array(full.hydros.max_turbined)[:, 0].tolist() == [50.0, 50.0, 40.0, 50.0]
    assert np.array(full.hydros.min_outflow)[:, 0].tolist() == [1.0, 1.0, 3.0, 1.0]
    assert full.hydros.withdrawal[:, [0, 3]].tolist() == [[0.0, -2.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    assert [full.lines.direct_mw[t][0].tolist() for t in (0, 1, 2)] == [[50.0, 50.0], [45.0, 45.0], [50.0, 35.0]]
    assert full.lines.reverse_mw[2][0].tolist() == [40.0, 30.0]


def test_deficit_segments_factors_and_statistics(full: Case) -> None:
    assert full.buses.segment_depth[0].tolist() == [20.0, np.inf]
    assert full.buses.segment_cost[0].tolist() == [400.0, 900.0]
    assert full.buses.segment_cost[1].tolist() == [1000.0]
    assert full.buses.load_mean[0].tolist() == [140.0, 110.0, 15.0]
    assert full.buses.load_factor[3].tolist() == [[1.2, 0.9], [1.0, 1.0], [1.0, 1.0]]
    assert full.non_controllables.mean[0].tolist() == [0.5, 0.5]
    assert full.non_controllables.std[0].tolist() == [0.1, 0.0]
    assert full.non_controllables.factor[2].tolist() == [[1.0, 1.0], [1.0, 0.7]]
    assert full.non_controllables.curtailable.tolist() == [True, False]
    assert full.non_controllables.has_statistics is not None
    assert full.non_controllables.has_statistics.all()


def test_productivity_follows_the_season(full: Case) -> None:
    np.testing.assert_allclose(full.hydros.productivity[:, 1], [0.8, 0.81, 0.82, 0.83])
    assert full.hydros.productivity[:, 0].tolist() == [1.0] * 4


def test_evaporation_is_developed_around_the_reference_volume(full: Case) -> None:
    # 90 hm3 lies on the first segment of the surface: 5 km2 at 0, 8 km2 at 100 hm3
    per_area = 51.0 / (3.6 * 24 * 29)
    assert full.hydros.evaporation_slope[1, 1] == pytest.approx(per_area * 0.03)
    assert full.hydros.evaporation_intercept[1, 1] == pytest.approx(per_area * 5.0)
    assert full.hydros.has_evaporation.tolist() == [False, True, False, False]


def test_correlation_follows_its_schedule(full: Case) -> None:
    assert [[group.kind for group in groups] for groups in full.correlation] == [
        ["inflow"], ["inflow"], ["load"], ["inflow"],
    ]  # fmt: skip
    assert full.correlation[2][0].positions.tolist() == [0, 1]
    assert full.correlation[0][0].matrix[0, 1] == 0.3


def test_defaults_of_the_format(tmp_path: Path) -> None:
    files = case_files()
    files["config.json"] = {
        "training": {
            "selection": {"method": "sampled", "forward_passes": 3},
            "stopping_rules": [{"type": "iteration_limit", "limit": 5}],
        }
    }
    case = loaded(tmp_path, files)
    assert case.inflow_method == "penalty"
    assert case.tree_seed == case.training.seed == 42
    assert case.simulation.scenarios == Sampled(2000)
    assert not case.simulation_enabled
    assert case.training.retry_limit == 5
    assert case.training.openings_per_unit is None


def test_without_statistics_there_is_no_water_no_load_and_full_wind(tmp_path: Path) -> None:
    files = case_files(hydros=(hydro(0),), sources=(source(0),))
    del files["scenarios/inflow_seasonal_stats.parquet"], files["scenarios/load_seasonal_stats.parquet"]
    case = loaded(tmp_path, files)
    assert not case.hydros.inflow_mean.any()
    assert not case.buses.load_mean.any()
    assert (case.non_controllables.mean == 1.0).all()


def test_a_source_with_statistics_has_nothing_where_they_are_missing(tmp_path: Path) -> None:
    files = case_files(sources=(source(0), source(1)))
    files["scenarios/non_controllable_stats.parquet"] = [{"ncs_id": 1, "stage_id": 0, "mean": 0.4, "std": 0.0}]
    assert loaded(tmp_path, files).non_controllables.mean.tolist() == [[1.0, 0.4], [1.0, 0.0]]


def test_entry_and_exit_take_entities_out_of_service(tmp_path: Path) -> None:
    files = case_files(
        stages=3, hydros=(hydro(0, entry_stage_id=1),), thermals=(thermal(0, exit_stage_id=2),),
        buses=(bus(0), bus(1)), lines=(line(0, 0, 1, 10.0, 5.0, entry_stage_id=1, exit_stage_id=2),),
        sources=(source(0, entry_stage_id=2),),
    )  # fmt: skip
    case = loaded(tmp_path, files)
    assert np.array(case.thermals.max_mw)[:, 0].tolist() == [100.0, 100.0, 0.0]
    assert [capacity[0, 0] for capacity in case.lines.direct_mw] == [0.0, 10.0, 0.0]
    assert case.non_controllables.max_generation[:, 0].tolist() == [0.0, 0.0, 40.0]
    assert case.hydros.in_service is not None
    assert case.hydros.in_service[:, 0].tolist() == [False, True, True]


def test_limits_of_single_blocks(tmp_path: Path) -> None:
    files = case_files(blocks=(300.0, 430.0), hydros=(hydro(0),))
    files["constraints/hydro_bounds.parquet"] = [
        {"hydro_id": 0, "stage_id": 1, "block_id": 1, "max_turbined_m3s": 20.0, "min_outflow_m3s": None},
        {"hydro_id": 0, "stage_id": 0, "block_id": None, "max_turbined_m3s": None, "min_outflow_m3s": 2.0},
    ]
    files["constraints/thermal_bounds.parquet"] = [
        {"thermal_id": 0, "stage_id": 0, "block_id": 0, "max_generation_mw": 60.0}
    ]
    case = loaded(tmp_path, files)
    assert [limit.tolist() for limit in case.hydros.max_turbined] == [[[50.0, 50.0]], [[50.0, 20.0]]]
    assert np.array(case.hydros.min_outflow).tolist() == [[2.0], [0.0]]
    assert [limit.tolist() for limit in case.thermals.max_mw] == [[[60.0, 100.0]], [[100.0, 100.0]]]


def test_unit_groups_narrow_their_plant(tmp_path: Path) -> None:
    plant = hydro(0)
    group = plant["unit_groups"][0]
    plant["unit_groups"] = [
        group | {"max_turbined_m3s": 20.0, "max_generation_mw": 10.0},
        group | {"id": 1, "max_turbined_m3s": 15.0, "min_turbined_m3s": 4.0, "max_generation_mw": 30.0},
    ]
    files = case_files(hydros=(plant,), productivity=0.8)
    files["constraints/hydro_unit_group_bounds.parquet"] = [
        {"hydro_id": 0, "hydro_unit_group_id": 1, "stage_id": 1, "max_turbined_m3s": 0.0, "min_turbined_m3s": 0.0}
    ]
    case = loaded(tmp_path, files)
    # the first group makes 10 MW of 12.5 m3/s
    assert np.array(case.hydros.max_turbined)[:, 0].tolist() == [27.5, 12.5]
    assert np.array(case.hydros.min_turbined)[:, 0].tolist() == [4.0, 0.0]


def test_the_first_of_overlapping_stage_ranges_counts(tmp_path: Path) -> None:
    files = case_files(hydros=(hydro(0),))
    ranges = files["system/hydro_production_models.json"]["production_models"][0]["stage_ranges"]
    ranges.append(dict(ranges[0], start_stage_id=1, productivity_mw_per_m3s=0.5))
    assert loaded(tmp_path, files).hydros.productivity.tolist() == [[1.0], [1.0]]


def test_a_stage_rate_wins_over_a_transition_rate(tmp_path: Path) -> None:
    files = case_files(stages=3)
    files["stages.json"]["policy_graph"]["transitions"] = [
        {"source_id": t, "target_id": t + 1, "probability": 1.0, "annual_discount_rate_override": 0.5} for t in (0, 1)
    ]
    files["stages.json"]["stages"][1]["annual_discount_rate_override"] = 0.2
    discounts = [stage.discount for stage in loaded(tmp_path, files).stages]
    np.testing.assert_allclose(discounts, [1.5 ** (-30 / 365.25), 1.2 ** (-30 / 365.25), 1.0])


def test_seasons_are_derived_from_the_calendar(tmp_path: Path) -> None:
    files = case_files()
    files["stages.json"]["season_definitions"] = {
        "cycle_type": "custom",
        "seasons": [
            {"id": 0, "label": "dry", "month_start": 2, "day_start": 1, "month_end": 10, "day_end": 31},
            {"id": 1, "label": "wet", "month_start": 11, "day_start": 1, "month_end": 1, "day_end": 31},
        ],
    }
    for stage, (start, end) in zip(
        files["stages.json"]["stages"], (("2024-01-01", "2024-02-01"), ("2024-02-01", "2024-03-01")), strict=True
    ):
        del stage["season_id"]
        stage |= {"start_date": start, "end_date": end}
    assert [stage.season_id for stage in loaded(tmp_path, files).stages] == [1, 0]


def test_openings_come_from_their_file(tmp_path: Path) -> None:
    eta = [[[0.5, -1.0], [0.25, 2.0], [0.0, 0.125]], [[1.0, 3.0]]]
    files = with_openings(case_files(hydros=(hydro(0), hydro(1)), inflow_std=2.0), eta)
    case = loaded(tmp_path, files)
    assert case.opening_file is not None
    assert [tree.tolist() for tree in case.opening_file] == eta
    assert [stage.openings for stage in case.stages] == [3, 1]


def test_every_file_read_is_hashed(full: Case) -> None:
    assert set(full.file_hashes) == set(full_files())
    assert all(len(digest) == 64 for digest in full.file_hashes.values())


def test_a_broken_case_raises_with_all_of_it_and_survives_pickling(tmp_path: Path) -> None:
    files = full_files()
    files["system/thermals.json"]["thermals"][0]["bus_id"] = 17
    files["system/lines.json"]["lines"][0]["target_bus_id"] = 18
    files["penalties.json"]["line"]["exchange_cost"] = 0
    write_case(tmp_path, files)
    (tmp_path / "system/buses.json").write_text("{")
    with pytest.raises(ValidationError) as caught:
        load_case(tmp_path)
    assert {d.file for d in caught.value.diagnostics} == {"penalties.json", "system/buses.json"}
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.diagnostics == caught.value.diagnostics


@pytest.mark.skipif(not SHARED.is_dir(), reason="the example cases are not here")
@pytest.mark.parametrize("name", sorted(p.name for p in SHARED.glob("*/")) if SHARED.is_dir() else [])
def test_example_cases_load(name: str) -> None:
    case = load_case(SHARED / name)
    config = json.loads((SHARED / name / "config.json").read_text())
    limits = [r["limit"] for r in config["training"]["stopping_rules"] if r["type"] == "iteration_limit"]
    assert case.training.stopping[0].limit == limits[0]  # type: ignore[attr-defined]
    assert (case.opening_file is not None) == (SHARED / name / "scenarios/noise_openings.parquet").exists()


def test_enumerated_trees(tmp_path: Path) -> None:
    case = loaded(tmp_path, case_files(), **{"training.selection": {"method": "enumerated"}})
    assert case.training.passes == Enumerated()


def test_a_large_case_loads_quickly(tmp_path: Path) -> None:
    import time

    count = 60
    plants = tuple(hydro(i, downstream=i + 1 if i < count - 1 else None) for i in range(count))
    write_case(tmp_path, case_files(stages=36, blocks=(200.0, 300.0, 230.0), hydros=plants))
    start = time.perf_counter()
    load_case(tmp_path)
    assert time.perf_counter() - start < 5.0
