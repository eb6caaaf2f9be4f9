"""The conformance suite's checks of bad arguments: refused before anything is sent, the group as good as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from cobre.testing.communicators_data import refusal, require_same, still_works
from cobre.transport.communicator import Communicator, ReduceOp

__all__ = ["REFUSAL_CHECKS"]

Call = tuple[str, Callable[[], Any]]


def _frozen(count: int) -> Any:
    array = np.zeros(count)
    array.flags.writeable = False
    return array


def _bad_gathers(communicator: Communicator) -> Iterator[Call]:
    size = communicator.size
    gather: Callable[..., Any] = communicator.allgatherv
    send, counts = np.zeros(3), [3] * size
    objects = np.array([None, 1, "x"], object)
    record = np.zeros(3, [("number", "f8"), ("thing", "O")])
    bad_counts: dict[str, Any] = {
        "too few counts": counts[1:],
        "too many counts": [*counts, 3],
        "a negative count": [-3] * size,
        "a fractional count": [3.0] * size,
        "one number for counts": 3,
        "no counts": None,
        "counts that are text": ["3"] * size,
        "counts other than what is sent": [4] * size,
        "counts of two dimensions": np.full((size, 1), 3),
    }
    for name, bad in bad_counts.items():
        yield name, partial(gather, send, bad)
    for name, bad in {"a list": [1.0, 2.0, 3.0], "a number": 3.0, "objects": objects, "objects within": record}.items():
        yield f"send: {name}", partial(gather, bad, counts)
    total = 3 * size
    for name, bad in {
        "too short": np.zeros(total - 1),
        "too long": np.zeros(total + 1),
        "of two dimensions": np.zeros((size, 3)),
        "of another dtype": np.zeros(total, np.float32),
        "of another byte order": np.zeros(total, ">f8"),
        "with gaps": np.zeros(2 * total)[::2],
        "read-only": _frozen(total),
        "a list": [0.0] * total,
    }.items():
        yield f"out: {name}", partial(gather, send, counts, out=bad)


def _bad_reductions(communicator: Communicator) -> Iterator[Call]:
    reduce: Callable[..., Any] = communicator.allreduce
    send = np.zeros(3)
    for bad in ("sum", None, 1, np.add, max):
        yield f"op {bad!r}", partial(reduce, send, bad)
    for dtype in ("S3", "U2", "M8[s]", "m8[s]", "V4", [("a", "f8")], object):
        yield f"send of {dtype}", partial(reduce, np.zeros(3, dtype))
    yield "send: a list", lambda: reduce([1.0, 2.0])
    yield "send: a number", lambda: reduce(1.0)
    for name, bad in {
        "another length": np.zeros(4),
        "another shape": np.zeros((3, 1)),
        "another dtype": np.zeros(3, np.int64),
        "gaps": np.zeros(6)[::2],
        "no right to write": _frozen(3),
    }.items():
        yield f"out of {name}", partial(reduce, send, ReduceOp.MIN, out=bad)


def _bad_broadcasts(communicator: Communicator) -> Iterator[Call]:
    size, buffer = communicator.size, np.zeros(3)
    cast: Callable[..., Any] = communicator.broadcast
    for bad in (-1, size, 10**9, 0.0, "0", None, False):
        yield f"root {bad!r}", partial(cast, buffer, bad)
    yield "buf: a list", lambda: cast([1.0, 2.0], 0)
    yield "buf: objects", lambda: cast(np.array([None], object), 0)
    if size > 1:
        other = (communicator.rank + 1) % size
        yield "buf: read-only where it is not the root's", lambda: cast(_frozen(3), other)


def _bad_regions(communicator: Communicator) -> Iterator[Call]:
    create: Callable[..., Any] = communicator.create_shared_region
    for bad in (-1, (2, -1), 1.5, (2, 1.5), None):
        yield f"shape {bad!r}", partial(create, bad, np.float64)
    for dtype in (object, "no such dtype", [("a", "O")]):
        yield f"dtype {dtype!r}", partial(create, 3, dtype)


_BAD: dict[str, Callable[[Communicator], Iterator[Call]]] = {
    "allgatherv": _bad_gathers,
    "allreduce": _bad_reductions,
    "broadcast": _bad_broadcasts,
    "create_shared_region": _bad_regions,
}


def _refused(operation: str, name: str, call: Callable[[], Any]) -> None:
    try:
        error = refusal(call)
    except AssertionError as wrong:
        raise AssertionError(f"{operation} with bad {name}: {wrong}") from None
    assert error.kind == "InvalidArgument", f"{operation} with bad {name} raised {error.kind}: {error}"
    assert error.operation == operation, f"{operation} with bad {name} names itself {error.operation}"


def check_bad_arguments_are_refused(communicator: Communicator) -> None:
    """On all ranks at once: InvalidArgument that names the operation, after which the group works."""
    for salt, (operation, bad) in enumerate(_BAD.items()):
        for name, call in bad(communicator):
            _refused(operation, name, call)
        still_works(communicator, salt)


def check_bad_arguments_of_one_rank_harm_nobody(communicator: Communicator) -> None:
    """While the others wait in a good call, one rank's bad ones raise on it alone; its good one then meets theirs."""
    for culprit in range(communicator.size):
        for salt, (operation, bad) in enumerate(_BAD.items()):
            if communicator.rank == culprit:
                for name, call in bad(communicator):
                    _refused(operation, name, call)
            still_works(communicator, salt + culprit)


def check_refused_calls_leave_buffers_alone(communicator: Communicator) -> None:
    """What a refused call was given is as it was."""
    size, send = communicator.size, np.arange(3.0)
    out, buffer = np.full(3 * size, 7.0), np.full(3, 7.0)
    refusal(communicator.allgatherv, send, [4] * size, out=out)
    refusal(communicator.allreduce, send, "sum", out=buffer)
    refusal(communicator.broadcast, buffer, size)
    require_same(out, np.full(3 * size, 7.0), "the out of a refused gather")
    require_same(buffer, np.full(3, 7.0), "the buffer of a refused call")
    require_same(send, np.arange(3.0), "the contribution to a refused call")
    still_works(communicator, 1)


REFUSAL_CHECKS = (
    check_bad_arguments_are_refused,
    check_bad_arguments_of_one_rank_harm_nobody,
    check_refused_calls_leave_buffers_alone,
)
