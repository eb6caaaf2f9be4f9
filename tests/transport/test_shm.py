"""What is particular to ranks that share memory; that they keep the contract is tested with all backends."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cobre.errors import CommError
from cobre.testing.ranks import RankGroup, RankHost
from cobre.transport import Communicator, ReduceOp, control, create_communicator, futex, meetings
from cobre.transport.segment import DIRECTORY


def name() -> str:
    return f"test-{secrets.token_hex(6)}"


def on_threads(size: int, work: Callable[[Communicator], Any], **settings: Any) -> list[Any]:
    """What ``work`` returned or raised on ``size`` ranks that are threads of this process."""
    results: list[Any] = [None] * size
    shared = {"name": name(), "timeout": 20.0, **settings}

    def run(rank: int) -> None:
        try:
            with create_communicator("shm", rank=rank, size=size, **shared) as communicator:
                results[rank] = work(communicator)
        except CommError as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@contextmanager
def alone(**settings: Any) -> Iterator[Communicator]:
    with create_communicator("shm", rank=0, size=1, name=name(), **settings) as communicator:
        yield communicator


def mappings() -> int:
    return sum(str(DIRECTORY / "cobre-") in line for line in Path("/proc/self/maps").read_text().splitlines())


def grow(communicator: Communicator) -> list[str]:
    """Contributions ever larger and smaller again, each of a size that halves of 4096 bytes cannot hold."""
    for count in (10, 1_000, 30, 100_000, 5, 2_000_000, 1):
        counts = [count + rank for rank in range(communicator.size)]
        whole = communicator.allgatherv(np.full(count + communicator.rank, float(communicator.rank)), counts)
        assert (whole == np.repeat(np.arange(communicator.size), counts)).all()
        total = communicator.allreduce(np.arange(float(count)), ReduceOp.SUM)
        assert (total == communicator.size * np.arange(count)).all()
    return os.listdir(DIRECTORY)


def wait_for_rank_0(communicator: Communicator, seconds: float) -> float:
    """Processor seconds that a rank spends on waiting that long for rank 0."""
    communicator.barrier()
    began = time.process_time()
    if communicator.rank == 0:
        time.sleep(seconds)
    communicator.barrier()
    return time.process_time() - began


def interrupted(communicator: Communicator) -> str:
    if communicator.rank == 1:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            communicator.barrier()
        except KeyboardInterrupt:
            timer.join()
            return "interrupted"
    if communicator.rank == 0:
        time.sleep(1.0)
    try:
        communicator.barrier()  # for rank 0 everybody has come: only the next call cannot succeed
        communicator.barrier()
    except CommError as error:
        return f"{error.kind}: {error.context['reason']}"
    return "returned"


def fork_and_leave(communicator: Communicator) -> bool:
    """A child that was forked with a communicator in hand and ends in good order takes nothing from its parent."""
    communicator.barrier()
    child = os.fork()
    if child == 0:
        communicator.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    communicator.barrier()
    return not communicator.closed


def test_ranks_may_be_threads() -> None:
    counts = (1, 0, 3)
    results = on_threads(3, lambda c: c.allgatherv(np.full(counts[c.rank], c.rank), counts).tolist())
    assert results == [[0, 2, 2, 2]] * 3


def test_halves_grow_with_what_they_carry_and_leave_no_name() -> None:
    with RankGroup("shm", 3, capacity=8192) as group:
        for names in group.values(grow):
            assert not [left for left in names if left.startswith("cobre-")]


def test_a_view_is_read_only_and_its_slices_keep_it_alive() -> None:
    with alone() as communicator:
        view = communicator.allgatherv(np.arange(6.0), [6], copy=False)
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1.0
        kept = view[2:4].reshape(2, 1)
        del view
        with pytest.raises(CommError) as caught:
            communicator.barrier()
        assert caught.value.kind == "ViewAlive"
        assert kept.tolist() == [[2.0], [3.0]]
        del kept
        communicator.barrier()


def test_a_view_outlives_its_communicator() -> None:
    with alone() as communicator:
        view = communicator.allgatherv(np.arange(6.0), [6], copy=False)
    assert view.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_memory_goes_with_the_communicator_and_the_last_array() -> None:
    before = mappings()
    communicator = create_communicator("shm", rank=0, size=1, name=name())
    region = communicator.create_shared_region((3,), "i4")
    kept = region.array
    kept[:] = 7
    assert mappings() == before + 2
    communicator.close()
    region.close()
    assert mappings() == before + 1
    assert kept.tolist() == [7, 7, 7]
    del kept
    assert mappings() == before


def test_calls_of_many_shapes_are_forgotten_again() -> None:
    with alone() as communicator:
        for count in range(300):
            assert communicator.allgatherv(np.ones(count), [count]).sum() == count
        assert len(communicator._gathers) <= 64  # type: ignore[attr-defined]


def test_a_long_wait_is_slept_through(rank_host: RankHost) -> None:
    with RankGroup("shm", 3, host=rank_host) as group:
        spent = group.values(wait_for_rank_0, 2.0)
    assert max(spent) < 0.5, "a spin would have taken all of the two seconds"


def test_an_interrupt_in_a_collective_breaks_the_group(rank_host: RankHost) -> None:
    with RankGroup("shm", 3, host=rank_host) as group:
        assert group.values(interrupted) == ["Aborted: KeyboardInterrupt", "interrupted", "Aborted: KeyboardInterrupt"]


def test_a_forked_child_does_not_end_its_parents_part(rank_host: RankHost) -> None:
    with RankGroup("shm", 2, host=rank_host) as group:
        assert group.values(fork_and_leave) == [True, True]


def test_a_forgotten_communicator_ends_with_the_interpreter() -> None:
    code = f"""
from cobre.transport import create_communicator
import threading
def rank(r):
    held.append(create_communicator("shm", rank=r, size=2, name={name()!r}))
held = []
threads = [threading.Thread(target=rank, args=(r,)) for r in (0, 1)]
[t.start() for t in threads]; [t.join() for t in threads]
held[0].barrier if len(held) == 2 else 1 / 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_environment_says_where_ranks_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"NAME": name(), "RANK": "0", "SIZE": "1"}.items():
        monkeypatch.setenv(f"COBRE_SHM_{variable}", value)
    monkeypatch.setenv("COBRE_COMM_TIMEOUT_MS", "1500")
    with create_communicator() as communicator:
        assert (communicator.backend, communicator.size, communicator.timeout) == ("shm", 1, 1.5)
    with create_communicator("local") as communicator:
        assert communicator.backend == "local"


@pytest.mark.parametrize("wrong", [None, "", "a/b", "a b", "x" * 151, 7])
def test_a_bad_name_is_refused(wrong: object) -> None:
    with pytest.raises(CommError, match="name") as caught:
        create_communicator("shm", rank=0, size=1, name=wrong)
    assert caught.value.kind == "InvalidArgument"


def test_more_ranks_than_a_segment_has_places_for_are_refused() -> None:
    with pytest.raises(CommError, match="at most"):
        create_communicator("shm", rank=0, size=5000, name=name())


def test_a_group_forms_again_beside_its_broken_former_self() -> None:
    shared = name()

    def twice(communicator: Communicator) -> float:
        if communicator.rank == 0:
            communicator.abort("to be formed again")
        with pytest.raises(CommError, match="to be formed again"):
            communicator.barrier()
        again = create_communicator("shm", rank=communicator.rank, size=2, name=shared, generation=1, timeout=20.0)
        with again:
            total = again.allreduce(np.array([1.0 + again.rank]))
        return float(total[0])

    assert on_threads(2, twice, name=shared) == [3.0, 3.0]


def test_an_abort_wakes_sleepers_with_its_reason() -> None:
    def work(communicator: Communicator) -> str:
        if communicator.rank == 0:
            timer = threading.Timer(0.3, communicator.abort, ("enough",))
            timer.start()
        if communicator.rank == 2:
            time.sleep(0.6)
        try:
            communicator.barrier()
            communicator.barrier()
        except CommError as error:
            return f"{error.kind} {error.context['reason']}"
        return "returned"

    assert on_threads(3, work) == ["Aborted enough"] * 3


@pytest.mark.parametrize("missing", ["membarrier", "order of stores", "futex"])
def test_what_a_system_lacks_is_done_without(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patches: dict[str, tuple[object, str, object]] = {
        "membarrier": (control, "be_fenced", lambda: False),
        "order of stores": (meetings, "ORDERED", False),
        "futex": (futex, "_syscall", None),
    }
    monkeypatch.setattr(*patches[missing])

    def work(communicator: Communicator) -> float:
        total = np.zeros(1)
        for round_ in range(200):
            if round_ % 50 == communicator.rank:
                time.sleep(0.01)
            communicator.allreduce(total + 1.0, out=total)
            total /= communicator.size
        return float(total[0])

    assert on_threads(3, work) == [200.0] * 3


@pytest.mark.parametrize("shape", [(2**40, 2**40), (2**62,), (2**70,)])
def test_a_region_beyond_all_memory_is_refused_and_harms_nobody(shape: tuple[int, ...]) -> None:
    with alone() as communicator:
        with pytest.raises(CommError) as caught:
            communicator.create_shared_region(shape, "f8")
        assert caught.value.kind == "OutOfMemory"
        assert communicator.allreduce(np.ones(1)).tolist() == [1.0]


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"connect_timeout": "soon"}, {"capacity": -1}, {"timeout": True}])
def test_settings_that_are_no_numbers_above_zero_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(CommError, match=next(iter(wrong))) as caught, alone(**wrong):
        pass
    assert caught.value.kind == "InvalidArgument"
