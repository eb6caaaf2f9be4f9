"""What ranks do in the tests of compiled exchanges."""

from __future__ import annotations

import ctypes
import os
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cobre.errors import CommError
from cobre.transport.communicator import Communicator, CompiledExchange

HERE, LATE, LARGE = 0, 1, 2


def exchange_of(communicator: Communicator) -> CompiledExchange:
    found = communicator.compiled()
    assert found is not None, "meet.c is not compiled"
    return found


class Caller:
    """Does what a compiled loop does."""

    def __init__(self, communicator: Communicator) -> None:
        self.ranks, self.exchange = communicator.size, exchange_of(communicator)
        prototype = ctypes.CFUNCTYPE(
            ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(ctypes.c_void_p)
        )
        self._swap: Callable[..., int] = prototype(self.exchange.function)
        self.late = 0

    def once(self, mine: np.ndarray[Any, Any]) -> tuple[int, ctypes.c_void_p]:
        received = ctypes.c_void_p()
        return self._swap(self.exchange.state, mine.ctypes.data, mine.size, ctypes.byref(received)), received

    def __call__(self, mine: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        code, received = self.once(mine)
        while code == LATE:
            self.late += 1
            self.exchange.wait()
            code, received = self.once(mine)
        assert code == HERE
        assert received.value is not None
        numbers = (ctypes.c_double * (self.ranks * mine.size)).from_address(received.value)
        return np.array(numbers).reshape(self.ranks, mine.size)


def part(rank: int, turn: int, size: int) -> np.ndarray[Any, Any]:
    return np.arange(size) + 1000.0 * rank + 0.5 * turn


def takes_turns(communicator: Communicator, rounds: int, naps: bool) -> int:
    """Blocks of exchanges between collectives of Python; every rank sleeps now and then. How often others were late."""
    caller, sizes = Caller(communicator), random.Random(1)
    mine = random.Random(communicator.rank)
    turn = 0
    for _ in range(rounds):
        caller.exchange.begin()
        for _ in range(sizes.randrange(6)):
            turn, size = turn + 1, sizes.choice([1, 3, 40, 500])
            if naps and mine.random() < 0.1:
                time.sleep(0.02 * mine.random())
            whole = caller(part(communicator.rank, turn, size))
            expected = [part(rank, turn, size) for rank in range(communicator.size)]
            assert np.array_equal(whole, expected), f"turn {turn}"
        assert caller.exchange.end() >= 0.0
        total = communicator.allreduce(np.ones(3))
        assert total.tolist() == [communicator.size] * 3
    return caller.late


def brings_too_much(communicator: Communicator) -> list[int]:
    """The codes of a part that fits and of one that does not; a collective in between is none the worse for it."""
    caller = Caller(communicator)
    caller.exchange.begin()
    small = caller(np.ones(4)).size
    code, _ = caller.once(np.ones(1 << 20))
    caller.exchange.end()
    whole = communicator.allgatherv(np.full(1 << 20, 1.0), [1 << 20] * communicator.size)
    caller.exchange.begin()  # there is more room now
    again = caller(np.ones(1 << 20)).size
    caller.exchange.end()
    return [small, code, whole.size, again]


def brings_another_size(communicator: Communicator) -> str:
    caller = Caller(communicator)
    caller.exchange.begin()
    try:
        caller(np.ones(4 + communicator.rank))
    except CommError as error:
        return error.kind
    finally:
        caller.exchange.end()
    return "nothing"


def dies(communicator: Communicator, rank: int) -> str:
    """One rank is gone in the middle of a block."""
    caller = Caller(communicator)
    caller.exchange.begin()
    try:
        for turn in range(100):
            if turn == 50 and communicator.rank == rank:
                os._exit(3)
            caller(part(communicator.rank, turn, 10))
    except CommError as error:
        return f"{error.kind} {error.context['ranks']}"
    return "nothing"


def begins_unfit(communicator: Communicator) -> list[str]:
    """With a view still in use, then with the communicator closed."""
    found, exchange = [], exchange_of(communicator)

    def begin() -> None:
        try:
            exchange.begin()
        except CommError as error:
            found.append(error.kind)

    view = communicator.allgatherv(np.ones(2), [2] * communicator.size, copy=False)
    begin()
    del view
    communicator.barrier()
    communicator.close()
    begin()
    return found


def has_none(communicator: Communicator) -> bool:
    return communicator.compiled() is None


def claims(communicator: Communicator, rounds: int) -> tuple[int, int]:
    """Ranks take units two by two, and now and then do something else.

    Returns how many rounds this rank took part in, and how often it did not get half.
    """
    caller, sizes, mine = Caller(communicator), random.Random(2), random.Random(communicator.rank)
    claim = caller.exchange.claim
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
    take: Callable[..., int] | None = None if claim is None else prototype(claim)
    first, unequal = communicator.rank - communicator.rank % 2, 0
    for _ in range(rounds):
        caller.exchange.begin()
        for _ in range(1 + sizes.randrange(4)):
            units, taken = sizes.choice([0, 1, 2, 17]), 0
            while take is not None and take(caller.exchange.state, units):
                taken += 1
                if mine.random() < 0.02:
                    time.sleep(0.002)
            counts = caller(np.array([float(taken)]))[:, 0]
            if take is not None:
                assert counts[first : first + 2].sum() == units
                unequal += abs(2 * taken - units) > 1
        caller.exchange.end()
        if sizes.random() < 0.5:
            communicator.barrier()
    return (rounds if take is not None else 0), unequal


def some_in_python(communicator: Communicator) -> float:
    """Rank 0 exchanges from Python, the others in a loop; a part that is too large for all of them."""
    caller, total = Caller(communicator), 0.0
    if communicator.rank == 0:
        for turn in range(50):
            whole = caller.exchange.swap(part(0, turn, 7))
            assert whole is not None
            total += float(whole.sum())
        assert caller.exchange.swap(np.ones(1 << 20)) is None
        return total
    caller.exchange.begin()
    for turn in range(50):
        total += float(caller(part(communicator.rank, turn, 7)).sum())
    assert caller.once(np.ones(1 << 20))[0] == LARGE
    caller.exchange.end()
    return total
