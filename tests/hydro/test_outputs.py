"""A simulation's tables: held against the stage LP they were read from, and against the reference's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cobre.hydro.entities import Case
from cobre.hydro.load import load_case
from cobre.hydro.outputs import tables
from cobre.hydro.stage_lp import HydroProblem, build_problem
from cobre.sddp.policy import Policy
from cobre.sddp.settings import Enumerated, Sampled, SimulationSettings
from cobre.sddp.simulation import SimulatedBlock, simulate
from cobre.sddp.training import train
from tests.hydro.cases import case_files, hydro, source, with_openings, write_case
from tests.hydro.features import B2, everything

# What the reference (0.18.0) writes of its own simulation of `everything`, per stage, where it has no choice.
COSTS = {
    "total_cost": [62037124.28133107, 8613355.627990099, 4381012.499040723],
    "immediate_cost": [53503572.449999966, 4272933.747255886, 4381012.499040723],
    "future_cost": [8533551.831331102, 4340421.880734214, 0.0],
    "discount_factor": [1.0, 0.9907348773108049, 0.9815555971200556],
    "thermal_cost": [876000.0, 4271822.174365992, 4380000.0],
    "deficit_cost": [41610000.0, 0.0, 0.0],
    "hydro_violation_cost": [11015700.0, 0.0, 0.0],
    "outflow_violation_above_cost": [11015700.0, 0.0, 0.0],
    "spillage_cost": [175.2, 175.2, 107.94315836794365],
    "turbined_cost": [1460.0, 976.522889892355, 944.7058823529409],
    "curtailment_cost": [0.0, 0.0, 0.0],
    "exchange_cost": [292.0, 51.1, 51.1],
}


def run(folder: Path, files: dict[str, Any], settings: SimulationSettings) -> tuple[Case, HydroProblem, SimulatedBlock]:
    case = load_case(write_case(folder, files))
    built = build_problem(case)
    blocks: list[SimulatedBlock] = []
    policy = Policy.of(train(built.problem, case.training))
    simulate(built.problem, policy, settings, consume=lambda block, number: blocks.append(block))
    return case, built, blocks[0]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    case, built, block = run(tmp_path_factory.mktemp("case"), everything(), SimulationSettings(Sampled(2)))
    return tables(case, built, block)


def column(table: pa.Table, name: str, *shape: int) -> Any:
    return np.array(table[name].to_pylist(), np.float64).reshape(shape)


def test_the_tables_are_the_reference_s(simulated: dict[str, pa.Table]) -> None:
    assert list(simulated) == [
        "costs", "hydros", "thermals", "buses", "exchanges", "non_controllables", "scenario_summary"
    ]  # fmt: skip
    assert simulated["hydros"].column_names[:4] == ["scenario_id", "stage_id", "block_id", "hydro_id"]
    rows = {name: table.num_rows for name, table in simulated.items()}
    assert rows == {"costs": 6, "hydros": 24, "thermals": 24, "buses": 24, "exchanges": 12, "non_controllables": 24,
                    "scenario_summary": 2}  # fmt: skip
    for table in simulated.values():
        for field in table.schema:
            assert field.type == (pa.int32() if field.name.endswith("_id") else pa.float64())


def test_rows_rise_by_scenario_stage_entity_and_block(simulated: dict[str, pa.Table]) -> None:
    keys = ("scenario_id", "stage_id", "hydro_id", "block_id")
    rows = list(zip(*(simulated["hydros"][k].to_pylist() for k in keys), strict=True))
    assert rows == sorted(rows)
    assert len(set(rows)) == len(rows)


def test_costs_add_up(simulated: dict[str, pa.Table]) -> None:
    costs = {name: column(simulated["costs"], name, 2, 3) for name in simulated["costs"].column_names}
    assert costs["total_cost"] == pytest.approx(costs["immediate_cost"] + costs["future_cost"])
    # one opening a stage: what a stage expects of the next is what the next costs
    factor = costs["discount_factor"]
    assert costs["future_cost"][:, :-1] == pytest.approx((costs["total_cost"] * factor)[:, 1:] / factor[:, :-1])
    assert (costs["future_cost"][:, -1] == 0.0).all()
    parts = [n for n in costs if n.endswith("_cost") and n not in
             {"total_cost", "immediate_cost", "future_cost", "hydro_violation_cost", "curtailment_cost"}]  # fmt: skip
    given = simulated["non_controllables"]
    reward = 0.005 * column(given, "generation_mwh", 2, 3, 4).sum(axis=2)
    assert costs["immediate_cost"] == pytest.approx(sum(costs[n] for n in parts) - reward)
    violations = [n for n in parts if "violation" in n]
    assert costs["hydro_violation_cost"] == pytest.approx(sum(costs[n] for n in violations))
    discounted = (costs["immediate_cost"] * factor).sum(axis=1)
    assert column(simulated["scenario_summary"], "discounted_immediate_cost", 2) == pytest.approx(discounted)


def test_water_and_power_balance(simulated: dict[str, pa.Table]) -> None:
    h = {name: column(simulated["hydros"], name, 2, 3, 2, 2) for name in simulated["hydros"].column_names}
    hours = np.array(B2)
    upstream = np.zeros_like(h["turbined_m3s"])
    upstream[:, :, 1] = h["outflow_m3s"][:, :, 0]
    withdrawn = np.array([0.0, 2.0])[:, None]
    gain = (
        h["incremental_inflow_m3s"] + upstream + h["diverted_inflow_m3s"] - h["outflow_m3s"]
        - h["diverted_outflow_m3s"] - h["evaporation_m3s"] - withdrawn + h["inflow_nonnegativity_slack_m3s"]
        + h["water_withdrawal_violation_neg_m3s"] - h["water_withdrawal_violation_pos_m3s"]
    )  # fmt: skip
    change = h["storage_final_hm3"][..., 0] - h["storage_initial_hm3"][..., 0]
    assert change == pytest.approx((0.0036 * gain * hours).sum(axis=-1), abs=1e-6)
    assert h["storage_initial_hm3"][:, 1:] == pytest.approx(h["storage_final_hm3"][:, :-1])

    b = {name: column(simulated["buses"], name, 2, 3, 2, 2) for name in simulated["buses"].column_names}
    made = sum(
        column(simulated[name], "generation_mw", 2, 3, 2, 2) for name in ("hydros", "thermals")
    )  # hydro i and thermal i stand at bus i
    made = made + column(simulated["non_controllables"], "generation_mw", 2, 3, 2, 2)[:, :, ::-1]
    flow = column(simulated["exchanges"], "net_flow_mw", 2, 3, 2)
    made[:, :, 0] -= flow
    made[:, :, 1] += flow
    assert made + b["deficit_mw"] - b["excess_mw"] == pytest.approx(b["load_mw"])


def test_numbers_follow_from_each_other(simulated: dict[str, pa.Table]) -> None:
    e = {name: column(simulated["exchanges"], name, 2, 3, 2) for name in simulated["exchanges"].column_names}
    assert e["losses_mw"] == pytest.approx(0.05 * (e["direct_flow_mw"] + e["reverse_flow_mw"]))
    assert e["exchange_cost"] == pytest.approx(0.01 * np.abs(e["net_flow_mwh"]))
    n = {name: column(simulated["non_controllables"], name, 24) for name in ("generation_mw", "available_mw",
         "curtailment_mw", "curtailment_mwh", "curtailment_cost")}  # fmt: skip
    assert n["available_mw"] - n["generation_mw"] == pytest.approx(n["curtailment_mw"])
    assert n["curtailment_cost"] == pytest.approx(0.005 * n["curtailment_mwh"])
    h = {name: column(simulated["hydros"], name, 2, 3, 2, 2) for name in ("generation_mw", "turbined_m3s")}
    assert h["generation_mw"] == pytest.approx(0.85 * h["turbined_m3s"])


def test_costs_are_the_reference_s(simulated: dict[str, pa.Table]) -> None:
    for name, expected in COSTS.items():
        assert column(simulated["costs"], name, 2, 3)[0] == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_prices_are_duals_by_the_hour(tmp_path: Path) -> None:
    """One thermal at 50 $/MWh serves what the hydro leaves of the load: water is worth what it saves of it."""
    files = case_files(hydros=(hydro(0),), storage=20.0, inflow=5.0)
    case, built, block = run(tmp_path, files, SimulationSettings(Sampled(1)))
    found = tables(case, built, block)
    assert column(found["buses"], "spot_price", 2) == pytest.approx([50.0, 50.0])
    per_hm3 = -(50.0 - 0.02) / 0.0036  # a m3/s for an hour is 0.0036 hm3; turbining costs 0.02
    assert column(found["hydros"], "water_value_per_hm3", 2) == pytest.approx([per_hm3, per_hm3])


def test_each_scenario_reads_its_own_opening(tmp_path: Path) -> None:
    files = case_files(hydros=(hydro(0),), sources=(source(0),), inflow_std=4.0, load_std=10.0)
    files["scenarios/non_controllable_stats.parquet"] = [
        {"ncs_id": 0, "stage_id": t, "mean": 0.5, "std": 0.1} for t in range(2)
    ]
    eta = [[[1.0, -1.0, 2.0], [-2.0, 0.5, -1.0]], [[0.0, 1.0, 1.0], [3.0, -2.0, 0.0]]]
    case, built, block = run(tmp_path, with_openings(files, eta), SimulationSettings(Enumerated()))
    found = tables(case, built, block)
    opening = np.stack([stage.opening for stage in block.stages], axis=1)
    assert sorted(map(tuple, opening.tolist())) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    noise = np.array(eta)[np.arange(2), opening]
    assert column(found["hydros"], "incremental_inflow_m3s", 4, 2) == pytest.approx(20.0 + 4.0 * noise[..., 0])
    assert column(found["buses"], "load_mw", 4, 2) == pytest.approx(80.0 + 10.0 * noise[..., 1])
    assert column(found["non_controllables"], "available_mw", 4, 2) == pytest.approx(40.0 * (0.5 + 0.1 * noise[..., 2]))
    assert column(found["scenario_summary"], "probability", 4) == pytest.approx([0.25] * 4)


def test_a_case_without_hydros_or_lines_has_no_tables_of_them(tmp_path: Path) -> None:
    case, built, block = run(tmp_path, case_files(), SimulationSettings(Sampled(1)))
    assert list(tables(case, built, block)) == ["costs", "thermals", "buses", "scenario_summary"]
