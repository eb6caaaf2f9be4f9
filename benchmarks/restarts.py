"""Runs that lose workers at random moments, and come to the same bits: how often, and how long it takes.

    python benchmarks/restarts.py kills [--runs 200] [--workers 2 3 4] [--backends shm tcp] [--seed 1] [--simulate]
        [--start-method forkserver]
    python benchmarks/restarts.py pool [--runs 1000] [--workers 2] [--backend shm]

``kills``: trainings of a small problem (with ``--simulate``: simulations that write files), in each of which one to
five times a random worker is killed by SIGKILL. A timer does that, at a random moment: from the moment that the first
process is there (so that workers die while they start, meet, compute and wait), and in half of the cases shortly after
the kill before it (so that they die while the others recover). Each result is compared with that of an undisturbed run,
to the bit. The time is that from a kill (the last one, where several came before the run had recovered) until the
callback is told that all workers go on.

``pool``: one training after the other in one ``cobre.Workers``, every tenth of which loses a worker. What this process
holds is looked at after the first twenty and in the end.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cobre
from cobre.testing.leaks import Snapshot, snapshot
from tests.sddp.small import cascade

SETTINGS = {
    "training.selection": {"method": "sampled", "forward_passes": 4},
    "training.stopping_rules": [{"type": "iteration_limit", "limit": 20}],
    "simulation.selection": {"method": "sampled", "num_scenarios": 1500},
}
SHORT = SETTINGS | {"training.stopping_rules": [{"type": "iteration_limit", "limit": 4}]}
FIRST = 20  # trainings of the pool after which it is looked at


def _is_worker(process: psutil.Process) -> bool:
    """And not the fork server, with which all of them die."""
    try:
        return process.name() != "cobre forks"
    except psutil.NoSuchProcess:
        return False


class Killer(threading.Thread):
    """Kills random workers of this process at so many moments, in seconds after the first of them is there."""

    def __init__(self, moments: list[float], chance: random.Random) -> None:
        super().__init__()
        self.moments, self.chance = sorted(moments), chance
        self.kills: list[float] = []
        self.recovered: list[float] = []  # seconds
        self.over = threading.Event()

    def hear(self, event: cobre.ProgressEvent) -> None:
        """The run's callback."""
        if event.restart is not None and self.kills:
            self.recovered.append(time.monotonic() - self.kills[-1])

    def run(self) -> None:
        mine = psutil.Process()
        while not mine.children():
            if self.over.wait(0.001):
                return
        began = time.monotonic()
        for moment in self.moments:
            if self.over.wait(max(0.0, began + moment - time.monotonic())):
                return
            children = [child for child in mine.children(recursive=True) if _is_worker(child)]
            if children:
                try:
                    os.kill(self.chance.choice(children).pid, signal.SIGKILL)
                    self.kills.append(time.monotonic())
                except ProcessLookupError:
                    pass


def moments(chance: random.Random, length: float) -> list[float]:
    """One to five, some of them right after the one before."""
    found = [chance.uniform(0.0, length)]
    for _ in range(chance.randrange(5)):
        soon = found[-1] + chance.uniform(0.0, 0.6)
        found.append(chance.choice([soon, chance.uniform(0.0, length)]))
    return found


def bits(result: Any) -> str:
    """All of a training's result but its times."""
    digest = hashlib.sha256()
    history = result.convergence_history
    for name in ("lower_bound", "upper_bound", "upper_bound_std", "ci_95", "gap"):
        digest.update(history[name].to_numpy().tobytes())
    for stage in range(1, result.policy.summary()["stages"] + 1):
        for name, values in sorted(result.policy.cuts(stage).items()):
            digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    counts = result.solver.solves, result.solver.simplex_iterations
    digest.update(repr((result.termination_reason, result.total_cuts, counts)).encode())
    return digest.hexdigest()


def folder_bits(folder: Path) -> str:
    """All files of a simulation."""
    digest = hashlib.sha256()
    for path in sorted((folder / "simulation").rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


class Kind:
    """What is run: trainings, or simulations of a policy."""

    def __init__(self, simulates: bool) -> None:
        self.simulates, self.problem = simulates, cascade()
        self.policy = cobre.train(self.problem, SHORT).policy if simulates else None
        self.expected = self.once("local", 1, 0)[0]

    def once(self, backend: str, workers: int, restarts: int, hear: Any = None) -> tuple[str, Any]:
        """A digest of what comes of it, and the result."""
        further: dict[str, Any] = {"max_restarts": restarts} if restarts else {}
        if self.policy is None:
            result = cobre.train(self.problem, SETTINGS, hear, backend, workers, **further)
            return bits(result), result
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "out"
            simulated = cobre.simulate(
                self.problem, self.policy, SETTINGS, hear, backend, workers, output_directory=folder, **further
            )
            counts = simulated.solver.solves, simulated.solver.simplex_iterations
            found = simulated.costs.tobytes() + repr(counts).encode() + folder_bits(folder).encode()
            return hashlib.sha256(found).hexdigest(), simulated


def left_since(before: Snapshot) -> list[str]:
    """What is here and was not. A name in shared memory may be another run's, on its way: it is looked at again."""
    left = snapshot().beyond(before)
    if any(line.startswith("segments") for line in left):
        time.sleep(1.0)
        again = snapshot().beyond(before)
        left = [line for line in left if not line.startswith("segments") or line in again]
    return left


def kills(asked: argparse.Namespace) -> int:
    chance, kind = random.Random(asked.seed), Kind(asked.simulate)
    places = [(backend, size) for backend in asked.backends for size in asked.workers]
    lengths = {}
    for backend, size in places:
        began = time.monotonic()
        assert kind.once(backend, size, 0)[0] == kind.expected
        lengths[backend, size] = time.monotonic() - began
    before, wrong, killed, restarted, taken = snapshot(), 0, 0, 0, list[float]()
    for number in range(asked.runs):
        backend, size = places[number % len(places)]
        killer = Killer(moments(chance, lengths[backend, size]), chance)
        killer.start()
        try:
            found, result = kind.once(backend, size, 20, killer.hear)
            restarted += len(result.restarts)
            line = "" if found == kind.expected else "OTHER BITS"
        except cobre.CobreError as error:
            line = f"{type(error).__name__} {error}"
        killer.over.set()
        killer.join()
        killed += len(killer.kills)
        taken += killer.recovered
        left = left_since(before)
        if line or left:
            wrong += 1
            print(f"run {number}, {backend}, {size} workers: {line} {left or ''}", flush=True)
    middle, high, most = np.quantile(taken, [0.5, 0.95, 1.0]) if taken else (0.0, 0.0, 0.0)
    print(f"{asked.runs} runs, {killed} kills, {restarted} restarts: {asked.runs - wrong} equal, {wrong} not")
    print(f"from a kill until all went on: median {middle:.2f} s, 95 % {high:.2f} s, at most {most:.2f} s")
    return wrong


def held() -> dict[str, float]:
    """What this process holds."""
    gc.collect()
    me = psutil.Process()
    return {
        "memory, MB": me.memory_info().rss / 1e6,
        "descriptors": me.num_fds(),
        "threads": me.num_threads(),
        "processes": len(me.children(recursive=True)),
        "segments": len([name for name in os.listdir("/dev/shm") if name.startswith("cobre")]),
    }


def workers_hold(workers: cobre.Workers) -> dict[str, float]:
    """What the oldest of the workers holds."""
    oldest = min((psutil.Process(pid) for pid in workers.pids), key=lambda process: process.create_time())
    return {"a worker's memory, MB": oldest.memory_info().rss / 1e6, "a worker's descriptors": oldest.num_fds()}


class Murder:
    """A callback that kills a worker after the second iteration."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __call__(self, event: cobre.ProgressEvent) -> None:
        if event.iteration == 2 and event.worker_id == 0:
            os.kill(self.pid, signal.SIGKILL)


def pool(asked: argparse.Namespace) -> int:
    chance, problem, wrong = random.Random(asked.seed), cascade(), 0
    expected = bits(cobre.train(problem, SHORT))
    before = snapshot()
    first: dict[str, float] = {}
    with cobre.Workers(asked.workers[0], backend=asked.backends[0]) as workers:
        survivor = workers.pids[0]
        for number in range(1, asked.runs + 1):
            fails = number % 10 == 0
            callback = Murder(workers.pids[chance.randrange(1, workers.num_workers)]) if fails else None
            try:
                result = cobre.train(problem, SHORT, callback, workers=workers)
                wrong += fails or bits(result) != expected
            except cobre.WorkerError:
                wrong += not fails
            if number == FIRST:
                cobre.train(problem, SHORT, workers=workers)  # with the newcomer
                first = held() | workers_hold(workers)
        cobre.train(problem, SHORT, workers=workers)
        last = held() | workers_hold(workers)
        wrong += workers.pids[0] != survivor
    print("| | after the first twenty | in the end |\n|---|---|---|")
    for name, value in first.items():
        print(f"| {name} | {value:,.1f} | {last[name]:,.1f} |")
    print(f"{asked.runs} trainings, {wrong} not as expected; left: {snapshot().beyond(before) or 'nothing'}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "pool"])
    parser.add_argument("--runs", type=int)
    parser.add_argument("--workers", type=int, nargs="+")
    parser.add_argument("--backends", nargs="+", default=["shm", "tcp"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--start-method", choices=["spawn", "forkserver"], default="spawn")
    asked = parser.parse_args()
    multiprocessing.set_start_method(asked.start_method)
    asked.runs = asked.runs or (200 if asked.what == "kills" else 1000)
    asked.workers = asked.workers or ([2, 3, 4] if asked.what == "kills" else [2])
    sys.exit(min(1, (kills if asked.what == "kills" else pool)(asked)))


if __name__ == "__main__":
    main()
