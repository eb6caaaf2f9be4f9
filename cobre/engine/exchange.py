"""How the ranks of a group share the units of work of a run, over a Communicator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.contracts import Part, Phase
from cobre.sddp.risk import FloatArray
from cobre.transport.communicator import Communicator, CompiledExchange, ReduceOp

__all__ = ["CommExchange", "Watcher"]

IntArray = NDArray[np.int64]
_REMEMBERED = 64  # shapes of gatherings
_FEW = 64  # numbers, which are summed in less time than it takes to share out the work of it
_PADDED = 1 << 14  # numbers of one rank, up to which a gathering may have empty rows


class Watcher(Protocol):
    """Who is told where a rank stands."""

    def reached(self, phase: Phase, iteration: int, stage: int) -> None:
        """The rank comes to this stage (1-based)."""

    def words(self) -> tuple[int, int] | None:
        """Addresses of a word for the stage and of one that counts how often it was written, 0 where there is none;
        None where every stage is to be told."""

    def waiting(self, waits: bool) -> None:
        """The rank enters a collective, or has left it: standing still in one is not its own doing."""


class CommExchange:
    """One rank of a group, each of which computes a contiguous run of the units.

    Everything a stage has to pass on travels in one collective. watcher: told of every stage and every wait.
    Collectives raise what the communicator's do (CommError); nothing is closed here.
    """

    alone = False

    def __init__(self, communicator: Communicator, watcher: Watcher | None = None) -> None:
        self._communicator, self._watcher = communicator, watcher
        self.leads = communicator.is_leader
        self.place = communicator.rank, communicator.size
        self.seconds = 0.0
        """Inside collectives so far: passing data, and waiting for slower ranks."""
        self._word = np.zeros(1)
        self._compiled: CompiledExchange | None = None  # under way
        self._bounds: dict[int, IntArray] = {}  # units -> where each rank's begin, and their end
        self._plans: dict[object, _Plan] = {}
        self._rows_of: dict[bytes, IntArray] = {}
        self._even: dict[int, tuple[FloatArray, tuple[int, ...]]] = {}  # by size: what is sent, and the counts
        self._counts: dict[int, tuple[int, ...]] = {}  # by size: the same tuple each time is known at a glance

    def assigned(self, units: int) -> Sequence[int]:
        """As even a share as there is; where some ranks get one more, rank 0, which has more to do, is the last."""
        rank = self._communicator.rank
        bounds = self._bounds_of(units)
        return range(int(bounds[rank]), int(bounds[rank + 1]))

    def most(self, units: int) -> int:
        return -(-units // self._communicator.size)

    def gather(self, *parts: Part) -> list[FloatArray]:
        if len(parts) == 1:
            return [self._gather_one(*parts[0])]
        return self._gather_all(parts)

    def _gather_one(self, mine: FloatArray, counts: IntArray) -> FloatArray:
        """Few rows travel in places of one of few sizes: most counts come once, and sizes that a communicator does not
        know yet cost it more than empty rows do."""
        rows, width = self._rows(counts).tolist(), mine.shape[1]
        held = _rounded(max(rows))
        room = held * width
        if room > _PADDED:
            return self._gather_all([(mine, counts)])[0]
        if room not in self._even:
            self._even[room] = np.zeros(room), (room,) * len(rows)
        send, even = self._even[room]
        send[: mine.size] = mine.ravel()
        began = self._enter()
        try:
            whole = self._communicator.allgatherv(send, even, copy=False)
        finally:
            self._leave(began)
        table = whole.reshape(len(rows), held, width)
        return np.concatenate([table[rank, :count] for rank, count in enumerate(rows)])

    def _gather_all(self, parts: Sequence[Part]) -> list[FloatArray]:
        plan = self._plan(parts)
        send = parts[0][0].ravel() if len(parts) == 1 else np.concatenate([mine.ravel() for mine, _ in parts])
        began = self._enter()
        try:
            whole = self._communicator.allgatherv(send, plan.counts, copy=False)
        finally:
            self._leave(began)
        return [
            np.concatenate([whole[place] for place in places]).reshape(shape)
            for shape, places in zip(plan.shapes, plan.places, strict=True)
        ]

    def _plan(self, parts: Sequence[Part]) -> _Plan:
        """How such parts lie in what is gathered; remembered, for most gatherings are like an earlier one."""
        key = tuple((mine.shape[1], counts.tobytes()) for mine, counts in parts)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _REMEMBERED:
                self._plans.clear()
            rows = np.array([self._rows(counts) for _, counts in parts])  # (parts, ranks)
            plan = self._plans[key] = _Plan.of(rows, [mine.shape[1] for mine, _ in parts])
        return plan

    def swap(self, mine: FloatArray) -> FloatArray:
        counts = self._counts.get(mine.size)
        if counts is None:
            counts = self._counts[mine.size] = (mine.size,) * self.place[1]
        began = self._enter()
        try:
            # other ranks may be in a compiled loop
            compiled = self._communicator.compiled()
            found = None if compiled is None else compiled.swap(mine)
            return self._communicator.allgatherv(mine, counts) if found is None else found
        finally:
            self._leave(began)

    @property
    def words(self) -> tuple[int, int] | None:
        return (0, 0) if self._watcher is None else self._watcher.words()

    def enter_compiled(self) -> tuple[int | None, int | None, int] | None:
        found = self._communicator.compiled()
        if found is None:
            return None
        found.begin()
        self._compiled = found
        return found.function if self.words is not None else None, found.claim, found.state

    def leave_compiled(self) -> None:
        if self._compiled is not None:
            self.seconds += self._compiled.end()
        self._compiled = None

    def wait(self) -> None:
        assert self._compiled is not None
        began = self._enter()
        try:
            self._compiled.wait()
        finally:
            self._leave(began)

    def agree(self, value: float) -> float:
        self._word[0] = value
        began = self._enter()
        try:
            self._communicator.broadcast(self._word)
        finally:
            self._leave(began)
        return float(self._word[0])

    def total(self, values: FloatArray) -> FloatArray:
        if 0 < values.size <= _FEW:
            total: FloatArray = np.add.accumulate(self.swap(values).reshape(-1, values.size), axis=0)[-1]
            return total
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
        key = counts.tobytes()
        rows = self._rows_of.get(key)
        if rows is None:
            if len(self._rows_of) >= _REMEMBERED:
                self._rows_of.clear()
            before = np.concatenate([[0], np.cumsum(counts)])
            rows = self._rows_of[key] = np.diff(before[self._bounds_of(counts.size)])
        return rows


def _rounded(count: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, ..."""
    power = 1 << max(0, count - 1).bit_length()
    return 3 * power // 4 if power >= 4 and count <= 3 * power // 4 else power


@dataclass(frozen=True)
class _Plan:
    """counts: elements of each rank. shapes: of each part. places: of each part, where each rank's share of it lies."""

    counts: list[int]
    shapes: list[tuple[int, int]]
    places: list[list[slice]]

    @classmethod
    def of(cls, rows: IntArray, widths: list[int]) -> _Plan:
        """rows: (parts, ranks). widths: of the parts."""
        elements = rows * np.array(widths)[:, np.newaxis]
        ends = np.cumsum(elements.T).reshape(elements.T.shape).T  # rank after rank, and its parts in their order
        return cls(
            counts=elements.sum(axis=0).tolist(),
            shapes=[(int(count), width) for count, width in zip(rows.sum(axis=1), widths, strict=True)],
            places=[
                [slice(end - size, end) for end, size in zip(*pair, strict=True)]
                for pair in zip(ends.tolist(), elements.tolist(), strict=True)
            ],
        )
