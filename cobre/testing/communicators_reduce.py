"""The conformance suite's checks of ``allreduce``, ``broadcast``, ``barrier`` and ``split_local``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.testing.communicators_data import (
    DTYPES,
    LARGE,
    REDUCIBLE,
    agree,
    contribution,
    gathered,
    reduced,
    require_same,
    still_works,
)
from cobre.transport.communicator import Communicator, ReduceOp

__all__ = ["REDUCE_CHECKS"]

Array = NDArray[Any]

_FLOAT = np.dtype(np.float64)


def check_reductions_of_every_dtype(communicator: Communicator) -> None:
    """The three reductions of every dtype that has them; integers wrap around, the sum of bools is "or"."""
    for op in ReduceOp:
        for salt, dtype in enumerate(REDUCIBLE):
            for count in (1, 37):
                parts = [contribution(dtype, rank, count, salt) for rank in range(communicator.size)]
                found = communicator.allreduce(parts[communicator.rank], op)
                require_same(found, reduced(op, parts), f"{op.name} of {count} {dtype}")


def check_reductions_of_all_sizes(communicator: Communicator) -> None:
    """From no element to more than fit in a cache, sums rounded in rank order to the bit."""
    for salt, count in enumerate((0, 1, 2, 127, 128, 129, 4096, LARGE)):
        generators = [np.random.default_rng([salt, rank]) for rank in range(communicator.size)]
        parts = [each.standard_normal(count) * 10.0 ** each.integers(-18, 18, count) for each in generators]
        for op in ReduceOp:
            found = communicator.allreduce(parts[communicator.rank], op)
            require_same(found, reduced(op, parts), f"{op.name} of {count} numbers")
            agree(communicator, [found], f"{op.name} of {count} numbers")


def check_reductions_go_from_rank_zero_upward(communicator: Communicator) -> None:
    """Terms that only come to the right sum in the right order."""
    terms = [1e16, 1.0, -1e16, 1.0, 3.0, -1e16, 0.25, 1e-3, 1e16, -7.0]
    for turn in range(len(terms)):
        order = terms[turn:] + terms[:turn]
        parts = [np.full(9, order[rank % len(order)]) for rank in range(communicator.size)]
        found = communicator.allreduce(parts[communicator.rank])
        require_same(found, reduced(ReduceOp.SUM, parts), f"the sum in rank order of {order[: communicator.size]}")


def check_extremes_are_reduced_alike(communicator: Communicator) -> None:
    """NaN, infinities, signed zeros and overflow: the same bits on every rank, and numpy's."""
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, np.finfo(np.float64).max, -np.finfo(np.float64).max, 5e-324]
    grid = np.array(np.meshgrid(special, special, special)).reshape(3, -1)
    for kind in (np.float64, np.float32, np.complex128):
        with np.errstate(over="ignore"):
            parts = [np.roll(grid[rank % 3], 3 * rank).astype(kind) for rank in range(communicator.size)]
        for op in ReduceOp:
            found = communicator.allreduce(parts[communicator.rank], op)
            require_same(found, reduced(op, parts), f"{op.name} of extremes of {np.dtype(kind)}")
            agree(communicator, [found], f"{op.name} of extremes of {np.dtype(kind)}")


def check_reductions_keep_shapes(communicator: Communicator) -> None:
    """Results have the shape of the contributions, however those lie in memory, and leave them as they were."""
    flats = [contribution(_FLOAT, rank, 24) for rank in range(communicator.size)]
    layouts: dict[str, Callable[[Array], Array]] = {
        "no dimension": lambda flat: flat[:1].reshape(()),
        "three dimensions": lambda flat: flat.reshape(2, 3, 4),
        "Fortran order": lambda flat: np.asfortranarray(flat.reshape(4, 6)),
        "gaps": lambda flat: flat[::3],
        "a transposed window": lambda flat: flat.reshape(4, 6)[1:3, ::2].T,
        "no elements": lambda flat: flat[:0].reshape(3, 0),
    }
    for name, of in layouts.items():
        parts = [of(flat) for flat in flats]
        before = parts[communicator.rank].copy()
        found = communicator.allreduce(parts[communicator.rank], ReduceOp.MAX)
        require_same(found, reduced(ReduceOp.MAX, parts), f"allreduce of an array of {name}")
        require_same(parts[communicator.rank], before, f"a contribution of {name}, after the call,")


def check_reductions_into_out_and_in_place(communicator: Communicator) -> None:
    """``out`` takes the result and is returned; it may be ``send`` itself, and nothing beside it is touched."""
    for count in (1, 50, LARGE):
        for salt, op in enumerate(ReduceOp):
            parts = [contribution(_FLOAT, rank, count, salt) for rank in range(communicator.size)]
            expected = reduced(op, parts)
            around = np.full((3, count), 7.0)
            assert communicator.allreduce(parts[communicator.rank], op, out=around[1]) is not None
            require_same(around[1], expected, f"{op.name} of {count} numbers into out")
            require_same(around[::2], np.full((2, count), 7.0), "what stands beside out")
            send = parts[communicator.rank]
            assert communicator.allreduce(send, op, out=send) is send, "allreduce does not return out"
            require_same(send, expected, f"{op.name} of {count} numbers in place")


def _broadcast_buffers(flat: Array) -> Iterator[tuple[str, Array]]:
    yield "of no dimension", flat[0:1].reshape(())
    yield "of three dimensions", flat[:24].reshape(2, 3, 4)
    yield "in Fortran order", np.asfortranarray(flat[:24].reshape(4, 6))
    yield "with gaps", flat[:24:3]
    yield "a transposed window", flat[:24].reshape(4, 6)[1:3, ::2].T
    yield "without elements", flat[:0]


def check_broadcasts_from_every_root(communicator: Communicator) -> None:
    """Every rank's buffer is filled from the root's, of all sizes and layouts, and nothing beside it is."""
    for root in range(communicator.size):
        for count in (1, 1000, LARGE):
            expected = contribution(_FLOAT, root, count, count)
            around = np.full((3, count), 7.0)
            around[1] = contribution(_FLOAT, communicator.rank, count, count)
            communicator.broadcast(around[1], root)
            require_same(around[1], expected, f"a broadcast of {count} numbers from rank {root}")
            require_same(around[::2], np.full((2, count), 7.0), "what stands beside the buffer")
        sources = dict(_broadcast_buffers(contribution(_FLOAT, root, 24, 5)))
        targets = np.full(24, 7.0)
        for name, buffer in _broadcast_buffers(targets):
            if communicator.rank == root:
                buffer[...] = sources[name]
            communicator.broadcast(buffer, root)
            require_same(buffer, sources[name], f"a broadcast of an array {name} from rank {root}")
            targets[...] = 7.0


def check_every_dtype_is_broadcast(communicator: Communicator) -> None:
    """Every plain dtype, from a root whose buffer need not be writeable."""
    for salt, dtype in enumerate(DTYPES):
        root = salt % communicator.size
        buffer = contribution(dtype, communicator.rank, 9, salt)
        if communicator.rank == root:
            buffer.flags.writeable = False
        communicator.broadcast(buffer, root)
        require_same(buffer, contribution(dtype, root, 9, salt), f"a broadcast of {dtype} from rank {root}")
        del buffer


def check_barriers_in_a_row(communicator: Communicator) -> None:
    """Barriers follow each other without a rank ever passing one that another has not reached."""
    for _ in range(200):
        communicator.barrier()
    for late in range(communicator.size):
        began = communicator.allreduce(np.array([time.monotonic()]), ReduceOp.MAX)[0]  # one clock on one host
        if communicator.rank == late:
            time.sleep(0.02)
            arrived = np.array([time.monotonic()])
        else:
            arrived = np.array([began])
        communicator.barrier()
        passed = communicator.allreduce(np.array([time.monotonic()]), ReduceOp.MIN)[0]
        communicator.broadcast(arrived, late)
        if _one_host(communicator):
            assert passed >= arrived[0], (
                f"a rank passed a barrier {arrived[0] - passed} s before rank {late} came to it"
            )


def check_what_was_written_before_a_barrier_is_read_after(communicator: Communicator) -> None:
    """Files that ranks write before a barrier are whole for the others after it."""
    if not _one_host(communicator):
        return
    with tempfile.TemporaryDirectory() as own:
        name = np.zeros(1, "S4096")
        name[0] = own.encode()
        communicator.broadcast(name, 0)
        directory = Path(name[0].decode())
        for turn in range(20):
            (directory / str(communicator.rank)).write_text(f"{turn} of {communicator.rank}")
            communicator.barrier()
            for rank in range(communicator.size):
                read = (directory / str(rank)).read_text()
                assert read == f"{turn} of {rank}", f"read {read!r} where rank {rank} had written turn {turn}"
            communicator.barrier()


def check_split_groups_work_beside_the_whole(communicator: Communicator) -> None:
    """The ranks of this host, in their order, in a group that lives and closes on its own."""
    with communicator.split_local() as local:
        assert local.size <= communicator.size, f"{local.size} of {communicator.size} ranks are on this host"
        ranks = local.allgatherv(np.array([communicator.rank]), [1] * local.size)
        assert list(ranks) == sorted(set(ranks)), f"the ranks of this host stand as {ranks}"
        assert ranks[local.rank] == communicator.rank, f"rank {local.rank} of {ranks} is {communicator.rank}"
        for salt in range(5):
            still_works(local, salt)
            still_works(communicator, salt + 1)
        if not communicator.is_leader:
            assert communicator.is_leader == (communicator.rank == 0)
        assert local.is_leader == (local.rank == 0)
    assert local.closed, "a communicator is open after its with block"
    assert not communicator.closed, "closing a split communicator closed the one it was split from"
    still_works(communicator, 2)


def _one_host(communicator: Communicator) -> bool:
    with communicator.split_local() as local:
        sizes = communicator.allgatherv(np.array([local.size]), [1] * communicator.size)
        return bool((sizes == communicator.size).all())


def check_gathers_and_reductions_in_turn(communicator: Communicator) -> None:
    """Buffers that grow and shrink from call to call, of every operation, without a wait between."""
    for salt, count in enumerate((1, LARGE, 3, 40_000, 0, 70_000, 1)):
        parts = [contribution(_FLOAT, rank, count, salt) for rank in range(communicator.size)]
        counts = [count] * communicator.size
        root = salt % communicator.size
        everything = communicator.allgatherv(parts[communicator.rank], counts)
        total = communicator.allreduce(parts[communicator.rank])
        buffer = parts[communicator.rank].copy()
        communicator.broadcast(buffer, root)
        require_same(everything, gathered(_FLOAT, counts, salt), f"a gather of {count} amid others")
        require_same(total, reduced(ReduceOp.SUM, parts), f"a sum of {count} amid others")
        require_same(buffer, parts[root], f"a broadcast of {count} amid others")


REDUCE_CHECKS = (
    check_reductions_of_every_dtype,
    check_reductions_of_all_sizes,
    check_reductions_go_from_rank_zero_upward,
    check_extremes_are_reduced_alike,
    check_reductions_keep_shapes,
    check_reductions_into_out_and_in_place,
    check_broadcasts_from_every_root,
    check_every_dtype_is_broadcast,
    check_barriers_in_a_row,
    check_what_was_written_before_a_barrier_is_read_after,
    check_split_groups_work_beside_the_whole,
    check_gathers_and_reductions_in_turn,
)
