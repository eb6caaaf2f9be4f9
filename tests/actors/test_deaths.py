"""Workers that die, are killed, or were never made; and those that are started again."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cobre.actors import ActorHandle, ActorSystem, Limits, RemoteTraceback, RestartPolicy
from cobre.errors import ActorError
from tests.actors.deeds import Fragile, Refusal, Stubborn, Worker

SOON = 20.0  # seconds; a guard against hanging


def died(future: concurrent.futures.Future[Any]) -> ActorError:
    with pytest.raises(ActorError) as caught:
        future.result(SOON)
    assert caught.value.kind == "Died", caught.value
    return caught.value


def test_an_exception_arrives_as_itself(worker: ActorHandle) -> None:
    with pytest.raises(Refusal) as caught:
        worker.refuse.remote().result(SOON)
    assert caught.value.code == 3
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert 'raise Refusal(3, "no")' in str(cause)
    assert "cobre/actors" not in str(cause)


@pytest.mark.parametrize("method", ["raise_strange", "raise_unreadable"])
def test_an_exception_that_cannot_come_here(worker: ActorHandle, method: str) -> None:
    with pytest.raises(ActorError) as caught:
        worker.method(method).remote().result(SOON)
    assert caught.value.kind == "NotSerializable"
    assert "raise" in str(caught.value.__cause__)
    assert worker.echo.remote(1).result(SOON) == 1


@pytest.mark.parametrize("method", ["lock", "emit_lock"])
def test_what_cannot_be_sent_back(worker: ActorHandle, method: str) -> None:
    with pytest.raises(ActorError, match="cannot be sent") as caught:
        worker.method(method).remote().result(SOON)
    assert caught.value.kind == "NotSerializable"
    assert worker.echo.remote(1).result(SOON) == 1


def test_a_constructor_that_raises(system: ActorSystem) -> None:
    worker = system.spawn(Worker, fail=True)
    futures = [worker.echo.remote(1), worker.ready()]
    for future in futures:
        with pytest.raises(ValueError, match="not made") as caught:
            future.result(SOON)
        assert isinstance(caught.value.__cause__, RemoteTraceback)
    report = worker.process.wait(SOON)
    assert report is not None
    assert report.deliberate
    with pytest.raises(ValueError, match="not made"):
        worker.echo.remote(1).result(SOON)


def test_a_constructor_that_raises_is_not_tried_again(system: ActorSystem) -> None:
    worker = system.spawn(Worker, fail=True, restart=RestartPolicy("always"))
    with pytest.raises(ValueError, match="not made"):
        worker.ready().result(SOON)
    worker.process.wait(SOON)
    assert worker.stop() is not None
    assert system.statistics()["Worker 0"].restarts == 0


def test_a_constructor_that_dies(system: ActorSystem) -> None:
    worker = system.spawn(Fragile)
    assert died(worker.ready()).context["exit_code"] == 7
    assert died(worker.anything.remote()).context["exit_code"] == 7


def test_all_calls_of_a_dead_worker_fail_at_once(worker: ActorHandle) -> None:
    pid = worker.pid
    first = worker.echo.remote("before")
    futures = [worker.kill_itself.remote(), *(worker.echo.remote(number) for number in range(200))]
    assert first.result(SOON) == "before"
    for future in futures:
        error = died(future)
        assert (error.context["actor"], error.context["pid"]) == ("Worker 0", pid)
        assert error.context["signal"] == "SIGKILL"
        assert error.context["exit_code"] is None
        assert str(pid) in str(error)
        assert "SIGKILL" in str(error)
    later = worker.echo.remote(1)
    assert later.done()
    assert died(later).context["method"] == "echo"
    worker.interrupt()
    worker.kill()
    assert worker.stop() is not None


@pytest.mark.parametrize("code", [0, 3])
def test_exit_codes(worker: ActorHandle, code: int) -> None:
    error = died(worker.drop_dead.remote(code))
    assert (error.context["exit_code"], error.context["signal"]) == (code, None)
    assert f"exit code {code}" in str(error)


def test_leaving_python_is_dying(worker: ActorHandle) -> None:
    assert died(worker.leave.remote(4)).context["exit_code"] == 4


def test_the_last_lines_of_stderr(worker: ActorHandle, capfd: pytest.CaptureFixture[str]) -> None:
    error = died(worker.complain_and_die.remote())
    assert "something is rotten" in error.context["stderr"]
    assert "something is rotten" in str(error)
    assert error.context["signal"] == "SIGABRT"


def test_what_was_written_before_the_death_is_read(system: ActorSystem) -> None:
    for _ in range(5):
        events: list[int] = []
        worker = system.spawn(Worker, on_event=events.append)
        future = worker.emit.remote(500)
        dead = worker.kill_itself.remote()
        assert future.result(SOON) == 500
        assert events == list(range(500))
        died(dead)


def test_a_thread_that_waits_is_told_of_a_death(worker: ActorHandle) -> None:
    worker.ready().result(SOON)
    timer = threading.Timer(0.2, os.kill, (worker.pid, signal.SIGKILL))
    timer.start()
    assert died(worker.sleep.remote(30.0)).context["cause"] == "killed from outside"
    timer.join()


def test_a_stopped_worker_is_killed_when_it_hangs(system: ActorSystem) -> None:
    worker = system.spawn(Worker, limits=Limits(hang_seconds=0.5))
    worker.ready().result(SOON)
    future = worker.sleep.remote(30.0)
    assert died(future).context["cause"] == "hang"


def test_an_idle_worker_does_not_hang(system: ActorSystem) -> None:
    worker = system.spawn(Worker, limits=Limits(hang_seconds=0.5))
    worker.ready().result(SOON)
    time.sleep(2.5)  # two samples and more
    assert worker.echo.remote(1).result(SOON) == 1


def test_the_first_failure_of_several_workers(system: ActorSystem) -> None:
    workers = [system.spawn(Worker) for _ in range(2)]
    futures = [workers[0].wait_for_interruption.remote(SOON), workers[1].drop_dead.remote(1)]
    with pytest.raises(ActorError, match="Worker 1"):
        system.get(futures)


def test_together_they_end() -> None:
    with ActorSystem(together=True) as system:
        workers = [system.spawn(Worker) for _ in range(3)]
        system.get([worker.ready() for worker in workers], timeout=SOON)
        waiting = [worker.sleep.remote(30.0) for worker in workers[1:]]
        assert died(workers[0].drop_dead.remote(5)).context["cause"] == "exited"
        for future in waiting:
            assert died(future).context["cause"] == "fate"


def test_a_restart_makes_it_anew(system: ActorSystem, tmp_path: Path) -> None:
    worker = system.spawn(Stubborn, str(tmp_path / "count"), restart=RestartPolicy("failure", limit=2))
    for count in (1, 2):
        assert worker.which.remote().result(SOON) == count
        now = tmp_path / f"now {count}"
        pending = [worker.die.remote(str(now)), worker.which.remote()]
        now.touch()
        for future in pending:
            assert "starts again" in str(died(future))
    assert worker.which.remote().result(SOON) == 3
    assert worker.ready().result(SOON) is None
    assert system.statistics()["Stubborn 0"].restarts == 2
    assert "given up" in str(died(worker.die.remote()))
    assert "given up" in str(died(worker.which.remote()))


@pytest.mark.parametrize(("when", "again"), [("failure", False), ("always", True)])
def test_a_clean_exit_is_no_failure(system: ActorSystem, tmp_path: Path, when: Any, again: bool) -> None:
    worker = system.spawn(Stubborn, str(tmp_path / "count"), restart=RestartPolicy(when))
    died(worker.leave.remote())
    if again:
        assert worker.which.remote().result(SOON) == 2
    else:
        died(worker.which.remote())


def test_calls_during_restarts_are_all_answered(system: ActorSystem, tmp_path: Path) -> None:
    worker = system.spawn(Stubborn, str(tmp_path / "count"), restart=RestartPolicy("always", limit=100))
    futures = []
    for number in range(300):
        futures.append(worker.die.remote() if number % 100 == 50 else worker.which.remote())
        time.sleep(0.002)
    found = [future.exception(SOON) for future in futures]
    assert {type(error) for error in found} <= {type(None), ActorError}
    assert worker.which.remote().result(SOON) in (2, 3, 4)  # a call to die that met a dead one did nothing


def test_a_killed_actor_is_not_started_again(system: ActorSystem) -> None:
    worker = system.spawn(Worker, restart=RestartPolicy("always"))
    future = worker.sleep.remote(30.0)
    worker.kill()
    with pytest.raises(ActorError) as caught:
        future.result(SOON)
    assert caught.value.kind == "Closed"
    assert worker.stop() is not None
    assert system.statistics()["Worker 0"].restarts == 0


def test_a_process_that_cannot_be_started(system: ActorSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    worker = system.spawn(Worker)
    error = died(worker.echo.remote(1))
    assert error.context["cause"] == "not started"
    assert "/nowhere/python" in str(error)
