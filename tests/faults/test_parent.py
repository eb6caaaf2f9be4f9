"""The parent is killed or interrupted: no worker outlives it, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cobre.testing import faults
from tests.cli.commands import finish, start, wait_for
from tests.faults.parents import STOPPING, TELLING, ended, endless, killed_after, left_behind, lives, names_of
from tests.hydro.cases import case_files, hydro, thermal, write_case

PROMISED = 1.0  # seconds until workers are gone with a parent that is killed
BUSY = 10.0  # times as long, on machines that do other things too


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


@pytest.mark.parametrize(("backend", "seconds"), [("shm", 0.1), ("tcp", 0.8), ("shm", 1.5)])
def test_workers_go_with_a_parent_that_is_killed(backend: str, seconds: float) -> None:
    _, took, left = killed_after(seconds, backend)
    assert left == []
    assert took < BUSY * PROMISED


CANNOT_HEAR = [
    (1, "hang", "connecting", "shm"),
    (0, "hang-native", "backward", "shm"),
    (1, "stop", "connecting", "tcp"),
]


@pytest.mark.parametrize(("rank", "how", "when", "backend"), CANNOT_HEAR)
def test_a_parent_is_killed_while_a_worker_cannot_hear_of_it(rank: int, how: str, when: str, backend: str) -> None:
    """Over shm, rank 0 waits for rank 1 to connect in memory that has a name until then."""
    with faults.inject(rank=rank, how=how, when=when):
        process = endless(backend)
    wait_for(process, "injected fault")
    workers = psutil.Process(process.pid).children()
    if (backend, when) == ("shm", "connecting"):
        assert wait_until(lambda: names_of(workers[0]) != [])
    process.kill()
    gone = ended(workers, BUSY * PROMISED)
    for worker in workers if not gone else []:
        worker.kill()
    process.communicate()
    assert gone
    assert left_behind() == []


@pytest.mark.parametrize(("backend", "to_the_group"), [("shm", True), ("tcp", False)])
def test_an_interrupt_ends_a_training_on_workers(backend: str, to_the_group: bool) -> None:
    """As Ctrl-C in a terminal, which all processes of the group get."""
    process = endless(backend, callback=TELLING, start_new_session=True)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("iteration"):
        assert process.poll() is None
    workers = psutil.Process(process.pid).children()
    (os.killpg if to_the_group else os.kill)(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60.0)
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("Traceback") == 1, err
    assert len(workers) == 2
    assert ended(workers)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    thermals = (thermal(0, most=50.0, cost=20.0), thermal(1, most=80.0, cost=90.0))
    files = case_files(stages=3, openings=4, hydros=(hydro(3),), thermals=thermals, inflow_std=8.0, iterations=100_000)
    return write_case(tmp_path_factory.mktemp("cases") / "brook", files)


def test_an_interrupt_of_the_command_line_stops_workers_in_good_order(case: Path, tmp_path: Path) -> None:
    process = start("train", case, "-o", tmp_path / "out", "--workers", 2, start_new_session=True)
    read = wait_for(process, "iteration ")
    workers = psutil.Process(process.pid).children()
    os.killpg(process.pid, signal.SIGINT)
    outcome = finish(process, read)
    assert (outcome.code, "Traceback" in outcome.err) == (7, False), outcome.err
    assert (tmp_path / "out" / "policy").is_dir()
    assert len(workers) == 2
    assert ended(workers)


def test_a_worker_that_is_killed_ends_the_command_line(case: Path, tmp_path: Path) -> None:
    process = start("train", case, "-o", tmp_path / "out", "--workers", 2)
    read = wait_for(process, "iteration ")
    workers = psutil.Process(process.pid).children()
    workers[1].kill()
    outcome = finish(process, read)
    assert outcome.code not in (0, 7)
    assert "worker 1" in outcome.err
    assert "SIGKILL" in outcome.err
    assert "Traceback" not in outcome.err
    assert ended(workers)
    assert not (tmp_path / "out").exists()


def test_two_deaths_are_both_told() -> None:
    """They happen while the parent is stopped, so that it hears of both at once."""
    with (
        faults.inject(rank=0, how="exit", when="backward", iteration=30),
        faults.inject(rank=2, how="system-exit", when="backward", iteration=30),
    ):
        process = endless("shm", 3, callback=STOPPING)
    parent = psutil.Process(process.pid)
    assert wait_until(lambda: parent.status() == psutil.STATUS_STOPPED)
    workers = parent.children()
    assert wait_until(lambda: not lives(workers[0]) and not lives(workers[2]))
    while process.poll() is None:
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    out, _ = process.communicate()
    told = json.loads(out.splitlines()[-1])
    assert told["kind"] == "WorkerDied"
    found = {told["rank"]: told["exit_code"]} | {failure["rank"]: failure["error"] for failure in told["failures"]}
    assert found in ({0: 3, 2: "ended with exit code 4"}, {0: "ended with exit code 3", 2: 4})
