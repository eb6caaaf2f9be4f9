"""From the kill of a worker until its WorkerError has come out of ``cobre.train``, with everything gone.

    python benchmarks/kill_time.py [--kills 100] [--workers 2 4] [--backends shm tcp] [--seed 1]

Each time a random worker of a training is killed by SIGKILL, from a thread beside it, at a random moment after the
first event. The clock runs from before the kill until ``train`` has raised; that no process, thread or descriptor is
left is seen to right then, outside of the clock, without giving it any time. A name in shared memory may be another
run's, on its way: it counts if it is still there a second later. Printed are milliseconds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cobre
from cobre.testing.leaks import snapshot
from tests.sddp.small import cascade

SETTINGS = {
    "training.selection": {"method": "sampled", "forward_passes": 8},
    "training.stopping_rules": [{"type": "iteration_limit", "limit": 1_000_000}],
}
LATEST = 0.5  # seconds after the first event


class Killer:
    """Kills a worker so many seconds after the first event."""

    def __init__(self, rank: int, delay: float) -> None:
        self.rank, self.delay = rank, delay
        self.at = 0.0
        self._thread: threading.Thread | None = None

    def __call__(self, event: cobre.ProgressEvent) -> None:
        if self._thread is None:
            workers = psutil.Process().children()
            self._thread = threading.Thread(target=self._kill, args=(workers[self.rank].pid,))
            self._thread.start()

    def _kill(self, pid: int) -> None:
        time.sleep(self.delay)
        self.at = time.perf_counter()
        os.kill(pid, signal.SIGKILL)

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()


def once(backend: str, workers: int, chance: random.Random) -> tuple[float, list[str]]:
    """Seconds, and what was wrong."""
    problem, before = cascade(), snapshot()
    killer = Killer(chance.randrange(workers), chance.uniform(0.0, LATEST))
    try:
        cobre.train(problem, SETTINGS, killer, backend, workers)
    except cobre.WorkerError as error:
        took = time.perf_counter() - killer.at
        told = (error.rank, error.context["signal"], error.context["failures"])
    killer.join()
    wrong = snapshot().beyond(before)
    if any(line.startswith("segments") for line in wrong):
        time.sleep(1.0)
        names = snapshot().beyond(before)
        wrong = [line for line in wrong if not line.startswith("segments") or line in names]
    if told != (killer.rank, "SIGKILL", []):
        wrong.append(f"rank {killer.rank} was killed, and {told} was said")
    return took, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--backends", nargs="+", default=["shm", "tcp"])
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance, bad = random.Random(asked.seed), 0
    print("| backend | workers | kills | median | 95 % | most |\n|---|---|---|---|---|---|")
    for backend in asked.backends:
        for workers in asked.workers:
            taken = []
            for _ in range(asked.kills):
                took, wrong = once(backend, workers, chance)
                taken.append(1e3 * took)
                bad += bool(wrong)
                for line in wrong:
                    print(line, file=sys.stderr)
            middle, high, most = np.quantile(taken, [0.5, 0.95, 1.0])
            print(f"| {backend} | {workers} | {asked.kills} | {middle:.1f} | {high:.1f} | {most:.1f} |", flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
