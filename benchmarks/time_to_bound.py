"""How soon a bound is reached: ours and the reference implementation in turn, in one run.

    python benchmarks/time_to_bound.py CASE --targets 60821324924 60847025046 60866295708
    python benchmarks/time_to_bound.py CASE --after 10 [--pairs 3]

Same case, same openings (they must be in the case's files), same number of threads or workers, and for each value of
`--seeds` (the tree_seed: which openings forward passes meet, and so the whole path, hang on it) one run of each after
the other. Targets are given, or are what the reference reached after so many of its iterations. Seconds are those of
training, from its first iteration's start to the end of the iteration that passed the target; medians over seeds.

`--ours` and `--theirs` are settings (key=value) that each side is given beside; name the best of each. The reference
is a program called `PROGRAM run CASE OUT --threads N --set key=value` that prints a JSON line with `trace`: iteration,
bound, milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ORACLE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "oracle"
Trace = list[tuple[float, float]]  # bound, seconds


def child(case: str, overrides: dict[str, Any], workers: int, target: float | None) -> None:
    """Train until the target is passed, and print the trace."""
    import cobre

    trace: Trace = []

    def note(event: cobre.ProgressEvent) -> bool:
        if event.phase == "training" and event.worker_id in (None, 0):
            trace.append((event.lower_bound, event.wall_time_ms / 1000.0))
        return target is None or not trace or trace[-1][0] < target

    cobre.train(case, overrides, note, num_workers=workers)
    print(json.dumps(trace))


def ours(options: argparse.Namespace, seed: int, target: float | None, iterations: int) -> Trace:
    """Our trace."""
    overrides = _overrides(options.ours) | {
        "training.tree_seed": seed,
        "training.stopping_rules": [{"type": "iteration_limit", "limit": iterations}],
    }
    command = [sys.executable, __file__, options.case, "--child", json.dumps([overrides, options.workers, target])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=options.timeout)
    if done.returncode:
        sys.exit(done.stderr)
    return [(bound, seconds) for bound, seconds in json.loads(done.stdout.splitlines()[-1])]


def theirs(options: argparse.Namespace, seed: int, iterations: int) -> Trace:
    """The reference's trace."""
    rules = json.dumps([{"type": "iteration_limit", "limit": iterations}])
    settings = [f"training.tree_seed={seed}", f"training.stopping_rules={rules}", "simulation.enabled=false"]
    settings += options.theirs
    with tempfile.TemporaryDirectory() as folder:
        command = [str(options.oracle), "run", str(Path(options.case).resolve()), f"{folder}/out"]
        command += ["--threads", str(options.workers), *(part for setting in settings for part in ("--set", setting))]
        # its package has our name: nothing may lead it here
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, timeout=options.timeout, env=alone
        )
    if done.returncode:
        sys.exit(done.stderr or done.stdout)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [(bound, milliseconds / 1000.0) for _, bound, milliseconds in lines[-1]["trace"]]


def _overrides(settings: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        try:
            found[key] = json.loads(text)
        except json.JSONDecodeError:
            found[key] = text
    return found


def reached(trace: Trace, target: float) -> float | None:
    """Seconds until the bound was at least the target, None where it never was."""
    return next((seconds for bound, seconds in trace if bound >= target * (1.0 - 1e-12)), None)


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A record for each seed and target."""
    found = []
    for seed in options.seeds:
        them = theirs(options, seed, options.after or options.iterations)
        targets = options.targets or [them[-1][0]]
        us = ours(options, seed, max(targets), options.most)
        for target in targets:
            pair = reached(us, target), reached(them, target)
            found.append({"seed": seed, "target": target, "ours": pair[0], "theirs": pair[1]})
            print(
                f"  seed {seed}, bound {target:.11g}: ours {_text(pair[0])}, theirs {_text(pair[1])}", file=sys.stderr
            )
        if options.traces:
            with open(options.traces, "a") as file:
                file.write(json.dumps({"seed": seed, "ours": us, "theirs": them}) + "\n")
    return found


def _text(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s"


def table(found: list[dict[str, Any]], after: int | None) -> str:
    """Medians over seeds, as Markdown; a target that was not reached counts as the longest."""
    lines = ["| bound | ours s | reference s | ratio | ratios of the seeds |", "|---|---|---|---|---|"]
    targets = [None] if after else sorted({record["target"] for record in found})
    for target in targets:
        some = [record for record in found if target is None or record["target"] == target]
        mine = [record["ours"] if record["ours"] is not None else float("inf") for record in some]
        other = [record["theirs"] if record["theirs"] is not None else float("inf") for record in some]
        ratios = [a / b if b < float("inf") else 0.0 for a, b in zip(mine, other, strict=True)]
        a, b = statistics.median(mine), statistics.median(other)
        name = f"the reference's after {after} iterations" if target is None else f"{target:,.0f}"
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(f"| {name} | {a:.2f} | {b:.2f} | {statistics.median(ratios):.2f} | {each} |")
    return "\n".join(lines)


def draw(found: list[dict[str, Any]], path: str) -> None:
    """Both times for each target, medians."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    targets = sorted({record["target"] for record in found})
    figure, axes = plt.subplots(figsize=(7.0, 3.5))
    for place, (side, colour) in enumerate((("ours", "tab:blue"), ("theirs", "tab:gray"))):
        for at, target in enumerate(targets):
            times = [r[side] for r in found if r["target"] == target and r[side] is not None]
            if times:
                axes.bar(at + 0.4 * place - 0.2, statistics.median(times), 0.38, color=colour)
                axes.plot([at + 0.4 * place - 0.2] * len(times), times, "k.", markersize=3)
    axes.set_xticks(range(len(targets)), [f"{target:.6g}" for target in targets])
    axes.set_yscale("log")
    axes.set_xlabel("bound")
    axes.set_ylabel("seconds until it is passed")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in ("tab:blue", "tab:gray")]
    axes.legend(handles, ["cobre", "reference"])
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case")
    parser.add_argument("--targets", type=float, nargs="+", help="bounds to be passed")
    parser.add_argument("--after", type=int, help="instead: the reference's bound after so many iterations")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2, 3, 4])
    parser.add_argument("--workers", type=int, default=1, help="processes of ours, threads of the reference's")
    parser.add_argument("--iterations", type=int, default=256, help="of the reference")
    parser.add_argument("--most", type=int, default=2000, help="iterations of ours, unless the bound is passed sooner")
    parser.add_argument("--ours", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--theirs", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--oracle", type=Path, default=ORACLE)
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds that a run may take")
    parser.add_argument("--traces", help="file to append all traces to, a JSON line a seed")
    parser.add_argument("--picture", help="file for a picture")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.case, *json.loads(options.child))
        return
    if (options.targets is None) == (options.after is None):
        parser.error("give --targets or --after")
    found = measure(options)
    print(table(found, options.after))
    if options.picture:
        draw(found, options.picture)


if __name__ == "__main__":
    main()
