"""The bound after so many iterations, over seeds, beside a trace of the reference's.

    python benchmarks/bounds.py CASE [--at 64 128 256] [--seeds 42 1 2] [--trace expected.json:4ree]

Paths are luck: the openings come from the case, a seed decides which of them the forward passes meet. The trace is a
JSON file and a key in it; its `reference_trace` maps iterations to bounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import cobre


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case")
    parser.add_argument("--at", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2])
    parser.add_argument("--trace")
    arguments = parser.parse_args()
    reference: dict[str, float] = {}
    if arguments.trace:
        file, key = arguments.trace.rsplit(":", 1)
        reference = json.loads(Path(file).read_text())[key]["reference_trace"]
    found: dict[int, list[float]] = {at: [] for at in arguments.at}
    for seed in arguments.seeds:
        settings = {
            "training.stopping_rules": [{"type": "iteration_limit", "limit": max(arguments.at)}],
            "training.tree_seed": seed,
        }
        started = time.perf_counter()
        result = cobre.train(arguments.case, settings)
        bounds = result.convergence_history.column("lower_bound").to_pylist()
        for at in arguments.at:
            found[at].append(bounds[at - 1])
        print(f"seed {seed}: {time.perf_counter() - started:.1f} s, {result.solver.retries} retries")
    for at, bounds in found.items():
        median = statistics.median(bounds)
        line = f"{at:5d} iterations: median {median:.8g}, from {min(bounds):.8g} to {max(bounds):.8g}"
        if str(at) in reference:
            line += f"; reference {reference[str(at)]:.8g}, ours {median / reference[str(at)] - 1:+.1e}"
        print(line)


if __name__ == "__main__":
    main()
