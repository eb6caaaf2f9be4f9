"""Train a policy, watch it, stop it when it is good enough, and simulate it.

Usage: python examples/train_and_simulate.py OUT [CASE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cobre

CASE = Path(__file__).parent / "cases" / "three-dams"
GOOD_ENOUGH = 0.001  # how little the bound must rise, relatively, in an iteration


class Watch:
    """Called after every iteration; returning False stops the training, with all that it has learned."""

    def __init__(self) -> None:
        self.bound = 0.0

    def __call__(self, event: cobre.ProgressEvent) -> bool:
        print(f"iteration {event.iteration:3}  bound {event.lower_bound:14,.0f}  gap {event.gap:7.1%}")
        before, self.bound = self.bound, event.lower_bound or 0.0
        return self.bound - before > GOOD_ENOUGH * self.bound


def main(out: Path, case: Path = CASE) -> None:
    settings = {
        "training.selection.forward_passes": 4,
        "training.stopping_rules": [{"type": "iteration_limit", "limit": 20}],
        "simulation.selection": {"method": "sampled", "num_scenarios": 50},
    }
    trained = cobre.train(case, settings, Watch(), output_directory=out)
    print(f"stopped ({trained.termination_reason}) after {trained.iterations} iterations: {trained.total_cuts} cuts")

    # What is the water worth? The slope of the cost-to-go after the first stage, at full and at low reservoirs.
    for share in (0.9, 0.3):
        state = [share * most for most in (2100.0, 760.0, 60.0)]
        less = [state[0] - 1.0, *state[1:]]
        worth = trained.policy.evaluate(1, less) - trained.policy.evaluate(1, state)
        print(f"with reservoirs at {share:.0%} of their capacity, a hm3 more upstream is worth {worth:,.0f} $")

    simulated = cobre.simulate(case, trained.policy, settings, output_directory=out)
    print(f"{simulated.scenarios} scenarios cost {simulated.mean_cost:,.0f} $ +/- {simulated.std_cost:,.0f} $")
    print(f"everything is in {out}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:3]))
