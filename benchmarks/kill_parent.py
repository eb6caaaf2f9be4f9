"""Whether workers go with a parent that is killed, and what they leave.

    python benchmarks/kill_parent.py [--kills 20] [--workers 3] [--seed 1]

Each time a script that trains on workers is killed by SIGKILL at a random moment from its call of ``cobre.train`` on,
over shm and tcp in turn; a third of the kills comes while the workers start and meet. Printed is how long it took until
all workers were gone; the exit code is 1 where that was more than a second or a name is left in shared memory.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.faults.parents import killed_after

STARTING, RUNNING = 1.0, 4.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    seconds, workers, bad = [], [], 0
    for turn in range(asked.kills):
        backend = ("shm", "tcp")[turn % 2]
        moment = chance.uniform(0.0, STARTING if turn % 3 == 0 else RUNNING)
        alive, took, left = killed_after(moment, backend, asked.workers)
        seconds.append(took)
        workers.append(alive)
        if took > 1.0 or left:
            bad += 1
            print(f"{backend}, killed after {moment:.3f} s: {took:.3f} s, left: {left}", file=sys.stderr)
    print(f"{asked.kills} kills of a parent of {asked.workers} workers ({sum(workers)} were there in all):")
    print(f"all gone after {1e3 * statistics.median(seconds):.0f} ms (median), {1e3 * max(seconds):.0f} ms (at most);")
    print(f"{bad} times later than a second, or with a name left in shared memory")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
