"""Training time of a case, beside the reference implementation's in the same run.

    python benchmarks/training.py CASE [--iterations 64] [--seeds 42 1 2] [--runs 3] [--oracle PROGRAM]

Each run trains in a process of its own, ours and the reference's in turn, on one thread. Printed are medians over
runs and seeds: wall seconds of training, seconds inside HiGHS (from handing over right-hand sides to the solution
read, and those of its `run` alone), time outside as a share of time inside, solves, simplex iterations, peak memory
and the bound.

The reference is a program that is called `PROGRAM run CASE OUT --threads 1 --set key=value ...` and prints a JSON line
with `train_ms` and `lower_bound`; without it, only ours is measured.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ORACLE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "oracle"


def child(case: str, iterations: int, seed: int) -> None:
    """Train once and print the figures."""
    import cobre

    overrides = {
        "training.stopping_rules": [{"type": "iteration_limit", "limit": iterations}],
        "training.tree_seed": seed,
    }
    result = cobre.train(case, overrides)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    figures = {
        "seconds": result.wall_time_ms / 1000.0,
        "in_highs": result.solver.seconds,
        "in_run": result.solver.run_seconds,
        "solves": result.solver.solves,
        "simplex_iterations": result.solver.simplex_iterations,
        "retries": result.solver.retries,
        "bound": result.final_bound,
        "peak_mb": peak,
    }
    print(json.dumps(figures))


def ours(case: str, iterations: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, __file__, case, "--iterations", str(iterations), "--child", str(seed)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def reference(oracle: Path, case: str, iterations: int, seed: int) -> dict[str, Any]:
    rules = json.dumps([{"type": "iteration_limit", "limit": iterations}])
    settings = (f"training.stopping_rules={rules}", f"training.tree_seed={seed}", "simulation.enabled=false")
    with tempfile.TemporaryDirectory() as out:
        command = [str(oracle.resolve()), "run", str(Path(case).resolve()), f"{out}/out", "--threads", "1"]
        for setting in settings:
            command += ["--set", setting]
        # not from here: the reference's module has our name, and the current folder comes first
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=out)
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return {"seconds": answer["train_ms"] / 1000.0, "bound": answer["lower_bound"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case")
    parser.add_argument("--iterations", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--oracle", type=Path, default=ORACLE)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.case, arguments.iterations, arguments.child)
        return
    mine: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for _ in range(arguments.runs):
        for seed in arguments.seeds:
            mine.append(ours(arguments.case, arguments.iterations, seed))
            if arguments.oracle.exists():
                theirs.append(reference(arguments.oracle, arguments.case, arguments.iterations, seed))
    show(arguments, mine, theirs)


def show(arguments: argparse.Namespace, mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    def median(name: str) -> float:
        return statistics.median(run[name] for run in mine)

    print(f"{arguments.case}: {arguments.iterations} iterations, seeds {arguments.seeds}, {len(mine)} runs, medians")
    seconds = median("seconds")
    print(f"  wall                     {seconds:10.2f} s   (best {min(run['seconds'] for run in mine):.2f})")
    for name, label in (("in_highs", "inside HiGHS"), ("in_run", "inside HiGHS's run alone")):
        share = statistics.median((run["seconds"] - run[name]) / run[name] for run in mine)
        print(f"  {label:24} {median(name):10.2f} s   (the rest is {100 * share:.1f} % of it)")
    for name in ("solves", "simplex_iterations", "retries"):
        print(f"  {name.replace('_', ' '):24} {median(name):10.0f}")
    print(f"  per solve                {1e6 * seconds / median('solves'):10.1f} us")
    print(f"  peak memory              {median('peak_mb'):10.1f} MB")
    print(f"  bound                    {median('bound'):.10g}")
    if theirs:
        other = statistics.median(run["seconds"] for run in theirs)
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(mine, theirs, strict=True)]
        print(
            f"  reference, one thread    {other:10.2f} s   bound {statistics.median(r['bound'] for r in theirs):.10g}"
        )
        print(f"  ours / reference         {statistics.median(ratios):10.2f}     (pair by pair)")


if __name__ == "__main__":
    main()
