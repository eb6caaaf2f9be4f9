"""The conformance suite's checks of how a group ends: closed, aborted, deserted, or not of one mind.

Each breaks the group that it is given, which is then of no further use.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.errors import CommError
from cobre.testing.communicators_data import LARGE, contribution, refusal, require_same, still_works
from cobre.transport.communicator import Communicator, ReduceOp

__all__ = ["BREAKING_CHECKS", "MISMATCHES", "check_mismatch"]

Array = NDArray[Any]

_FLOAT = np.dtype(np.float64)
_BROKEN = {"Aborted", "Mismatch", "RankLost", "Timeout"}
_SHORT, _LONG = 0.6, 60.0  # seconds: a wait that is meant to end in Timeout, one that is not


def _collectives(communicator: Communicator) -> dict[str, Callable[[], Any]]:
    size = communicator.size
    return {
        "allgatherv": lambda: communicator.allgatherv(np.ones(3), [3] * size),
        "allreduce": lambda: communicator.allreduce(np.ones(3)),
        "broadcast": lambda: communicator.broadcast(np.ones(3), 0),
        "barrier": communicator.barrier,
        "create_shared_region": lambda: communicator.create_shared_region(3, np.float64),
        "split_local": communicator.split_local,
    }


def _broken(communicator: Communicator, operation: str, call: Callable[[], Any], kinds: Collection[str]) -> CommError:
    """The error of a call, with what every such error must say."""
    error = refusal(call)
    assert error.kind in kinds, f"{operation} raised {error.kind}, not {' or '.join(kinds)}: {error}"
    assert error.operation == operation, f"{operation} names itself {error.operation}: {error}"
    for name in ("backend", "rank", "size", "generation"):
        told, right = error.context.get(name), getattr(communicator, name)
        assert told == right, f"{operation}: context says {name} {told!r}, but it is {right!r}: {error}"
    return error


def _stays_broken(communicator: Communicator, kinds: Collection[str]) -> None:
    for operation, call in _collectives(communicator).items():
        began = time.monotonic()
        _broken(communicator, operation, call, kinds)
        seconds = time.monotonic() - began
        assert seconds < _LONG / 4, f"{operation} of a broken group took {seconds} s"


def check_closed_communicators_refuse(communicator: Communicator) -> None:
    """After ``close``, which may be repeated, everything raises Closed; arrays that were taken stay readable."""
    assert not communicator.closed
    region = communicator.create_shared_region(10, np.float64)
    if communicator.is_leader:
        region.array[...] = 5.0
    region.fence()
    result, kept = communicator.allreduce(np.ones(3)), region.array
    communicator.barrier()
    communicator.close()
    communicator.close()
    assert communicator.closed, "a communicator is not closed after close"
    _stays_broken(communicator, {"Closed"})
    error = refusal(region.fence)
    assert error.kind == "Closed", f"a fence after the communicator was closed raised {error.kind}"
    communicator.abort("it is closed")
    _stays_broken(communicator, {"Closed"})
    region.close()
    require_same(result, np.full(3, float(communicator.size)), "a result after close")
    require_same(kept, np.full(10, 5.0), "a region's array after close")


def check_what_was_sent_before_close_arrives(communicator: Communicator) -> None:
    """A rank that closes right after its last collective takes nothing from those who come to it late."""
    for last in (False, True):
        buffer = contribution(_FLOAT, communicator.rank, LARGE, 1)
        if not communicator.is_leader:
            time.sleep(0.1 + 0.03 * communicator.rank)
        communicator.broadcast(buffer, 0)
        if last:
            communicator.close()
        require_same(buffer, contribution(_FLOAT, 0, LARGE, 1), "what was broadcast before a close")


def check_a_rank_that_closes_is_missed(communicator: Communicator) -> None:
    """Who waits for a rank that has left is told so, by name, long before the timeout."""
    communicator.timeout, last = _LONG, communicator.size - 1
    communicator.barrier()
    if communicator.size == 1:
        return
    if communicator.rank == last:
        communicator.close()
        return
    began = time.monotonic()
    error = _broken(communicator, "barrier", communicator.barrier, {"RankLost", "Aborted"})
    assert time.monotonic() - began < _LONG / 4, "the loss was noticed late"
    assert error.context.get("ranks") == [last], (
        f"rank {last} closed, but {error.context.get('ranks')} are named: {error}"
    )
    _stays_broken(communicator, _BROKEN)


def check_abort_wakes_every_rank(communicator: Communicator) -> None:
    """Ranks that wait are woken by an abort of any rank, with its reason; nothing works any more."""
    communicator.timeout, last = _LONG, communicator.size - 1
    communicator.barrier()
    began = time.monotonic()
    if communicator.rank == last:
        time.sleep(0.3)
        communicator.abort("the reactor is on fire")
        communicator.abort("twice")
    error = _broken(communicator, "barrier", communicator.barrier, {"Aborted"})
    assert "the reactor is on fire" in error.message, f"the reason is not given: {error}"
    assert time.monotonic() - began < _LONG / 4, "ranks were woken late"
    _stays_broken(communicator, _BROKEN)


def check_abort_from_another_thread(communicator: Communicator) -> None:
    """A rank is woken by an abort from a thread of its own; the others learn of it when they come."""
    communicator.timeout = _LONG
    communicator.barrier()
    if communicator.is_leader:
        waker = threading.Timer(0.3, communicator.abort, ("a watchdog barked",))
        waker.start()
        if communicator.size == 1:
            waker.join()  # nobody to wait for
        _broken(communicator, "allgatherv", _collectives(communicator)["allgatherv"], {"Aborted"})
        waker.join()
    else:
        time.sleep(0.6)
        _right_or_broken(communicator, {"Aborted"}, "a watchdog barked")
    _stays_broken(communicator, _BROKEN)


def check_close_from_another_thread(communicator: Communicator) -> None:
    """A rank that waits when its own communicator is closed gets Closed; it is lost to the others."""
    communicator.timeout = _LONG
    communicator.barrier()
    if communicator.size == 1:
        return
    if communicator.is_leader:
        closer = threading.Timer(0.3, communicator.close)
        closer.start()
        _broken(communicator, "allgatherv", _collectives(communicator)["allgatherv"], {"Closed"})
        closer.join()
        _stays_broken(communicator, {"Closed"})
    else:
        time.sleep(0.6)
        _right_or_broken(communicator, {"RankLost", "Aborted"})
        _stays_broken(communicator, _BROKEN)


def _right_or_broken(communicator: Communicator, kinds: Collection[str], reason: str = "") -> None:
    """A gather to which a rank that has gone since may have made its contribution: whole, or not at all."""
    try:
        found = _collectives(communicator)["allgatherv"]()
    except CommError as error:
        raised = error.with_traceback(None)
    else:
        require_same(found, np.ones(3 * communicator.size), "a gather that a rank went away from")
        return
    assert raised.kind in kinds, f"allgatherv raised {raised.kind}, not {' or '.join(kinds)}: {raised}"
    assert reason in raised.message, f"the reason is not given: {raised}"


def check_a_rank_that_never_comes(communicator: Communicator) -> None:
    """The others time out and name it; when it comes at last it finds the group broken."""
    communicator.timeout, last = _LONG, communicator.size - 1
    communicator.barrier()
    if communicator.size == 1:
        return
    communicator.timeout = _SHORT
    if communicator.rank == last:
        time.sleep(_SHORT + 0.5)
        _right_or_broken(communicator, _BROKEN)
        _stays_broken(communicator, _BROKEN)
        return
    began = time.monotonic()
    gather = _collectives(communicator)["allgatherv"]
    error = _broken(communicator, "allgatherv", gather, {"Timeout", "Aborted"})
    seconds = time.monotonic() - began
    assert seconds < _SHORT + 10.0, f"the timeout was {_SHORT} s, the error came after {seconds} s"
    assert error.context.get("ranks") == [last], f"rank {last} is absent, but {error.context.get('ranks')} are named"
    _stays_broken(communicator, _BROKEN)


def check_split_groups_outlive_the_whole(communicator: Communicator) -> None:
    """A group that was split off works after the whole was closed, and after it was aborted."""
    first, second = communicator.split_local(), communicator.split_local()
    with first, second:
        communicator.barrier()
        still_works(first, 0)  # all ranks have left the barrier
        communicator.abort("only the whole")
        still_works(first, 1)
        communicator.close()
        still_works(second, 2)
        first.close()
        still_works(second, 3)


def _counts(communicator: Communicator, odd: bool) -> list[int]:
    return [2 + odd if rank == communicator.size - 1 else 2 for rank in range(communicator.size)]


# What the last rank does (odd) while the others do something else.
MISMATCHES: dict[str, Callable[[Communicator, bool], Any]] = {
    "operation": lambda comm, odd: comm.barrier() if odd else comm.allreduce(np.ones(2)),
    "large operation": lambda comm, odd: comm.broadcast(np.ones(LARGE)) if odd else comm.allreduce(np.ones(LARGE)),
    "count": lambda comm, odd: comm.allgatherv(np.ones(_counts(comm, odd)[comm.rank]), _counts(comm, odd)),
    "dtype of a gather": lambda comm, odd: comm.allgatherv(np.ones(2, "i8" if odd else "f8"), [2] * comm.size),
    "dtype of a reduction": lambda comm, odd: comm.allreduce(np.ones(2, "i8" if odd else "f8")),
    "byte order": lambda comm, odd: comm.allreduce(np.ones(2, ">f8" if odd else "<f8")),
    "shape of a reduction": lambda comm, odd: comm.allreduce(np.ones((2, 3) if odd else (3, 2))),
    "size of a reduction": lambda comm, odd: comm.allreduce(np.ones(LARGE + odd)),
    "reduction": lambda comm, odd: comm.allreduce(np.ones(2), ReduceOp.MAX if odd else ReduceOp.MIN),
    "root": lambda comm, odd: comm.broadcast(np.ones(2), 1 if odd else 0),
    "size of a broadcast": lambda comm, odd: comm.broadcast(np.ones(3 if odd else 2), 0),
    "dtype of a broadcast": lambda comm, odd: comm.broadcast(np.ones(2, "i8" if odd else "f8"), 0),
    "shape of a region": lambda comm, odd: comm.create_shared_region((2, 3) if odd else (3, 2), np.float64),
    "dtype of a region": lambda comm, odd: comm.create_shared_region(3, "i8" if odd else "f8"),
    "split": lambda comm, odd: comm.split_local() if odd else comm.barrier(),
}


_ONE_WAY = {"large operation", "root", "size of a broadcast", "dtype of a broadcast"}


def check_mismatch(communicator: Communicator, name: str) -> None:
    """One of ``MISMATCHES``: every rank learns that the calls differ, and none is given a result.

    What a root sends may reach ranks that agree with it before others are heard of: their next collective raises.
    """
    communicator.timeout = _LONG
    if communicator.size == 1:
        return
    odd, began = communicator.rank == communicator.size - 1, time.monotonic()

    def calls() -> None:
        still_works(communicator, 1)  # some may still be at it when others have found out
        MISMATCHES[name](communicator, odd)
        if name in _ONE_WAY:
            communicator.barrier()

    error = refusal(calls)
    assert error.kind == "Mismatch", f"calls that differ in {name} raised {error.kind}: {error}"
    assert error.context.get("ranks"), f"calls that differ in {name}: no rank is named: {error}"
    assert time.monotonic() - began < _LONG / 4, f"calls that differ in {name} were noticed late"
    _stays_broken(communicator, _BROKEN)


BREAKING_CHECKS = (
    check_closed_communicators_refuse,
    check_what_was_sent_before_close_arrives,
    check_a_rank_that_closes_is_missed,
    check_abort_wakes_every_rank,
    check_abort_from_another_thread,
    check_close_from_another_thread,
    check_a_rank_that_never_comes,
    check_split_groups_outlive_the_whole,
)
