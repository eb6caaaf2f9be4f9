"""Writes examples/cases/three-dams: a hydrothermal system of our own, the same bytes of data each time.

Two regions joined by a line. In the highlands three dams stand in a cascade: a reservoir that lasts for months, a
smaller one and a run-of-river plant. In the lowlands are most of the load, five thermal plants and a wind farm. Twelve
months from May, the end of the rains, with three load blocks each and ten openings of inflow and wind.

Usage: python examples/make_example_case.py [DIR]
"""

from __future__ import annotations

import calendar
import json
import math
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

STAGES, OPENINGS = 12, 10
FIRST_MONTH = (2025, 5)
BUILT = "1990-01-01"
BLOCKS = (("peak", 0.15), ("shoulder", 0.50), ("night", 0.35))  # share of the month's hours
LOAD_FACTORS = (1.25, 1.05, 0.82)
WIND_FACTORS = (0.85, 0.95, 1.15)
HIGHLANDS, LOWLANDS = 0, 1

# id: name, storage (hm3), initial storage, turbining (m3/s), least outflow (m3/s), MW per m3/s, mean inflow (m3/s)
DAMS = (
    ("Alto", (240.0, 2100.0), 1500.0, 320.0, 20.0, 0.92, 175.0),
    ("Meio", (180.0, 760.0), 500.0, 460.0, 40.0, 0.61, 62.0),
    ("Baixo", (45.0, 60.0), 52.0, 560.0, 0.0, 0.38, 34.0),
)
# name, least and most output (MW), cost ($/MWh)
THERMALS = (
    ("Costa nuclear", 160.0, 220.0, 18.0),
    ("Porto coal", 0.0, 180.0, 47.0),
    ("Vale gas", 0.0, 240.0, 76.0),
    ("Vale peaker", 0.0, 140.0, 128.0),
    ("Ilha diesel", 0.0, 90.0, 310.0),
)
MEAN_LOAD = (290.0, 690.0)  # MW, highlands and lowlands
WIND_MW = 260.0


def months() -> list[date]:
    """The first day of every stage, and of the month after the last."""
    year, month = FIRST_MONTH
    return [date(year + (month - 1 + t) // 12, (month - 1 + t) % 12 + 1, 1) for t in range(STAGES + 1)]


def rain(day: date) -> float:
    """How wet a month is, 1 on average: most in February, least in August."""
    return 1.0 + 0.62 * math.cos(2.0 * math.pi * (day.month - 2) / 12.0)


def wind(day: date) -> float:
    """Mean share of its capacity that the wind farm gives: the windy season is the dry one."""
    return 0.38 - 0.12 * math.cos(2.0 * math.pi * (day.month - 2) / 12.0)


def warmth(day: date) -> float:
    """How the load follows the weather, 1 on average."""
    return 1.0 + 0.06 * math.cos(2.0 * math.pi * (day.month - 1) / 12.0)


def config() -> dict[str, Any]:
    return {
        "training": {
            "selection": {"method": "sampled", "forward_passes": 4},
            "stopping_rules": [{"type": "iteration_limit", "limit": 60}],
            "tree_seed": 2025,
            "scenario_source": {"openings": {"source": "file"}},
        },
        "modeling": {"inflow_non_negativity": {"method": "penalty"}},
        "simulation": {"enabled": True, "selection": {"method": "sampled", "num_scenarios": 200}},
    }


def penalties() -> dict[str, Any]:
    return {
        "bus": {
            "deficit_segments": [{"depth_mw": 60.0, "cost": 900.0}, {"depth_mw": None, "cost": 2800.0}],
            "excess_cost": 0.05,
        },
        "line": {"exchange_cost": 0.02},
        "hydro": {
            "spillage_cost": 0.01,
            "turbined_cost": 0.005,
            "diversion_cost": 0.1,
            "storage_violation_below_cost": 5000.0,
            "filling_target_violation_cost": 5000.0,
            "turbined_violation_below_cost": 500.0,
            "outflow_violation_below_cost": 500.0,
            "outflow_violation_above_cost": 500.0,
            "generation_violation_below_cost": 1000.0,
            "evaporation_violation_cost": 5000.0,
            "water_withdrawal_violation_cost": 1000.0,
            "inflow_nonnegativity_cost": 1000.0,
        },
        "non_controllable_source": {"curtailment_cost": 0.01},
    }


def stages() -> dict[str, Any]:
    first = months()
    listed = []
    for t in range(STAGES):
        hours = 24.0 * calendar.monthrange(first[t].year, first[t].month)[1]
        listed.append(
            {
                "id": t,
                "start_date": first[t].isoformat(),
                "end_date": first[t + 1].isoformat(),
                "season_id": first[t].month - 1,
                "blocks": [{"id": k, "name": name, "hours": share * hours} for k, (name, share) in enumerate(BLOCKS)],
                "num_openings": OPENINGS,
            }
        )
    return {"policy_graph": {"type": "finite_horizon", "annual_discount_rate": 0.08}, "stages": listed}


def hydros() -> list[dict[str, Any]]:
    listed = []
    for i, (name, storage, _, turbined, outflow, productivity, _) in enumerate(DAMS):
        limits = {
            "min_turbined_m3s": 0.0,
            "max_turbined_m3s": turbined,
            "min_generation_mw": 0.0,
            "max_generation_mw": round(turbined * productivity, 6),
        }
        listed.append(
            {
                "id": i,
                "name": name,
                "operational_start_date": BUILT,
                "downstream_id": i + 1 if i + 1 < len(DAMS) else None,
                "reservoir": {"min_storage_hm3": storage[0], "max_storage_hm3": storage[1]},
                "outflow": {"min_outflow_m3s": outflow, "max_outflow_m3s": None},
                "generation": {"model": "constant_productivity", **limits},
                "unit_groups": [{"id": 0, "name": name, "bus_id": HIGHLANDS, **limits}],
            }
        )
    return listed


def productions() -> list[dict[str, Any]]:
    return [
        {
            "hydro_id": i,
            "selection_mode": "stage_ranges",
            "stage_ranges": [
                {
                    "start_stage_id": 0,
                    "end_stage_id": None,
                    "model": "constant_productivity",
                    "productivity_mw_per_m3s": dam[5],
                }
            ],
        }
        for i, dam in enumerate(DAMS)
    ]


def thermals() -> list[dict[str, Any]]:
    return [
        {
            "id": i,
            "name": name,
            "operational_start_date": BUILT,
            "bus_id": LOWLANDS,
            "generation": {"min_mw": least, "max_mw": most},
            "cost_per_mwh": cost,
        }
        for i, (name, least, most, cost) in enumerate(THERMALS)
    ]


def lines() -> list[dict[str, Any]]:
    return [
        {
            "id": 0,
            "name": "Highlands to lowlands",
            "operational_start_date": BUILT,
            "source_bus_id": HIGHLANDS,
            "target_bus_id": LOWLANDS,
            "capacity": {"direct_mw": 420.0, "reverse_mw": 250.0},
        }
    ]


def sources() -> list[dict[str, Any]]:
    return [
        {
            "id": 0,
            "name": "Cabo wind",
            "operational_start_date": BUILT,
            "bus_id": LOWLANDS,
            "max_generation_mw": WIND_MW,
        }
    ]


def block_factors(key: str, ids: range, factors: tuple[float, ...]) -> list[dict[str, Any]]:
    of_blocks = [{"block_id": k, "factor": factor} for k, factor in enumerate(factors)]
    return [{key: i, "stage_id": t, "block_factors": of_blocks} for i in ids for t in range(STAGES)]


def correlation_matrix() -> list[list[float]]:
    return [[1.0, 0.8, 0.7], [0.8, 1.0, 0.75], [0.7, 0.75, 1.0]]


def correlation() -> dict[str, Any]:
    entities = [{"type": "inflow", "id": i} for i in range(len(DAMS))]
    group = {"name": "rivers", "entities": entities, "matrix": correlation_matrix()}
    return {"method": "spectral", "profiles": {"default": {"correlation_groups": [group]}}}


def openings() -> list[dict[str, Any]]:
    """Standard normals of inflows (correlated) and wind, each stage's shifted and scaled to mean 0 and deviation 1."""
    draw = np.random.Generator(np.random.PCG64(2025))
    values, vectors = np.linalg.eigh(np.array(correlation_matrix()))
    factor = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    rows = []
    for t in range(STAGES):
        eta = draw.standard_normal((OPENINGS, len(DAMS) + 1))
        eta = (eta - eta.mean(axis=0)) / eta.std(axis=0)
        eta[:, : len(DAMS)] = eta[:, : len(DAMS)] @ factor
        rows += [
            {"stage_id": t, "opening_index": o, "entity_index": e, "value": round(float(eta[o, e]), 6)}
            for o in range(OPENINGS)
            for e in range(len(DAMS) + 1)
        ]
    return rows


def statistics() -> dict[str, list[dict[str, Any]]]:
    days = months()[:STAGES]
    inflow, load, availability = [], [], []
    for t, day in enumerate(days):
        for i, dam in enumerate(DAMS):
            mean = round(dam[6] * rain(day), 3)
            inflow.append({"hydro_id": i, "stage_id": t, "mean_m3s": mean, "std_m3s": round(0.36 * mean, 3)})
        for i, mean in enumerate(MEAN_LOAD):
            load.append({"bus_id": i, "stage_id": t, "mean_mw": round(mean * warmth(day), 3), "std_mw": 0.0})
        availability.append({"ncs_id": 0, "stage_id": t, "mean": round(wind(day), 4), "std": 0.09})
    return {
        "inflow_seasonal_stats": inflow,
        "load_seasonal_stats": load,
        "non_controllable_stats": availability,
        "noise_openings": openings(),
    }


def documents() -> dict[str, dict[str, Any]]:
    buses = [{"id": i, "name": n, "operational_start_date": BUILT} for i, n in enumerate(("Highlands", "Lowlands"))]
    storage = [{"hydro_id": i, "value_hm3": dam[2]} for i, dam in enumerate(DAMS)]
    return {
        "config.json": config(),
        "penalties.json": penalties(),
        "stages.json": stages(),
        "initial_conditions.json": {"storage": storage, "filling_storage": []},
        "system/buses.json": {"buses": buses},
        "system/lines.json": {"lines": lines()},
        "system/hydros.json": {"hydros": hydros()},
        "system/thermals.json": {"thermals": thermals()},
        "system/non_controllable_sources.json": {"non_controllable_sources": sources()},
        "system/hydro_production_models.json": {"production_models": productions()},
        "scenarios/correlation.json": correlation(),
        "scenarios/load_factors.json": {"load_factors": block_factors("bus_id", range(2), LOAD_FACTORS)},
        "scenarios/non_controllable_factors.json": {
            "non_controllable_factors": block_factors("ncs_id", range(1), WIND_FACTORS)
        },
    }


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """Integers as the format has them; zstd, which every reader of the format knows."""
    unsigned = {"opening_index", "entity_index"}
    table = pa.Table.from_pylist(rows)
    types = {name: pa.uint32() if name in unsigned else pa.int32() for name in table.schema.names}
    fields = [f if pa.types.is_floating(f.type) else pa.field(f.name, types[f.name]) for f in table.schema]
    pq.write_table(table.cast(pa.schema(fields)), path, compression="zstd")


def write(folder: Path) -> None:
    for name in ("system", "scenarios"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, content in documents().items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for name, rows in statistics().items():
        write_table(rows, folder / "scenarios" / f"{name}.parquet")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "cases" / "three-dams")
