"""Read what a run wrote, with pyarrow alone: bounds, costs, storages and who produced the energy.

Usage: python examples/read_results.py OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq


def simulated(out: Path, what: str) -> pa.Table:
    """A table of the simulation; its blocks of scenarios, a folder each, are read as one."""
    return ds.dataset(out / "simulation" / what, format="parquet", partitioning="hive").to_table()


def main(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    training = manifest["training"]
    print(f"{training['case']}: {training['termination_reason']} after {training['iterations']} iterations")

    convergence = pq.read_table(out / "training" / "convergence.parquet")
    last = convergence.slice(convergence.num_rows - 1).to_pylist()[0]
    print(f"bound {last['lower_bound']:,.0f}, estimate {last['upper_bound']:,.0f} +/- {last['ci_95']:,.0f}")

    costs = simulated(out, "costs")
    discounted = pc.multiply(costs["immediate_cost"], costs["discount_factor"])
    by_scenario = costs.append_column("cost", discounted).group_by("scenario_id").aggregate([("cost", "sum")])
    median, dearest = pc.quantile(by_scenario["cost_sum"], q=[0.5, 1.0]).to_pylist()
    print(f"{by_scenario.num_rows} scenarios, median {median:,.0f}, dearest {dearest:,.0f}")

    # Storage stands beside every block of its stage: one block says it all.
    hydros = simulated(out, "hydros").filter(pc.field("block_id") == 0)
    storages = hydros.group_by(["hydro_id", "stage_id"]).aggregate([("storage_final_hm3", "mean")])
    print("mean storage at the end of each stage, hm3")
    for hydro in sorted(set(storages["hydro_id"].to_pylist())):
        own = storages.filter(pc.field("hydro_id") == hydro).sort_by("stage_id")
        print(f"  hydro {hydro}: " + " ".join(f"{value:6.0f}" for value in own["storage_final_hm3_mean"].to_pylist()))

    print("mean energy of a scenario, GWh")
    for what in ("hydros", "thermals"):
        energy = pc.sum(simulated(out, what)["generation_mwh"]).as_py() / by_scenario.num_rows / 1000.0
        print(f"  {what:9} {energy:8,.0f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
