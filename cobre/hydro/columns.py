"""The columns of a stage's linear program: what can be decided, its limits and its cost in $."""

from __future__ import annotations

import numpy as np

from cobre.hydro.assembly import Assembly
from cobre.hydro.cascade import in_service
from cobre.hydro.entities import Case
from cobre.hydro.layout import Places, StageColumns
from cobre.hydro.outcomes import Outcomes
from cobre.sddp.risk import FloatArray

__all__ = ["add_columns", "by_block"]


def add_columns(lp: Assembly, case: Case, t: int, outcomes: Outcomes) -> StageColumns:
    """Adds stage t's columns, with bounds that hold under every opening."""
    hours = case.stages[t].block_hours
    storage = lp.columns(
        np.ones(case.hydros.ids.size, bool), case.hydros.min_storage[t], case.hydros.max_storage[t], 0.0
    )
    return StageColumns(
        storage=storage,
        **_hydro_flows(lp, case, t, hours),
        **_stage_slacks(lp, case, t, float(hours.sum())),
        **_block_slacks(lp, case, t, hours),
        **_power(lp, case, t, hours),
        non_controllable=_sources(lp, case, t, hours, outcomes.available),
    )


def by_block(values: FloatArray, blocks: int) -> FloatArray:
    """(entities, blocks) from values of the stage (entities,) or of its blocks already."""
    return np.broadcast_to(values[:, None] if values.ndim == 1 else values, (len(values), blocks))


def _hydro_flows(lp: Assembly, case: Case, t: int, hours: FloatArray) -> dict[str, Places]:
    h = case.hydros
    present = np.tile(in_service(case, t)[:, None], (1, hours.size))
    rho = h.productivity[t][:, None]
    power = by_block(h.max_generation[t], hours.size)
    by_power = np.divide(power, rho, out=np.full(power.shape, np.inf), where=rho > 0.0)
    limit = np.minimum(by_block(h.max_turbined[t], hours.size), by_power)
    channel = by_block(h.max_diversion[t], hours.size)
    return {
        "turbined": lp.columns(present & (limit > 0.0), 0.0, limit, h.turbined_cost[t][:, None] * hours),
        "spillage": lp.columns(present, 0.0, np.inf, h.spillage_cost[t][:, None] * hours),
        "diversion": lp.columns(present & (channel > 0.0), 0.0, channel, h.diversion_cost[t][:, None] * hours),
    }


def _stage_slacks(lp: Assembly, case: Case, t: int, hours: float) -> dict[str, Places]:
    h = case.hydros
    present = in_service(case, t)
    penalised = present & (case.inflow_method in ("penalty", "truncation_with_penalty"))
    wet = present & h.has_evaporation & ((h.evaporation_intercept[t] != 0.0) | (h.evaporation_slope[t] != 0.0))
    # Twice what the full reservoir evaporates, both ways: rain can outweigh evaporation, and slacks stay finite.
    most = 2.0 * np.abs(h.evaporation_intercept[t] + h.evaporation_slope[t] * h.max_storage[t])
    # No more can be left in the river than was to be withdrawn, nor left out than was to be returned.
    withdrawal = h.withdrawal[t]
    withdrawing = present & (withdrawal != 0.0)
    under, over = np.where(withdrawal > 0.0, withdrawal, np.inf), np.where(withdrawal < 0.0, -withdrawal, np.inf)
    return {
        "inflow_slack": lp.columns(penalised, 0.0, np.inf, h.inflow_nonnegativity_cost[t] * hours),
        "evaporation": lp.columns(wet, -most, most, 0.0),
        "evaporation_under": lp.columns(wet, 0.0, np.inf, h.evaporation_violation_neg_cost[t] * hours),
        "evaporation_over": lp.columns(wet, 0.0, np.inf, h.evaporation_violation_pos_cost[t] * hours),
        "withdrawal_under": lp.columns(withdrawing, 0.0, under, h.withdrawal_violation_neg_cost[t] * hours),
        "withdrawal_over": lp.columns(withdrawing, 0.0, over, h.withdrawal_violation_pos_cost[t] * hours),
    }


def _block_slacks(lp: Assembly, case: Case, t: int, hours: FloatArray) -> dict[str, Places]:
    h = case.hydros
    # A plant out of service still falls short of its minima, as in the reference: its penalty is a constant.
    present = in_service(case, t)[:, None]
    limits = {
        "turbined_below": (by_block(h.min_turbined[t], hours.size) > 0.0, h.turbined_violation_below_cost[t]),
        "outflow_below": (by_block(h.min_outflow[t], hours.size) > 0.0, h.outflow_violation_below_cost[t]),
        "outflow_above": (
            present & np.isfinite(by_block(h.max_outflow[t], hours.size)),
            h.outflow_violation_above_cost[t],
        ),
        "generation_below": (by_block(h.min_generation[t], hours.size) > 0.0, h.generation_violation_below_cost[t]),
    }
    return {name: lp.columns(limited, 0.0, np.inf, cost[:, None] * hours) for name, (limited, cost) in limits.items()}


def _power(lp: Assembly, case: Case, t: int, hours: FloatArray) -> dict[str, Places]:
    r, lines, b = case.thermals, case.lines, case.buses
    least, most = by_block(r.min_mw[t], hours.size), by_block(r.max_mw[t], hours.size)
    running = (most != 0.0) | (least != 0.0)
    exchange = lines.exchange_cost[t][:, None] * hours
    depth, cost = _segments(case)
    return {
        "thermal": lp.columns(running, least, most, r.cost[t][:, None] * hours),
        "direct": lp.columns(lines.direct_mw[t] > 0.0, 0.0, lines.direct_mw[t], exchange),
        "reverse": lp.columns(lines.reverse_mw[t] > 0.0, 0.0, lines.reverse_mw[t], exchange),
        "deficit": lp.columns(
            np.tile((depth > 0.0)[:, :, None], (1, 1, hours.size)), 0.0, depth[:, :, None], cost[:, :, None] * hours
        ),
        "excess": lp.columns(np.ones((b.ids.size, hours.size), bool), 0.0, np.inf, b.excess_cost[t][:, None] * hours),
    }


def _segments(case: Case) -> tuple[FloatArray, FloatArray]:
    """Depth (MW) and cost ($/MWh) of every bus's deficit segments (B, G), padded with segments of no depth."""
    b = case.buses
    shape = (b.ids.size, max((d.size for d in b.segment_depth), default=0))
    depth, cost = np.zeros(shape), np.zeros(shape)
    for i, (d, c) in enumerate(zip(b.segment_depth, b.segment_cost, strict=True)):
        depth[i, : d.size], cost[i, : c.size] = d, c
    return depth, cost


def _sources(lp: Assembly, case: Case, t: int, hours: FloatArray, available: FloatArray) -> Places:
    """Generation of non-controllable sources: not curtailing is a reward, so its cost is negative.

    The bound is the most that any opening offers; where openings differ a row holds each to its own.
    """
    c = case.non_controllables
    most, least = available.max(axis=0), available.min(axis=0)
    must_run = np.where(c.curtailable[:, None], 0.0, least)
    return lp.columns(most > 0.0, must_run, most, -c.curtailment_cost[t][:, None] * hours)
