"""What openings and incoming states do to a stage's LP: its right-hand sides, and the slopes they give a cut.

Everything here works element by element, so that the bits of a row do not depend on how many are computed together,
as those of a matrix product would.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.problem import Stage
from cobre.sddp.risk import FloatArray

__all__ = ["RightHandSides", "opening_order"]

IntArray = NDArray[np.int64]
_AT_ONCE = 1 << 20  # differences of openings that are held at once
_Layer = tuple[IntArray, IntArray, FloatArray]


class RightHandSides:
    """The moving right-hand sides of a stage: those that depend on the opening or on the incoming state.

    moving: (K,) rows, rising. scale: (m,) factors of the rows, powers of two, so that what is scaled first and what
    is scaled last have the same bits.
    """

    def __init__(self, stage: Stage, sign: float, scale: FloatArray) -> None:
        assert stage.incoming_cost is not None
        touched = np.flatnonzero(np.diff(stage.incoming.start) > 0)
        self.moving = np.union1d(stage.openings.rhs_rows, touched).astype(np.int32)
        self.moving_at = self.moving.ctypes.data
        sense = stage.sense[self.moving]
        sides = np.repeat(stage.rhs[np.newaxis, self.moving], len(stage.openings), axis=0)
        sides[:, np.searchsorted(self.moving, stage.openings.rhs_rows)] = stage.openings.rhs
        sides *= scale[self.moving]
        self._sides = sides  # (N, K)
        self._most, self._least = np.flatnonzero(sense < 0), np.flatnonzero(sense > 0)
        self._incoming_cost = sign * stage.incoming_cost
        self.priced = [(state, float(self._incoming_cost[state])) for state in np.flatnonzero(self._incoming_cost)]
        rows, states, values = stage.incoming.triplets()
        places, scaled = np.searchsorted(self.moving, rows), values * scale[rows]
        self._by_row = _layers(rows, places, states, scaled)
        self._by_state = _layers(states, rows, states, values)
        self._entries = places, rows, states, scaled, values

    def bounds(self, openings: IntArray, incoming: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Scaled lower and upper bounds (r, K) of the moving rows, for r pairs of opening (r,) and state (r, S).

        One array twice where all of them are equations.
        """
        return self.bounds_of(self.moved(openings, incoming))

    def moved(self, openings: IntArray, incoming: FloatArray) -> FloatArray:
        """Scaled right-hand sides (r, K) of the moving rows, for r pairs of opening (r,) and state (r, S)."""
        sides = self._sides.take(openings, axis=0)
        for at, states, values in self._by_row:
            sides[:, at] -= values * incoming.take(states, axis=1)
        return sides

    def bounds_of(self, sides: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bounds (r, K) that right-hand sides (r, K) come to; may be the array itself."""
        if not self._most.size and not self._least.size:
            return sides, sides
        lower, upper = sides.copy(), sides.copy()
        lower[:, self._most] = -np.inf
        upper[:, self._least] = np.inf
        return lower, upper

    def slopes(self, duals: FloatArray) -> FloatArray:
        """Derivatives (r, S) of the values by the incoming state, from the rows' duals (r, m)."""
        slopes = np.repeat(self._incoming_cost[np.newaxis], duals.shape[0], axis=0)
        for rows, states, values in self._by_state:
            slopes[:, states] -= values * duals.take(rows, axis=1)
        return slopes

    def tables(self) -> dict[str, NDArray[Any]]:
        """All this for the kernel (``form_t`` in kernel_basis.h), which takes the entries of a row or state in the same
        order."""
        places, rows, states, scaled, values = self._entries
        by_side = _compressed(places, self.moving.size, states, scaled)
        by_state = _compressed(states, self._incoming_cost.size, rows, values)
        return {
            "openings_sides": self._sides,
            "incoming_cost": self._incoming_cost,
            **dict(zip(("by_side", "by_side_state", "by_side_value"), by_side, strict=True)),
            **dict(zip(("by_state", "by_state_row", "by_state_value"), by_state, strict=True)),
        }

    def incoming_cost(self, incoming: FloatArray) -> FloatArray | float:
        """What the incoming states (r, S) cost by themselves, (r,), or 0."""
        total: FloatArray | float = 0.0
        for state, cost in self.priced:
            total = total + cost * incoming[:, state]
        return total


def opening_order(stage: Stage) -> IntArray:
    """The openings as a chain of near neighbours: a solve that starts from a like one takes fewer pivots.

    Greedy, from opening 0, in noise scaled to unit deviation; ties go to the lower index.
    """
    noise = np.concatenate([stage.openings.rhs, stage.openings.cost], axis=1)
    spread = noise.std(axis=0)
    noise = (noise - noise.mean(axis=0))[:, spread > 0.0] / spread[spread > 0.0]
    left = np.ones(noise.shape[0], bool)
    order = [0]
    left[0] = False
    at_once = noise.size * noise.shape[0] <= _AT_ONCE
    distances = np.square(noise - noise[:, np.newaxis]).sum(axis=2) if at_once else None
    while left.any():
        last = order[-1]
        distance = np.square(noise - noise[last]).sum(axis=1) if distances is None else distances[last]
        distance[~left] = np.inf
        order.append(int(np.argmin(distance)))
        left[order[-1]] = False
    return np.array(order, np.int64)


def _layers(key: NDArray[Any], at: NDArray[Any], column: NDArray[Any], value: FloatArray) -> list[_Layer]:
    """Entries split into layers in which no key comes twice, so that each is applied in one vectorised step."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    depth = np.arange(ordered.size) - np.searchsorted(ordered, ordered)
    return [
        (at[order[depth == d]].astype(np.int64), column[order[depth == d]].astype(np.int64), value[order[depth == d]])
        for d in range(int(depth.max()) + 1 if depth.size else 0)
    ]


def _compressed(key: NDArray[Any], count: int, column: NDArray[Any], value: FloatArray) -> _Layer:
    """Where the entries of each of ``count`` keys begin (count + 1,), and columns and values of all, key after key."""
    order = np.argsort(key, kind="stable")
    starts: IntArray = np.searchsorted(key[order], np.arange(count + 1)).astype(np.int64)
    return starts, column[order].astype(np.int64), value[order]
