"""One small case for every feature of the stage LP, with the bound that the reference implementation (0.18.0) gives.

The numbers are optima: every case is deterministic, or has a tree small enough for the reference to close the gap.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from tests.hydro.cases import bus, case_files, hydro, line, source, thermal, with_openings

Files = dict[str, Any]

B2, B3 = (400.0, 330.0), (200.0, 300.0, 230.0)
BUSES = (
    bus(0),
    bus(1, deficit_segments=[{"depth_mw": 10.0, "cost": 200.0}, {"depth_mw": 20.0, "cost": 500.0},
                             {"depth_mw": None, "cost": 3000.0}]),
)  # fmt: skip
THERMALS = (thermal(0, at=0, most=150.0, cost=20.0), thermal(1, at=1, most=60.0, cost=80.0, least=15.0))
GEOMETRY = [
    {"hydro_id": 0, "volume_hm3": v, "height_m": v / 10.0, "area_km2": a}
    for v, a in ((0.0, 5.0), (100.0, 10.0), (200.0, 15.0))
]
ETA = [
    [[0.4, -0.7], [-1.2, 0.6], [1.1, 0.2], [-0.3, -1.5]],
    [[-0.9, 0.1], [0.8, -0.4], [0.2, 1.3], [-1.6, 0.9]],
    [[1.4, -0.2], [-0.5, 0.5], [0.1, -1.1], [-1.0, 1.7]],
]


def network(**changes: Any) -> Files:
    """Two buses, a line between them, a hydro at the second."""
    base: dict[str, Any] = {
        "buses": BUSES, "thermals": THERMALS, "lines": (line(0, 0, 1, 40.0, 30.0),), "hydros": (hydro(0, at=1),),
        "load": (50.0, 180.0), "stages": 3, "blocks": B2,
    }  # fmt: skip
    return case_files(**(base | changes))


def costs(files: Files, **changes: float) -> Files:
    files["penalties.json"]["hydro"].update(changes)
    return files


def bounds(files: Files, kind: str, *rows: dict[str, Any]) -> Files:
    files[f"constraints/{kind}_bounds.parquet"] = list(rows)
    return files


def factors(files: Files, kind: str, *values: float) -> Files:
    key, name = {"load": ("load_factors", "bus_id"), "ncs": ("non_controllable_factors", "ncs_id")}[kind]
    files[f"scenarios/{key}.json"] = {
        key: [
            {name: 0, "stage_id": t, "block_factors": [{"block_id": k, "factor": f} for k, f in enumerate(values)]}
            for t in range(3)
        ]
    }
    return files


def sources(std: float, *listed: dict[str, Any], **changes: Any) -> Files:
    """One hydro with random inflow and sources with statistics, on the tree above."""
    files = case_files(hydros=(hydro(0),), stages=3, sources=listed, inflow_std=4.0, iterations=200, **changes)
    files["scenarios/non_controllable_stats.parquet"] = [
        {"ncs_id": s["id"], "stage_id": t, "mean": 0.5, "std": std} for s in listed for t in range(3)
    ]
    return with_openings(files, [[row[:1] + row[1:] * len(listed) for row in stage] for stage in ETA])


def noisy(columns: int, **changes: Any) -> Files:
    return tree(case_files(hydros=(hydro(0),), stages=3, iterations=200, **changes), columns)


def tree(files: Files, columns: int) -> Files:
    """``files`` with the openings above for its first noise entities."""
    return with_openings(files, [[row[:columns] for row in stage] for stage in ETA])


def discounted(files: Files) -> Files:
    files["stages.json"]["policy_graph"]["annual_discount_rate"] = 0.2
    files["stages.json"]["stages"][1]["annual_discount_rate_override"] = 0.3
    return files


def risky(files: Files, *measures: Any) -> Files:
    for stage, measure in zip(files["stages.json"]["stages"], measures, strict=True):
        stage["risk_measure"] = measure if isinstance(measure, str) else {"cvar": measure}
    return files


def productivity(files: Files) -> Files:
    model = {"model": "constant_productivity"}
    files["system/hydro_production_models.json"]["production_models"][0]["stage_ranges"] = [
        {"start_stage_id": 0, "end_stage_id": 1, "productivity_mw_per_m3s": 0.9} | model,
        {"start_stage_id": 2, "end_stage_id": None, "productivity_mw_per_m3s": 1.3} | model,
    ]
    return files


def wet(over: float, under: float, coefficient: float = 100.0, weekly: bool = False, **changes: Any) -> Files:
    plant = hydro(0, evaporation={"coefficients_mm": [coefficient + 5.0 * m for m in range(12)]}, outflow=(0.0, 30.0))
    files = costs(
        case_files(hydros=(plant,), stages=6, load=20.0, **changes),
        evaporation_violation_pos_cost=over, evaporation_violation_neg_cost=under,
    )  # fmt: skip
    files["system/hydro_geometry.parquet"] = GEOMETRY
    if weekly:
        for t, stage in enumerate(files["stages.json"]["stages"]):
            start = date(2024, 2, 14) + timedelta(days=7 * t)
            stage |= {"start_date": str(start), "end_date": str(start + timedelta(days=7))}
    return files


def withdrawing(flow: float, over: float, under: float, **changes: Any) -> Files:
    files = case_files(hydros=(hydro(0, downstream=1, outflow=(0.0, 20.0)), hydro(1)), stages=3, **changes)
    bounds(files, "hydro", *({"hydro_id": 0, "stage_id": t, "water_withdrawal_m3s": flow} for t in range(3)))
    return costs(files, water_withdrawal_violation_pos_cost=over, water_withdrawal_violation_neg_cost=under)


def diverting(outflow: tuple[float, float | None], inflow: float) -> Files:
    channel = {"downstream_id": 1, "max_flow_m3s": 30.0}
    plants = (hydro(0, downstream=2, outflow=outflow, diversion=channel), hydro(1), hydro(2, turbined=(0.0, 40.0)))
    return case_files(stages=3, hydros=plants, inflow=inflow, storage=190.0, productivity=0.6, load=60.0)


def cascade(*changes: dict[str, Any], **more: Any) -> Files:
    """Plants in a row, each above the next, with changes to each."""
    last = len(changes) - 1
    plants = (hydro(i, at=1, downstream=i + 1 if i < last else None, **c) for i, c in enumerate(changes))
    return network(hydros=tuple(plants), **more)


def one(**changes: Any) -> Files:
    """One hydro with these limits, three blocks, four stages."""
    more = {key: changes.pop(key) for key in ("inflow", "productivity", "storage", "method") if key in changes}
    return case_files(hydros=(hydro(0, **changes),), stages=4, blocks=B3, **more)


def everything() -> Files:
    """Most features at once; the outputs are held against the reference on it too."""
    files = case_files(
        stages=3, blocks=B2, lines=(line(0, 0, 1, 40.0, 30.0, losses_percent=5.0),),
        buses=(
            bus(0),
            bus(1, deficit_segments=[{"depth_mw": 10.0, "cost": 200.0}, {"depth_mw": None, "cost": 3000.0}]),
        ),
        thermals=(
            thermal(0, most=60.0, cost=20.0),
            thermal(1, at=1, most=60.0, cost=80.0, least=15.0, entry_stage_id=1),
        ),
        hydros=(
            hydro(0, downstream=1, outflow=(12.0, 20.0), diversion={"downstream_id": 1, "max_flow_m3s": 8.0},
                  evaporation={"coefficients_mm": [100.0] * 12}),
            hydro(1, at=1, turbined=(5.0, 50.0), power=(12.0, 50.0)),
        ),
        sources=(source(0, at=1, most=30.0), source(1, most=20.0, entry_stage_id=1, allow_curtailment=False)),
        load=(80.0, 120.0), inflow={0: 22.0, 1: -3.0}, method="penalty", productivity=0.85, storage=120.0,
    )  # fmt: skip
    files["scenarios/non_controllable_stats.parquet"] = [
        {"ncs_id": n, "stage_id": t, "mean": 0.5, "std": 0.0} for n in (0, 1) for t in range(3)
    ]
    files["system/hydro_geometry.parquet"] = GEOMETRY
    bounds(files, "hydro", *({"hydro_id": 1, "stage_id": t, "water_withdrawal_m3s": 2.0} for t in range(3)))
    files["stages.json"]["policy_graph"]["annual_discount_rate"] = 0.12
    return files


FEATURES: dict[str, Callable[[], Files]] = {
    "one block": lambda: case_files(hydros=(hydro(0),)),
    "load factors": lambda: factors(
        case_files(
            hydros=(hydro(0),), blocks=B3, stages=3, thermals=(thermal(0, cost=30.0, most=40.0), thermal(1, cost=60.0))
        ),
        "load", 1.4, 0.6, 1.1,
    ),
    "min outflow": lambda: one(outflow=(45.0, None)),
    "max outflow": lambda: one(outflow=(0.0, 20.0), inflow=60.0),
    "min turbined": lambda: one(turbined=(45.0, 50.0)),
    "min generation": lambda: one(power=(42.0, 50.0), productivity=0.9),
    "min generation, two productivities": lambda: productivity(one(power=(42.0, 50.0), productivity=0.9)),
    "max generation": lambda: one(power=(0.0, 30.0), productivity=0.9),
    "diversion below a cap": lambda: diverting((0.0, 20.0), 80.0),
    "diversion above a floor": lambda: diverting((60.0, None), 10.0),
    "withdrawal, dry": lambda: withdrawing(30.0, 900.0, 1.0),
    "withdrawal, more than there is": lambda: withdrawing(500.0, 700.0, 300.0),
    "withdrawal, flood": lambda: withdrawing(5.0, 0.001, 900.0, inflow=90.0, storage=200.0),
    "return, flood": lambda: withdrawing(-5.0, 0.001, 900.0, inflow=90.0, storage=200.0),
    "return, dry": lambda: withdrawing(-5.0, 900.0, 0.001, inflow=1.0),
    "inflow none": lambda: one(method="none"),
    "inflow penalty": lambda: costs(one(method="penalty", inflow=-3.0), inflow_nonnegativity_cost=1.0),
    "inflow penalty, dear": lambda: one(method="penalty", inflow=-80.0),
    "inflow penalty, water for sale": lambda: costs(one(method="penalty"), inflow_nonnegativity_cost=0.001),
    "truncation": lambda: noisy(1, inflow=8.0, inflow_std=12.0, storage=150.0, method="truncation"),
    "truncation with penalty": lambda: costs(
        noisy(1, inflow=8.0, inflow_std=12.0, storage=150.0, method="truncation_with_penalty"),
        inflow_nonnegativity_cost=2.0,
    ),
    "penalty, random": lambda: costs(
        noisy(1, inflow=8.0, inflow_std=12.0, storage=150.0, method="penalty"), inflow_nonnegativity_cost=2.0
    ),
    "random load": lambda: factors(
        noisy(2, blocks=B3, inflow_std=6.0, load_std=70.0, storage=150.0), "load", 1.4, 0.6, 1.1
    ),
    "source": lambda: sources(0.4, source(0, most=60.0)),
    "source, blocks": lambda: factors(sources(0.4, source(0, most=60.0), blocks=B3), "ncs", 0.5, 1.2, 0.7),
    "sources, one without spread": lambda: sources(
        0.0, source(0, most=60.0), source(1, most=25.0, exit_stage_id=2)
    ),
    "source must run": lambda: factors(
        sources(0.4, source(0, most=150.0, allow_curtailment=False), blocks=B3), "ncs", 0.5, 1.2, 0.7
    ),
    "line": network,
    "line turned round": lambda: network(lines=(line(0, 1, 0, 30.0, 40.0, exchange_cost=0.5, losses_percent=5.0),)),
    "line enters": lambda: network(lines=(line(0, 0, 1, 40.0, 30.0, entry_stage_id=1),)),
    "line leaves": lambda: network(lines=(line(0, 0, 1, 40.0, 30.0, exit_stage_id=2),)),
    "line bounds by block": lambda: bounds(
        network(), "line", {"line_id": 0, "stage_id": 1, "block_id": 0, "direct_mw": 11.0, "reverse_mw": 3.0}
    ),
    "thermal enters": lambda: network(
        thermals=(thermal(0, most=150.0, cost=20.0, entry_stage_id=1), THERMALS[1])
    ),
    "thermal leaves": lambda: network(
        thermals=(THERMALS[0], thermal(1, at=1, most=60.0, cost=80.0, least=15.0, exit_stage_id=2))
    ),
    "thermal bounds by block": lambda: bounds(
        network(), "thermal",
        {"thermal_id": 1, "stage_id": 1, "block_id": 0, "min_generation_mw": 5.0, "max_generation_mw": 22.0},
    ),
    "excess": lambda: network(thermals=(thermal(0, most=150.0, cost=20.0, least=100.0), THERMALS[1])),
    "discount": lambda: discounted(network()),
    "hydro enters": lambda: cascade({"entry_stage_id": 1}, {}),
    "hydro leaves": lambda: cascade({"exit_stage_id": 2}, {}),
    "two hydros in a row leave": lambda: cascade({}, {"exit_stage_id": 1}, {"exit_stage_id": 2}, {}),
    "hydro leaves, its minimum stays": lambda: cascade({"exit_stage_id": 1, "outflow": (5.0, None)}, {}),
    "hydro leaves, its withdrawal stays": lambda: bounds(
        cascade({"exit_stage_id": 1}, {}, storage=20.0, inflow=10.0),
        "hydro",
        *({"hydro_id": 0, "stage_id": t, "water_withdrawal_m3s": 7.0} for t in range(3)),
    ),
    "hydro leaves, its return stays": lambda: bounds(
        cascade({"exit_stage_id": 1}, {}, storage=20.0, inflow=10.0),
        "hydro",
        *({"hydro_id": 0, "stage_id": t, "water_withdrawal_m3s": -7.0} for t in range(3)),
    ),
    "cvar": lambda: risky(
        discounted(tree(network(inflow_std=12.0, method="truncation", iterations=300), 1)),
        *[{"alpha": 0.4, "lambda": 0.6}] * 3,
    ),
    "cvar, another each stage": lambda: risky(
        tree(network(inflow_std=12.0, method="truncation", iterations=300), 1),
        {"alpha": 0.4, "lambda": 0.6}, {"alpha": 0.3, "lambda": 1.0}, "expectation",
    ),
    "evaporation": lambda: wet(700.0, 300.0, inflow=2.0, storage=80.0),
    "evaporation, dry": lambda: wet(700.0, 300.0, inflow=0.0, storage=0.0),
    "evaporation, water for sale": lambda: wet(700.0, 0.001, inflow=2.0, storage=80.0),
    "evaporation, flood": lambda: wet(0.001, 300.0, inflow=90.0, storage=200.0),
    "evaporation, rain": lambda: wet(100.0, 100.0, coefficient=-100.0, inflow=0.0),
    "evaporation, weeks": lambda: wet(700.0, 300.0, weekly=True, inflow=2.0, storage=80.0),
    "everything": everything,
}  # fmt: skip

# Lower bounds of the reference, version 0.18.0, after the iterations that each case asks for.
REFERENCE = {
    "one block": 2992250.666666667,
    "load factors": 3383698.2222222225,
    "min outflow": 30074390.222222216,
    "max outflow": 49161112.000000015,
    "min turbined": 30029167.99999999,
    "min generation": 30524043.555555552,
    "min generation, two productivities": 20071342.017094016,
    "max generation": 7803723.555555557,
    "diversion below a cap": 31660278.66666668,
    "diversion above a floor": 28478997.555555545,
    "withdrawal, dry": 1135988.2222222227,
    "withdrawal, more than there is": 312209209.3333333,
    "withdrawal, flood": 1099522.35,
    "return, flood": 77117575.95,
    "return, dry": 2883965.3488888894,
    "inflow none": 7372834.666666666,
    "inflow penalty": 4509902.222222221,
    "inflow penalty, dear": 217502222.2222222,
    "inflow penalty, water for sale": 4382979.822222223,
    "truncation": 5743473.760000001,
    "truncation with penalty": 3385480.6666666665,
    "penalty, random": 3394386.6666666665,
    "random load": 26545967.622500006,
    "source": 1722076.3300000003,
    "source, blocks": 2228224.8921666658,
    "sources, one without spread": 1039351.0166666673,
    "source must run": 626019.0339236113,
    "line": 154502974.2222221,
    "line turned round": 154545898.22222212,
    "line enters": 241518682.22222212,
    "line leaves": 241518682.2222221,
    "line bounds by block": 189070858.22222206,
    "thermal enters": 218888974.2222221,
    "thermal leaves": 282398974.2222221,
    "thermal bounds by block": 198886974.22222203,
    "excess": 154941193.22222215,
    "discount": 150743339.3563758,
    "hydro enters": 22163983.333333302,
    "hydro leaves": 22163983.33333331,
    "two hydros in a row leave": 7335306.444444443,
    "hydro leaves, its minimum stays": 34474395.99999994,
    "cvar": 201250957.20525643,
    "cvar, another each stage": 217224156.07822207,
    "evaporation": 2881281.202514386,
    "evaporation, dry": 4649348.304958185,
    "evaporation, water for sale": 2562274.355569004,
    "evaporation, flood": 129483522.87594278,
    "evaporation, rain": 2921906.3146285247,
    "evaporation, weeks": 2882411.242553178,
    "everything": 62037124.28133107,
    "hydro leaves, its withdrawal stays": 199181686.93333316,
    "hydro leaves, its return stays": 42518371.33333327,
}
