"""A problem that has nothing to do with water, written stage by stage: how much to order, month after month.

Each month begins with an order, placed before the demand is known; then what is asked for is sold, as far as the stock
goes, and the rest waits, at a cost, for the next month. Orders of a month are cheap or dear. A careful shop that weighs
its worst months (CVaR) orders more, pays more on average, and less when things go badly.

Usage: python examples/warehouse.py
"""

from __future__ import annotations

import numpy as np

import cobre
from cobre.sddp.builder import StageBuilder, chain
from cobre.sddp.problem import Problem
from cobre.sddp.risk import CVaR, Expectation, RiskMeasure

PRICES = (10.0, 12.0, 11.0, 14.0, 13.0, 10.0)  # of a unit ordered, $
DEMANDS = (20.0, 35.0, 40.0, 55.0, 90.0)  # equally likely
HOLDING, MISSING = 1.5, 40.0  # $ a unit and month; of what is missing, more than any order costs
SPACE, MOST_ORDERED = 150.0, 80.0


def month(price: float, risk: RiskMeasure) -> StageBuilder:
    """The order arrives a month later, so that it has to be decided before the demand is seen."""
    stage = StageBuilder("month", risk=risk, cost_to_go_bound=0.0)
    stock = stage.state("stock", upper=SPACE)
    ordered = stage.state("ordered", upper=MOST_ORDERED, cost=price)
    late = stage.state("late")
    held = stage.variable("held", cost=HOLDING)
    backlog = stage.variable("backlog", cost=MISSING)
    dumped = stage.variable("dumped")  # what finds no space: every stage must have a way out of every state
    stocked = {stock.outgoing: 1.0, stock.incoming: -1.0, ordered.incoming: -1.0, dumped: 1.0}
    stage.constraint("flow", stocked | {late.outgoing: -1.0, late.incoming: 1.0}, "==", 0.0)
    stage.constraint("what is held", {held: 1.0, stock.outgoing: -1.0}, "==", 0.0)
    stage.constraint("what is missing", {backlog: 1.0, late.outgoing: -1.0}, "==", 0.0)
    for demand in DEMANDS:
        stage.opening(1.0 / len(DEMANDS), rhs={"flow": -demand})
    return stage


def shop(risk: RiskMeasure, name: str) -> Problem:
    start = {"stock": 60.0, "ordered": 60.0, "late": 0.0}
    return chain([month(price, risk) for price in PRICES], start, name=name)


def main() -> None:
    settings = {
        "training.stopping_rules": [{"type": "iteration_limit", "limit": 30}],
        "simulation.selection": {"method": "sampled", "num_scenarios": 1000},
    }
    print("shop       bound      mean   mean of the worst 5 %")
    for name, risk in (("neutral", Expectation()), ("careful", CVaR(alpha=0.2, lambda_=0.8))):
        problem = shop(risk, name)
        trained = cobre.train(problem, settings)
        costs = cobre.simulate(problem, trained.policy, settings).costs
        worst = np.sort(costs)[-costs.size // 20 :].mean()
        # The bound is on what each shop minimises: the careful one's is not a mean.
        print(f"{name:8}  {trained.final_bound:7,.0f}   {costs.mean():7,.0f}   {worst:7,.0f}")


if __name__ == "__main__":
    main()
