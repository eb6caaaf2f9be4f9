"""Channels between two processes: ours beside iceoryx2, multiprocessing.Pipe, Ray, and what the machine can do at all.

    python benchmarks/channels.py [--only loan,publish,...] [--passes 5] [--json FILE] [--picture FILE] [--page FILE]
    python benchmarks/channels.py soak [--seconds 600] [--seed 1] [--transport shm|tcp]

One way, from the moment before the writer asks for room to the moment after the reader, which waits in receive, has
seen the first and the last byte: microseconds, by size, for messages that follow one another at once and for messages
after a pause, in which the reader has gone to sleep (and after the longer one the processor with it). The systems take
turns, in several passes; each cell is its best pass.

loan       a loan is filled in place and read in place: nothing is copied
publish    an array is copied in, and read in place
tcp        the same through a TcpChannel on the loopback
iceoryx2   a loan and an event, where the package is installed (or --iceoryx-python)
pipe       multiprocessing.Pipe, send and recv of an array
ray        an array through a compiled graph, to an actor (with --ray-python, an interpreter that has Ray)
bare       one byte through a pipe to a reader that polls: what any system pays that lets its readers sleep
copy       the same, and before it a copy by numpy into memory that is warm: what any system pays that copies

soak is random traffic, checked: see channels_soak.py. --from prints and draws what an earlier run left by --json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from channels_report import draw, markdown, replace_figures, summary
from channels_soak import soak

ENDS = Path(__file__).with_name("channels_ends.py")
SYSTEMS = ("loan", "publish", "tcp", "iceoryx2", "pipe", "ray", "bare", "copy")
SIZES = (1 << 10, 1 << 20, 10 << 20)
PAUSES = (0, 0.0002, 0.005)  # seconds
_SYSTEM_SECONDS = 300.0  # a guard against a hang


def main() -> int:
    if sys.argv[1:2] == ["soak"]:
        return soak(**vars(soak_options(sys.argv[2:])))
    options = parsed()
    results = json.loads(options.source.read_text()) if options.source else measure(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(markdown(results))
    if options.picture:
        draw(results, options.picture)
    if options.page:
        replace_figures(options.page, results, options.picture)
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="systems, with commas between them", default=",".join(SYSTEMS))
    parser.add_argument("--sizes", help="bytes, with commas between them", default=",".join(map(str, SIZES)))
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--count", type=int, default=3000, help="the most messages of a pass, by size and pause")
    parser.add_argument("--seconds", type=float, default=0.5, help="the longest that a pass takes for them")
    parser.add_argument("--iceoryx-python", default=sys.executable, help="an interpreter that has iceoryx2 and numpy")
    parser.add_argument("--ray-python", help="an interpreter that has Ray and numpy")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--from", dest="source", type=Path, help="a file that --json wrote: nothing is measured")
    parser.add_argument("--picture", type=Path, help="where the picture goes")
    parser.add_argument("--page", type=Path, help="the page whose figures are replaced")
    options = parser.parse_args()
    unknown = set(options.only.split(",")) - set(SYSTEMS)
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(SYSTEMS)}")
    return options


def soak_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="channels.py soak")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transport", choices=("shm", "tcp"), default="shm")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures of a run. Systems that are not installed here are left out, and said to be."""
    pythons = {"iceoryx2": options.iceoryx_python, "ray": options.ray_python}
    wanted, versions = [], {"Python": platform.python_version(), "numpy": importlib.metadata.version("numpy")}
    for system in options.only.split(","):
        if system in pythons:
            version = version_of(system, pythons[system])
            if version is None:
                print(f"{system} is left out: it is not installed", file=sys.stderr)
                continue
            versions[system] = version
        wanted.append(system)
    figures: dict[str, Any] = {system: {} for system in wanted}
    sizes = [int(size) for size in options.sizes.split(",")]
    for number in range(options.passes):
        for system in wanted[number % 2 :] + wanted[: number % 2]:
            plan = {
                "system": system,
                "sizes": sizes[:1] if system == "bare" else sizes,
                "pauses": PAUSES,
                "count": options.count,
                "seconds": options.seconds,
            }
            for size, by_pause in run(pythons.get(system) or sys.executable, plan).items():
                for pause, times in by_pause.items():
                    figures[system].setdefault(size, {}).setdefault(pause, []).append(summary(times))
    method = {"passes": options.passes, "count": options.count, "seconds": options.seconds}
    method |= {"sizes": sizes, "pauses": PAUSES}
    return {"machine": machine(), "versions": versions, "method": method, "figures": figures}


def version_of(system: str, python: str | None) -> str | None:
    """Of the package, as that interpreter has it."""
    if python is None:
        return None
    code = f"import importlib.metadata, {system}; print(importlib.metadata.version({system!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60.0, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def run(python: str, plan: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Microseconds of every message, by size and pause. Raises SystemExit with what the system said."""
    command = [python, str(ENDS), json.dumps(plan)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SYSTEM_SECONDS, check=False)
    if done.returncode:
        raise SystemExit(f"{plan['system']} failed:\n{done.stderr}")
    found: dict[str, dict[str, list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def machine() -> dict[str, Any]:
    model = platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = models[0].partition(":")[2].strip() if models else model
    return {"cores": len(os.sched_getaffinity(0)), "model": model, "system": platform.system()}


if __name__ == "__main__":
    sys.exit(main())
