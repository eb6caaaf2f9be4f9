"""How the ranks of a group share the units of work of a run, over a Communicator."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.contracts import Part, Phase
from cobre.sddp.risk import FloatArray
from cobre.transport.communicator import Communicator, ReduceOp

__all__ = ["CommExchange", "Watcher"]

IntArray = NDArray[np.int64]
_REMEMBERED = 64  # shapes of gatherings


class Watcher(Protocol):
    """Who is told where a rank stands."""

    def reached(self, phase: Phase, iteration: int, stage: int) -> None:
        """The rank comes to this stage (1-based)."""

    def waiting(self, waits: bool) -> None:
        """The rank enters a collective, or has left it: standing still in one is not its own doing."""


class CommExchange:
    """One rank of a group, each of which computes a contiguous run of the units.

    Everything a stage has to pass on travels in one collective. watcher: told of every stage and every wait.
    Collectives raise what the communicator's do (CommError); nothing is closed here.
    """

    def __init__(self, communicator: Communicator, watcher: Watcher | None = None) -> None:
        self._communicator, self._watcher = communicator, watcher
        self.leads = communicator.is_leader
        self.seconds = 0.0
        """Inside collectives so far: passing data, and waiting for slower ranks."""
        self._word = np.zeros(1)
        self._bounds: dict[int, IntArray] = {}  # units -> where each rank's begin, and their end
        self._counts: dict[tuple[int, ...], list[int]] = {}  # the communicator knows a list again

    def assigned(self, units: int) -> Sequence[int]:
        """As even a share as there is; where some ranks get one more, rank 0, which has more to do, is the last."""
        rank = self._communicator.rank
        bounds = self._bounds_of(units)
        return range(int(bounds[rank]), int(bounds[rank + 1]))

    def most(self, units: int) -> int:
        return -(-units // self._communicator.size)

    def gather(self, *parts: Part) -> list[FloatArray]:
        rows = [self._rows(counts) for _, counts in parts]
        each = [own * mine.shape[1] for (mine, _), own in zip(parts, rows, strict=True)]
        counts = self._same(sum(each))
        send = np.concatenate([mine.ravel() for mine, _ in parts])
        began = self._enter()
        try:
            whole = self._communicator.allgatherv(send, counts, copy=False)
        finally:
            self._leave(began)
        ends = np.cumsum(np.array(each).T)  # where each part of each rank ends, in the order in which they lie there
        pieces = np.split(whole, ends[:-1])
        shapes = [(int(own.sum()), mine.shape[1]) for (mine, _), own in zip(parts, rows, strict=True)]
        return [np.concatenate(pieces[at :: len(parts)]).reshape(shape) for at, shape in enumerate(shapes)]

    def agree(self, value: float) -> float:
        self._word[0] = value
        began = self._enter()
        try:
            self._communicator.broadcast(self._word)
        finally:
            self._leave(began)
        return float(self._word[0])

    def total(self, values: FloatArray) -> FloatArray:
        began = self._enter()
        try:
            return self._communicator.allreduce(values, ReduceOp.SUM)
        finally:
            self._leave(began)

    def reached(self, phase: Phase, iteration: int, stage: int) -> None:
        if self._watcher is not None:
            self._watcher.reached(phase, iteration, stage)

    def _enter(self) -> float:
        if self._watcher is not None:
            self._watcher.waiting(True)
        return perf_counter()

    def _leave(self, began: float) -> None:
        self.seconds += perf_counter() - began
        if self._watcher is not None:
            self._watcher.waiting(False)

    def _bounds_of(self, units: int) -> IntArray:
        if units not in self._bounds:
            size = self._communicator.size
            self._bounds[units] = np.arange(size + 1, dtype=np.int64) * units // size
        return self._bounds[units]

    def _rows(self, counts: IntArray) -> IntArray:
        """How many rows each rank has, of units that have so many each."""
        before = np.concatenate([[0], np.cumsum(counts)])
        return np.diff(before[self._bounds_of(counts.size)])

    def _same(self, counts: IntArray) -> list[int]:
        wanted = counts.tolist()
        if len(self._counts) >= _REMEMBERED:
            self._counts.clear()
        return self._counts.setdefault(tuple(wanted), wanted)
