"""How the time of an iteration grows with the size of a case.

    python benchmarks/growth.py [stages passes openings hydros] [--iterations 6] [--runs 3]

From a case of 6 stages, 4 hydros, 20 thermals, 4 passes and 8 openings, one size is doubled four times. Printed are the
median seconds of the last half of the iterations, the least of the runs, and the exponent between the ends:
log(last / first) / log(16). An exponent of 1 is proportional growth.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from time import perf_counter

from make_case import write_case

import cobre

BASE = {"stages": 6, "hydros": 4, "thermals": 20, "passes": 4, "openings": 8, "blocks": 1}
GROWING = ("stages", "passes", "openings", "hydros")


def seconds(case: Path, iterations: int, runs: int) -> float:
    """Of an iteration."""
    rules = {"training.stopping_rules": [{"type": "iteration_limit", "limit": iterations}]}
    found = []
    for _ in range(runs):
        times: list[float] = []
        cobre.train(case, rules, progress_callback=lambda event, times=times: times.append(perf_counter()))
        half = iterations // 2
        found.append((times[iterations - 1] - times[half - 1]) / (iterations - half))
    return min(found)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", choices=[*GROWING, []])
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print("| doubled four times | from | ms an iteration | exponent |\n|---|---|---|---|")
    for name in options.sizes or GROWING:
        times = []
        for doubling in range(5):
            sizes = BASE | {name: BASE[name] * 2**doubling}
            with tempfile.TemporaryDirectory() as folder:
                case = write_case(Path(folder) / "case", **sizes, seed=1)
                times.append(seconds(case, options.iterations, options.runs))
        exponent = math.log(times[-1] / times[0]) / math.log(16.0)
        each = ", ".join(f"{1000.0 * time:.1f}" for time in times)
        print(f"| {name} | {BASE[name]} | {each} | {exponent:.2f} |", flush=True)


if __name__ == "__main__":
    main()
