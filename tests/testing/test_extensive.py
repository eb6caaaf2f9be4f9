"""The extensive form on numbers worked out by hand, and where it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from cobre.errors import SolverError, ValidationError
from cobre.sddp.builder import StageBuilder, chain
from cobre.sddp.problem import Problem
from cobre.sddp.risk import CVaR, Expectation, FloatArray, RiskMeasure
from cobre.testing import extensive


def costs(
    *stages: tuple[list[tuple[float, float]], RiskMeasure], sense: Literal["min", "max"] = "min", discount: float = 1.0
) -> Problem:
    """A problem without decisions: each stage costs its opening's number."""
    builders = []
    for outcomes, risk in stages:
        stage = StageBuilder(risk=risk, discount=discount)
        stage.state("x")
        stage.variable("paid")
        stage.constraint("pay", {"paid": 1.0}, "==", 0.0)
        stage.variable("unit", 1.0, 1.0)
        for probability, cost in outcomes:
            stage.opening(probability, cost={"unit": cost})
        builders.append(stage)
    return chain(builders, {"x": 0.0}, sense=sense)


FIRST = [(0.5, 1.0), (0.3, 2.0), (0.2, 4.0)]
SECOND = [(0.25, 10.0), (0.75, 6.0)]


def test_the_mean() -> None:
    assert extensive.solve(costs((FIRST, Expectation()), (SECOND, Expectation()))) == pytest.approx(1.9 + 7.0)


def test_cvar_of_one_stage_takes_the_worst_share() -> None:
    worst_third = (0.2 * 4.0 + (1 / 3 - 0.2) * 2.0) * 3
    assert extensive.solve(costs((FIRST, CVaR(1 / 3, 1.0)))) == pytest.approx(worst_third)
    assert extensive.solve(costs((FIRST, CVaR(1 / 3, 0.25)))) == pytest.approx(0.75 * 1.9 + 0.25 * worst_third)


def test_cvar_of_a_maximisation_takes_the_lowest() -> None:
    lowest = (0.5 * 1.0 + 0.1 * 2.0) / 0.6
    assert extensive.solve(costs((FIRST, CVaR(0.6, 1.0)), sense="max")) == pytest.approx(lowest)


def test_cvar_nests_and_is_discounted() -> None:
    second = 0.5 * 7.0 + 0.5 * (0.25 * 10.0 + 0.15 * 6.0) / 0.4
    problem = costs((FIRST, CVaR(0.2, 1.0)), (SECOND, CVaR(0.4, 0.5)), discount=0.9)
    assert extensive.solve(problem) == pytest.approx(4.0 + 0.9 * second)


def test_the_order_of_openings_does_not_matter_but_the_measure_does() -> None:
    ahead = extensive.solve(costs((FIRST, CVaR(0.5, 0.5)), (SECOND, Expectation())))
    turned = extensive.solve(costs((FIRST[::-1], CVaR(0.5, 0.5)), (SECOND[::-1], Expectation())))
    assert ahead == pytest.approx(turned)
    assert ahead > extensive.solve(costs((FIRST, Expectation()), (SECOND, Expectation()))) + 0.1


def test_the_incoming_state_is_priced_and_links_the_stages() -> None:
    first = StageBuilder("first", discount=0.5)
    first.state("x", upper=3.0, cost=1.0, incoming_cost=10.0)
    first.constraint("hold", {"x.out": 1.0, "x.in": -1.0}, ">=", 0.0)
    second = StageBuilder("second")
    second.state("x", incoming_cost=-4.0)
    second.constraint("keep", {"x.out": 1.0, "x.in": -1.0}, "==", 0.0)
    # Each unit handed on costs 1 and brings 0.5 * 4; two units are there from the start.
    assert extensive.solve(chain([first, second], {"x": 2.0})) == pytest.approx(20.0 + 3.0 - 0.5 * 4.0 * 3.0)


def test_right_hand_sides_differ_at_every_node() -> None:
    stages = []
    for demands in ([(1.0, 2.0)], [(0.5, 1.0), (0.5, 4.0)]):
        stage = StageBuilder()
        stage.state("stock", upper=10.0)
        stage.variable("buy", cost=1.0 if len(demands) == 1 else 3.0)
        stage.constraint("serve", {"stock.in": 1.0, "buy": 1.0, "stock.out": -1.0}, ">=", 0.0)
        for probability, demand in demands:
            stage.opening(probability, rhs={"serve": demand})
        stages.append(stage)
    # Stock beyond one unit serves half of the time and saves 3: worth buying at 1.
    assert extensive.solve(chain(stages, {"stock": 0.0})) == pytest.approx(2.0 + 4.0)


@pytest.mark.parametrize("rhs", [float("-1"), float("1")])
def test_no_optimum_is_an_error(rhs: float) -> None:
    stage = StageBuilder()
    stage.state("x", cost=-1.0)
    stage.variable("y")
    stage.constraint("bound", {"y": 1.0}, "<=", rhs)  # infeasible at -1, unbounded at 1
    with pytest.raises(SolverError, match="has no optimum") as caught:
        extensive.solve(chain([stage], {"x": 0.0}))
    assert caught.value.context == {"nodes": 1}


@dataclass(frozen=True)
class _Unknown:
    def adjust(self, probability: FloatArray, cost: FloatArray) -> FloatArray:
        return probability

    def describe(self) -> dict[str, Any]:
        return {"measure": "of my own"}


def test_a_measure_without_a_linear_program_is_refused() -> None:
    with pytest.raises(ValidationError, match="of my own") as caught:
        extensive.solve(costs((FIRST, _Unknown())))
    assert caught.value.kind == "NotSupported"
