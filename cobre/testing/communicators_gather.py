"""The conformance suite's checks of ``allgatherv``: contents, buffers, and views that must not be outlived."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.errors import CommError
from cobre.testing.communicators_data import (
    DTYPES,
    LARGE,
    agree,
    contribution,
    gathered,
    refusal,
    require_same,
    still_works,
)
from cobre.transport.communicator import Communicator

__all__ = ["GATHER_CHECKS"]

Array = NDArray[Any]

_FLOAT = np.dtype(np.float64)


def _all_counts(size: int) -> Iterator[list[int]]:
    yield [1] * size
    yield [3 * rank + 1 for rank in range(size)]
    yield [5 * (size - rank) for rank in range(size)]
    yield [0 if rank % 2 else 6 for rank in range(size)]
    yield [6 if rank % 2 else 0 for rank in range(size)]
    yield [0] * (size - 1) + [1]
    yield [0] * size
    yield [LARGE] * size
    yield [LARGE] + [0] * (size - 1)
    yield [rank * LARGE // size for rank in range(size)]
    yield [2] * size


def check_counts_of_all_kinds(communicator: Communicator) -> None:
    """Heterogeneous, empty, single and large contributions; as a new array, into ``out``, and as a view."""
    for salt, counts in enumerate(_all_counts(communicator.size)):
        send = contribution(_FLOAT, communicator.rank, counts[communicator.rank], salt)
        expected = gathered(_FLOAT, counts, salt)
        found = communicator.allgatherv(send, counts)
        require_same(found, expected, f"allgatherv of {counts} elements")
        out = np.full(sum(counts), -1.0)
        assert communicator.allgatherv(send, counts, out=out) is out, "allgatherv does not return out"
        require_same(out, expected, f"allgatherv of {counts} elements into out")
        require_same(communicator.allgatherv(send, counts, copy=False), expected, f"a view of {counts} elements")
        agree(communicator, [found, out], f"allgatherv of {counts} elements")


def check_every_dtype_is_gathered(communicator: Communicator) -> None:
    """Every plain dtype arrives as it was, byte order and all."""
    counts = [(2 * rank + 3) % 5 for rank in range(communicator.size)]
    for salt, dtype in enumerate(DTYPES):
        send = contribution(dtype, communicator.rank, counts[communicator.rank], salt)
        expected = gathered(dtype, counts, salt)
        require_same(communicator.allgatherv(send, counts), expected, f"allgatherv of {dtype}")
        out = np.zeros(sum(counts), dtype)
        require_same(communicator.allgatherv(send, counts, out=out), expected, f"allgatherv of {dtype} into out")
        require_same(communicator.allgatherv(send, counts, copy=False), expected, f"a view of {dtype}")


def check_bits_of_floats_survive(communicator: Communicator) -> None:
    """NaNs of any payload, negative zeros, infinities and subnormal numbers are gathered as they are."""
    bits = [0x7FF8000000000000, 0xFFF8000000000001, 0x7FF0000000000001, 0x8000000000000000, 0x7FF0000000000000, 1]
    own = np.array([bit ^ (communicator.rank << 4) for bit in bits], np.uint64)
    everybody = np.concatenate([np.array(bits, np.uint64) ^ np.uint64(rank << 4) for rank in range(communicator.size)])
    found = communicator.allgatherv(own.view(np.float64), [len(bits)] * communicator.size)
    require_same(found.view(np.uint64), everybody, "the bits of gathered floats")


def _buffers(rank: int) -> Iterator[tuple[str, Array]]:
    """Arrays of twelve elements (one of the first) that are laid out in every way."""
    flat = contribution(_FLOAT, rank, 48, 3)
    yield "of no dimension", np.array(rank + 0.5)
    yield "of three dimensions", flat[:12].reshape(2, 3, 2)
    yield "in Fortran order", np.asfortranarray(flat[:12].reshape(3, 4))
    yield "transposed", flat[:12].reshape(4, 3).T
    yield "with gaps", flat[::4]
    yield "backwards", flat[11::-1]
    yield "a window", flat.reshape(6, 8)[1:4, 2:6]
    yield "repeated", np.broadcast_to(flat[:3], (4, 3))
    frozen = flat[:12].copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    yield "off alignment", np.frombuffer(b"\0" + flat[:12].tobytes(), _FLOAT, 12, 1)
    yield "empty, of two dimensions", np.empty((0, 4))


def check_buffers_laid_out_in_every_way(communicator: Communicator) -> None:
    """Contributions are read in C order however they lie in memory, and are left as they were."""
    buffers = [dict(_buffers(rank)) for rank in range(communicator.size)]
    for name, send in buffers[communicator.rank].items():
        parts = [each[name].flatten() for each in buffers]
        expected, before = np.concatenate(parts), send.copy()
        for copy in (True, False):
            found = communicator.allgatherv(send, [part.size for part in parts], copy=copy)
            require_same(found, expected, f"allgatherv of an array {name}")
            del found
        require_same(send, before, f"a contribution {name}, after the call,")


def check_counts_of_every_type(communicator: Communicator) -> None:
    """Counts may be a list, a tuple or an array of any integer type."""
    plain = [rank + 1 for rank in range(communicator.size)]
    kinds: list[Any] = [plain, tuple(plain), [np.int64(count) for count in plain]]
    for counts in [*kinds, *(np.array(plain, dtype) for dtype in (np.int64, np.int32, np.uint8, ">i4"))]:
        found = communicator.allgatherv(contribution(_FLOAT, communicator.rank, plain[communicator.rank]), counts)
        require_same(found, gathered(_FLOAT, plain), f"allgatherv with counts of {type(counts).__name__}")


def check_out_is_filled_and_no_more(communicator: Communicator) -> None:
    """What stands before and after ``out`` in memory is left alone; ``out`` may be part of a larger array."""
    counts = [4 + rank for rank in range(communicator.size)]
    total = sum(counts)
    around = np.full((3, total), 7.0)
    for salt in range(3):
        send = contribution(_FLOAT, communicator.rank, counts[communicator.rank], salt)
        communicator.allgatherv(send, counts, out=around[1], copy=bool(salt % 2))
        require_same(around[1], gathered(_FLOAT, counts, salt), "out amid a larger array")
        require_same(around[::2], np.full((2, total), 7.0), "what stands beside out")


def check_results_belong_to_the_caller(communicator: Communicator) -> None:
    """A copy can be written to and is never touched again; a contribution can be changed once the call is over."""
    size = communicator.size
    counts = [3 + rank for rank in range(size)]
    kept = []
    for salt in range(20):
        send = contribution(_FLOAT, communicator.rank, counts[communicator.rank], salt)
        kept.append(communicator.allgatherv(send, counts))
        send[...] = -5.0
    for salt, found in enumerate(kept):
        require_same(found, gathered(_FLOAT, counts, salt), f"result {salt} of 20, after all of them,")
        found[...] = 0.0
    still_works(communicator, 1)


def check_views_hold_until_the_next_collective(communicator: Communicator) -> None:
    """A view is what was sent, whatever becomes of the contributions, and cannot be written to if it is shared."""
    for salt, count in enumerate((1, 1000, LARGE)):
        counts = [count + rank for rank in range(communicator.size)]
        send = contribution(_FLOAT, communicator.rank, counts[communicator.rank], salt)
        view = communicator.allgatherv(send, counts, copy=False)
        send[...] = -5.0
        time.sleep(0.01)  # the others have changed theirs too
        require_same(view, gathered(_FLOAT, counts, salt), "a view, after the contributions were changed,")
        if not view.flags.owndata:
            assert not view.flags.writeable, "a view can be written to"
        del view


def _parts_of(view: Array) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    yield "the view", lambda whole: whole
    yield "a slice of it", lambda whole: whole[1:3]
    yield "a reshaped slice", lambda whole: whole[:4].reshape(2, 2)
    yield "its bytes", lambda whole: whole.view(np.uint8)[::2]
    yield "a memoryview of it", memoryview
    yield "a memoryview of a slice", lambda whole: memoryview(whole[2:])


def check_views_in_use_stop_the_next_collective(communicator: Communicator) -> None:
    """While a view, or a part of it, is in use, every collective raises ViewAlive, or the view is not harmed by it."""
    counts = [5 + rank for rank in range(communicator.size)]
    send = contribution(_FLOAT, communicator.rank, counts[communicator.rank], 1)
    expected = gathered(_FLOAT, counts, 1)
    names = [name for name, _ in _parts_of(expected)]
    for name in names:
        view = communicator.allgatherv(send, counts, copy=False)
        part = dict(_parts_of(view))[name](view)
        right = np.array(dict(_parts_of(expected))[name](expected))
        del view
        if _stopped(communicator):
            _refused_everywhere(communicator, send, counts)
        else:
            still_works(communicator, 2)
        require_same(np.array(part), right, f"{name} after the next collective")
        part = None
        still_works(communicator, 3)


def _stopped(communicator: Communicator) -> bool:
    """Whether a barrier, made now, raises ViewAlive; if not, it was made."""
    try:
        communicator.barrier()
    except CommError as error:
        kind = error.kind
    else:
        return False
    assert kind == "ViewAlive", f"barrier with a view alive raised {kind}"
    return True


def _refused_everywhere(communicator: Communicator, send: Array, counts: list[int]) -> None:
    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (communicator.barrier, ()),
        (communicator.allgatherv, (send, counts)),
        (communicator.allreduce, (np.ones(3),)),
        (communicator.broadcast, (np.ones(3),)),
        (communicator.create_shared_region, (3, np.float64)),
        (communicator.split_local, ()),
    ]
    for call, args in calls:
        error = refusal(call, *args)
        assert error.kind == "ViewAlive", f"{call.__name__} with a view alive raised {error.kind}: {error}"
        assert error.operation == call.__name__, f"{call.__name__} names itself {error.operation}"


def check_one_rank_may_hold_its_view_longer(communicator: Communicator) -> None:
    """Ranks that have dropped their views wait for the one that has not, and all go on when it does."""
    counts = [5 + rank for rank in range(communicator.size)]
    for holder in range(communicator.size):
        send = contribution(_FLOAT, communicator.rank, counts[communicator.rank], holder)
        view = communicator.allgatherv(send, counts, copy=False)
        if communicator.rank != holder:
            del view
            communicator.barrier()
        elif _stopped(communicator):
            time.sleep(0.01)  # the others are in the barrier
            require_same(view, gathered(_FLOAT, counts, holder), "a view that one rank still holds")
            del view
            communicator.barrier()
        still_works(communicator, holder)


GATHER_CHECKS = (
    check_counts_of_all_kinds,
    check_every_dtype_is_gathered,
    check_bits_of_floats_survive,
    check_buffers_laid_out_in_every_way,
    check_counts_of_every_type,
    check_out_is_filled_and_no_more,
    check_results_belong_to_the_caller,
    check_views_hold_until_the_next_collective,
    check_views_in_use_stop_the_next_collective,
    check_one_rank_may_hold_its_view_longer,
)
