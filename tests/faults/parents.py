"""Parents of workers that are killed: a script that trains without end, and what is left when it is gone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

from cobre.transport.segment import DIRECTORY, PREFIX, Segment

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = """
import json, os, signal, sys
sys.path.insert(0, {root!r})
import cobre
from tests.sddp.small import cascade
settings = {{
    "training.selection": {{"method": "sampled", "forward_passes": 4}},
    "training.stopping_rules": [{{"type": "iteration_limit", "limit": 100000000}}],
}}
train = cobre.train
print("ready", flush=True)
try:
    train(cascade(), settings, {callback}, {backend!r}, num_workers={workers})
except cobre.WorkerError as error:
    told = {{name: getattr(error, name) for name in ("rank", "exit_code", "kind")}}
    print(json.dumps(told | {{"failures": error.context["failures"]}}))
"""
TELLING = 'lambda event: print("iteration", event.iteration, flush=True)'
STOPPING = "lambda event: os.kill(os.getpid(), signal.SIGSTOP)"


def endless(backend: str, workers: int = 2, callback: str = "None", **further: object) -> subprocess.Popen[str]:
    """The script in a process of its own. further: arguments of Popen."""
    code = ENDLESS.format(root=str(ROOT), backend=backend, workers=workers, callback=callback)
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | further
    return subprocess.Popen([sys.executable, "-c", code], **given)  # type: ignore[call-overload, no-any-return]


def killed_after(seconds: float, backend: str, workers: int = 2, limit: float = 10.0) -> tuple[int, float, list[str]]:
    """Kills the parent so many seconds after it is ready, by SIGKILL.

    How many workers there were then, the seconds until all of them were gone (the limit, where some never went), and
    the names that are left in shared memory.
    """
    process = endless(backend, workers)
    children: list[psutil.Process] = []
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        began = time.monotonic()
    while (alive := [child for child in children if lives(child)]) and time.monotonic() < began + limit:
        time.sleep(0.001)
    took = time.monotonic() - began
    left = left_behind()
    for child in alive:
        child.kill()
    process.communicate()
    return len(children), took, left


def left_behind() -> list[str]:
    """Names in shared memory whose maker is gone; those of other runs, which live, do not count."""
    found = []
    for path in DIRECTORY.glob(f"{PREFIX}*"):
        held = Segment.attach(path.name)
        if held is not None:
            held.release_name()
        elif path.exists():
            found.append(path.name)
    return found


def names_of(process: psutil.Process) -> list[str]:
    """What it has of named shared memory."""
    maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    return [line.rpartition("/")[2] for line in maps if f"{DIRECTORY}/{PREFIX}" in line and "(deleted)" not in line]


def ended(processes: list[psutil.Process], seconds: float = 10.0) -> bool:
    """Whether all of them do not live any more, after so many seconds at most."""
    deadline = time.monotonic() + seconds
    while any(lives(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.005)
    return not any(lives(process) for process in processes)


def lives(process: psutil.Process) -> bool:
    """Without a parent, it is for the system to collect what is left of it: that may take it a while."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
