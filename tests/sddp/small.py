"""Small problems for the tests of the algorithm: a cascade with enough degeneracy and noise to be worth solving."""

from __future__ import annotations

import numpy as np

from cobre.sddp.builder import StageBuilder, chain
from cobre.sddp.problem import Problem
from cobre.sddp.risk import Expectation, RiskMeasure


def cascade(
    stages: int = 4, openings: int = 5, reservoirs: int = 3, seed: int = 7, risk: RiskMeasure | None = None
) -> Problem:
    """Reservoirs in a row above a load that turbines, three thermals and a dear deficit serve; random inflows."""
    random = np.random.default_rng(seed)
    names = [f"v{i}" for i in range(reservoirs)]
    built = []
    for t in range(stages):
        stage = StageBuilder(f"stage {t}", discount=0.99, risk=risk or Expectation())
        for name in names:
            stage.state(name, 0.0, 100.0)
        for i, cost in enumerate((10.0, 10.0, 40.0)):
            stage.variable(f"g{i}", 0.0, 15.0, cost)
        stage.variable("deficit", cost=500.0)
        for name in names:
            stage.variable(f"q {name}", 0.0, 30.0, 0.01)
            stage.variable(f"s {name}", cost=0.02)
        for i, name in enumerate(names):
            terms = {f"{name}.out": 1.0, f"{name}.in": -1.0, f"q {name}": 1.0, f"s {name}": 1.0}
            if i:
                terms |= {f"q {names[i - 1]}": -1.0, f"s {names[i - 1]}": -1.0}
            stage.constraint(f"water {name}", terms, "==", 0.0)
        served = {"g0": 1.0, "g1": 1.0, "g2": 1.0, "deficit": 1.0} | {f"q {name}": 0.8 for name in names}
        stage.constraint("load", served, ">=", 90.0 + 20.0 * (t % 2))
        for _ in range(openings):
            inflow = {f"water {name}": float(random.gamma(2.0, 5.0)) for name in names}
            stage.opening(1.0 / openings, rhs=inflow)
        built.append(stage)
    return chain(built, initial_state=dict.fromkeys(names, 40.0), name="cascade")
