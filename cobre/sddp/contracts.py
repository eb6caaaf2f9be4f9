"""What the algorithm asks of whoever runs it: how units of work are spread and their results brought together.

The training loop is written once, for one rank of a group that all run it alike (single program, multiple data).
``Serial`` is the group of one, and the reference for every other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.risk import FloatArray

__all__ = ["SERIAL", "Exchange", "Part", "Phase", "Serial", "Shuffled"]

IntArray = NDArray[np.int64]


Part = tuple[FloatArray, IntArray]
"""What one rank brings to a gathering, and how it is laid out.

(rows, width): the rows of the units assigned to this rank, in their assigned order, and (units,): the rows of each
unit of all. The width is the same on all ranks.
"""

Phase = Literal["forward", "backward", "bound", "simulation"]


class Exchange(Protocol):
    """How the ranks of a run share units of work. Every rank makes the same calls in the same order."""

    @property
    def leads(self) -> bool:
        """Whether this rank is the one that speaks for all: the clock, the observer and the log are its alone."""

    @property
    def alone(self) -> bool:
        """Whether this rank computes all units, in their order: then what it brings to a gathering is what it gets."""

    @property
    def place(self) -> tuple[int, int] | None:
        """This rank and the number of ranks, where of u units rank n has u n // size to u (n + 1) // size - 1, rising;
        None where they are shared out in any other way."""

    def assigned(self, units: int) -> Sequence[int]:
        """The units, of 0..units-1, that this rank computes, in the order in which it does so."""

    def most(self, units: int) -> int:
        """The largest number of units that any rank is assigned of so many."""

    def gather(self, *parts: Part) -> list[FloatArray]:
        """Everybody's rows of each part, in the order of the units, the same on all ranks; all parts in one step."""

    def swap(self, mine: FloatArray) -> FloatArray:
        """Everybody's (n,), rank after rank (size n,), n being the same on all ranks."""

    @property
    def words(self) -> tuple[int, int] | None:
        """Addresses where a compiled loop writes the stage that it comes to, and counts that it goes on; 0 where nobody
        reads it. None where ``reached`` must be called at every stage."""

    def enter_compiled(self) -> tuple[int | None, int | None, int] | None:
        """Addresses of two functions, and of what they are called with, for a compiled loop until ``leave_compiled``.

        They are of transport/meet.c: ``cobre_swap``, to ``swap`` with (None where every stage is to be told), and
        ``cobre_claim``, by which two ranks share their units (None for one that is left over). Meanwhile, nothing else
        but ``wait`` and ``reached`` may be called. None where there are none, which is so on all ranks or on none."""

    def leave_compiled(self) -> None:
        """What may be called is as ever; may be called twice."""

    def wait(self) -> None:
        """That function said that others are late: returns when they are there."""

    def agree(self, value: float) -> float:
        """Rank 0's value, on all ranks."""

    def total(self, values: FloatArray) -> FloatArray:
        """The sum over all ranks, in their order."""

    def reached(self, phase: Phase, iteration: int, stage: int) -> None:
        """This rank comes to a stage (1-based) of an iteration; of a simulation, to a stage of a block (1-based)."""


class Serial:
    """One rank that computes everything."""

    leads = alone = True
    place: tuple[int, int] | None = (0, 1)

    def assigned(self, units: int) -> Sequence[int]:
        return range(units)

    def most(self, units: int) -> int:
        return units

    def gather(self, *parts: Part) -> list[FloatArray]:
        return [mine for mine, _ in parts]

    words: tuple[int, int] | None = (0, 0)

    def swap(self, mine: FloatArray) -> FloatArray:
        return mine

    def enter_compiled(self) -> tuple[int | None, int | None, int] | None:
        return None

    def leave_compiled(self) -> None:
        """It was not entered."""

    def wait(self) -> None:
        """Nobody is late."""

    def agree(self, value: float) -> float:
        return value

    def total(self, values: FloatArray) -> FloatArray:
        return values

    def reached(self, phase: Phase, iteration: int, stage: int) -> None:
        """Nobody asks."""


class Shuffled(Serial):
    """One rank that computes its units in an order drawn anew each time: nothing in a result may change by it."""

    alone, place = False, None

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._order: IntArray = np.zeros(0, np.int64)

    def assigned(self, units: int) -> Sequence[int]:
        self._order = self._random.permutation(units)
        return [int(unit) for unit in self._order]

    def gather(self, *parts: Part) -> list[FloatArray]:
        return [self._in_order(mine, counts) for mine, counts in parts]

    def _in_order(self, mine: FloatArray, counts: IntArray) -> FloatArray:
        ends = np.cumsum(counts[self._order])
        found = {int(u): mine[e - counts[u] : e] for u, e in zip(self._order, ends, strict=True)}
        return np.concatenate([found[unit] for unit in range(counts.size)]) if found else mine


SERIAL = Serial()
