"""What ranks do in the tests of faults: one collective over and over, each result checked, until something happens."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.errors import CommError
from cobre.testing.communicators_data import still_works
from cobre.testing.ranks import tell
from cobre.transport import Communicator, ReduceOp, create_communicator

Deed = Callable[[int], None]

TURNS = 100_000
SMALL, LARGE = 100, 1_250_000  # elements: 800 bytes and 10 MB
_TRANSPORT = str(Path("cobre", "transport"))
_NEW_MOUNTS = 0x00020000


@dataclass(frozen=True)
class Loss:
    """How a rank learned that something was wrong: ``turns`` results were right before."""

    turns: int
    kind: str
    operation: str | None
    ranks: list[int]
    message: str
    seconds: float


def _pattern(count: int, rank: int, turn: int) -> NDArray[Any]:
    return np.arange(count, dtype=np.float64) + (1000.0 * turn + 10.0 * rank)


def _same(found: NDArray[Any], expected: NDArray[Any], what: str) -> None:
    assert np.array_equal(found, expected), f"wrong data in {what}: {found[:3]}... instead of {expected[:3]}..."


def _gather(comm: Communicator, count: int, copy: bool) -> Deed:
    def deed(turn: int) -> None:
        view = comm.allgatherv(_pattern(count, comm.rank, turn), [count] * comm.size, copy=copy)
        for rank in range(comm.size):
            _same(view[rank * count : (rank + 1) * count], _pattern(count, rank, turn), f"gather {turn}")

    return deed


def _reduce(comm: Communicator, count: int) -> Deed:
    def deed(turn: int) -> None:
        found = comm.allreduce(_pattern(count, comm.rank, turn), ReduceOp.SUM)
        _same(found, sum(_pattern(count, rank, turn) for rank in range(comm.size)), f"sum {turn}")  # type: ignore[arg-type]

    return deed


def _broadcast(comm: Communicator, count: int) -> Deed:
    def deed(turn: int) -> None:
        root = turn % comm.size
        buffer = _pattern(count, comm.rank, turn)
        comm.broadcast(buffer, root)
        _same(buffer, _pattern(count, root, turn), f"broadcast {turn}")

    return deed


def _region(comm: Communicator) -> Deed:
    def deed(turn: int) -> None:
        with comm.create_shared_region(500, np.float64) as region:
            _same(region.array, np.zeros(500), f"new region {turn}")

    return deed


def _fence(comm: Communicator) -> Deed:
    region = comm.create_shared_region(500, np.float64)

    def deed(turn: int) -> None:
        if comm.is_leader:
            region.array[...] = _pattern(500, 0, turn)
        region.fence()
        found = region.array.copy()
        region.fence()
        _same(found, _pattern(500, 0, turn), f"region {turn}")

    return deed


def _split(comm: Communicator) -> Deed:
    def deed(turn: int) -> None:
        with comm.split_local() as local:
            assert (local.rank, local.size) == (comm.rank, comm.size), f"split {turn}: {local.rank} of {local.size}"

    return deed


DEEDS: dict[str, Callable[[Communicator], Deed]] = {
    "allgatherv": lambda comm: _gather(comm, SMALL, copy=True),
    "allgatherv as a view": lambda comm: _gather(comm, SMALL, copy=False),
    "large allgatherv": lambda comm: _gather(comm, 20_000, copy=True),
    "allreduce": lambda comm: _reduce(comm, SMALL),
    "large allreduce": lambda comm: _reduce(comm, 20_000),
    "broadcast": lambda comm: _broadcast(comm, SMALL),
    "barrier": lambda comm: lambda turn: comm.barrier(),
    "create_shared_region": _region,
    "fence": _fence,
    "split_local": _split,
}
HUGE: dict[str, Callable[[Communicator], Deed]] = {
    "allgatherv": lambda comm: _gather(comm, LARGE, copy=True),
    "allgatherv as a view": lambda comm: _gather(comm, LARGE, copy=False),
    "allreduce": lambda comm: _reduce(comm, LARGE),
    "broadcast": lambda comm: _broadcast(comm, 2 * LARGE),
}


def repeat(comm: Communicator, name: str, huge: bool = False, timeout: float = 60.0) -> Loss:
    """The collective until it fails. Wrong data is an AssertionError, and so is no failure at all."""
    deed = (HUGE if huge else DEEDS)[name](comm)
    comm.timeout = timeout
    tell("going")
    return _until_lost(deed, 0)


def _until_lost(deed: Deed, first: int) -> Loss:
    for turn in range(first, TURNS):
        began = time.monotonic()
        try:
            deed(turn)
        except CommError as error:
            ranks = error.context.get("ranks", [])
            seconds = time.monotonic() - began
            return Loss(turn - first, error.kind, error.operation, ranks, str(error), seconds)
    raise AssertionError(f"nothing happened in {TURNS} turns")


def for_a_while(comm: Communicator, name: str, seconds: float) -> int:
    """The collective until rank 0 says that ``seconds`` are over; how many there were."""
    deed, began = DEEDS[name](comm), time.monotonic()
    tell("going")
    for turn in range(TURNS):
        deed(turn)
        over = np.array([time.monotonic() - began > seconds])
        comm.broadcast(over, 0)
        if over[0]:
            return turn + 1
    return TURNS


def die_there(comm: Communicator, name: str, victim: int, when: str | float) -> Loss:
    """The victim kills itself: before its third collective, after it, or a fraction of its lines of Python into it."""
    deed = DEEDS[name](comm)
    comm.barrier()
    if comm.rank != victim:  # may hear of the death while they are still at the collective before
        return _until_lost(deed, 0)
    deed(0)
    lines = _lines_of(deed, 1)
    if when == "before":
        time.sleep(0.05)  # the others are waiting
    elif when == "after":
        deed(2)
    else:
        _lines_of(deed, 2, int(float(when) * lines))
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a rank survived SIGKILL")


def _lines_of(deed: Deed, turn: int, last: int = sys.maxsize) -> int:
    """How many lines of the transport a deed runs through; at the ``last`` this process is killed."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if _TRANSPORT not in frame.f_code.co_filename:
            return None
        if event == "line":
            count += 1
            if count > last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        deed(turn)
    finally:
        sys.settrace(None)
    return count


def form(settings: dict[str, Any], works: int = 3) -> Any:
    """Joins a group, as a rank without one; what ``still_works`` needs is checked, then it leaves."""
    with create_communicator(**settings) as comm:
        for salt in range(works):
            still_works(comm, salt)
        comm.barrier()
        return comm.rank, comm.size


def form_and_tell(settings: dict[str, Any]) -> Any:
    """As ``form``; where rank 0 was told to, its address is passed on."""
    return form({**settings, "announce": tell})


def own_shared_memory(size: int) -> int:
    """This process, alone, sees a /dev/shm of so many bytes from now on; its process id, for others to join it."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = [
        lambda: libc.unshare(_NEW_MOUNTS),
        lambda: libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None),  # MS_REC | MS_PRIVATE
        lambda: libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, f"size={size}".encode()),
    ]
    for step in steps:
        if step() != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return os.getpid()


def join_shared_memory(pid: int) -> None:
    """This process sees the /dev/shm of another."""
    with open(f"/proc/{pid}/ns/mnt") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEW_MOUNTS) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def names_in_shared_memory() -> list[str]:
    return sorted(os.listdir("/dev/shm"))


def run_out_of_memory(settings: dict[str, Any]) -> list[Any]:
    """What calls that need more memory than there is raised; the group works after each."""
    heard: list[Any] = []
    with create_communicator(**settings) as comm:
        calls: list[Callable[[], Any]] = [
            lambda: comm.allgatherv(np.ones(LARGE), [LARGE] * comm.size),
            lambda: comm.allgatherv(np.ones(LARGE), [LARGE] * comm.size, copy=False),
            lambda: comm.allreduce(np.ones(LARGE)),
            lambda: comm.broadcast(np.ones(LARGE), comm.size - 1),
            lambda: comm.create_shared_region(LARGE, np.float64),
        ]
        for salt, call in enumerate(calls):
            try:
                call()
            except CommError as error:
                heard.append((error.kind, error.operation))
            else:
                heard.append(("returned", None))
            still_works(comm, salt)
        with comm.create_shared_region(1000, np.float64) as region:
            region.fence()
        comm.barrier()
    return heard
