"""A hydrothermal case as a multistage problem: one linear program a stage, its openings on the right-hand sides.

The state is the storage of every hydro. The incoming storage has no column: it stands on the left side of the water
balance and of the evaporation row. Realised inflows, loads and availabilities have none either: they are right-hand
sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from cobre.hydro.assembly import Assembly
from cobre.hydro.columns import add_columns
from cobre.hydro.entities import Case
from cobre.hydro.layout import StageLayout
from cobre.hydro.noise import noise_entities, openings
from cobre.hydro.outcomes import Outcomes, realise
from cobre.hydro.rows import add_rows, water_supply
from cobre.sddp.problem import Openings, Problem, Stage
from cobre.sddp.risk import FloatArray

__all__ = ["HydroProblem", "build_problem"]


@dataclass(frozen=True, eq=False)
class HydroProblem:
    """The problem, and per stage where its quantities stand and what its openings bring."""

    problem: Problem
    layouts: tuple[StageLayout, ...]
    outcomes: tuple[Outcomes, ...]


def build_problem(case: Case) -> HydroProblem:
    """The problem of a case, in $; its stages are the case's. Raises ValidationError where its numbers are unfit."""
    entities = noise_entities(case)
    outcomes = tuple(realise(case, t, entities, eta) for t, eta in enumerate(openings(case)))
    built = [_stage(case, t, brought) for t, brought in enumerate(outcomes)]
    problem = Problem(
        stages=_bounded([stage for stage, _ in built]),
        initial_state=case.hydros.initial_storage,
        state_names=tuple(f"storage:{i}" for i in case.hydros.ids),
        name=case.name,
    )
    return HydroProblem(problem, tuple(layout for _, layout in built), outcomes)


def _stage(case: Case, t: int, outcomes: Outcomes) -> tuple[Stage, StageLayout]:
    lp = Assembly()
    x = add_columns(lp, case, t, outcomes)
    layout = StageLayout(x, add_rows(lp, case, t, x, outcomes))
    stage = Stage(
        **lp.vectors(),
        matrix=lp.matrix(),
        incoming=lp.incoming_matrix(case.hydros.ids.size),
        outgoing=x.storage,
        openings=_openings(case, t, layout, outcomes),
        discount=case.stages[t].discount,
        # The case gives a stage the measure over what follows it; a Stage carries the one over its own openings.
        risk=case.stages[max(t - 1, 0)].risk,
    )
    return stage, layout


def _openings(case: Case, t: int, layout: StageLayout, outcomes: Outcomes) -> Openings:
    """Right-hand sides of the rows where openings differ: water, power balance and availability."""
    count, rows = len(outcomes.inflow), layout.rows
    water = water_supply(case, t, outcomes.inflow)
    places = np.concatenate([rows.water, rows.balance.ravel(), rows.availability.ravel()])
    values = np.concatenate([water, outcomes.load.reshape(count, -1), outcomes.available.reshape(count, -1)], axis=1)
    differs = (places >= 0) & (values != values[:1]).any(axis=0)
    return Openings(np.full(count, 1.0 / count), rhs_rows=places[differs], rhs=values[:, differs])


def _bounded(stages: list[Stage]) -> tuple[Stage, ...]:
    """The stages with a valid lower bound on what follows each: zero, or less where generation is rewarded.

    A reward is a negative cost of a column: the stage cannot earn more than its columns' bounds allow, whatever the
    opening and the state. See docs/decisions/0002-cost-to-go-bound.md.
    """
    bound = 0.0
    result: list[Stage] = []
    for stage in reversed(stages):
        result.append(replace(stage, cost_to_go_bound=bound) if bound < 0.0 else stage)
        bound = _least_cost(stage) + stage.discount * bound
    return tuple(reversed(result))


def _least_cost(stage: Stage) -> float:
    earning: FloatArray = np.minimum(stage.cost, 0.0)
    return math.fsum(earning * np.where(earning < 0.0, stage.upper, 0.0))
