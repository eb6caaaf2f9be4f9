"""Small case directories, written by functions: every test says in code what its case is."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Record = dict[str, Any]

PENALTIES: Record = {
    "bus": {"deficit_segments": [{"depth_mw": None, "cost": 1000.0}], "excess_cost": 0.01},
    "line": {"exchange_cost": 0.01},
    "hydro": {
        "spillage_cost": 0.01,
        "turbined_cost": 0.02,
        "diversion_cost": 0.03,
        "storage_violation_below_cost": 10000.0,
        "filling_target_violation_cost": 10000.0,
        "turbined_violation_below_cost": 501.0,
        "outflow_violation_below_cost": 502.0,
        "outflow_violation_above_cost": 503.0,
        "generation_violation_below_cost": 504.0,
        "evaporation_violation_cost": 505.0,
        "water_withdrawal_violation_cost": 506.0,
        "inflow_nonnegativity_cost": 1000.0,
    },
    "non_controllable_source": {"curtailment_cost": 0.005},
}


def bus(i: int, **changes: Any) -> Record:
    return {"id": i, "name": f"B{i}", "operational_start_date": "1900-01-01"} | changes


def thermal(i: int, at: int = 0, most: float = 100.0, cost: float = 50.0, least: float = 0.0, **changes: Any) -> Record:
    return {
        "id": i, "name": f"T{i}", "operational_start_date": "1900-01-01", "bus_id": at,
        "generation": {"min_mw": least, "max_mw": most}, "cost_per_mwh": cost,
    } | changes  # fmt: skip


def line(i: int, source: int, target: int, direct: float, reverse: float, **changes: Any) -> Record:
    return {
        "id": i, "name": f"L{i}", "operational_start_date": "1900-01-01", "source_bus_id": source,
        "target_bus_id": target, "capacity": {"direct_mw": direct, "reverse_mw": reverse},
    } | changes  # fmt: skip


def source(i: int, at: int = 0, most: float = 40.0, **changes: Any) -> Record:
    return {
        "id": i, "name": f"N{i}", "operational_start_date": "1900-01-01", "bus_id": at, "max_generation_mw": most,
    } | changes  # fmt: skip


def hydro(
    i: int,
    at: int = 0,
    downstream: int | None = None,
    storage: tuple[float, float] = (0.0, 200.0),
    turbined: tuple[float, float] = (0.0, 50.0),
    power: tuple[float, float] = (0.0, 50.0),
    outflow: tuple[float, float | None] = (0.0, None),
    **changes: Any,
) -> Record:
    limits = {
        "min_turbined_m3s": turbined[0], "max_turbined_m3s": turbined[1],
        "min_generation_mw": power[0], "max_generation_mw": power[1],
    }  # fmt: skip
    return {
        "id": i, "name": f"H{i}", "operational_start_date": "1900-01-01", "downstream_id": downstream,
        "reservoir": {"min_storage_hm3": storage[0], "max_storage_hm3": storage[1]},
        "outflow": {"min_outflow_m3s": outflow[0], "max_outflow_m3s": outflow[1]},
        "generation": {"model": "constant_productivity", **limits},
        "unit_groups": [{"id": 0, "name": "G", "bus_id": at, **limits}],
    } | changes  # fmt: skip


def case_files(
    *,
    stages: int = 2,
    blocks: tuple[float, ...] = (730.0,),
    openings: int = 1,
    hydros: tuple[Record, ...] = (),
    thermals: tuple[Record, ...] = (thermal(0),),
    buses: tuple[Record, ...] = (bus(0),),
    lines: tuple[Record, ...] = (),
    sources: tuple[Record, ...] = (),
    storage: float = 100.0,
    productivity: float = 1.0,
    load: float | tuple[float, ...] = 80.0,
    inflow: float | dict[int, float] = 20.0,
    inflow_std: float = 0.0,
    load_std: float = 0.0,
    method: str = "none",
    iterations: int = 20,
) -> dict[str, Any]:
    """The files of a case: path in the directory to JSON content, or to a list of rows for Parquet."""
    first = date(2024, 1, 1)
    days = [first + timedelta(days=30 * t) for t in range(stages + 1)]
    loads = load if isinstance(load, tuple) else (load,) * len(buses)
    means = inflow if isinstance(inflow, dict) else {h["id"]: inflow for h in hydros}
    files: dict[str, Any] = {
        "config.json": {
            "training": {
                "stopping_rules": [{"type": "iteration_limit", "limit": iterations}],
                "selection": {"method": "sampled", "forward_passes": 1},
            },
            "simulation": {"enabled": False},
            "modeling": {"inflow_non_negativity": {"method": method}},
        },
        "penalties.json": json.loads(json.dumps(PENALTIES)),
        "stages.json": {
            "policy_graph": {"type": "finite_horizon", "annual_discount_rate": 0.0},
            "stages": [
                {
                    "id": t, "start_date": str(days[t]), "end_date": str(days[t + 1]), "season_id": t % 12,
                    "blocks": [{"id": k, "name": f"K{k}", "hours": hours} for k, hours in enumerate(blocks)],
                    "num_openings": openings,
                }
                for t in range(stages)
            ],
        },
        "initial_conditions.json": {
            "storage": [{"hydro_id": h["id"], "value_hm3": storage} for h in hydros], "filling_storage": [],
        },
        "system/buses.json": {"buses": list(buses)},
        "system/lines.json": {"lines": list(lines)},
        "system/thermals.json": {"thermals": list(thermals)},
        "system/hydros.json": {"hydros": list(hydros)},
        "scenarios/load_seasonal_stats.parquet": [
            {"bus_id": b["id"], "stage_id": t, "mean_mw": mean, "std_mw": load_std}
            for b, mean in zip(buses, loads, strict=True) for t in range(stages)
        ],
    }  # fmt: skip
    if hydros:
        files["system/hydro_production_models.json"] = {
            "production_models": [
                {
                    "hydro_id": h["id"], "selection_mode": "stage_ranges",
                    "stage_ranges": [
                        {"start_stage_id": 0, "end_stage_id": None, "model": "constant_productivity",
                         "productivity_mw_per_m3s": productivity}
                    ],
                }
                for h in hydros
            ]
        }  # fmt: skip
        files["scenarios/inflow_seasonal_stats.parquet"] = [
            {"hydro_id": h, "stage_id": t, "mean_m3s": mean, "std_m3s": inflow_std}
            for h, mean in means.items()
            for t in range(stages)
        ]
    if sources:
        files["system/non_controllable_sources.json"] = {"non_controllable_sources": list(sources)}
    return files


def write_case(folder: Path, files: dict[str, Any]) -> Path:
    """Writes ``files`` under ``folder``; integers become int32, as the format asks."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".json"):
            path.write_text(json.dumps(content, indent=1))
        else:
            pq.write_table(_table(content), path, compression="zstd")
    return folder


def with_openings(files: dict[str, Any], values: list[list[list[float]]]) -> dict[str, Any]:
    """``files`` with the openings given: per stage, per opening, the value of every noise entity."""
    files["config.json"]["training"]["scenario_source"] = {"openings": {"source": "file"}}
    for stage, eta in zip(files["stages.json"]["stages"], values, strict=True):
        stage["num_openings"] = len(eta)
    files["scenarios/noise_openings.parquet"] = [
        {"stage_id": t, "opening_index": o, "entity_index": e, "value": value}
        for t, eta in enumerate(values)
        for o, row in enumerate(eta)
        for e, value in enumerate(row)
    ]
    return files


def _table(rows: list[Record]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    unsigned = {"opening_index", "entity_index"}
    types = {pa.int64(): pa.int32(), pa.float64(): pa.float64()}
    fields = [pa.field(f.name, pa.uint32() if f.name in unsigned else types[f.type]) for f in table.schema]
    return table.cast(pa.schema(fields))
