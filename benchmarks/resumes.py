"""Trainings of which everything is killed at random moments, and that go on to the same bits with other workers.

    python benchmarks/resumes.py kills [--runs 50] [--kills 4] [--seed 1]
    python benchmarks/resumes.py cost [CASE] [--iterations 100] [--pairs 5]

``kills``: of each training all processes are killed at once, by SIGKILL, up to so many times: at a random moment of its
life (while processes start and meet too), or some time after a checkpoint is there. Each time it goes on with another
number of workers, 1 to 4, or over another backend; half of the trainings write as many checkpoints as they can. Policy
and history are compared with those of an undisturbed training in one process, to the bit.

``cost``: what asking for a checkpoint after every iteration costs a training, as seconds of the processor and of the
clock, in pairs of one training with and one without.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cobre
from cobre.engine import beginning
from cobre.engine.checkpoint_writer import CheckpointPlan, checkpoints_in
from tests.sddp.small import cascade

SETTINGS = {
    "training.selection": {"method": "sampled", "forward_passes": 4},
    "training.stopping_rules": [{"type": "iteration_limit", "limit": 60}],
}
CHECKPOINTS = {"policy.checkpointing": {"enabled": True, "interval_iterations": 1}}
PLACES = [("local", 1), *((backend, workers) for backend in ("shm", "tcp") for workers in (2, 3, 4))]


def child(out: str, backend: str, workers: str, share: str) -> None:
    """One attempt at the training."""
    beginning.CheckpointPlan = partial(CheckpointPlan, share=float(share))  # type: ignore[attr-defined,assignment]
    path = Path(out)
    resume = path if checkpoints_in(path / "checkpoints") else None
    problem, settings = cascade(stages=6, openings=10), SETTINGS | CHECKPOINTS
    cobre.train(problem, settings, None, backend, int(workers), output_directory=path, resume=resume)


def bits(out: Path) -> str:
    """All that a training wrote but its times."""
    digest = hashlib.sha256()
    for path in sorted((out / "policy" / "cuts").iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    history = pq.read_table(out / "training" / "convergence.parquet")
    for name in history.column_names:
        if not name.startswith("time_"):
            digest.update(name.encode() + repr(history[name].to_pylist()).encode())
    return digest.hexdigest()


def attempt(out: Path, place: tuple[str, int], share: float, moment: float | None, after_first: bool) -> str | None:
    """Runs it, and kills all of it at the moment; None where it came to its end, else what was killed."""
    arguments = [sys.executable, __file__, "child", str(out), place[0], str(place[1]), str(share)]
    process = psutil.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if moment is None:
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(f"an attempt failed: {said}")
        return None
    while after_first and not checkpoints_in(out / "checkpoints") and process.poll() is None:
        time.sleep(0.001)
    try:
        process.wait(moment)
    except psutil.TimeoutExpired:
        family = [process, *process.children(recursive=True)]
        random.shuffle(family)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        process.communicate()
        if (out / "manifest.json").exists():
            return None
        writing = any((out / "checkpoints").glob(".*.part"))
        return "writing" if writing else "after a checkpoint" if checkpoints_in(out / "checkpoints") else "early"
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"an attempt failed: {said}")
    return None


def kills(asked: argparse.Namespace) -> int:
    chance = random.Random(asked.seed)
    random.seed(asked.seed)
    wrong, killed = 0, dict.fromkeys(("early", "after a checkpoint", "writing"), 0)
    with tempfile.TemporaryDirectory() as name:
        attempt(Path(name) / "whole", ("local", 1), 0.01, None, False)
        expected = bits(Path(name) / "whole")
        began = time.monotonic()
        attempt(Path(name) / "length", ("shm", 2), 0.01, None, False)
        length = time.monotonic() - began
        for run in range(1, asked.runs + 1):
            out, share = Path(name) / f"run {run}", chance.choice([0.01, 1e9])
            story: list[tuple[tuple[str, int], str | None]] = []
            for left in range(chance.randint(1, asked.kills), -1, -1):
                place = chance.choice([other for other in PLACES if not story or other != story[-1][0]])
                soon = chance.random() < 0.6
                moment = chance.uniform(0.0, 0.4 * length) if soon else chance.uniform(0.0, 1.2 * length)
                what = attempt(out, place, share, moment if left else None, soon)
                story.append((place, what))
                if what is None:
                    break
                killed[what] += 1
            same = bits(out) == expected
            wrong += not same
            told = ", ".join(f"{backend} {workers}: {what or 'ended'}" for (backend, workers), what in story)
            print(f"run {run}: {'equal' if same else 'NOT EQUAL'} ({told})", flush=True)
    print(f"{asked.runs - wrong} of {asked.runs} equal to the undisturbed one; killed whole: {killed}")
    return wrong


def cost(asked: argparse.Namespace) -> int:
    rules = {"training.stopping_rules": [{"type": "iteration_limit", "limit": asked.iterations}]}
    case = cobre.CaseLoader.load(asked.case, rules)
    saving = cobre.CaseLoader.load(asked.case, rules | CHECKPOINTS)
    ratios: dict[str, list[float]] = {"processor": [], "clock": []}
    for pair in range(asked.pairs + 1):
        spent = []
        for given in (case, saving) if pair % 2 else (saving, case):
            with tempfile.TemporaryDirectory() as name:
                begin = time.process_time(), time.perf_counter()
                cobre.train(given, backend="local", output_directory=Path(name) / "out")
                spent.append((time.process_time() - begin[0], time.perf_counter() - begin[1]))
                written = len(checkpoints_in(Path(name) / "out" / "checkpoints"))
        (without, with_) = spent if pair % 2 else spent[::-1]
        if not pair:
            continue  # the first one loads what all need
        ratios["processor"].append(with_[0] / without[0])
        ratios["clock"].append(with_[1] / without[1])
        print(
            f"pair {pair}: processor {without[0]:.2f} s, {with_[0]:.2f} s; clock {without[1]:.2f} s, {with_[1]:.2f} s"
        )
    for name, found in ratios.items():
        print(f"{name}: {100 * (statistics.median(found) - 1):+.1f} % (median; {written} files in the end)")
    return 0


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["child"]:
        child(*arguments[1:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("kills")
    one.add_argument("--runs", type=int, default=50)
    one.add_argument("--kills", type=int, default=4)
    one.add_argument("--seed", type=int, default=1)
    two = what.add_parser("cost")
    two.add_argument("case", nargs="?", default=str(Path(__file__).resolve().parents[2] / "shared" / "cases" / "4ree"))
    two.add_argument("--iterations", type=int, default=100)
    two.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args(arguments)
    return {"kills": kills, "cost": cost}[asked.what](asked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
