"""Large data: arrays beside the stream, shared values, limits."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cobre.actors import ActorHandle, ActorSystem, RestartPolicy, blocks
from cobre.errors import ActorError
from tests.actors.deeds import Worker

SOON = 30.0  # seconds; a guard against hanging
LARGE = 50_000  # doubles


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def settles(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SOON
    while not condition():
        gc.collect()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize(
    "array",
    [
        np.arange(LARGE, dtype=float),
        np.arange(LARGE * 2, dtype=np.int32).reshape(100, -1).T,
        np.arange(LARGE, dtype=complex)[::2],
        np.array(["a", None, 3], dtype=object),
        np.zeros((0, 5)),
        np.zeros(LARGE, dtype=[("a", "f8"), ("b", "i4")]),
        np.arange(8191.0),
        np.arange(8192.0),
    ],
    ids=["doubles", "transposed", "strided", "objects", "empty", "records", "below", "at"],
)
def test_arrays_there_and_back(worker: ActorHandle, array: Any) -> None:
    found = worker.echo.remote(array).result(SOON)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert (found == array).all()


def test_large_arrays_are_views_that_cannot_be_written(worker: ActorHandle) -> None:
    array = np.arange(LARGE, dtype=float)
    assert "read-only" in worker.write.remote(array).result(SOON)
    found = worker.echo.remote(array).result(SOON)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1.0
    np.array(found)[0] = 1.0


def test_large_data_of_other_kinds(worker: ActorHandle) -> None:
    for value in (b"x" * (1 << 20), "é" * (1 << 18), list(range(100_000)), {"a": [b"y" * 70_000] * 2, "b": 1}):
        assert worker.echo.remote(value).result(SOON) == value


def test_what_is_held_stays_as_it_was(worker: ActorHandle) -> None:
    held = [worker.echo.remote(np.full(LARGE, float(number))).result(SOON) for number in range(100)]
    slices = [array[5:10] for array in held[::3]]
    del held
    for number in range(50):
        worker.echo.remote(np.full(LARGE, -float(number))).result(SOON)
    assert [part[0] for part in slices] == [float(number) for number in range(0, 100, 3)]


def test_what_an_actor_keeps_stays_as_it_was(worker: ActorHandle) -> None:
    array = np.full(LARGE, 2.0)
    worker.keep.remote(array).result(SOON)
    array[:] = 3.0
    for number in range(50):
        worker.echo.remote(np.full(LARGE, -float(number))).result(SOON)
    assert worker.total.remote().result(SOON) == 2.0 * LARGE


def test_many_large_calls_at_once(system: ActorSystem, worker: ActorHandle) -> None:
    futures = [worker.echo.remote(np.full(LARGE, float(number))) for number in range(300)]
    found = system.get(futures, timeout=SOON)
    assert [array[-1] for array in found] == [float(number) for number in range(300)]


def test_blocks_are_used_again_and_given_back(worker: ActorHandle) -> None:
    worker.echo.remote(np.zeros(LARGE)).result(SOON)
    before, there = descriptors(), worker.descriptors.remote().result(SOON)
    for _ in range(200):
        worker.echo.remote(np.zeros(LARGE)).result(SOON)
    assert descriptors() <= before + 3
    assert worker.descriptors.remote().result(SOON) <= there + 3
    held = [worker.zeros.remote(LARGE).result(SOON) for _ in range(200)]
    assert descriptors() <= before + 80  # few of them are mapped; the others came through the stream
    assert all(array.sum() == 0.0 for array in held)


def test_a_pool_gives_large_memory_back(worker: ActorHandle) -> None:
    def resident() -> int:
        return int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) * 4096

    worker.zeros.remote(10).result(SOON)
    before = resident()
    worker.zeros.remote(20_000_000).result(SOON)
    assert settles(lambda: worker.echo.remote(1).result(SOON) == 1 and resident() < before + 40_000_000)


def test_a_cancelled_large_call_gives_its_block_back(worker: ActorHandle) -> None:
    worker.echo.remote(np.zeros(LARGE)).result(SOON)
    before = descriptors()
    for _ in range(20):
        running = worker.wait_for_interruption.remote(SOON)
        futures = [worker.echo.remote(np.zeros(LARGE)) for _ in range(10)]
        assert all(future.cancel() for future in futures)
        worker.interrupt()
        assert running.result(SOON)
    assert worker.echo.remote(np.ones(LARGE)).result(SOON).sum() == LARGE
    assert settles(lambda: descriptors() <= before + 45)


def test_shared_values(system: ActorSystem, worker: ActorHandle) -> None:
    array = np.arange(LARGE, dtype=float)
    ref = system.put({"array": array, "name": "shared"})
    other = system.spawn(Worker)
    array[:] = -1.0
    for handle in (worker, other, worker):
        found = handle.echo.remote(ref).result(SOON)
        assert found["name"] == "shared"
        assert found["array"][7] == 7.0
    assert worker.both.remote([ref], second=ref).result(SOON)[0][0]["array"][3] == 3.0
    here = system.get(ref)
    assert here["array"][9] == 9.0
    assert not here["array"].flags.writeable
    assert "read-only" in worker.write.remote(system.put(np.zeros(LARGE))).result(SOON)
    assert system.spawn(Worker, ref).echo.remote(1).result(SOON) == 1


def test_small_shared_values(system: ActorSystem, worker: ActorHandle) -> None:
    ref = system.put([1, 2])
    assert worker.echo.remote(ref).result(SOON) == [1, 2]
    assert system.get(ref) == [1, 2]


def test_a_shared_value_lives_as_long_as_it_is_used(system: ActorSystem, worker: ActorHandle) -> None:
    worker.total.remote().exception(SOON)
    before, there = descriptors(), worker.descriptors.remote().result(SOON)
    ref = system.put(np.full(LARGE, 2.0))
    worker.keep.remote(ref).result(SOON)
    del ref
    assert settles(lambda: descriptors() == before)
    assert worker.total.remote().result(SOON) == 2.0 * LARGE
    worker.keep.remote(None).result(SOON)
    assert settles(lambda: bool(worker.descriptors.remote().result(SOON) <= there))


def test_a_shared_value_in_a_constructor_outlives_restarts(system: ActorSystem) -> None:
    ref = system.put(np.full(LARGE, 1.0))
    worker = system.spawn(Worker, ref, restart=RestartPolicy("failure"))
    del ref
    worker.drop_dead.remote(1).exception(SOON)
    assert worker.start.remote().result(SOON).sum() == LARGE


def test_a_shared_value_is_not_put_into_another(system: ActorSystem) -> None:
    with pytest.raises(ActorError) as caught:
        system.put([system.put(1)])
    assert caught.value.kind == "Unsupported"


def test_too_large_to_send() -> None:
    with ActorSystem(max_message=1 << 20) as system:
        worker = system.spawn(Worker)
        for wrong in (lambda: worker.echo.remote(np.zeros(1 << 18)), lambda: system.put(np.zeros(1 << 18))):
            with pytest.raises(ActorError, match="max_message") as caught:
                wrong()
            assert caught.value.kind == "TooLarge"
        with pytest.raises(ActorError, match="max_message") as caught:
            worker.zeros.remote(1 << 18).result(SOON)
        assert caught.value.kind == "TooLarge"
        with pytest.raises(ActorError, match="max_message"):
            system.spawn(Worker, np.zeros(1 << 18))
        assert worker.zeros.remote(1 << 15).result(SOON).size == 1 << 15


def test_no_memory_for_it(system: ActorSystem, worker: ActorHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    worker.ready().result(SOON)
    monkeypatch.setattr(blocks.os, "posix_fallocate", refuse)
    before = descriptors()
    with pytest.raises(ActorError, match="No space left") as caught:
        worker.echo.remote(np.zeros(LARGE))
    assert caught.value.kind == "TooLarge"
    with pytest.raises(ActorError, match="No space left"):
        system.put(np.zeros(LARGE))
    assert descriptors() == before
    assert worker.echo.remote(1).result(SOON) == 1


def test_more_than_the_machine_has(worker: ActorHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_ASK_FIRST", 0)
    monkeypatch.setattr(blocks, "_available", lambda: 1000)
    with pytest.raises(ActorError, match="than the machine has free") as caught:
        worker.echo.remote(np.zeros(LARGE))
    assert caught.value.kind == "TooLarge"


def test_no_names_anywhere(system: ActorSystem, worker: ActorHandle) -> None:
    before = set(os.listdir("/dev/shm"))
    held = worker.echo.remote(np.zeros(LARGE)).result(SOON)
    assert not {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("cobre")} - before
    assert held.size == LARGE
