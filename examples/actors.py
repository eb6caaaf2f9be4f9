"""Actors of your own: objects in processes of their own that share one large array, and one that dies.

Looks for the rule by which a reservoir is to be operated, over ten thousand years of random inflows.

Usage: python examples/actors.py [ACTORS]
"""

from __future__ import annotations

import concurrent.futures
import os
import signal
import sys

import numpy as np
from numpy.typing import NDArray

from cobre.actors import ActorSystem, RestartPolicy
from cobre.errors import ActorError

CAPACITY, DEMAND = 500.0, 100.0  # hm3, and hm3 a month


class Reservoir:
    """Operates a reservoir over all years at once. Lives in a process of its own."""

    def shortage(self, inflow: NDArray[np.float64], saved_below: float) -> float:
        """The mean square of what a month lacks, over a year, if only 80 % is released below so much storage."""
        stored, lacking = np.full(len(inflow), 0.5 * CAPACITY), 0.0
        for month in inflow.T:
            wanted = np.where(stored < saved_below, 0.8 * DEMAND, DEMAND)
            released = np.minimum(wanted, stored + month)
            stored = np.minimum(stored + month - released, CAPACITY)
            lacking += float(np.mean((DEMAND - released) ** 2))
        return lacking

    def break_down(self) -> None:
        """As a bug in a library would do it."""
        os.kill(os.getpid(), signal.SIGKILL)


def main(actors: int = 2) -> None:
    random = np.random.default_rng(7)
    inflow = random.gamma(1.2, 75.0, size=(10_000, 12))
    with ActorSystem() as system:
        again = RestartPolicy(when="failure", limit=1)
        pool = [system.spawn(Reservoir, name=f"reservoir {k}", restart=again) for k in range(actors)]
        shared = system.put(inflow)  # in memory once; each actor sees it, read-only

        rules = [float(below) for below in range(0, 501, 50)]
        asked = {pool[k % actors].shortage.remote(shared, rule): rule for k, rule in enumerate(rules)}
        found = {asked[future]: future.result() for future in concurrent.futures.as_completed(asked)}
        for rule in rules:
            print(f"saving below {rule:3.0f} hm3: shortage {found[rule]:8,.0f}")
        print(f"best is {min(rules, key=found.__getitem__):.0f} hm3")

        try:
            system.get(pool[0].break_down.remote())
        except ActorError as error:
            print(f"{error.kind}: {error.message}")
        print(f"and it answers again: {system.get(pool[0].shortage.remote(shared, 0.0)):,.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
