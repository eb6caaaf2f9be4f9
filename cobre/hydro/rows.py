"""The rows of a stage's linear program: water, power, evaporation and operating limits."""

from __future__ import annotations

import numpy as np

from cobre.hydro.assembly import Assembly
from cobre.hydro.cascade import receivers, routed
from cobre.hydro.columns import by_block
from cobre.hydro.entities import Case, IntArray
from cobre.hydro.layout import Places, StageColumns, StageRows
from cobre.hydro.outcomes import Outcomes
from cobre.sddp.risk import FloatArray

__all__ = ["HM3_PER_FLOW_HOUR", "add_rows", "water_supply"]

HM3_PER_FLOW_HOUR = 0.0036  # one m3/s over one hour, in hm3


def add_rows(lp: Assembly, case: Case, t: int, x: StageColumns, outcomes: Outcomes) -> StageRows:
    """Adds stage t's rows, with the right-hand sides of its first opening."""
    hours = case.stages[t].block_hours
    water = _water(lp, case, t, x, hours, outcomes)
    evaporation = _evaporation(lp, case, t, x, water, float(hours.sum()))
    return StageRows(
        water=water,
        balance=_balance(lp, case, t, x, outcomes),
        evaporation=evaporation,
        **_limits(lp, case, t, x),
        availability=_availability(lp, case, x, outcomes.available),
    )


def _water(lp: Assembly, case: Case, t: int, x: StageColumns, hours: FloatArray, outcomes: Outcomes) -> Places:
    """v - v_in + outflow - upstream outflow - slacks = inflow - withdrawal, in hm3; v = v_in out of service."""
    h = case.hydros
    tau, zeta = HM3_PER_FLOW_HOUR * hours, HM3_PER_FLOW_HOUR * float(hours.sum())
    rows = lp.rows(np.ones(h.ids.size, bool), 0, water_supply(case, t, outcomes.inflow[:1])[0])
    lp.coefficients(rows, x.storage, 1.0)
    lp.incoming(rows, np.arange(h.ids.size, dtype=np.int32), -1.0)
    for flow in (x.turbined, x.spillage, x.diversion):
        lp.coefficients(rows[:, None], flow, tau)
    below, aside = receivers(case, t, h.downstream), receivers(case, t, h.diversion)
    for flow, target in ((x.turbined, below), (x.spillage, below), (x.diversion, aside)):
        lp.coefficients(_at(rows, target)[:, None], flow, -tau)
    lp.coefficients(rows, x.inflow_slack, -zeta)
    lp.coefficients(rows, x.withdrawal_under, -zeta)
    lp.coefficients(rows, x.withdrawal_over, zeta)
    return rows


def water_supply(case: Case, t: int, inflow: FloatArray) -> FloatArray:
    """Right-hand side of the water rows, hm3, for inflows (N, H) in m3/s: (N, H)."""
    zeta = HM3_PER_FLOW_HOUR * float(case.stages[t].block_hours.sum())
    return zeta * routed(case, t, inflow - case.hydros.withdrawal[t])


def _at(rows: Places, positions: IntArray) -> Places:
    """The row of each position, -1 where the position is -1."""
    return np.append(rows, np.int32(-1))[positions]


def _evaporation(lp: Assembly, case: Case, t: int, x: StageColumns, water: Places, hours: float) -> Places:
    h = case.hydros
    rows = lp.rows(x.evaporation >= 0, 0, h.evaporation_intercept[t])
    half = -0.5 * h.evaporation_slope[t]
    lp.coefficients(rows, x.evaporation, 1.0)
    lp.coefficients(rows, x.storage, half)
    lp.incoming(rows, np.arange(h.ids.size, dtype=np.int32), half)
    lp.coefficients(rows, x.evaporation_under, 1.0)
    lp.coefficients(rows, x.evaporation_over, -1.0)
    lp.coefficients(water, x.evaporation, HM3_PER_FLOW_HOUR * hours)
    return rows


def _balance(lp: Assembly, case: Case, t: int, x: StageColumns, outcomes: Outcomes) -> Places:
    """Generation, imports and deficit of a bus meet its load in every block."""
    lines, load = case.lines, outcomes.load[0]
    rows = lp.rows(np.ones(load.shape, bool), 0, load)
    lp.coefficients(rows[case.hydros.bus], x.turbined, case.hydros.productivity[t][:, None])
    lp.coefficients(rows[case.thermals.bus], x.thermal, 1.0)
    lp.coefficients(rows[case.non_controllables.bus], x.non_controllable, 1.0)
    lp.coefficients(rows[lines.source], x.direct, -1.0)
    lp.coefficients(rows[lines.target], x.direct, 1.0)
    lp.coefficients(rows[lines.source], x.reverse, 1.0)
    lp.coefficients(rows[lines.target], x.reverse, -1.0)
    lp.coefficients(rows[:, None, :], x.deficit, 1.0)
    lp.coefficients(rows, x.excess, -1.0)
    return rows


def _limits(lp: Assembly, case: Case, t: int, x: StageColumns) -> dict[str, Places]:
    """Soft limits per hydro and block: a row stands where its slack does."""
    h = case.hydros
    out = (x.turbined, x.spillage)  # what is diverted does not flow out below the dam
    one, rho = np.ones(h.ids.size), h.productivity[t]
    plan = {
        "min_turbined": (x.turbined_below, 1, h.min_turbined[t], one, (x.turbined,)),
        "min_outflow": (x.outflow_below, 1, h.min_outflow[t], one, out),
        "max_outflow": (x.outflow_above, -1, h.max_outflow[t], one, out),
        "min_generation": (x.generation_below, 1, h.min_generation[t], rho, (x.turbined,)),
    }
    found = {}
    for name, (slack, sense, limit, factor, flows) in plan.items():
        found[name] = rows = lp.rows(slack >= 0, sense, by_block(limit, slack.shape[1]))
        lp.coefficients(rows, slack, float(sense))
        for flow in flows:
            lp.coefficients(rows, flow, factor[:, None])
    return found


def _availability(lp: Assembly, case: Case, x: StageColumns, available: FloatArray) -> Places:
    """w <= availability, or == for a source that must run, where openings differ; else the bound says it."""
    differs = (available.max(axis=0) > available.min(axis=0)) & (x.non_controllable >= 0)
    sense = np.where(case.non_controllables.curtailable, -1, 0).astype(np.int8)
    rows = lp.rows(differs, sense[:, None], available[0])
    lp.coefficients(rows, x.non_controllable, 1.0)
    return rows
