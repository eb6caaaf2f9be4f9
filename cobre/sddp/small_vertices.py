"""Kept vertices of a LP that is small enough for the compiled kernel: all that is done to them in bulk is done there.

The arrays and the bits are those of ``cobre.sddp.vertices``, which says what each step is; what numpy needs some two
hundred calls for, half a millisecond at each stage of each pass, are six here. What proves a basis optimal is kept too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.cuts import CutPool
from cobre.sddp.found import Found
from cobre.sddp.kernel import NOTHING, Kept, Proofs, SmallLP, address
from cobre.sddp.lp import StageLP
from cobre.sddp.model import Share
from cobre.sddp.risk import FloatArray
from cobre.sddp.vertices import Vertices

__all__ = ["MOST_PIVOTS", "SmallVertices"]

IntArray = NDArray[np.int64]
_FIRST = 64  # records that there is space for at first
MOST_PIVOTS = 1000  # after which the kernel gives a solve up


class SmallVertices(Vertices):
    """``Vertices`` with a record each, filled in by the kernel when it is first asked for: the W basic variables as
    affine functions of the K moving right-hand sides, their bounds, and where the watched columns are (``record_t`` in
    kernel_kept.h). As long as every basic variable lies within its bounds and no cut is violated, a basis that is dual
    feasible is optimal (Vanderbei, Linear Programming, chapter 6).

    record: (room,) addresses, 0 where there is none. Records stand in blocks, are never moved and are used again.
    """

    def __init__(self, lp: StageLP, small: SmallLP, limit: int) -> None:
        super().__init__(lp, limit)
        self._small = small
        self._record_size = small.wide * (3 + small.moving) + 2 * (small.states + 1)
        self._blocks: list[FloatArray] = []
        self._records = 0
        self.record = np.zeros(self.last_used.size, np.int64)
        self.spares = np.zeros(0, np.int64)
        self.bucket = np.full(2 * self.last_used.size, -1)
        self._totals = np.zeros(4, np.int64)
        self._totals_at = address(self._totals)
        self._share: Share | None = None
        self._pairs: tuple[int, ...] = ()
        self._table = Kept()
        self._add_records(_FIRST)
        self._moved()

    def follow(
        self, pool: CutPool, openings: IntArray, points: IntArray, states: FloatArray, units: IntArray
    ) -> tuple[FloatArray, FloatArray, IntArray] | None:
        """Of r pairs of an opening (r,) and a row (r,) of ``states`` (P, S), of units of work (r,): values (r,) and
        outgoing states and cost-to-go (r, S + 1); and how many were proved, solved, solved by another's basis, and
        pivots. None where the kernel has nothing to start from, or lost one.
        """
        values, outgoing = np.empty(openings.size), np.empty((openings.size, self._small.states + 1))
        pairs = openings.size, *(address(_in_order(part)) for part in (openings, points, units))
        if self._all("follow", pool, states, pairs, values, outgoing) is None:
            return None
        return values, outgoing, self._totals

    def answer(self, pool: CutPool, share: Share, states: FloatArray) -> tuple[FloatArray, FloatArray, IntArray] | None:
        """Of the pairs of a share, what ``name`` tells (r, 1), and its rows of new ones (u, width); else as
        ``follow``."""
        if self._share is not share:  # it is the same one most of the time
            pairs = share.openings.size, *map(address, (share.openings, share.points, share.own_units))
            self._share, self._pairs = share, pairs
        told, packed = np.empty((share.openings.size, 1)), np.empty((share.openings.size, self._ends[-1]))
        found = self._all("answer", pool, states, self._pairs, told, packed)
        return None if found is None else (told, packed[:found], self._totals)

    def _all(
        self, name: str, pool: CutPool, states: FloatArray, pairs: tuple[int, ...], *out: FloatArray
    ) -> int | None:
        """pairs: how many, and the addresses of openings, points and units."""
        small, table = self._small, self._table
        starts = (table.status, table.tight) if self.size else small.slack_start
        if starts is None:
            return None
        given = states.shape[0], _in_order(states), *pairs, MOST_PIVOTS, *out, self._totals_at
        found = small.call(name, small.shown(pool), table, *starts, *given)
        return None if found == NOTHING else found

    def prove(self, pool: CutPool, states: FloatArray, openings: IntArray, points: IntArray) -> Proofs:
        """The best vertex of each of r pairs of an opening (r,) and a row (r,) of ``states`` (P, S)."""
        return self._small.prove(pool, self._table, states, openings, points)

    def outcomes(self, places: IntArray, states: FloatArray, pool: CutPool, iteration: int) -> FloatArray:
        values = np.empty(places.shape)
        shown = self._small.shown(pool)
        self._small.call("outcomes", shown, self._table, states.shape[0], states, places, iteration, values)
        return values

    def average(self, places: IntArray, values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        points, openings = places.shape
        mean, slopes = np.empty(points), np.empty((points, self._small.states))
        every = 0 if weights.shape[0] == 1 else openings
        self._small.call("average", self._table, points, places, values, weights, every, mean, slopes)
        return mean, slopes

    def name(
        self, found: Found, left: IntArray, openings: IntArray, points: IntArray, states: FloatArray, told: FloatArray
    ) -> FloatArray:
        packed = np.empty((left.size, self._ends[-1]))
        fresh = self._small.call(
            "name", self._table, left.size, left, openings, points, states, self._small.solved(found), told,
            told.shape[1], packed,
        )  # fmt: skip
        return packed[:fresh]

    def keep(self, told: FloatArray, packed: FloatArray, turn: IntArray, points: int, iteration: int) -> IntArray:
        self._make_room(self.size + packed.shape[0])
        places = np.empty((points, turn.size), np.int64)
        self.size = self._small.call(
            "keep", self._table, points, told, told.shape[1], packed.shape[0], packed, turn, iteration, places
        )
        return places

    def _make_room(self, needed: int) -> None:
        had = self.last_used.size
        super()._make_room(needed)
        room = self.last_used.size
        if room > had:
            self.record = np.concatenate([self.record, np.zeros(room - had, np.int64)])
            self.bucket = np.empty(2 * room, np.int64)
            self._moved()
            self._index()
        if needed > self._records:
            self._add_records(max(self._records, needed - self._records))

    def _add_records(self, count: int) -> None:
        """Space for so many more: what nobody has touched yet is no memory."""
        block = np.empty((count, self._record_size))
        self._blocks.append(block)
        begin = address(block)
        spare = self._table.spare
        spares = np.empty(self._records + count, np.int64)
        spares[:count] = begin + np.arange(count)[::-1] * (8 * self._record_size)
        spares[count : count + spare] = self.spares[:spare]
        self.spares = spares
        self._records += count
        self._table.spare, self._table.spares = spare + count, address(spares)

    def _keep_only(self, places: IntArray) -> None:
        gone = np.ones(self.size, bool)
        gone[places] = False
        freed = self.record[: self.size][gone]
        freed = freed[freed != 0]
        spare = self._table.spare
        self.spares[spare : spare + freed.size] = freed
        self._table.spare = spare + freed.size
        record = np.zeros_like(self.record)
        record[: places.size] = self.record[places]
        self.record = record
        super()._keep_only(places)

    def _index(self) -> None:
        self._moved()
        self._small.call("index", self._table)

    def _moved(self) -> None:
        """The arrays are elsewhere."""
        table = self._table
        for name in Kept.ARRAYS:
            setattr(table, name, address(getattr(self, name)))
        table.size, table.room, table.buckets = self.size, self.last_used.size, self.bucket.size


def _in_order(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)
