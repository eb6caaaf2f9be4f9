"""Seconds to load and to validate a large case: ``python benchmarks/loading.py [--repeat N] [CASE]``."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from make_case import write_case

from cobre.hydro.load import load_case
from cobre.hydro.validate import validate_case

__all__ = ["main"]


def _best(action: Callable[[], object], repeat: int) -> float:
    """The least of ``repeat`` times: what the work takes when nothing else runs."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", type=Path, nargs="?", help="default: 60 stages, 160 hydros, 130 thermals, 3 blocks")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        case = arguments.case or write_case(
            Path(folder) / "case", stages=60, hydros=160, thermals=130, passes=4, openings=20, blocks=3, seed=1
        )
        print(f"load      {_best(lambda: load_case(case), arguments.repeat):8.3f} s")
        print(f"validate  {_best(lambda: validate_case(case), arguments.repeat):8.3f} s")


if __name__ == "__main__":
    main()
