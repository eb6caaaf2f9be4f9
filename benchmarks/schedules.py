"""Ways to move large payloads between the ranks of a tcp group, side by side: where which one wins.

    python benchmarks/schedules.py [--ranks 4]

Gathers: through rank 0 (star), or from everybody to everybody (direct, what the backend does). Reductions: everybody
reduces everything (direct, what it does with short payloads), or each rank its share (spread, with long ones). The ways
take turns within each round; printed are medians in microseconds of the slowest rank.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cobre.testing.ranks import RankGroup
from cobre.transport.communicator import ReduceOp
from cobre.transport.wire import signature

SIZES = (1 << 10, 1 << 14, 1 << 15, 1 << 16, 1 << 18, 1 << 20, 10 << 20)
ROUNDS = 9
CALL = signature("benchmark")


def measure(comm: Any, size: int) -> dict[str, float]:
    """Microseconds a call of each way, medians over rounds, on this rank."""
    send = np.full(size // 8, float(comm.rank))
    out, whole = np.empty_like(send), np.empty(comm.size * size, np.uint8)
    spans = [slice(rank * size, (rank + 1) * size) for rank in range(comm.size)]
    everything = whole.data
    own = everything[spans[comm.rank]]
    schedules, run = comm._schedules, comm._mesh.run
    ways: dict[str, Callable[[], Any]] = {
        "gather, star": lambda: run("gather", CALL, schedules._gather_star, own, everything, spans),
        "gather, direct": lambda: run("gather", CALL, schedules._gather_direct, own, everything, spans),
        "reduce, direct": lambda: run("reduce", CALL, schedules._reduce_direct, ReduceOp.SUM, send, out),
        "reduce, spread": lambda: run("reduce", CALL, schedules._reduce_spread, ReduceOp.SUM, send, out),
    }
    calls = max(3, min(300, (4 << 20) // size))
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, call in ways.items():
            comm.barrier()
            began = time.perf_counter()
            for _ in range(calls):
                call()
            times[way].append((time.perf_counter() - began) / calls * 1e6)
    return {way: statistics.median(found) for way, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=4)
    ranks = parser.parse_args().ranks
    print(f"{ranks} ranks, microseconds")
    with RankGroup("tcp", ranks) as group:
        for size in SIZES:
            found = group.values("schedules:measure", size, timeout=300.0)
            slowest = {way: max(rank[way] for rank in found) for way in found[0]}
            print(f"{size:>12,} B  " + "  ".join(f"{way} {value:10,.0f}" for way, value in slowest.items()), flush=True)


if __name__ == "__main__":
    main()
