"""Write a hydrothermal case of any size: a plausible cascade, random but the same for the same arguments.

python benchmarks/make_case.py --scale medium OUT
python benchmarks/make_case.py --stages 60 --hydros 160 --thermals 130 --openings 20 --blocks 3 OUT
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["main", "write_case"]

Record = dict[str, Any]
_BUSES = 4
SIZES = ("stages", "hydros", "thermals", "passes", "openings", "blocks")
SCALES = {
    "eight": (12, 8, 20, 4, 10, 1),
    "small": (12, 2, 4, 4, 10, 1),
    "medium": (24, 4, 20, 12, 20, 1),
    "xlarge": (36, 12, 130, 32, 20, 1),
    "wide": (12, 4, 126, 4, 200, 1),
    "production": (60, 160, 130, 192, 10, 3),  # in the shape of a national system
}
_BUILT = "1990-01-01"


def write_case(
    folder: Path, *, stages: int, hydros: int, thermals: int, passes: int, openings: int, blocks: int, seed: int
) -> Path:
    """Write the case and return its folder. Demand is what water and thermals can just about meet, in MW."""
    rng = np.random.default_rng(seed)
    plants = _hydros(hydros, rng)
    power = sum(p["generation"]["max_generation_mw"] for p in plants)
    units = _thermals(thermals, 0.8 * power + 500.0, rng)
    demand = 0.25 * power + 0.45 * sum(u["generation"]["max_mw"] for u in units)
    files: dict[str, Any] = {
        "config.json": _config(passes),
        "penalties.json": _penalties(),
        "stages.json": {
            "policy_graph": {"type": "finite_horizon", "annual_discount_rate": 0.08},
            "stages": [_stage(t, openings, blocks) for t in range(stages)],
        },
        "initial_conditions.json": {
            "storage": [
                {"hydro_id": p["id"], "value_hm3": round(0.6 * p["reservoir"]["max_storage_hm3"], 3)} for p in plants
            ],
            "filling_storage": [],
        },
        "system/buses.json": {"buses": [_named(b, "bus") for b in range(_BUSES)]},
        "system/lines.json": {"lines": _lines(demand)},
        "system/hydros.json": {"hydros": plants},
        "system/thermals.json": {"thermals": units},
        "system/hydro_production_models.json": {"production_models": [_production(p, rng) for p in plants]},
    }
    _write(folder, files)
    _write_tables(folder, plants, stages, openings, demand, rng)
    return folder


def _config(passes: int) -> Record:
    return {
        "training": {
            "selection": {"method": "sampled", "forward_passes": passes},
            "stopping_rules": [{"type": "iteration_limit", "limit": 50}],
            "scenario_source": {"openings": {"source": "file"}},
        },
        "simulation": {"enabled": True, "selection": {"method": "sampled", "num_scenarios": 100}},
        "modeling": {"inflow_non_negativity": {"method": "truncation_with_penalty"}},
    }


def _penalties() -> Record:
    flows = ("turbined_violation_below_cost", "outflow_violation_below_cost", "outflow_violation_above_cost",
             "evaporation_violation_cost", "water_withdrawal_violation_cost", "inflow_nonnegativity_cost")  # fmt: skip
    return {
        "bus": {
            "deficit_segments": [{"depth_mw": 500.0, "cost": 2500.0}, {"depth_mw": None, "cost": 5000.0}],
            "excess_cost": 0.1,
        },
        "line": {"exchange_cost": 0.05},
        "hydro": {
            "spillage_cost": 0.01, "turbined_cost": 0.005, "diversion_cost": 0.02,
            "storage_violation_below_cost": 10000.0, "filling_target_violation_cost": 10000.0,
            "generation_violation_below_cost": 1000.0,
        } | dict.fromkeys(flows, 1000.0),
        "non_controllable_source": {"curtailment_cost": 0.01},
    }  # fmt: skip


def _stage(t: int, openings: int, blocks: int) -> Record:
    start, end = (date(2025 + month // 12, month % 12 + 1, 1) for month in (t, t + 1))
    hours = 24.0 * (end - start).days
    shares = np.arange(1, blocks + 1) / (blocks * (blocks + 1) / 2)
    return {
        "id": t, "start_date": start.isoformat(), "end_date": end.isoformat(), "num_openings": openings,
        "blocks": [{"id": k, "name": f"block {k}", "hours": float(hours * share)} for k, share in enumerate(shares)],
    }  # fmt: skip


def _named(i: int, noun: str) -> Record:
    return {"id": i, "name": f"{noun} {i}", "operational_start_date": _BUILT}


def _lines(demand: float) -> list[Record]:
    capacity = {"direct_mw": round(0.15 * demand, 1), "reverse_mw": round(0.12 * demand, 1)}
    return [_named(b, "line") | {"source_bus_id": b, "target_bus_id": (b + 1) % _BUSES, "capacity": capacity}
            for b in range(_BUSES)]  # fmt: skip


def _hydros(count: int, rng: np.random.Generator) -> list[Record]:
    """Rivers of about eight plants, each plant larger than the one above it; every third has a real reservoir."""
    plants = []
    for i in range(count):
        last = i % 8 == 7 or i == count - 1
        flow = float(rng.uniform(150.0, 300.0)) * (1 + i % 8)
        most = round(2.2 * flow, 2)
        volume = round(flow * (8.0 if i % 3 == 0 else 0.4), 2)
        limits = {"min_turbined_m3s": 0.0, "max_turbined_m3s": most, "min_generation_mw": 0.0,
                  "max_generation_mw": most}  # fmt: skip
        plants.append(
            _named(i, "hydro") | {
                "downstream_id": None if last else i + 1,
                "reservoir": {"min_storage_hm3": 0.0, "max_storage_hm3": volume},
                "outflow": {"min_outflow_m3s": round(0.1 * flow, 2), "max_outflow_m3s": None},
                "generation": {"model": "constant_productivity", **limits},
                "unit_groups": [{"id": 0, "name": "all", "bus_id": i // 8 % _BUSES, **limits}],
            }
        )  # fmt: skip
    return plants


def _production(plant: Record, rng: np.random.Generator) -> Record:
    whole = {"start_stage_id": 0, "end_stage_id": None, "model": "constant_productivity",
             "productivity_mw_per_m3s": round(float(rng.uniform(0.3, 0.9)), 4)}  # fmt: skip
    return {"hydro_id": plant["id"], "selection_mode": "stage_ranges", "stage_ranges": [whole]}


def _thermals(count: int, capacity: float, rng: np.random.Generator) -> list[Record]:
    sizes = rng.dirichlet(np.full(count, 2.0)) * capacity if count else np.zeros(0)
    costs = np.sort(rng.uniform(20.0, 1200.0, count))
    return [
        _named(i, "thermal") | {
            "bus_id": i % _BUSES, "generation": {"min_mw": 0.0, "max_mw": round(float(size), 2)},
            "cost_per_mwh": round(float(cost), 2),
        }
        for i, (size, cost) in enumerate(zip(sizes, costs, strict=True))
    ]  # fmt: skip


def _write_tables(
    folder: Path, plants: list[Record], stages: int, openings: int, demand: float, rng: np.random.Generator
) -> None:
    count = len(plants)
    season = 1.0 + 0.45 * np.cos(2.0 * np.pi * np.arange(stages) / 12.0)
    mean = np.array([p["generation"]["max_turbined_m3s"] / 2.2 / (1 + p["id"] % 8) for p in plants])
    inflow = season[:, None] * mean[None, :]
    share = np.array([0.45, 0.25, 0.2, 0.1])
    load = demand * share[None, :] * (1.0 + 0.08 * np.sin(2.0 * np.pi * np.arange(stages) / 12.0))[:, None]
    # one wet or dry spell for all rivers, and something of each river's own
    common = rng.standard_normal((stages, openings, 1))
    eta = np.sqrt(0.6) * common + np.sqrt(0.4) * rng.standard_normal((stages, openings, count))
    t, e = np.divmod(np.arange(stages * count), max(count, 1))
    b_t, b = np.divmod(np.arange(stages * _BUSES), _BUSES)
    o_t, o_o, o_e = (part.ravel() for part in np.indices(eta.shape))
    ids, unsigned = pa.int32(), pa.uint32()
    tables = {
        "inflow_seasonal_stats": {
            "hydro_id": pa.array(e, ids), "stage_id": pa.array(t, ids), "mean_m3s": pa.array(inflow.ravel()),
            "std_m3s": pa.array(0.3 * inflow.ravel()),
        },
        "load_seasonal_stats": {
            "bus_id": pa.array(b, ids), "stage_id": pa.array(b_t, ids), "mean_mw": pa.array(load.ravel()),
            "std_mw": pa.array(np.zeros(load.size)),
        },
        "noise_openings": {
            "stage_id": pa.array(o_t, ids), "opening_index": pa.array(o_o, unsigned),
            "entity_index": pa.array(o_e, unsigned), "value": pa.array(eta.ravel()),
        },
    }  # fmt: skip
    (folder / "scenarios").mkdir(parents=True, exist_ok=True)
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / "scenarios" / f"{name}.parquet", compression="zstd")


def _write(folder: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="eight", help="sizes to begin with")
    for name in SIZES:
        parser.add_argument(f"--{name}", type=int, help="instead of the scale's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write")
    arguments = vars(parser.parse_args())
    sizes = dict(zip(SIZES, SCALES[arguments.pop("scale")], strict=True))
    sizes |= {name: arguments.pop(name) or size for name, size in sizes.items()}
    write_case(arguments.pop("out"), **sizes, **arguments)


if __name__ == "__main__":
    main()
