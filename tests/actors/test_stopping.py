"""Ends that somebody wanted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import numpy as np
import pytest

from cobre.actors import ActorHandle, ActorSystem
from cobre.errors import ActorError
from cobre.supervisor import Grace
from cobre.testing.leaks import assert_no_leaks, snapshot
from tests.actors.deeds import Worker

SOON = 20.0  # seconds; a guard against hanging


def closed(future: Any) -> None:
    with pytest.raises(ActorError) as caught:
        future.result(SOON)
    assert caught.value.kind == "Closed"


def test_stopping_one(system: ActorSystem, worker: ActorHandle) -> None:
    other = system.spawn(Worker)
    running = worker.wait_for_interruption.remote(SOON)
    queued = [worker.echo.remote(number) for number in range(100)]
    worker.ready().result(SOON)
    time.sleep(0.1)
    report = worker.stop()
    assert report is not None
    assert report.deliberate
    assert report.exit_code == 0
    assert running.result(SOON) is True  # it was interrupted, and its answer came
    for future in [*queued, worker.echo.remote(1)]:
        closed(future)
    assert other.echo.remote(1).result(SOON) == 1
    assert worker.stop() == report


def test_leaving_the_block_stops_in_good_order() -> None:
    with ActorSystem() as system:
        worker = system.spawn(Worker)
        worker.ready().result(SOON)
        running = worker.wait_for_interruption.remote(SOON)
        time.sleep(0.1)
    assert running.result(0) is True
    closed(worker.echo.remote(1))
    with pytest.raises(ActorError) as caught:
        system.spawn(Worker)
    assert caught.value.kind == "Closed"
    with pytest.raises(ActorError):
        system.put(1)
    system.close()


def test_leaving_the_block_by_an_exception_kills() -> None:
    began = time.monotonic()
    futures: list[Any] = []
    with pytest.raises(ZeroDivisionError):
        leave_by_an_exception(futures)
    assert time.monotonic() - began < SOON
    closed(futures[0])


def leave_by_an_exception(futures: list[Any]) -> None:
    with ActorSystem(grace=Grace(ask=30.0)) as system:
        worker = system.spawn(Worker)
        worker.ready().result(SOON)
        futures.append(worker.ignore_stopping.remote())
        raise ZeroDivisionError


def test_one_that_does_not_want_to() -> None:
    with ActorSystem(grace=Grace(ask=0.2, terminate=0.2)) as system:
        worker = system.spawn(Worker)
        running = worker.ignore_stopping.remote()
        worker.ready().result(SOON)
    closed(running)


def test_killing_all(system: ActorSystem) -> None:
    workers = [system.spawn(Worker) for _ in range(2)]
    futures = [worker.sleep.remote(30.0) for worker in workers]
    system.kill()
    for future in futures:
        closed(future)


def test_a_callback_cannot_close_its_system(system: ActorSystem, worker: ActorHandle) -> None:
    kinds: list[str] = []
    done = threading.Event()

    def close(_: Any) -> None:
        for wrong in (system.close, worker.stop):
            try:
                wrong()
            except ActorError as refusal:
                kinds.append(refusal.kind)
        done.set()

    worker.sleep.remote(0.05).add_done_callback(close)
    assert done.wait(SOON)
    assert kinds == ["Unsupported", "Unsupported"]


def test_a_system_that_did_nothing() -> None:
    with ActorSystem():
        pass


def test_a_worker_that_never_came_up_is_stopped() -> None:
    with ActorSystem() as system:
        system.spawn(Worker)


def test_rounds_leave_nothing_behind() -> None:
    before = snapshot()
    for kill in (False, True, False):
        with ActorSystem() as system:
            workers = [system.spawn(Worker) for _ in range(2)]
            arrays = system.get([worker.zeros.remote(100_000) for worker in workers])
            ref = system.put(np.ones(100_000))
            system.get([worker.keep.remote(ref) for worker in workers])
            if kill:
                os.kill(workers[0].pid, signal.SIGKILL)
                workers[0].process.wait(SOON)
        assert all(array.sum() == 0.0 for array in arrays)  # views outlive the system
        del arrays, ref
    assert_no_leaks(before)


def test_the_parent_is_killed() -> None:
    script = """
        import os, signal, sys
        from cobre.actors import ActorSystem
        from tests.actors.deeds import Worker
        system = ActorSystem()
        workers = [system.spawn(Worker) for _ in range(2)]
        system.get([worker.ready() for worker in workers])
        workers[0].sleep.remote(60)
        print(*(worker.pid for worker in workers), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + SOON
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, pids))


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
