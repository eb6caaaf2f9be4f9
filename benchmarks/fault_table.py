"""Every way in which a worker can fail, at every moment of a run, over shm and tcp, with what is left afterwards.

    python benchmarks/fault_table.py [--how SIGKILL ...] [--when backward ...] [--backend shm tcp] [--rank 0 1]

Each cell is a training (or a simulation) on two workers of which one fails; it is right when the WorkerError says all
that it must and nothing else, and no process, thread, descriptor, segment or file is left. Prints a Markdown table, and
ends with exit code 1 where a cell is wrong.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cobre.testing.leaks import assert_no_leaks, snapshot
from tests.faults import table
from tests.faults.parents import left_behind


def tried(cell: table.Cell) -> list[str]:
    """What is wrong with it."""
    before = snapshot()
    found = table.differences(cell, table.run(cell))
    try:
        assert_no_leaks(before)
    except AssertionError as leaks:  # other runs on this machine may have memory with a name, too
        found += [line for line in str(leaks).splitlines()[1:] if "segments: " not in line] + left_behind()
    return found


def expected(how: str) -> str:
    way = table.WAYS[how]
    told = [way.kind]
    if way.exit_code is not None:
        told.append(f"exit code {way.exit_code}")
    if way.signal is not None:
        told.append(way.signal)
    if way.inner is not None:
        told.append("{} ({})".format(*way.inner))
    return ", ".join(told)


def printed(found: dict[table.Cell, list[str]], asked: argparse.Namespace) -> None:
    print(f"| how | WorkerError | {' | '.join(asked.when)} |")
    print(f"|---|---|{'---|' * len(asked.when)}")
    for how in asked.how:
        marks = []
        for when in asked.when:
            four = product(asked.backend, asked.rank)
            each = [found.get(table.Cell(how, when, backend, rank)) for backend, rank in four]
            marks.append(" ".join("-" if lines is None else "wrong" if lines else "ok" for lines in each))
        print(f"| {how} | {expected(how)} | {' | '.join(marks)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--how", nargs="+", default=list(table.WAYS), choices=list(table.WAYS))
    parser.add_argument("--when", nargs="+", default=list(table.MOMENTS), choices=list(table.MOMENTS))
    parser.add_argument("--backend", nargs="+", default=list(table.BACKENDS), choices=list(table.BACKENDS))
    parser.add_argument("--rank", nargs="+", default=[1], type=int, choices=range(table.SIZE))
    asked = parser.parse_args()
    began, found = time.monotonic(), dict[table.Cell, list[str]]()
    for cell in table.cells(asked.rank):
        if cell.how in asked.how and cell.when in asked.when and cell.backend in asked.backend:
            found[cell] = tried(cell)
            for line in found[cell]:
                print(f"{cell}: {line}", file=sys.stderr)
    right = sum(not lines for lines in found.values())
    cpus = os.cpu_count()
    print(f"{right} of {len(found)} cells are right; {time.monotonic() - began:.0f} s on {cpus} cores,", end=" ")
    names = ", ".join(f"{backend} with rank {rank}" for backend, rank in product(asked.backend, asked.rank))
    print(f"Python {platform.python_version()}. In each cell: {names}.\n")
    printed(found, asked)
    sys.exit(right < len(found))


if __name__ == "__main__":
    main()
