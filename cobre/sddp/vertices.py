"""The dual vertices met at a stage, kept to answer what has not been solved yet.

Openings and incoming states change a stage LP's right-hand sides only, and a dual solution of one of them is feasible
for all: with multipliers y on the template's rows and the rest of the objective in a constant,

    value(opening, x)  >=  constant + y . rhs[opening] + slope . x

with equality where the vertex's basis is optimal. So a vertex is one number for each opening and one slope for each
state, and the best of them for a trial point is the largest of a few sums. Everything is summed element by element in
a fixed order: a matrix product's bits would depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.cuts import CutPool
from cobre.sddp.found import Found
from cobre.sddp.lp import StageLP
from cobre.sddp.risk import FloatArray

__all__ = ["FRESH", "NONE", "Vertices"]

IntArray = NDArray[np.int64]
FRESH, NONE = -1, -2  # instead of a vertex's place
_AT_ONCE = 1 << 18  # values of vertices that are held at once: they fit the caches
_FIRST = 64  # vertices that there is room for at first
_BY_COLUMN = ("levels", "slopes")
_BY_ROW = ("status", "tight", "last_used")


class Vertices:
    """A stage's kept vertices, in arrays that grow up to ``limit`` of them; place 0 holds the oldest.

    size: how many there are. evictions: how often places were given anew. levels: (N, room) values of the openings at
    the zero state. slopes: (S, room). status: (room, n + m) int8 of the bases' columns and rows. tight: (room, S + 1)
    ids of the cuts that are not basic, rising, -1 behind them. last_used: (room,) iterations.

    Between ranks a vertex is a row of numbers: its constant, multipliers (R,) on the rows that openings change, slopes
    (S,), tight cuts, and statuses, eight to a number.
    """

    def __init__(self, lp: StageLP, limit: int) -> None:
        self.size = self.evictions = 0
        self.limit = limit
        self._lp, self._noise = lp, lp.stage.openings
        self._noise_scale = lp.dual_scale.take(self._noise.rhs_rows)
        self._columns = lp.stage.columns + 1 + lp.stage.rows  # of status
        states = lp.stage.states
        self._ends = np.cumsum([1, self._noise.rhs_rows.size, states, states + 1, -(-self._columns // 8)]).tolist()
        self.width = int(self._ends[-1])  # numbers in such a row
        self._places: dict[bytes, int] = {}  # rising
        room = _FIRST
        self.levels = np.zeros((len(self._noise), room))
        self.slopes = np.zeros((states, room))
        self.status = np.zeros((room, self._columns), np.int8)
        self.tight = np.zeros((room, states + 1), np.int64)
        self.last_used = np.zeros(room, np.int64)

    # -- the best of them -------------------------------------------------------------------------------------

    def best(self, openings: IntArray, points: IntArray, states: FloatArray) -> tuple[IntArray, FloatArray]:
        """The best vertex (r,) and its value (r,) for pairs of an opening (r,) and a row (r,) of ``states`` (P, S)."""
        tilt = np.zeros((states.shape[0], self.size))
        for s in range(states.shape[1]):
            tilt += states[:, s, np.newaxis] * self.slopes[s, : self.size]
        found = np.empty(openings.size, np.int64)
        value = np.empty(openings.size)
        most = max(1, _AT_ONCE // self.size)
        for first in range(0, openings.size, most):
            at = slice(first, first + most)
            table = self.levels[openings[at], : self.size]
            table += tilt.take(points[at], axis=0)
            found[at] = table.argmax(axis=1)
            value[at] = table[np.arange(table.shape[0]), found[at]]
        return found, value

    def outcomes(self, places: IntArray, states: FloatArray, pool: CutPool, iteration: int) -> FloatArray:
        """Values (P, N) of the vertices at these places (P, N) for all openings at states (P, S).

        They are noted as in use in this iteration, and so are the cuts of the pool that are tight in them.
        """
        total: FloatArray = np.zeros(places.shape)
        for s in range(states.shape[1]):
            total += self.slopes[s].take(places) * states[:, s, np.newaxis]
        self.last_used[places] = iteration
        ids = self.tight[places].ravel()
        times = np.bincount(ids[ids >= 0], minlength=pool.size)
        pool.times_active[:] += times
        pool.last_active[times > 0] = iteration
        total += self.levels[np.arange(places.shape[1]), places]
        return total

    def average(self, places: IntArray, values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Values (P, N) and the slopes at these places (P, N), weighted (P, N) or (1, N) and summed opening by
        opening: (P,) and (P, S)."""
        slopes = self.slopes.take(places, axis=1)  # (S, P, N)
        value = np.add.accumulate(weights * values, axis=1)
        slope = np.add.accumulate(weights * slopes, axis=2)
        return value[:, -1], np.ascontiguousarray(slope[:, :, -1].T)

    # -- keeping ----------------------------------------------------------------------------------------------

    def name(
        self, found: Found, left: IntArray, openings: IntArray, points: IntArray, states: FloatArray, told: FloatArray
    ) -> FloatArray:
        """Tell the vertices of the pairs, of r, that are left (v,) and were solved; returns rows (u, width) of the new.

        openings, points: (r,) of all pairs; states: (P, S). told: (r, 1 or more), whose first column gets each one's
        place, FRESH where the returned rows, in their order, have it instead, and less than NONE, NONE - d, where it
        is that of the d-th FRESH one before it (of its unit of work).
        """
        first = np.flatnonzero(found.same < 0)
        rows = left.take(first)
        packed, keys = self._pack(found.taken(first), openings.take(rows), states.take(points.take(rows), axis=0))
        met = np.array([self._places.get(key, FRESH) for key in keys], np.int64)
        told[left, 0] = _named(found.same, first, met)
        new: FloatArray = packed[met == FRESH]
        return new

    def _pack(self, found: Found, openings: IntArray, incoming: FloatArray) -> tuple[FloatArray, list[bytes]]:
        """A row for each vertex that solutions (v,) are at, and what tells its basis from others."""
        slopes = self._lp.sides.slopes(found.duals * self._lp.dual_scale)
        multipliers = found.duals.take(self._noise.rhs_rows, axis=1) * self._noise_scale
        terms = np.concatenate([slopes * incoming, multipliers * self._noise.rhs.take(openings, axis=0)], axis=1)
        constant = found.objective / self._lp.scaling.cost + self._lp.sides.incoming_cost(incoming)
        if terms.shape[1]:
            constant = constant - np.add.accumulate(terms, axis=1)[:, -1]
        status = np.zeros((constant.size, (self._ends[-1] - self._ends[-2]) * 8), np.int8)
        status[:, : self._columns] = found.status
        parts = (constant[:, np.newaxis], multipliers, slopes, found.tight, status.view(np.float64))
        return np.concatenate(parts, axis=1), bases_of(found.status, found.tight)

    def keep(self, told: FloatArray, packed: FloatArray, turn: IntArray, points: int, iteration: int) -> IntArray:
        """Keep the vertices (u,) that were told as FRESH, the same ones in the same order on all ranks.

        told: (P N, ...), as ``name`` has it, of all pairs, each point's openings in their order of solving, of which
        turn (N,) is each one's place. Returns places (P, N) by the openings' numbers.
        """
        places = told[:, 0].astype(np.int64)
        new = places == FRESH
        if packed.shape[0]:
            kept = self._add(packed, iteration)
            places[new] = kept
            again = np.flatnonzero(places < NONE)
            places[again] = kept[np.cumsum(new).take(again) - (NONE - places.take(again))]
        return places.reshape(points, turn.size).take(turn, axis=1)

    def _add(self, packed: FloatArray, iteration: int) -> IntArray:
        """Returns the place (u,) of each: that of its basis, where it was met before."""
        places = np.zeros(packed.shape[0], np.int64)
        status = np.ascontiguousarray(packed[:, self._ends[3] :]).view(np.int8)[:, : self._columns]
        tight = packed[:, self._ends[2] : self._ends[3]].astype(np.int64)
        new: list[int] = []
        for row, key in enumerate(bases_of(status, tight)):
            place = self._places.get(key)
            if place is None:
                place = self._places[key] = self.size + len(new)
                new.append(row)
            places[row] = place
        if new:
            at = slice(self.size, self.size + len(new))
            self._make_room(at.stop)
            level = np.repeat(packed[np.newaxis, new, 0], self.levels.shape[0], axis=0)
            for r in range(self._ends[1] - 1):
                level += self._noise.rhs[:, r, np.newaxis] * packed[new, 1 + r]
            self.levels[:, at], self.slopes[:, at] = level, packed[new, self._ends[1] : self._ends[2]].T
            self.status[at], self.tight[at] = status[new], tight[new]
            self.size = at.stop
        self.last_used[places] = iteration
        return places

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that is kept, by name; nothing of it changes any more. ``restore`` takes it."""
        at = slice(self.size)
        return {
            "levels": self.levels[:, at],
            "slopes": self.slopes[:, at],
            "status": self.status[at],
            "tight": self.tight[at],
            "last_used": self.last_used[at].copy(),
            "evictions": np.array(self.evictions),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """What ``arrays`` gave, where nothing is kept yet."""
        size = arrays["last_used"].size
        self.evictions = int(arrays["evictions"])
        self._make_room(size)
        self.levels[:, :size], self.slopes[:, :size] = arrays["levels"], arrays["slopes"]
        for name in _BY_ROW:
            getattr(self, name)[:size] = arrays[name]
        self.size = size
        self._index()

    def _index(self) -> None:
        """Find them by their bases, all anew."""
        keys = bases_of(self.status[: self.size], self.tight[: self.size])
        self._places = {key: place for place, key in enumerate(keys)}

    def _make_room(self, needed: int) -> None:
        """New arrays where there is too little: states of the run that were kept still look into the old ones."""
        room = self.last_used.size
        while room < needed:
            room *= 2
        if room == self.last_used.size:
            return
        for name in (*_BY_COLUMN, *_BY_ROW):
            old = getattr(self, name)
            by_column = name in _BY_COLUMN
            grown = np.zeros((old.shape[0], room) if by_column else (room, *old.shape[1:]), old.dtype)
            at = (slice(None), slice(self.size)) if by_column else slice(self.size)
            grown[at] = old[at]
            setattr(self, name, grown)

    @property
    def least(self) -> int:
        """How many an eviction leaves."""
        return max(1, self.limit * 3 // 4)

    def evict(self) -> None:
        """Where there are more than ``limit``, keep ``least``: those used last, of equals the newest."""
        if self.size <= self.limit:
            return
        order = np.argsort(self.last_used[: self.size], kind="stable")
        self._keep_only(np.sort(order[self.size - self.least :]))
        self.evictions += 1

    def _keep_only(self, places: IntArray) -> None:
        # into new arrays: states of the run that were kept still look into the old ones
        for name in (*_BY_COLUMN, *_BY_ROW):
            old = getattr(self, name)
            fresh = np.zeros_like(old)
            if name in _BY_COLUMN:
                fresh[:, : places.size] = old[:, places]
            else:
                fresh[: places.size] = old[places]
            setattr(self, name, fresh)
        self.size = places.size
        self._index()


def bases_of(status: NDArray[np.int8], tight: IntArray) -> list[bytes]:
    """A key for each basis (u,): its statuses (u, n + m) and tight cuts (u, S + 1)."""
    rows = np.concatenate([status, np.ascontiguousarray(tight).view(np.int8)], axis=1)
    keys: list[bytes] = rows.view(f"V{rows.shape[1]}")[:, 0].tolist()
    return keys


def _named(same: IntArray, first: IntArray, met: IntArray) -> IntArray:
    """Places as ``Vertices.name`` tells them; met: those of the first ones, whose bases others have too."""
    places = np.empty(same.size, np.int64)
    places[first] = met
    again = np.flatnonzero(same >= 0)
    if again.size:
        of = same.take(again)
        so_far = np.cumsum(np.where(same < 0, places, 0) == FRESH)
        back = so_far.take(again) - so_far.take(of) + 1
        there = places.take(of)
        places[again] = np.where(there == FRESH, NONE - back, there)
    return places
