"""Actors: what calls cost, beside Ray and xoscar where they are installed, and beside what the system gives at best.

    python benchmarks/actors.py [--rounds 5] [--without-peers]

Printed are, for each: seconds from nothing to the first answer, imports included; microseconds of a call with 1 KB and
its answer (median); milliseconds of a 10 MB array there and back, and of one there and a new one back (medians);
microseconds of each of 10,000 calls that do not wait for each other; what an idle worker has resident, and what it and
its owner use of a core. ``raw`` is an echo over a socket pair and two copies of the array: how fast the machine is just
now. The systems take turns within each round.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
KILOBYTE = b"x" * 1000
ARRAY = np.arange(10 * 125_000, dtype=float)
CALLS = 10_000

Call = Callable[[str, Any], Any]
FIRST_ANSWER = {
    "cobre": """
from cobre.actors import ActorSystem
from benchmarks.actors import Echo
system = ActorSystem()
assert system.get(system.spawn(Echo).echo.remote(1)) == 1
""",
    "ray": """
import ray
from benchmarks.actors import Echo
ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
assert ray.get(ray.remote(Echo).remote().echo.remote(1)) == 1
""",
}


class Echo:
    """The actor, the same for all."""

    def echo(self, value: Any) -> Any:
        return value

    def negative(self, array: Any) -> Any:
        return -array


@contextmanager
def cobre_calls() -> Iterator[dict[str, Any]]:
    from cobre.actors import ActorSystem

    with ActorSystem() as system:
        echo = system.spawn(Echo)
        yield {
            "call": lambda value: echo.echo.remote(value).result(),
            "large": lambda: echo.echo.remote(ARRAY).result(),
            "new": lambda: echo.negative.remote(ARRAY).result(),
            "many": lambda: system.get([echo.echo.remote(KILOBYTE) for _ in range(CALLS)]),
            "pid": echo.pid,
        }


@contextmanager
def ray_calls() -> Iterator[dict[str, Any]]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    echo = ray.remote(Echo).remote()
    array = ARRAY
    try:
        yield {
            "call": lambda value: ray.get(echo.echo.remote(value)),
            "large": lambda: ray.get(echo.echo.remote(array)),
            "new": lambda: ray.get(echo.negative.remote(array)),
            "many": lambda: ray.get([echo.echo.remote(KILOBYTE) for _ in range(CALLS)]),
        }
    finally:
        ray.shutdown()


@contextmanager
def xoscar_calls() -> Iterator[dict[str, Any]]:
    import asyncio

    import xoscar

    class Actor(Echo, xoscar.Actor):
        pass

    loop = asyncio.new_event_loop()
    run = loop.run_until_complete
    pool = run(xoscar.create_actor_pool("127.0.0.1", n_process=1))
    elsewhere = xoscar.allocate_strategy.ProcessIndex(1)  # 0 is this process
    echo = run(xoscar.create_actor(Actor, address=pool.external_address, allocate_strategy=elsewhere))

    async def many() -> Any:
        return await asyncio.gather(*(echo.echo(KILOBYTE) for _ in range(CALLS)))

    try:
        yield {
            "call": lambda value: run(echo.echo(value)),
            "large": lambda: run(echo.echo(ARRAY)),
            "new": lambda: run(echo.negative(ARRAY)),
            "many": lambda: run(many()),
        }
    finally:
        run(pool.stop())
        loop.close()


@contextmanager
def raw_calls() -> Iterator[dict[str, Any]]:
    ours, theirs = socket.socketpair()
    program = (
        "import socket, sys\n"
        "s = socket.socket(fileno=int(sys.argv[1]))\n"
        "while data := s.recv(1 << 16): s.sendall(data)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    copy = np.empty_like(ARRAY)

    def call(value: bytes) -> bytes:
        ours.sendall(value)
        return ours.recv(1 << 16)

    def large() -> None:  # into shared memory, read and written there
        np.copyto(copy, ARRAY)
        np.negative(copy, out=copy)

    try:
        yield {"call": call, "large": large}
    finally:
        ours.close()
        process.wait()


def first_answer(name: str, cache: str) -> float:
    """Seconds of a fresh process up to the first answer, its imports included, without the bare interpreter's."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have their bytecode
    program = FIRST_ANSWER[name]
    timed = (
        "import benchmarks.actors, time, os\nbegan = time.perf_counter()\n"
        f"{program}\nprint(time.perf_counter() - began, flush=True)\nos._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, env=environment, check=True)
    return float(done.stdout.split()[-1])


def median_of(call: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def measure(calls: dict[str, Any]) -> dict[str, float]:
    """One round of one system."""
    call = calls["call"]
    call(KILOBYTE)  # the worker is up
    found = idle(calls["pid"]) if "pid" in calls else {}
    for _ in range(300):
        call(KILOBYTE)
    found["1 KB us"] = 1e6 * median_of(lambda: call(KILOBYTE), 3000)
    calls["large"]()
    found["10 MB ms"] = 1e3 * median_of(calls["large"], 30)
    if "new" in calls:
        found["10 MB new ms"] = 1e3 * median_of(calls["new"], 30)
    if "many" in calls:
        calls["many"]()
        found["piped us"] = 1e6 * median_of(calls["many"], 3) / CALLS
    return found


def idle(pid: int) -> dict[str, float]:
    """What a worker, and this process beside it, use when nothing is asked of them for two seconds."""
    worker, parent = psutil.Process(pid), psutil.Process()
    before = sum(sum(process.cpu_times()[:2]) for process in (worker, parent))
    time.sleep(2.0)
    used = sum(sum(process.cpu_times()[:2]) for process in (worker, parent)) - before
    memory = worker.memory_full_info()
    return {"idle %": 100.0 * used / 2.0, "worker MB": memory.rss / 1e6, "of its own": memory.uss / 1e6}


SYSTEMS: dict[str, Callable[[], Any]] = {
    "raw": raw_calls,
    "cobre": cobre_calls,
    "ray": ray_calls,
    "xoscar": xoscar_calls,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-peers", action="store_true")
    chosen = parser.parse_args()
    names = ["raw", "cobre"]
    if not chosen.without_peers:
        names += [name for name in ("ray", "xoscar") if importlib.util.find_spec(name) is not None]
    with tempfile.TemporaryDirectory() as cache:
        for name in set(names) & set(FIRST_ANSWER):
            first_answer(name, cache)  # writes the bytecode
        found = rounds(chosen.rounds, names, cache)
    print(f"medians of {chosen.rounds} rounds, best in brackets; load average {os.getloadavg()[0]:.1f}")
    for name, figures in found.items():
        parts = [f"{what} {statistics.median(all_):.4g} ({min(all_):.4g})" for what, all_ in figures.items()]
        print(f"{name:>7}  " + "  ".join(parts), flush=True)


def rounds(count: int, names: list[str], cache: str) -> dict[str, dict[str, list[float]]]:
    """All figures of all systems."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for _ in range(count):
        for name in names:
            with SYSTEMS[name]() as calls:
                measured = measure(calls)
            if name in FIRST_ANSWER:
                measured["up s"] = first_answer(name, cache)
            for what, value in measured.items():
                found[name].setdefault(what, []).append(value)
    return found


if __name__ == "__main__":
    main()
