"""Training time with more workers, beside one worker's in the same run.

    python benchmarks/scaling.py [CASE] [--workers 1 2 4] [--iterations 64] [--runs 3] [--backend shm]

Two loads: the case as it is, and with eight times its forward passes, so with eight times the LPs an iteration. Each
run trains in a process of its own, one number of workers after the other, in several rounds, so that what disturbs the
machine for a while disturbs them alike. Printed are medians: seconds of the training loop, also as a part of one
worker's in the same round; seconds inside collectives as a part of the loop (mean over the workers: passing data on,
and waiting for slower ones); processor seconds of all workers, as a part of one worker's; seconds from the call until
the first iteration begins (a run of its own, of one iteration). Every run must come to the same bound, to the bit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

CASE = Path(__file__).resolve().parents[2] / "shared" / "cases" / "4ree"
HEAVIER = 8
COLUMNS = ("workers", "loop s", "of one", "collectives", "processor s", "of one", "to first iteration s")


def child(case: str, iterations: int, passes: int, workers: int, backend: str) -> None:
    """Train twice, for the start and for the loop, and print the figures."""
    import cobre

    rules = [{"type": "iteration_limit", "limit": iterations}]
    overrides: dict[str, Any] = {"training.stopping_rules": rules}
    if passes:
        overrides["training.selection"] = {"method": "sampled", "forward_passes": passes}
    loaded = cobre.CaseLoader.load(case, overrides)
    placed: dict[str, Any] = {"backend": backend if workers > 1 else "local", "num_workers": workers}
    first: list[float] = []

    def note(event: cobre.ProgressEvent) -> bool:
        first.append(perf_counter() - event.iteration_time_ms / 1000.0)
        return False

    began = perf_counter()
    cobre.train(loaded, progress_callback=note, **placed)
    started = min(first) - began
    before = _processor_seconds()
    result = cobre.train(loaded, **placed)
    figures = {
        "loop": result.wall_time_ms / 1000.0,
        "processor": _processor_seconds() - before,
        "collectives": statistics.mean(w.collective_time_ms / max(1, w.wall_time_ms) for w in result.workers or [])
        if result.workers
        else 0.0,
        "start": started,
        "bound": result.final_bound,
    }
    print(json.dumps(figures))


def _processor_seconds() -> float:
    """Of this process and of all workers that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def measured(arguments: argparse.Namespace, iterations: int, passes: int, workers: int) -> dict[str, Any]:
    given = [arguments.case, iterations, passes, workers, arguments.backend]
    command = [sys.executable, __file__, "--child", json.dumps([str(arguments.case), *given[1:]])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, nargs="?", default=CASE)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--iterations", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--backend", default="shm")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(*json.loads(arguments.child))
        return
    passes = _passes(arguments.case)
    heavy = max(1, arguments.iterations // 4)
    print(f"{arguments.case.name}, {arguments.backend}, {os.cpu_count()} processors, {arguments.runs} rounds, medians")
    for label, iterations, count in (
        (f"{arguments.iterations} iterations of {passes} passes", arguments.iterations, passes),
        (f"{heavy} iterations of {HEAVIER * passes} passes", heavy, HEAVIER * passes),
    ):
        rounds = [
            {workers: measured(arguments, iterations, count, workers) for workers in arguments.workers}
            for _ in range(arguments.runs)
        ]
        show(label, arguments.workers, rounds)


def _passes(case: Path) -> int:
    selection = json.loads((case / "config.json").read_text())["training"].get("selection", {})
    return int(selection.get("forward_passes", 1))


def show(label: str, numbers: list[int], rounds: list[dict[int, dict[str, Any]]]) -> None:
    def median(workers: int, name: str) -> float:
        return statistics.median(figures[workers][name] for figures in rounds)

    def part(workers: int, name: str) -> float:
        return statistics.median(figures[workers][name] / figures[numbers[0]][name] for figures in rounds)

    print(f"\n{label}\n  " + "  ".join(f"{name:>12}" for name in COLUMNS))
    for workers in numbers:
        cells = [
            f"{workers}",
            f"{median(workers, 'loop'):.2f}",
            f"{part(workers, 'loop'):.3f}",
            f"{100.0 * median(workers, 'collectives'):.1f} %",
            f"{median(workers, 'processor'):.2f}",
            f"{part(workers, 'processor'):.3f}",
            f"{median(workers, 'start'):.2f}",
        ]
        print("  " + "  ".join(f"{cell:>12}" for cell in cells))
    bounds = {figures[workers]["bound"] for figures in rounds for workers in numbers}
    if len(bounds) > 1:
        raise SystemExit(f"the bounds differ: {sorted(bounds)}")


if __name__ == "__main__":
    main()
