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
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.kernel import SmallLP
from cobre.sddp.problem import Stage
from cobre.sddp.risk import FloatArray

__all__ = ["Fresh", "Vertices"]

IntArray = NDArray[np.int64]
_AT_ONCE = 1 << 18  # values of vertices that are held at once: they fit the caches
_FIRST = 64  # vertices that there is room for at first
_AFFINE = ("known", "base", "gain", "low", "high", "place", "still")
_BY_COLUMN = ("levels", "slopes")
_BY_ROW = ("status", "tight", "last_used")


@dataclass(frozen=True, eq=False)
class Fresh:
    """u vertices as a solve leaves them.

    constant: (u,) what the value is without openings' right-hand sides and incoming state. multipliers: (u, R) on the
    rows that openings change. slopes: (u, S). status: (u, n + m) int8 of columns and rows. tight: (u, S + 1) ids of
    the cuts that are not basic, rising, -1 behind them.
    """

    constant: FloatArray
    multipliers: FloatArray
    slopes: FloatArray
    status: NDArray[np.int8]
    tight: IntArray

    @staticmethod
    def packed_width(stage: Stage) -> int:
        """Numbers in a row of ``pack``."""
        return _widths(stage)[-1]

    def pack(self) -> FloatArray:
        """(u, width): a row of numbers each, to be gathered; statuses eight to a number."""
        count, size = self.status.shape
        packed = np.zeros((count, -(-size // 8) * 8), np.int8)
        packed[:, :size] = self.status
        parts = (self.constant[:, np.newaxis], self.multipliers, self.slopes, self.tight, packed.view(np.float64))
        return np.concatenate(parts, axis=1)

    @classmethod
    def unpack(cls, rows: FloatArray, stage: Stage) -> Fresh:
        """From rows of ``pack``."""
        a, b, c, d, _ = _widths(stage)
        status = np.ascontiguousarray(rows[:, d:]).view(np.int8)[:, : stage.columns + 1 + stage.rows]
        return cls(rows[:, 0], rows[:, a:b], rows[:, b:c], status, rows[:, c:d].astype(np.int64))

    def taken(self, rows: IntArray) -> Fresh:
        """Those at these places (v,)."""
        return Fresh(
            self.constant[rows], self.multipliers[rows], self.slopes[rows], self.status[rows], self.tight[rows]
        )

    def bases(self) -> list[bytes]:
        """What tells one basis from another."""
        return bases_of(self.status, self.tight)


def bases_of(status: NDArray[np.int8], tight: IntArray) -> list[bytes]:
    """A key for each basis (u,): its statuses (u, n + m) and tight cuts (u, S + 1)."""
    rows = np.concatenate([status, np.ascontiguousarray(tight).view(np.int8)], axis=1)
    keys: list[bytes] = rows.view(f"V{rows.shape[1]}")[:, 0].tolist()
    return keys


def _widths(stage: Stage) -> tuple[int, int, int, int, int]:
    """Where the parts of a packed row end."""
    a = 1
    b = a + stage.openings.rhs_rows.size
    c = b + stage.states
    d = c + stage.states + 1
    return a, b, c, d, d + -(-(stage.columns + 1 + stage.rows) // 8)


class Vertices:
    """A stage's kept vertices, in arrays that grow up to ``limit`` of them; place 0 holds the oldest.

    size: how many there are. evictions: how often places were given anew. levels: (N, room) values of the openings at
    the zero state. slopes: (S, room). status: (room, n + m). tight: (room, S + 1). Where the LP is small enough for the
    kernel, what proves a basis optimal, filled in by the kernel when it is first asked for (``known``): the W basic
    variables as affine functions of the K moving right-hand sides, base (room, W) and gain (room, W, K), NaN in base
    for a basis that proves nothing; low, high: their bounds; place: (room, S + 1) of each watched column among them, -1
    where it is not basic, and stands at ``still``. As long as every basic variable lies within its bounds and no cut is
    violated, a basis that is dual feasible is optimal (Vanderbei, Linear Programming, chapter 6).
    """

    def __init__(self, stage: Stage, small: SmallLP | None, limit: int) -> None:
        self.size = self.evictions = 0
        self.limit = limit
        self._stage, self._small = stage, small
        self._places: dict[bytes, int] = {}  # rising
        room, states, wide = _FIRST, stage.states, small.wide if small else 0
        moving = small.moving if small else 0
        self.levels = np.zeros((len(stage.openings), room))
        self.slopes = np.zeros((states, room))
        self.status = np.zeros((room, stage.columns + 1 + stage.rows), np.int8)
        self.tight = np.zeros((room, states + 1), np.int64)
        self.last_used = np.zeros(room, np.int64)
        self.known = np.zeros(room, bool)
        # not zeros: what nobody has touched takes no time, and is not looked at before it is known
        self.base, self.gain = np.empty((room, wide)), np.empty((room, wide, moving))
        self.low, self.high = np.empty((room, wide)), np.empty((room, wide))
        self.place, self.still = np.empty((room, states + 1), np.int64), np.empty((room, states + 1))

    def places_of(self, bases: list[bytes]) -> IntArray:
        """Where the vertex of each basis (u,) is, or -1."""
        known = self._places
        return np.array([known.get(key, -1) for key in bases], np.int64)

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

    def values(self, vertices: IntArray, openings: IntArray, states: FloatArray) -> FloatArray:
        """(r,) what each of these vertices gives for its opening (r,) and state (r, S)."""
        tilt = np.zeros(vertices.size)
        for s in range(states.shape[1]):
            tilt += self.slopes[s, vertices] * states[:, s]
        return self.levels[openings, vertices] + tilt

    def add(self, fresh: Fresh, iteration: int) -> IntArray:
        """Keep these vertices; returns the place (u,) of each: that of its basis, where it was met before."""
        places = np.zeros(fresh.constant.size, np.int64)
        new: list[int] = []
        for row, key in enumerate(fresh.bases()):
            place = self._places.get(key)
            if place is None:
                place = self._places[key] = self.size + len(new)
                new.append(row)
            places[row] = place
        if new:
            self._append(fresh.taken(np.array(new)))
        self.last_used[places] = iteration
        return places

    def _append(self, fresh: Fresh) -> None:
        count = fresh.constant.size
        self._make_room(self.size + count)
        at = slice(self.size, self.size + count)
        level = np.repeat(fresh.constant[np.newaxis], self.levels.shape[0], axis=0)
        for r in range(fresh.multipliers.shape[1]):
            level += self._stage.openings.rhs[:, r, np.newaxis] * fresh.multipliers[:, r]
        self.levels[:, at], self.slopes[:, at] = level, fresh.slopes.T
        self.status[at], self.tight[at] = fresh.status, fresh.tight
        self.size += count

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
        for name in ("status", "tight", "last_used"):
            getattr(self, name)[:size] = arrays[name]
        self._places = {key: place for place, key in enumerate(bases_of(self.status[:size], self.tight[:size]))}
        self.size = size

    def _make_room(self, needed: int) -> None:
        room = self.last_used.size
        while room < needed:
            room *= 2
        if room > self.last_used.size:
            for name in _BY_COLUMN:
                old = getattr(self, name)
                grown = np.zeros((old.shape[0], room), old.dtype)
                grown[:, : self.size] = old[:, : self.size]
                setattr(self, name, grown)
            self._lengthen(_BY_ROW, room)
        if needed > self.known.size:  # these are large: seldom, and by much
            self._lengthen(_AFFINE, max(needed * 5 // 4, min(4 * self.known.size, self.limit)))

    def _lengthen(self, names: tuple[str, ...], room: int) -> None:
        for name in names:
            old = getattr(self, name)
            make = np.empty if name in _AFFINE and name != "known" else np.zeros
            grown = make((room, *old.shape[1:]), old.dtype)
            grown[: self.size] = old[: self.size]
            setattr(self, name, grown)

    def evict(self) -> None:
        """Where there are more than ``limit``, keep three quarters of that: those used last, of equals the newest."""
        if self.size <= self.limit:
            return
        least = max(1, self.limit * 3 // 4)
        order = np.lexsort((np.arange(self.size), self.last_used[: self.size]))
        keep = np.sort(order[self.size - least :])
        # into new arrays: states of the run that were kept still look into the old ones
        for name in (*_BY_COLUMN, *_BY_ROW):
            old = getattr(self, name)
            fresh = np.zeros_like(old)
            if name in _BY_COLUMN:
                fresh[:, : keep.size] = old[:, keep]
            else:
                fresh[: keep.size] = old[keep]
            setattr(self, name, fresh)
        for name in _AFFINE:
            old = getattr(self, name)
            old[: keep.size] = old[keep]
        self.known[keep.size :] = False
        moved = np.full(self.size, -1)
        moved[keep] = np.arange(keep.size)
        # the keys stand in the order of their places
        self._places = {key: place for key, place in zip(self._places, moved.tolist(), strict=True) if place >= 0}
        self.size = keep.size
        self.evictions += 1
