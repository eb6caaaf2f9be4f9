"""A small case that uses everything that cases may hold, to load, to break and to run."""

from __future__ import annotations

from typing import Any

from tests.hydro.cases import PENALTIES, Record, bus, case_files, hydro, line, source, thermal

STAGES, BLOCKS = 4, 2


def full_files() -> dict[str, Any]:
    """The files of a valid case: two buses, four plants in a cascade with a diversion, and every optional file."""
    lake = {"coefficients_mm": [50.0 + month for month in range(12)], "reference_volumes_hm3": [90.0] * 12}
    plants = (
        hydro(1, 0, downstream=3, diversion={"downstream_id": 5, "max_flow_m3s": 8.0}, outflow=(1.0, 90.0)),
        hydro(3, 0, downstream=5, turbined=(2.0, 60.0), power=(1.0, 60.0), evaporation=lake),
        hydro(4, 1, downstream=5, penalties={"spillage_cost": 0.5, "evaporation_violation_cost": 700.0}),
        hydro(5, 1, storage=(10.0, 300.0)),
    )
    own = [{"depth_mw": 20.0, "cost": 400.0}, {"depth_mw": None, "cost": 900.0}]
    files = case_files(
        stages=STAGES, blocks=(200.0, 520.0), openings=4, hydros=plants,
        thermals=(thermal(0, 0, 80.0, 20.0), thermal(1, 0, 60.0, 45.0, 5.0), thermal(7, 1, 90.0, 30.0)),
        buses=(bus(0, deficit_segments=own), bus(2), bus(1)),
        lines=(line(0, 0, 1, 50.0, 40.0, exchange_cost=0.2), line(2, 1, 2, 30.0, 30.0, losses_percent=1.5)),
        sources=(source(0, 0, curtailment_cost=0.4), source(1, 1, 25.0, allow_curtailment=False)),
        load=(140.0, 15.0, 110.0), load_std=4.0, inflow_std=6.0, method="truncation_with_penalty",
    )  # fmt: skip
    _add_study(files)
    _add_scenarios(files)
    _add_constraints(files)
    return files


def _add_study(files: dict[str, Any]) -> None:
    files["config.json"] |= {
        "$schema": "config.schema.json",
        "simulation": {"enabled": True, "selection": {"method": "sampled", "num_scenarios": 30}},
    }
    files["config.json"]["training"] |= {
        "tree_seed": 7,
        "stopping_mode": "any",
        "stopping_rules": [
            {"type": "iteration_limit", "limit": 20},
            {"type": "bound_stalling", "iterations": 15, "tolerance": 1e-9},
            {"type": "time_limit", "seconds": 600},
        ],
        "cut_selection": {"selection": {"method": "level1", "check_frequency": 4}, "max_active_per_stage": 500},
        "parallelism": {"backward_scheduler": {"method": "by_node", "block_size": 2}},
        "solver": {"retry_max_attempts": 3, "forward": {"presolve": "off"}},
    }
    stages = files["stages.json"]
    stages["policy_graph"] = {
        "type": "finite_horizon", "annual_discount_rate": 0.08,
        "transitions": [
            {"source_id": t, "target_id": t + 1, "probability": 1.0} for t in range(STAGES - 1)
        ],
    }  # fmt: skip
    for stage, month in zip(stages["stages"], range(1, STAGES + 1), strict=True):
        stage |= {"start_date": f"2024-{month:02d}-01", "end_date": f"2024-{month + 1:02d}-01"}
    stages["stages"][1] |= {"sampling_method": "lhs", "risk_measure": {"cvar": {"alpha": 0.5, "lambda": 0.3}}}
    stages["stages"][2] |= {"sampling_method": "qmc_sobol", "risk_measure": "expectation"}
    stages["stages"][3] |= {"sampling_method": "qmc_halton", "annual_discount_rate_override": 0.1}
    stages["season_definitions"] = {
        "cycle_type": "monthly",
        "seasons": [{"id": m, "label": f"month {m + 1}", "month_start": m + 1} for m in range(12)],
    }
    files["penalties.json"] = {
        "bus": {"deficit_segments": [{"depth_mw": None, "cost": 1000.0}], "excess_cost": 0.01},
        "line": {"exchange_cost": 0.01},
        "hydro": PENALTIES["hydro"]
        | {"evaporation_violation_pos_cost": 601.0, "evaporation_violation_neg_cost": 602.0},
        "non_controllable_source": {"curtailment_cost": 0.005},
    }
    files["system/hydro_production_models.json"]["production_models"][1] = {
        "hydro_id": 3, "selection_mode": "seasonal", "default_model": "constant_productivity",
        "seasons": [
            {"season_id": m, "model": "constant_productivity", "productivity_mw_per_m3s": 0.8 + 0.01 * m}
            for m in range(12)
        ],
    }  # fmt: skip
    files["system/hydro_geometry.parquet"] = [
        {"hydro_id": 3, "volume_hm3": 100.0 * i, "height_m": 300.0 + 20.0 * i, "area_km2": 5.0 + 3.0 * i}
        for i in range(3)
    ]


def _add_scenarios(files: dict[str, Any]) -> None:
    files["scenarios/load_factors.json"] = {
        "load_factors": [
            {"bus_id": 0, "stage_id": t, "block_factors": [_factor(0, 1.2), _factor(1, 0.9)]} for t in range(STAGES)
        ]
    }
    files["scenarios/non_controllable_stats.parquet"] = [
        {"ncs_id": n, "stage_id": t, "mean": 0.5, "std": 0.1 * (1 - n)} for n in range(2) for t in range(STAGES)
    ]
    files["scenarios/non_controllable_factors.json"] = {
        "non_controllable_factors": [{"ncs_id": 1, "stage_id": 2, "block_factors": [_factor(1, 0.7)]}]
    }
    inflows = [{"type": "inflow", "id": i} for i in (1, 3, 4, 5)]
    matrix = [[1.0 if i == j else 0.3 for j in range(4)] for i in range(4)]
    loads = [{"type": "load", "id": i} for i in (0, 1)]
    files["scenarios/correlation.json"] = {
        "method": "spectral",
        "profiles": {
            "default": {"correlation_groups": [{"name": "rivers", "entities": inflows, "matrix": matrix}]},
            "wet": {"correlation_groups": [{"name": "loads", "entities": loads, "matrix": [[1.0, 0.5], [0.5, 1.0]]}]},
        },
        "schedule": [{"stage_id": 2, "profile_name": "wet"}],
    }


def _factor(block: int, factor: float) -> Record:
    return {"block_id": block, "factor": factor}


def _add_constraints(files: dict[str, Any]) -> None:
    files["constraints/thermal_bounds.parquet"] = [
        {"thermal_id": 1, "stage_id": 1, "min_generation_mw": 8.0, "max_generation_mw": None, "cost_per_mwh": 50.0},
        {"thermal_id": 7, "stage_id": 3, "min_generation_mw": None, "max_generation_mw": 70.0, "cost_per_mwh": None},
    ]
    files["constraints/hydro_bounds.parquet"] = [
        {"hydro_id": 1, "stage_id": 2, "max_turbined_m3s": 40.0, "min_outflow_m3s": 3.0, "water_withdrawal_m3s": 1.0},
        {"hydro_id": 5, "stage_id": 0, "max_turbined_m3s": None, "min_outflow_m3s": None, "water_withdrawal_m3s": -2.0},
    ]
    files["constraints/line_bounds.parquet"] = [
        {"line_id": 0, "stage_id": 1, "block_id": None, "direct_mw": 45.0, "reverse_mw": None},
        {"line_id": 0, "stage_id": 2, "block_id": 1, "direct_mw": 35.0, "reverse_mw": 30.0},
    ]
    files["constraints/ncs_bounds.parquet"] = [{"ncs_id": 0, "stage_id": 1, "available_generation_mw": 30.0}]
    files["constraints/penalty_overrides_bus.parquet"] = [{"bus_id": 0, "stage_id": 2, "excess_cost": 0.05}]
    files["constraints/penalty_overrides_line.parquet"] = [{"line_id": 2, "stage_id": 0, "exchange_cost": 0.3}]
    files["constraints/penalty_overrides_hydro.parquet"] = [
        {"hydro_id": 3, "stage_id": 1, "spillage_cost": 0.7, "evaporation_violation_pos_cost": 650.0},
    ]
    files["constraints/penalty_overrides_ncs.parquet"] = [{"ncs_id": 0, "stage_id": 3, "curtailment_cost": 0.6}]
