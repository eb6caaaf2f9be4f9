"""Exchanges of equal parts for compiled loops: ``meet.c`` over a group's shared memory, where it could be compiled.

The loop is handed a function and what to call it with. As long as all ranks come in time it exchanges without a call of
Python; what it cannot do (sleep, wake others, say who is missing, make more room) comes back here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import Structure, addressof, byref, c_double, c_int64, c_uint64, c_void_p, sizeof
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.transport.meetings import Meetings
from cobre.transport.plans import Halves, signature

__all__ = ["Meet", "is_there"]

_LATE, _LARGE = 1, 2  # what the function returns, beside 0
_OPERATION = "exchange of parts"
_SIGNATURE = (signature(_OPERATION) >> 24) & 0xFFFFFFFF
_LOOKS, _YIELDS = 400, 200  # as long as in Python: a look takes some 5 nanoseconds here


class _State(Structure):
    _fields_ = [
        *((name, c_uint64) for name in ("sequence", "word", "signature")),
        *((name, c_int64) for name in ("rank", "size", "half", "fenced", "looks", "yields", "waiting", "woken")),
        ("halves", c_void_p * 2),
        ("flags", c_void_p * 2),
        ("claims", c_void_p),
        ("stride", c_int64),
        ("seconds", c_double),
    ]


@cache
def _functions() -> tuple[Any, Any] | None:
    """``cobre_swap`` and ``cobre_claim``; None where they were not compiled, or from other sources than are here."""
    found = sorted(Path(__file__).parent.glob("_meet*.so"))
    if not found:
        return None
    library = ctypes.CDLL(str(found[0]))
    try:
        fits = c_int64.in_dll(library, "cobre_meet_size").value == sizeof(_State)
        swap, claim = library.cobre_swap, library.cobre_claim
    except (ValueError, AttributeError):
        return None
    swap.restype, swap.argtypes = c_int64, [c_void_p, c_void_p, c_int64, c_void_p]
    return (swap, claim) if fits else None


def is_there() -> bool:
    """Whether the compiled part was installed with the package."""
    return _functions() is not None


class Meet:
    """One rank's way to exchange parts with its group. Only between ``begin`` and ``end`` may the function be called.

    function, state: their addresses; the function is ``cobre_swap`` of meet.c. claim: that of ``cobre_claim``, None on
    a rank that has nobody to share units of work with.
    """

    def __init__(
        self, meetings: Meetings, halves: Callable[[str], Halves], failed: Callable[[str, BaseException], object]
    ) -> None:
        """halves: where parts go, or raises where no collective may begin; failed: told what ends a ``wait``."""
        functions = _functions()
        assert functions is not None, "it is not installed"
        self._swap, claim = functions
        self.function: int = ctypes.cast(self._swap, c_void_p).value  # type: ignore[assignment]  # it is somewhere
        self._meetings, self._find_halves, self._failed = meetings, halves, failed
        rank, size, control = meetings.group.rank, meetings.group.size, meetings.control
        self._flags: Sequence[Sequence[ctypes.c_uint64]] = control.flags  # what is referred to stays mapped
        first = [addressof(flags[0]) for flags in control.flags]
        shares = rank % 2 == 1 or rank + 1 < size
        self.claim: int | None = ctypes.cast(claim, c_void_p).value if shares else None
        self._claims = control.claims  # stays mapped
        self._state = _State(
            signature=_SIGNATURE, rank=rank, size=size, fenced=not meetings.one_sided,
            looks=_LOOKS if meetings.patient else 1, yields=_YIELDS, flags=(c_void_p * 2)(*first),
            stride=addressof(control.flags[0][1]) - first[0] if size > 1 else 0,
            claims=addressof(control.claims[rank - rank % 2]) if shares else None,
        )  # fmt: skip
        self.state = addressof(self._state)
        self._halves: Halves | None = None

    def begin(self) -> None:
        """The next collectives are the function's. Raises CommError as a collective does that cannot begin."""
        state, halves = self._state, self._find_halves(_OPERATION)
        if halves is not self._halves:
            self._halves = halves
            state.halves[:] = halves.addresses
            state.half = halves.half
        state.sequence, state.waiting = self._meetings.sequence, 0

    def wait(self) -> None:
        """The function said LATE: returns when all are there. Raises CommError as ``Meetings.arrive``."""
        state = self._state
        self._meetings.sequence = state.sequence
        try:
            self._meetings.attend(state.word, _OPERATION)
        except BaseException as error:
            self._failed(_OPERATION, error)
            raise
        state.woken = 1

    def end(self) -> float:
        """The next collectives are Python's; returns the seconds inside the function."""
        state = self._state
        self._meetings.sequence = state.sequence
        seconds, state.seconds = float(state.seconds), 0.0
        return seconds

    def swap(self, mine: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The same exchange from Python, where other ranks may make it from a compiled loop: everybody's (n,), rank
        after rank. None where it is too much for this way: it is for all, and nothing has been done."""
        self.begin()
        try:
            given, received = np.ascontiguousarray(mine), c_void_p()
            while (code := self._swap(self.state, given.ctypes.data, given.size, byref(received))) == _LATE:
                self.wait()
            if code == _LARGE or received.value is None:
                return None
            return np.frombuffer((c_double * (self._state.size * given.size)).from_address(received.value)).copy()
        finally:
            self.end()
