"""Where in shared memory a collective puts what: worked out once for each kind of call, then used again.

The data of a group are two halves, used in turn. A rank writes into the half of collective s + 2 only after every rank
has arrived at s + 1, and so has finished with s: one meeting of all ranks is enough for each exchange.
"""

from __future__ import annotations

import mmap
import zlib
from ctypes import addressof, c_char
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.transport.communicator import ReduceOp
from cobre.transport.control import COUNTER

__all__ = ["BroadcastPlan", "GatherPlan", "Halves", "Lent", "Plan", "ReducePlan", "signature"]

_LINE = 64  # bytes: contributions to a reduction start on cache lines of their own


def signature(operation: str, *call: object) -> int:
    """What a rank's flag carries beside the counter, so that ranks which make different calls see it."""
    return (1 + zlib.crc32(repr((operation, *call)).encode())) << COUNTER.bit_length()


class Lent(np.ndarray[Any, Any]):
    """A window into a half, of which views are handed out. The window being of another class, numpy keeps a view, and
    not the window, as the base of its slices: references to the view count its slices too."""


class Halves:
    """Two equal halves of a mapping, the first at ``start`` (bytes). addresses: where they are, while this exists."""

    def __init__(self, memory: mmap.mmap, start: int, half: int) -> None:
        self.half = half
        self._starts = (start, start + half)
        self._memory = memoryview(memory)
        self._read_only = self._memory.toreadonly()
        self.addresses = tuple(addressof(c_char.from_buffer(memory, at)) for at in self._starts)

    def windows(self, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int = 0) -> list[NDArray[Any]]:
        """The same place in both halves, to write to."""
        return [np.ndarray(shape, dtype, self._memory, start + offset) for start in self._starts]

    def views(self, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int = 0) -> list[Lent]:
        """The same place in both halves, to read."""
        return [Lent(shape, dtype, self._read_only, start + offset) for start in self._starts]

    def numbers(self, count: int, stride: int) -> list[memoryview[float]]:
        """``count`` doubles in both halves, ``stride`` bytes apart: one of them is quicker to read than an array."""
        spans = [self._read_only[start : start + count * stride] for start in self._starts]
        return [span.cast("d")[:: stride // 8] for span in spans]


class GatherPlan:
    """Contributions back to back, so that the whole is one array."""

    def __init__(self, rank: int, dtype: np.dtype[Any], counts: tuple[int, ...]) -> None:
        self.dtype, self.counts = dtype, counts
        self.count = counts[rank]
        self.total = sum(counts)
        self.whole_shape = (self.total,)
        self.bytes = self.total * dtype.itemsize
        self.signature = signature("allgatherv", dtype.str, dtype.descr, counts)
        ends = list(accumulate(counts))
        self.places = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        self.own = self.places[rank]
        self.others = [place for r, place in enumerate(self.places) if r != rank and counts[r]]

    def lay(self, halves: Halves) -> None:
        mine = halves.windows((self.count,), self.dtype, self.own.start * self.dtype.itemsize)
        self.halves = list(zip(mine, halves.views(self.whole_shape, self.dtype), strict=True))


class ReducePlan:
    """A contribution of each rank, and the place of a result; large ones are reduced in slices, one for each rank."""

    def __init__(self, rank: int, size: int, op: ReduceOp, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.op, self.dtype, self.shape, self.rank, self.size = op, dtype, shape, rank, size
        self.count = int(np.prod(shape, dtype=np.int64))
        stride = -(-self.count * dtype.itemsize // _LINE) * _LINE
        self.bytes = stride * size
        self.offsets = [stride * r for r in range(size)]
        self.signature = signature("allreduce", op.name, dtype.str, shape)
        self.second = signature("allreduce, second half", op.name, dtype.str, shape)
        step = -(-self.count // size // _LINE) * _LINE or _LINE
        bounds = [min(self.count, step * r) for r in range(size)] + [self.count]
        self.slice = slice(bounds[rank], bounds[rank + 1])
        self.is_number = self.count == 1 and dtype == np.float64 and dtype.isnative and op is ReduceOp.SUM
        self.numbers: list[memoryview[float]] = []

    def lay(self, halves: Halves) -> None:
        flat = (self.count,)
        parts = [halves.windows(flat, self.dtype, offset) for offset in self.offsets]
        self.mine = halves.windows(self.shape, self.dtype, self.offsets[self.rank])
        self.parts = [[part[half].reshape(self.shape) for part in parts] for half in (0, 1)]
        self.slices = [[part[half][self.slice] for part in parts] for half in (0, 1)]
        self.piece = [window[self.slice] for window in halves.windows(flat, self.dtype)]
        self.result = halves.views(self.shape, self.dtype)
        if self.is_number:
            self.numbers = halves.numbers(self.size, _LINE)


class BroadcastPlan:
    """The root's array, once."""

    def __init__(self, root: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.root, self.dtype, self.shape = root, dtype, shape
        self.bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self.signature = signature("broadcast", root, dtype.str, dtype.descr, shape)

    def lay(self, halves: Halves) -> None:
        self.mine = halves.windows(self.shape, self.dtype)
        self.whole = halves.views(self.shape, self.dtype)


Plan = GatherPlan | ReducePlan | BroadcastPlan
