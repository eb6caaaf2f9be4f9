"""The cuts of a stage, in arrays that grow."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.risk import FloatArray

__all__ = ["CutPool"]

IntArray = NDArray[np.int64]


class Cuts(Protocol):
    """Cuts by their ids: slopes (c, S), all else (c,)."""

    @property
    def slopes(self) -> FloatArray: ...

    @property
    def intercepts(self) -> FloatArray: ...

    @property
    def iterations(self) -> IntArray: ...

    @property
    def active(self) -> NDArray[np.bool_]: ...

    @property
    def last_active(self) -> IntArray: ...

    @property
    def times_active(self) -> IntArray: ...


class CutPool:
    """All cuts on one stage's cost-to-go: ``cost_to_go(x) >= intercept + slope . x``, by their ids 0, 1, 2, ...

    A cut's id is its place: iterations in order, and trial points in order within one. Nothing is ever removed;
    ``active`` says which cuts the stage's LP carries.
    """

    def __init__(self, states: int) -> None:
        self.size = self.choices = self.inactive = 0
        self._slopes = np.zeros((16, states))
        self._by_state = np.zeros((states, 16))  # the same, each state's together
        self._intercepts = np.zeros(16)
        self._iterations = np.zeros(16, np.int64)
        self._active = np.zeros(16, bool)
        self._last_active = np.zeros(16, np.int64)
        self._times_active = np.zeros(16, np.int64)

    @property
    def slopes(self) -> FloatArray:
        """(size, S)"""
        return self._slopes[: self.size]

    @property
    def intercepts(self) -> FloatArray:
        """(size,)"""
        return self._intercepts[: self.size]

    @property
    def iterations(self) -> IntArray:
        """(size,), the 1-based iteration that made each cut."""
        return self._iterations[: self.size]

    @property
    def active(self) -> NDArray[np.bool_]:
        """(size,), as ``choose`` has it last; what was added since is active."""
        return self._active[: self.size]

    @property
    def last_active(self) -> IntArray:
        """(size,), writable: the iteration in which each cut last had a multiplier, at first the one that made it."""
        return self._last_active[: self.size]

    @property
    def times_active(self) -> IntArray:
        """(size,), writable: in how many units of work each cut had a multiplier."""
        return self._times_active[: self.size]

    def add(self, slopes: FloatArray, intercepts: FloatArray, iteration: int) -> IntArray:
        """Append cuts, slopes (c, S) and intercepts (c,); returns their ids."""
        self.make_room(intercepts.size)
        first, self.size = self.size, self.size + intercepts.size
        self._slopes[first : self.size] = slopes
        self._by_state[:, first : self.size] = slopes.T
        self._intercepts[first : self.size] = intercepts
        self._iterations[first : self.size] = iteration
        self._last_active[first : self.size] = iteration
        self._active[first : self.size] = True
        return np.arange(first, self.size)

    def choose(self, active: NDArray[np.bool_]) -> None:
        """Let these cuts (size,) be active, and no others. choices: how often that was; inactive: how many are not."""
        self._active[: self.size] = active
        self.choices += 1
        self.inactive = self.size - int(np.count_nonzero(active))

    def make_room(self, count: int) -> None:
        """For so many more."""
        if self._intercepts.size >= self.size + count:
            return
        room = self._intercepts.size
        while room < self.size + count:
            room *= 2
        for name in ("_slopes", "_intercepts", "_iterations", "_active", "_last_active", "_times_active"):
            old = getattr(self, name)
            grown = np.zeros((room, *old.shape[1:]), old.dtype)  # what nobody has touched yet is no memory
            grown[: self.size] = old[: self.size]
            setattr(self, name, grown)
        self._by_state = np.zeros((self._slopes.shape[1], room))
        self._by_state[:, : self.size] = self._slopes[: self.size].T

    @property
    def room(self) -> int:
        """How many cuts the arrays hold; when it changes, they are others."""
        return self._intercepts.size

    def tables(self) -> tuple[NDArray[Any], ...]:
        """Slopes (room, S), the same by states (S, room), intercepts, times_active, last_active, iterations and active
        (room,), with room behind ``size``."""
        return (
            self._slopes, self._by_state, self._intercepts,
            self._times_active, self._last_active, self._iterations, self._active,
        )  # fmt: skip

    def heights_at(self, states: FloatArray, hidden: NDArray[np.bool_]) -> FloatArray:
        """The cuts' values (r, size) at states (r, S), those ``hidden`` (size,) at -inf; summed state by state."""
        total = np.repeat(np.where(hidden, -np.inf, self.intercepts)[np.newaxis], states.shape[0], axis=0)
        for place in range(states.shape[1]):
            total += states[:, place, np.newaxis] * self._by_state[place, : self.size]
        return total

    def parts(self) -> tuple[FloatArray, FloatArray, IntArray, NDArray[np.bool_], IntArray, IntArray]:
        """Slopes, intercepts, iterations, and copies of what changes: active, last_active, times_active.

        Asked for after every iteration of every stage: the arrays themselves, not the properties.
        """
        at = slice(self.size)
        return (
            self._slopes[at],
            self._intercepts[at],
            self._iterations[at],
            self._active[at].copy(),
            self._last_active[at].copy(),
            self._times_active[at].copy(),
        )

    def restore(self, state: Cuts) -> None:
        """Into a pool that is empty yet."""
        self.add(state.slopes, state.intercepts, 0)
        for name in ("iterations", "last_active", "times_active"):
            getattr(self, f"_{name}")[: self.size] = getattr(state, name)
        self.choose(state.active)

    def heights(self, state: FloatArray, ids: IntArray | None = None) -> FloatArray:
        """The cuts' values (c,) at a state (S,), of all or of those given; summed state by state.

        Not a matrix product: its bits would depend on how many cuts there are.
        """
        slopes = self.slopes if ids is None else self.slopes[ids]
        total = (self.intercepts if ids is None else self.intercepts[ids]).copy()
        for place in np.flatnonzero(state):
            total += slopes[:, place] * state[place]
        return total
