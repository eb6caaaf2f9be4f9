"""What the ranks of the tests do: functions that run in the ranks' own processes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.errors import CommError
from cobre.testing.communicators import random_script, run_script
from cobre.testing.communicators_data import contribution, digest, gathered, reduced, require_same, still_works
from cobre.transport import Communicator, ReduceOp

_FLOAT = np.dtype(np.float64)
_old: list[Communicator] = []  # of this rank's process


def place(communicator: Communicator) -> tuple[int, int, int]:
    return communicator.rank, communicator.size, communicator.generation


def fixed_script(communicator: Communicator, seed: int) -> bytes:
    """A digest of what a fixed sequence of collectives returned."""
    size, results = communicator.size, []
    for turn, parts in enumerate(_parts(seed, size)):
        send = parts[communicator.rank]
        results.append(communicator.allgatherv(send, [part.size for part in parts]))
        for op in ReduceOp:
            results.append(communicator.allreduce(send, op))
        buffer = send.copy()
        communicator.broadcast(buffer, turn % size)
        results.append(buffer)
    return digest(results)


def expected_digest(seed: int, size: int) -> bytes:
    """What ``fixed_script`` must return, without any communicator."""
    results: list[NDArray[Any]] = []
    for turn, parts in enumerate(_parts(seed, size)):
        results.append(np.concatenate(parts))
        results.extend(reduced(op, parts) for op in ReduceOp)
        results.append(parts[turn % size])
    return digest(results)


def _parts(seed: int, size: int) -> list[list[NDArray[Any]]]:
    """A list of contributions for each turn: numbers whose sums round, with NaN, -0.0 and infinities among them."""
    script = []
    for turn, count in enumerate((1, 3, 17, 1000, 20_000, 0, 64)):
        parts = []
        for rank in range(size):
            draw = np.random.default_rng([seed, turn, rank])
            part = draw.standard_normal(count) * 10.0 ** draw.integers(-12, 12, count)
            for at, value in enumerate((np.nan, np.inf, -np.inf, -0.0, 0.0)):
                part[at + rank :: 23] = value
            parts.append(part)
        script.append(parts)
    return script


def reduced_by_hand(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return reduced(ReduceOp.SUM, parts)


def views_and_regions(communicator: Communicator) -> tuple[bool, bool]:
    """Whether a view stops the next collective, and whether a region is shared."""
    view = communicator.allgatherv(np.ones(100), [100] * communicator.size, copy=False)
    stopped = not view.flags.writeable and not view.flags.owndata
    try:
        communicator.barrier()
    except CommError as error:
        stopped = stopped and error.kind == "ViewAlive"
    else:
        stopped = False
    del view
    communicator.barrier()
    with communicator.create_shared_region(5, np.float64) as region:
        shared = region.is_shared
        communicator.barrier()
    return stopped, shared


def leave_unfinished(communicator: Communicator, turn: int) -> None:
    """Leaves the group in the middle of a collective: all but rank 0 have made it when rank 0 aborts."""
    _old.append(communicator)
    if communicator.is_leader:
        threading.Event().wait(0.05)
        communicator.abort(f"the end of generation {turn - 1}")
        return
    try:
        communicator.allgatherv(np.full(50, -1.0), [50] * communicator.size)
    except CommError as error:
        kind = error.kind
    else:
        raise AssertionError("a gather returned without rank 0")
    assert kind == "Aborted", f"a gather without rank 0 raised {kind}"


def work_beside_the_old(communicator: Communicator, turn: int) -> None:
    """The new group works while the old one is aborted again, called and closed."""
    run_script(communicator, random_script(turn, communicator.size, 50), turn)
    old = _old.pop()
    assert old is not communicator
    old.abort("again")
    try:
        old.allgatherv(np.full(50, -2.0), [50] * old.size)
    except CommError as error:
        kind = error.kind
    else:
        raise AssertionError("the old group still works")
    assert kind == "Aborted", f"the old group raised {kind}"
    still_works(communicator, turn)
    if turn % 2:
        old.close()
    run_script(communicator, random_script(turn + 100, communicator.size, 50), turn)


def gather_rightly(communicator: Communicator, count: int, salt: int) -> None:
    counts = [count + rank for rank in range(communicator.size)]
    found = communicator.allgatherv(contribution(_FLOAT, communicator.rank, counts[communicator.rank], salt), counts)
    require_same(found, gathered(_FLOAT, counts, salt), f"gather {salt}")
