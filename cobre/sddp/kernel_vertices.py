"""Kept vertices where the compiled kernel is there: all that is done to them in bulk is done in it.

The arrays and the bits are those of ``cobre.sddp.vertices``, which says what each step is; what numpy needs some two
hundred calls for, half a millisecond at each stage of each pass, are a few here. Where the stage's LP is small enough
for the kernel to solve, what proves a basis optimal is kept too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.cuts import CutPool
from cobre.sddp.found import Found
from cobre.sddp.kernel import NOTHING, KernelLP, Proofs
from cobre.sddp.kernel_structures import BROUGHT, Conclusion, Kept, ShownPool, Visit, address, where
from cobre.sddp.lp import StageLP
from cobre.sddp.model import Share
from cobre.sddp.risk import FloatArray
from cobre.sddp.vertices import Vertices

__all__ = ["MOST_PIVOTS", "Passes", "KernelVertices"]

IntArray = NDArray[np.int64]
_FIRST = 64  # records that there is space for at first
MOST_PIVOTS = 1000  # after which the kernel gives a solve up


class Passes:
    """M forward passes through T stages, laid out for the kernel: openings (T, M), states (T + 1, M, S) that stages are
    entered with, and costs (T, M) of their own."""

    def __init__(self, openings: IntArray, initial: FloatArray) -> None:
        stages, self.count = openings.shape
        self.initial = initial
        self.openings = np.ascontiguousarray(openings)
        self.states = np.empty((stages + 1, self.count, initial.shape[-1]))
        self.states[0] = initial
        self.costs = np.empty((stages, self.count))
        self.rows = np.arange(self.count)
        self.rows_at = address(self.rows)
        self._at = tuple(map(address, (self.openings, self.states, self.costs)))

    def at(self, t: int) -> tuple[int, int, int, int]:
        """Addresses of stage t's openings and states, of its costs, and of the next one's states."""
        openings, states, costs = self._at
        every = self.states.strides[0]
        row = 8 * self.count * t
        return openings + row, states + every * t, costs + row, states + every * (t + 1)


class KernelVertices(Vertices):
    """``Vertices``; where the kernel proves, with a record each, at the latest when it is first asked for.

    A record has the W basic variables as affine functions of the K moving right-hand sides, their bounds, and where the
    watched columns are (``record_t`` in kernel_kept.h). As long as every basic variable lies within its bounds and no
    cut is violated, a basis that is dual feasible is optimal (Vanderbei, Linear Programming, chapter 6).

    A solve that comes to a new vertex has what its record says at hand: one that is not large travels in the vertex's
    row, behind what ``Vertices`` has there.

    record: (room,) addresses, 0 where there is none. Records stand in blocks, are never moved and are used again.
    record_size: numbers in one.
    """

    def __init__(self, lp: StageLP, kernel: KernelLP, limit: int, *, proves: bool) -> None:
        super().__init__(lp, limit)
        self._kernel, self._proves = kernel, proves
        self.record_size = kernel.wide * (3 + kernel.moving) + 2 * (kernel.states + 1)
        self._blocks: list[FloatArray] = []
        self._lent = False  # whether a state of the run, which was kept, looks into the arrays
        self._records = 0
        self.record = np.zeros(self.last_used.size, np.int64)
        self.spares = np.zeros(0, np.int64)
        self.bucket = np.full(2 * self.last_used.size, -1)
        self._share: Share | None = None
        self._pairs: tuple[int, ...] = ()
        self._table = Kept()
        self._visit = Visit(form=kernel.at, kept=where(self._table), most=MOST_PIVOTS)
        self.visit_at = where(self._visit)
        if kernel.slack_start is not None:
            status, tight = kernel.slack_start
            self._visit.start_status, self._visit.start_tight = address(status), address(tight)
        self._means = np.empty(1)
        self._conclusion = Conclusion(visit=where(self._visit), mean=address(self._means))
        if proves:
            self.width += 1 + self.record_size if self.record_size <= BROUGHT else 0
            self._add_records(_FIRST)
        self._moved()

    def follow(self, pool: CutPool, passes: Passes, t: int) -> list[int] | None:
        """The passes' costs of stage t, and the states that the next one is entered with, put where they belong.

        Returns how many pairs were proved, solved, solved by another's basis, and pivots; None where the kernel has
        nothing to start from, or lost a pair: then it is as if it had not been asked.
        """
        visit = self._visit
        visit.points = visit.count = passes.count
        visit.openings, visit.states, visit.first, visit.second = passes.at(t)
        visit.point = visit.units = passes.rows_at
        return None if self._ask("cobre_follow", pool) is None else visit.totals[:]

    def answer(
        self, pool: CutPool, share: Share, states: FloatArray
    ) -> tuple[FloatArray, FloatArray, list[int]] | None:
        """Of the pairs of a share, what ``name`` tells (r, 1), and its rows of new ones (u, width); else as
        ``follow``."""
        visit, count = self._visit, share.openings.size
        if self._share is not share:  # it is the same one most of the time
            self._share, self._pairs = share, tuple(map(address, (share.openings, share.points, share.own_units)))
        told, packed = np.empty((count, 1)), np.empty((count, self.width))
        visit.points, visit.count, visit.states = states.shape[0], count, address(states)
        visit.openings, visit.point, visit.units = self._pairs
        visit.first, visit.second = address(told), address(packed)
        found = self._ask("cobre_answer", pool)
        return None if found is None else (told, packed[:found], visit.totals[:])

    def show(self, pool: CutPool) -> ShownPool:
        """Let the next visit see the cuts of the stage's pool as they are now."""
        shown = self._kernel.shown(pool)
        self._visit.pool = where(shown)
        return shown

    def make_room(self, count: int) -> None:
        """For so many more vertices."""
        self._make_room(self.size + count)

    def _ask(self, name: str, pool: CutPool) -> int | None:
        self.show(pool)
        found = self._kernel.visit(name, self._visit)
        return None if found == NOTHING else found

    def conclude(
        self,
        told: FloatArray,
        packed: FloatArray,
        states: FloatArray,
        turn: IntArray,
        pool: CutPool,
        iteration: int,
        into: tuple[KernelLP, CutPool] | None,
    ) -> FloatArray:
        """``keep``, ``outcomes``, and ``average`` with the openings' probabilities: values (P,) at states (P, S).

        into: the pool of cuts, and the LP that it belongs to, that gets a cut at each of them.
        """
        count, kernel, visit = states.shape[0], self._kernel, self._visit
        self.make_room(packed.shape[0])
        if self._means.size < count:
            self._means = np.empty(count)
            self._conclusion.mean = address(self._means)
        visit.points, visit.states = count, address(states)
        self.show(pool)
        end = self._conclusion
        end.told, end.stride, end.packed, end.new = address(told), told.shape[1], address(packed), packed.shape[0]
        end.turn, end.iteration, end.into = address(turn), iteration, None
        if into is not None:
            into[1].make_room(count)
            end.into = where(into[0].shown(into[1]))
        self.size = kernel.visit("cobre_conclude", end)
        if into is not None:
            into[1].size += count
        return self._means[:count].copy()

    def prove(self, pool: CutPool, states: FloatArray, openings: IntArray, points: IntArray) -> Proofs:
        """The best vertex of each of r pairs of an opening (r,) and a row (r,) of ``states`` (P, S)."""
        return self._kernel.prove(pool, self._table, states, openings, points)

    def best(self, openings: IntArray, points: IntArray, states: FloatArray) -> tuple[IntArray, FloatArray]:
        found, value = np.empty(openings.size, np.int64), np.empty(openings.size)
        given = np.ascontiguousarray(states), openings.size, openings, points
        self._kernel.call("best", self._table, *given, found, value)
        return found, value

    def outcomes(self, places: IntArray, states: FloatArray, pool: CutPool, iteration: int) -> FloatArray:
        values = np.empty(places.shape)
        shown = self._kernel.shown(pool)
        self._kernel.call("outcomes", shown, self._table, states.shape[0], states, places, iteration, values)
        return values

    def average(self, places: IntArray, values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        points, openings = places.shape
        mean, slopes = np.empty(points), np.empty((points, self._kernel.states))
        every = 0 if weights.shape[0] == 1 else openings
        self._kernel.call("average", self._table, points, places, values, weights, every, mean, slopes)
        return mean, slopes

    def name(
        self, found: Found, left: IntArray, openings: IntArray, points: IntArray, states: FloatArray, told: FloatArray
    ) -> FloatArray:
        packed = np.empty((left.size, self.width))
        fresh = self._kernel.call(
            "name", self._table, left.size, left, openings, points, states, self._kernel.solved(found), told,
            told.shape[1], packed,
        )  # fmt: skip
        return packed[:fresh]

    def keep(self, told: FloatArray, packed: FloatArray, turn: IntArray, points: int, iteration: int) -> IntArray:
        self.make_room(packed.shape[0])
        places = np.empty((points, turn.size), np.int64)
        self.size = self._kernel.call(
            "keep", self._table, points, told, told.shape[1], packed.shape[0], packed, turn, iteration, places
        )
        return places

    def _make_room(self, needed: int) -> None:
        had = self.last_used.size
        super()._make_room(needed)
        room = self.last_used.size
        if room > had:
            self._lent = False
            self.record = np.concatenate([self.record, np.zeros(room - had, np.int64)])
            self.bucket = np.empty(2 * room, np.int64)
            self._moved()
            self._index()
        if self._proves and needed > self._records:
            self._add_records(max(3 * self._records, needed - self._records))

    def _add_records(self, count: int) -> None:
        """Space for so many more: what nobody has touched yet is no memory."""
        block = np.empty((count, self.record_size))
        self._blocks.append(block)
        begin = address(block)
        spare = self._table.spare
        spares = np.empty(self._records + count, np.int64)
        spares[:count] = begin + np.arange(count)[::-1] * (8 * self.record_size)
        spares[count : count + spare] = self.spares[:spare]
        self.spares = spares
        self._records = self._table.records = self._records + count
        self._table.spare, self._table.spares = spare + count, address(spares)

    def arrays(self) -> dict[str, NDArray[Any]]:
        self._lent = True
        return super().arrays()

    def evict(self) -> None:
        if self.size <= self.limit or self._lent:  # then into new arrays
            super().evict()
            return
        self.size = self._kernel.call("evict", self._table, self.least)
        self.evictions += 1

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
        self._lent = False
        super()._keep_only(places)

    def _index(self) -> None:
        self._moved()
        self._kernel.call("index", self._table)

    def _moved(self) -> None:
        """The arrays are elsewhere."""
        table = self._table
        for name in Kept.ARRAYS:
            setattr(table, name, address(getattr(self, name)))
        table.size, table.room, table.buckets = self.size, self.last_used.size, self.bucket.size
