"""Calls and their answers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import logging
import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest

from cobre.actors import ActorHandle, ActorSystem, Limits, RestartPolicy
from cobre.errors import ActorError, CobreError
from tests.actors.deeds import Thing, Worker

SOON = 20.0  # seconds; a guard against hanging


def test_a_call_is_answered(system: ActorSystem, worker: ActorHandle) -> None:
    assert system.get(worker.add.remote(5), timeout=SOON) == 15
    assert worker.add.remote(number=1).result(SOON) == 16
    assert worker.both.remote(1, second=[2]).result(SOON) == (1, [2])
    assert worker.pid == worker.method("pid").remote().result(SOON)
    assert worker.name == worker.method("name").remote().result(SOON) == "Worker 0"
    assert worker.ready().result(SOON) is None


def test_a_method_may_be_called_like_one_of_the_handle(worker: ActorHandle) -> None:
    assert worker.method("stop").remote().result(SOON) == "a method, not the handle's"


def test_calls_of_one_caller_are_answered_in_order(system: ActorSystem, worker: ActorHandle) -> None:
    order: list[int] = []
    futures = [worker.note.remote(number) for number in range(3000)]
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: order.append(number))
    system.get(futures, timeout=SOON)
    assert worker.noted.remote().result(SOON) == list(range(3000))
    assert order == sorted(order)


def test_callers_in_many_threads(system: ActorSystem, worker: ActorHandle) -> None:
    def call(base: int) -> list[int]:
        return [worker.echo.remote(base + number).result(SOON) for number in range(200)]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        found = list(pool.map(call, range(0, 6000, 1000)))
    assert found == [list(range(base, base + 200)) for base in range(0, 6000, 1000)]


def test_a_thread_that_comes_too_late_to_read_goes_on_listening(worker: ActorHandle) -> None:
    worker.ready().result(SOON)
    assert worker._actor._line.readable()  # nothing is there: another thread has read it
    for number in range(2000):
        assert worker.echo.remote(number).result(SOON) == number


def test_who_looks_without_waiting_sees_the_answer(worker: ActorHandle) -> None:
    for look in (
        lambda future: future.done(),
        lambda future: not future.running() and future.done(),
        lambda future: bool(concurrent.futures.wait([future], 0.01).done),
    ):
        assert worker.echo.remote(1).result(SOON) == 1  # from here on nobody listens
        future = worker.echo.remote(2)
        deadline = time.monotonic() + SOON
        while not look(future) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert future.result(0) == 2


def test_callbacks_are_called_where_nobody_waits(worker: ActorHandle) -> None:
    for number in range(20):
        assert worker.echo.remote(1).result(SOON) == 1
        called = threading.Event()
        worker.echo.remote(number).add_done_callback(lambda _, called=called: called.set())
        assert called.wait(SOON)


def test_a_large_answer_that_nobody_reads_holds_nothing_up(system: ActorSystem, worker: ActorHandle) -> None:
    assert worker.echo.remote(1).result(SOON) == 1
    held = [worker.zeros.remote(100_000).result(SOON) for _ in range(40)]  # later ones come through the stream
    unread = worker.zeros.remote(1_000_000)
    report = worker.stop()
    assert report is not None
    assert report.exit_code == 0
    assert unread.exception(SOON) is None or unread.exception().kind == "Closed"
    assert len(held) == 40


def test_many_threads_wait_for_one_future(worker: ActorHandle) -> None:
    future = worker.sleep.remote(0.2)
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert list(pool.map(lambda _: future.result(SOON), range(5))) == ["slept"] * 5


def test_a_quick_answer_does_not_wait_for_the_long_call_behind_it(worker: ActorHandle) -> None:
    system_calls = [worker.echo.remote(number) for number in range(200)]
    for future in system_calls:
        future.result(SOON)
    quick, long = worker.echo.remote("quick"), worker.wait_for_interruption.remote(SOON)
    assert quick.result(SOON) == "quick"
    assert not long.done()
    worker.interrupt()
    assert long.result(SOON) is True


def test_a_call_that_is_quick_by_habit_does_not_hold_back_answers(worker: ActorHandle) -> None:
    for _ in range(100):
        worker.sleep.remote(0.0).result(SOON)
    futures = [worker.sleep.remote(0.0) for _ in range(3)]
    slow = worker.sleep.remote(1.0)
    assert [future.result(SOON) for future in futures] == ["slept"] * 3
    assert not slow.done()


def test_several_futures_in_their_order(system: ActorSystem, worker: ActorHandle) -> None:
    assert system.get([worker.echo.remote(number) for number in range(50)]) == list(range(50))
    assert system.get([]) == []


def test_the_first_failure_is_not_kept_waiting(system: ActorSystem, worker: ActorHandle) -> None:
    other = system.spawn(Worker)
    waits = worker.wait_for_interruption.remote(SOON)
    failures = [other.sleep.remote(0.2), other.fail.remote("now")]
    with pytest.raises(KeyError, match="now"):
        system.get([waits, *failures], timeout=SOON)
    assert not waits.done()
    worker.interrupt()
    assert waits.result(SOON)


def test_waiting_for_some_time_only(system: ActorSystem, worker: ActorHandle) -> None:
    future = worker.wait_for_interruption.remote(SOON)
    with pytest.raises(TimeoutError):
        future.result(0.05)
    with pytest.raises(ActorError) as caught:
        system.get([worker.echo.remote(1), future], timeout=0.05)
    assert caught.value.kind == "Timeout"
    worker.interrupt()
    assert future.result(SOON) is True


def test_wait_as_completed_and_asyncio(worker: ActorHandle) -> None:
    futures = [worker.echo.remote(number) for number in range(20)]
    assert sorted(future.result() for future in concurrent.futures.as_completed(futures, SOON)) == list(range(20))
    late = worker.sleep.remote(0.1)
    done, _ = concurrent.futures.wait([*futures, late], SOON)
    assert late in done

    async def gather() -> list[Any]:
        return await asyncio.gather(*(asyncio.wrap_future(worker.echo.remote(number)) for number in range(20)))

    assert asyncio.run(gather()) == list(range(20))


def test_callbacks_run_in_the_reply_thread(worker: ActorHandle) -> None:
    names: list[str] = []
    future = worker.sleep.remote(0.1)
    future.add_done_callback(lambda _: names.append(threading.current_thread().name))
    assert future.result(SOON) == "slept"
    worker.echo.remote(1).result(SOON)
    deadline = time.monotonic() + SOON
    while not names and time.monotonic() < deadline:
        time.sleep(0.001)
    assert names == ["cobre-replies"]


def test_a_callback_that_raises_harms_nobody(worker: ActorHandle, caplog: pytest.LogCaptureFixture) -> None:
    future = worker.sleep.remote(0.05)
    future.add_done_callback(lambda _: 1 / 0)
    with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
        assert future.result(SOON) == "slept"
        assert worker.echo.remote(1).result(SOON) == 1


def test_a_callback_may_call_but_not_wait(worker: ActorHandle) -> None:
    found: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def callback(_: Any) -> None:
        try:
            worker.echo.remote(2).result()
        except ActorError as refusal:
            found.set_result(refusal.kind)

    worker.sleep.remote(0.05).add_done_callback(callback)
    assert found.result(SOON) == "Unsupported"


def test_a_full_mailbox_refuses_at_once(system: ActorSystem) -> None:
    worker = system.spawn(Worker, mailbox=3)
    first = worker.wait_for_interruption.remote(SOON)
    futures = [worker.echo.remote(number) for number in range(2)]
    with pytest.raises(ActorError, match="mailbox takes 3") as caught:
        worker.echo.remote(9)
    assert caught.value.kind == "MailboxFull"
    worker.interrupt()
    assert system.get([first, *futures], timeout=SOON) == [True, 0, 1]
    assert worker.echo.remote(9).result(SOON) == 9


def test_a_timeout_of_a_call(worker: ActorHandle) -> None:
    long = worker.wait_for_interruption.options(timeout=0.1).remote(SOON)
    behind = worker.note.options(timeout=0.1).remote(1)
    after = worker.note.remote(2)
    for future in (long, behind):
        with pytest.raises(ActorError) as caught:
            future.result(SOON)
        assert caught.value.kind == "Timeout"
        assert caught.value.context["actor"] == "Worker 0"
    began = time.monotonic()
    worker.interrupt()  # the one that runs, though nobody waits for it any more
    after.result(SOON)
    assert worker.noted.remote().result(SOON) == [2]  # the one behind was dropped
    assert time.monotonic() - began < 0.9 * SOON, "it ended by itself"


def test_a_call_that_nobody_waits_for_can_be_interrupted(worker: ActorHandle) -> None:
    lost = worker.wait_for_interruption.options(timeout=0.1).remote(SOON)
    with pytest.raises(ActorError):
        lost.result(SOON)
    began = time.monotonic()
    worker.interrupt()
    assert worker.echo.remote(1).result(SOON) == 1
    assert time.monotonic() - began < 0.9 * SOON, "it ended by itself"


def test_a_timeout_that_is_kept(worker: ActorHandle) -> None:
    assert worker.echo.options(timeout=SOON).remote(4).result() == 4


@pytest.mark.parametrize("timeout", [0, -1.0])
def test_a_timeout_that_is_none(worker: ActorHandle, timeout: float) -> None:
    with pytest.raises(ActorError, match="timeout"):
        worker.echo.options(timeout=timeout)


def test_a_cancelled_call_is_dropped(worker: ActorHandle) -> None:
    running = worker.wait_for_interruption.remote(SOON)
    dropped = [worker.note.remote(number) for number in range(100)]
    kept = worker.note.remote(1000)
    assert all(future.cancel() for future in dropped)
    assert all(future.cancelled() and future.done() for future in dropped)
    assert dropped[0].cancel()
    assert running.cancel()  # it goes on, and nobody hears of it
    worker.interrupt()
    kept.result(SOON)
    assert not kept.cancel()
    assert worker.noted.remote().result(SOON) == [1000]
    with pytest.raises(concurrent.futures.CancelledError):
        dropped[3].result()
    assert set(concurrent.futures.wait(dropped, 0.0).done) == set(dropped)


def test_cancelling_wakes_who_waits(worker: ActorHandle) -> None:
    future = worker.wait_for_interruption.remote(SOON)
    timer = threading.Timer(0.1, future.cancel)
    timer.start()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(SOON)
    timer.join()
    worker.interrupt()


def test_an_interruption_is_for_the_call_that_runs(worker: ActorHandle) -> None:
    worker.ready().result(SOON)
    worker.interrupt()
    future = worker.wait_for_interruption.remote(0.2)
    worker.echo.remote(1).result(SOON)
    assert worker.interrupted.remote().result(SOON) is False
    assert future.done()


def test_events_come_in_order_and_before_the_answer(system: ActorSystem) -> None:
    events: list[int] = []
    worker = system.spawn(Worker, on_event=events.append)
    assert worker.emit.remote(2000).result(SOON) == 2000
    assert events == list(range(2000))


def test_an_observer_that_raises_or_is_missing_harms_nobody(system: ActorSystem, worker: ActorHandle) -> None:
    def observe(_: int) -> None:
        raise RuntimeError("no observer")

    assert system.spawn(Worker, on_event=observe).emit.remote(3).result(SOON) == 3
    assert worker.emit.remote(3).result(SOON) == 3


def test_marks_of_the_board(system: ActorSystem) -> None:
    worker = system.spawn(Worker, marks=("place",))
    worker.mark.remote(7).result(SOON)
    assert worker.marks() == {"place": 7}


def test_environment_and_names(system: ActorSystem) -> None:
    worker = system.spawn(Worker, name="first", environment={"COLOUR": "blue"})
    assert worker.environment.remote("COLOUR").result(SOON) == "blue"
    with pytest.raises(ActorError, match="first"):
        system.spawn(Worker, name="first")


@pytest.mark.parametrize("value", [threading.Lock(), {"a": threading.Lock()}])
def test_arguments_that_cannot_be_pickled(worker: ActorHandle, value: Any) -> None:
    with pytest.raises(ActorError) as caught:
        worker.echo.remote(value)
    assert caught.value.kind == "NotSerializable"
    assert "echo" in str(caught.value)
    assert worker.echo.remote(1).result(SOON) == 1


def test_arguments_that_cannot_be_unpickled(worker: ActorHandle) -> None:
    with pytest.raises(ActorError, match="not twice") as caught:
        worker.echo.remote(Thing()).result(SOON)
    assert caught.value.kind == "NotSerializable"
    assert worker.echo.remote(1).result(SOON) == 1


def test_handles_methods_and_futures_stay_here(system: ActorSystem, worker: ActorHandle) -> None:
    for value in (worker, worker.echo, worker.echo.remote(1), [worker]):
        with pytest.raises(ActorError):
            worker.echo.remote(value)
        with pytest.raises(ActorError):
            pickle.dumps(value)
    with pytest.raises(ActorError):
        copy.copy(worker)


def test_wrong_ways_to_call(worker: ActorHandle) -> None:
    with pytest.raises(ActorError, match=r"echo\.remote"):
        worker.echo(1)
    with pytest.raises(AttributeError):
        _ = worker._private
    with pytest.raises(AttributeError, match="nothing"):
        worker.nothing.remote().result(SOON)
    with pytest.raises(TypeError, match="argument"):
        worker.add.remote().result(SOON)


def test_async_methods_are_refused(worker: ActorHandle) -> None:
    with pytest.raises(ActorError, match="async") as caught:
        worker.later.remote().result(SOON)
    assert caught.value.kind == "Unsupported"


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (lambda system: system.spawn(3), "Unsupported"),
        (lambda system: system.spawn(Worker, threading.Lock()), "NotSerializable"),
        (lambda system: system.spawn(Worker, mailbox=0), "OutOfRange"),
        (lambda system: system.spawn(Worker, limits=Limits(memory_bytes=-1)), "OutOfRange"),
        (lambda system: system.spawn(Worker, restart=RestartPolicy(limit=-1)), "OutOfRange"),
        (lambda system: system.put(threading.Lock()), "NotSerializable"),
        (lambda system: ActorSystem(max_message=0), "OutOfRange"),
        (lambda system: ActorSystem(start_method="fork"), "IncompatibleSettings"),
    ],
)
def test_wrong_settings(system: ActorSystem, wrong: Any, kind: str) -> None:
    with pytest.raises(CobreError) as caught:
        wrong(system)
    assert caught.value.kind == kind


def test_statistics(system: ActorSystem, worker: ActorHandle) -> None:
    system.get([worker.echo.remote(number) for number in range(10)])
    found = system.statistics()["Worker 0"]
    assert (found.alive, found.pending, found.restarts, found.pid) == (True, 0, 0, worker.pid)
    assert found.answered >= 10


def test_a_worker_loads_little(system: ActorSystem, worker: ActorHandle) -> None:
    loaded = set(worker.modules.remote().result(SOON))
    assert not {"numpy", "cloudpickle", "asyncio", "concurrent.futures", "psutil", "subprocess"} & loaded


def test_small_arrays_are_copies_and_may_be_written(worker: ActorHandle) -> None:
    assert worker.write.remote(np.zeros(10)).result(SOON) == "written"
