"""What a simulation did, in the reference's tables: costs by stage, and every plant, bus and line by block.

Names, units and signs of columns are the reference's. Stages, blocks and entities carry the case's ids; storage stands
beside every block of its stage, as do the slacks that belong to a whole stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.entities import Case, IntArray
from cobre.hydro.layout import Places, StageColumns, StageRows, take
from cobre.hydro.outcomes import Outcomes
from cobre.hydro.stage_lp import HydroProblem
from cobre.sddp.problem import Stage
from cobre.sddp.risk import FloatArray

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ScenarioBlock", "StageValues", "tables"]

Columns = dict[str, FloatArray]


class StageValues(Protocol):
    """One stage of k simulated scenarios, in the problem's units: see ``cobre.sddp.simulation.StageResult``."""

    @property
    def opening(self) -> IntArray: ...
    @property
    def incoming(self) -> FloatArray: ...
    @property
    def primal(self) -> FloatArray: ...
    @property
    def duals(self) -> FloatArray: ...
    @property
    def stage_cost(self) -> FloatArray: ...
    @property
    def cost_to_go(self) -> FloatArray: ...
    @property
    def discount(self) -> float: ...


class ScenarioBlock(Protocol):
    """k simulated scenarios: their numbers, probabilities and stages."""

    @property
    def scenarios(self) -> IntArray: ...
    @property
    def probability(self) -> FloatArray: ...
    @property
    def stages(self) -> Sequence[StageValues]: ...


def tables(case: Case, hydro: HydroProblem, block: ScenarioBlock) -> dict[str, pa.Table]:
    """The block's tables by the name of their folder; rows rise by scenario, stage, entity and block.

    ``costs`` has a row a scenario and stage, ``scenario_summary`` one a scenario, the others one a scenario, stage,
    entity and block of the stage.
    """
    views = [_View.of(case, hydro, t, values) for t, values in enumerate(block.stages)]
    entities: dict[str, tuple[str, IntArray, Callable[[_View], Columns]]] = {
        "hydros": ("hydro_id", case.hydros.ids, _hydros),
        "thermals": ("thermal_id", case.thermals.ids, _thermals),
        "buses": ("bus_id", case.buses.ids, _buses),
        "exchanges": ("line_id", case.lines.ids, _exchanges),
        "non_controllables": ("non_controllable_id", case.non_controllables.ids, _non_controllables),
    }
    result = {"costs": _table(block, views, None, [_costs(v) for v in views])}
    for name, (key, ids, columns) in entities.items():
        if ids.size:
            result[name] = _table(block, views, (key, ids), [columns(v) for v in views])
    result["scenario_summary"] = _summary(block, views)
    return result


@dataclass(frozen=True, eq=False)
class _View:
    """A stage's values, read through its layout."""

    case: Case
    t: int
    stage: Stage
    x: StageColumns
    rows: StageRows
    outcomes: Outcomes
    values: StageValues
    hours: FloatArray  # (K,)

    @classmethod
    def of(cls, case: Case, hydro: HydroProblem, t: int, values: StageValues) -> _View:
        layout = hydro.layouts[t]
        hours = case.stages[t].block_hours
        stage = hydro.problem.stages[t]
        return cls(case, t, stage, layout.columns, layout.rows, hydro.outcomes[t], values, hours)

    def at(self, places: Places) -> FloatArray:
        """Values of columns: (k, *places.shape)."""
        return take(self.values.primal, places)

    def blocks(self, places: Places) -> FloatArray:
        """Values of columns of the whole stage beside each of its blocks: (k, entities, K)."""
        return self.spread(self.at(places))

    def spread(self, values: FloatArray) -> FloatArray:
        return np.repeat(values[:, :, None], self.hours.size, axis=2)

    def cost(self, *columns: Places) -> FloatArray:
        """What columns cost in all, $: (k,)."""
        total = np.zeros(len(self.values.primal))
        for places in columns:
            total += self.costs(places).reshape(total.size, -1).sum(axis=1)
        return total

    def costs(self, places: Places) -> FloatArray:
        """What each column costs, $: (k, *places.shape)."""
        return self.at(places) * take(self.stage.cost[None, :], places)

    def inflow(self) -> FloatArray:
        return self.outcomes.inflow[self.values.opening]

    def curtailed(self) -> FloatArray:
        """MW (k, C, K) that the sources could give and did not."""
        return self.outcomes.available[self.values.opening] - self.at(self.x.non_controllable)

    def curtailment_cost(self) -> FloatArray:
        price = self.case.non_controllables.curtailment_cost[self.t][:, None]
        cost: FloatArray = self.curtailed() * price * self.hours
        return cost


def _costs(v: _View) -> Columns:
    """$ of the stage, undiscounted; ``discount_factor`` is from the stage to the first.

    The immediate cost counts what non-controllable sources give as a reward, ``curtailment_cost`` what they do not
    give as a cost: the two differ by a constant, so that the categories do not add up to the immediate cost.
    """
    x, future = v.x, v.stage.discount * v.values.cost_to_go
    violations = {
        "outflow_violation_below_cost": v.cost(x.outflow_below),
        "outflow_violation_above_cost": v.cost(x.outflow_above),
        "turbined_violation_cost": v.cost(x.turbined_below),
        "generation_violation_cost": v.cost(x.generation_below),
        "evaporation_violation_cost": v.cost(x.evaporation_under, x.evaporation_over),
        "withdrawal_violation_cost": v.cost(x.withdrawal_under, x.withdrawal_over),
    }
    count = len(v.values.primal)
    return {
        "total_cost": v.values.stage_cost + future,
        "immediate_cost": v.values.stage_cost,
        "future_cost": future,
        "discount_factor": np.full(count, v.values.discount),
        "thermal_cost": v.cost(x.thermal),
        "deficit_cost": v.cost(x.deficit),
        "excess_cost": v.cost(x.excess),
        "hydro_violation_cost": sum(violations.values(), np.zeros(count)),
        **violations,
        "inflow_penalty_cost": v.cost(x.inflow_slack),
        "spillage_cost": v.cost(x.spillage, x.diversion),
        "turbined_cost": v.cost(x.turbined),
        "curtailment_cost": v.curtailment_cost().reshape(count, -1).sum(axis=1),
        "exchange_cost": v.cost(x.direct, x.reverse),
    }


def _hydros(v: _View) -> Columns:
    """``water_value_per_hm3`` is the dual of the water balance: by how much one hm3 more changes the cost."""
    x, rho = v.x, v.case.hydros.productivity[v.t][:, None]
    turbined, spillage, diverted = v.at(x.turbined), v.at(x.spillage), v.at(x.diversion)
    inflow = v.spread(v.inflow())
    return {
        "turbined_m3s": turbined,
        "spillage_m3s": spillage,
        "outflow_m3s": turbined + spillage,
        "evaporation_m3s": v.blocks(x.evaporation),
        "diverted_inflow_m3s": _received(diverted, v.case.hydros.diversion),
        "diverted_outflow_m3s": diverted,
        "incremental_inflow_m3s": inflow,
        "inflow_m3s": inflow,
        "storage_initial_hm3": v.spread(v.values.incoming),
        "storage_final_hm3": v.blocks(x.storage),
        "generation_mw": turbined * rho,
        "generation_mwh": turbined * rho * v.hours,
        "equivalent_productivity_mw_per_m3s": np.broadcast_to(rho, turbined.shape),
        "spillage_cost": v.costs(x.spillage),
        "water_value_per_hm3": v.spread(take(v.values.duals, v.rows.water)),
        "turbined_slack_m3s": v.at(x.turbined_below),
        "outflow_slack_below_m3s": v.at(x.outflow_below),
        "outflow_slack_above_m3s": v.at(x.outflow_above),
        "generation_slack_mw": v.at(x.generation_below),
        "evaporation_violation_pos_m3s": v.blocks(x.evaporation_over),
        "evaporation_violation_neg_m3s": v.blocks(x.evaporation_under),
        "inflow_nonnegativity_slack_m3s": v.blocks(x.inflow_slack),
        "water_withdrawal_violation_pos_m3s": v.blocks(x.withdrawal_over),
        "water_withdrawal_violation_neg_m3s": v.blocks(x.withdrawal_under),
    }


def _received(diverted: FloatArray, target: IntArray) -> FloatArray:
    result = np.zeros_like(diverted)
    for plant in np.flatnonzero(target >= 0):
        result[:, target[plant]] += diverted[:, plant]
    return result


def _thermals(v: _View) -> Columns:
    generation = v.at(v.x.thermal)
    return {
        "generation_mw": generation,
        "generation_mwh": generation * v.hours,
        "generation_cost": v.costs(v.x.thermal),
    }


def _buses(v: _View) -> Columns:
    load = v.outcomes.load[v.values.opening]
    deficit, excess = v.at(v.x.deficit).sum(axis=2), v.at(v.x.excess)
    return {
        "load_mw": load,
        "load_mwh": load * v.hours,
        "deficit_mw": deficit,
        "deficit_mwh": deficit * v.hours,
        "excess_mw": excess,
        "excess_mwh": excess * v.hours,
        "spot_price": take(v.values.duals, v.rows.balance) / v.hours,
    }


def _exchanges(v: _View) -> Columns:
    """Losses are told, not taken: the stage LP carries none."""
    direct, reverse = v.at(v.x.direct), v.at(v.x.reverse)
    losses = (direct + reverse) * v.case.lines.losses_percent[:, None] / 100.0
    return {
        "direct_flow_mw": direct,
        "reverse_flow_mw": reverse,
        "net_flow_mw": direct - reverse,
        "net_flow_mwh": (direct - reverse) * v.hours,
        "losses_mw": losses,
        "losses_mwh": losses * v.hours,
        "exchange_cost": v.costs(v.x.direct) + v.costs(v.x.reverse),
    }


def _non_controllables(v: _View) -> Columns:
    generation, curtailed = v.at(v.x.non_controllable), v.curtailed()
    return {
        "generation_mw": generation,
        "generation_mwh": generation * v.hours,
        "available_mw": v.outcomes.available[v.values.opening],
        "curtailment_mw": curtailed,
        "curtailment_mwh": curtailed * v.hours,
        "curtailment_cost": v.curtailment_cost(),
    }


def _table(
    block: ScenarioBlock, views: list[_View], entity: tuple[str, IntArray] | None, stages: list[Columns]
) -> pa.Table:
    """Rows of (k, ...) arrays of every stage, a scenario after the other."""
    import pyarrow as pa

    keys: list[dict[str, NDArray[Any]]] = [_keys(view, entity) for view in views]
    count = block.scenarios.size
    rows = sum(k["stage_id"].size for k in keys)
    columns: dict[str, Any] = {"scenario_id": np.repeat(block.scenarios, rows).astype(np.int32)}
    for name in keys[0]:
        columns[name] = np.tile(np.concatenate([k[name] for k in keys]).astype(np.int32), count)
    for name in stages[0]:
        columns[name] = np.concatenate([values[name].reshape(count, -1) for values in stages], axis=1).ravel()
    return pa.table(columns)


def _keys(view: _View, entity: tuple[str, IntArray] | None) -> dict[str, NDArray[Any]]:
    stage = view.case.stages[view.t].id
    if entity is None:
        return {"stage_id": np.array([stage])}
    name, ids = entity
    blocks = view.hours.size
    return {
        "stage_id": np.full(ids.size * blocks, stage),
        "block_id": np.tile(np.arange(blocks), ids.size),
        name: np.repeat(ids, blocks),
    }


def _summary(block: ScenarioBlock, views: list[_View]) -> pa.Table:
    import pyarrow as pa

    discounted = sum((v.values.discount * v.values.stage_cost for v in views), np.zeros(block.scenarios.size))
    return pa.table(
        {
            "scenario_id": block.scenarios.astype(np.int32),
            "probability": block.probability,
            "discounted_immediate_cost": discounted,
        }
    )
