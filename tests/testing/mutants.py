"""Communicators that are wrong in one respect each, around one that is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cobre.errors import CommError
from cobre.transport import Communicator, ReduceOp, SharedRegion
from cobre.transport.communicator import Counts
from cobre.transport.region import HeapRegion

Array = NDArray[Any]


class Honest(Communicator):
    """Passes everything on."""

    def __init__(self, inner: Communicator) -> None:
        self.inner = inner
        self.backend, self.rank, self.size, self.generation = inner.backend, inner.rank, inner.size, inner.generation

    @property
    def timeout(self) -> float:  # type: ignore[override]
        return self.inner.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self.inner.timeout = seconds

    def allgatherv(self, send: Array, counts: Counts, *, out: Array | None = None, copy: bool = True) -> Array:
        return self.inner.allgatherv(send, counts, out=out, copy=copy)

    def allreduce(self, send: Array, op: ReduceOp = ReduceOp.SUM, *, out: Array | None = None) -> Array:
        return self.inner.allreduce(send, op, out=out)

    def broadcast(self, buf: Array, root: int = 0) -> None:
        self.inner.broadcast(buf, root)

    def barrier(self) -> None:
        self.inner.barrier()

    def create_shared_region(self, shape: int | Sequence[int], dtype: DTypeLike) -> SharedRegion:
        return self.inner.create_shared_region(shape, dtype)

    def split_local(self) -> Communicator:
        return self.inner.split_local()

    def abort(self, reason: str = "") -> None:
        self.inner.abort(reason)

    def close(self) -> None:
        self.inner.close()

    @property
    def closed(self) -> bool:
        return self.inner.closed


class Gathers(Honest):
    """Something happens to what a gather returns, unless it is a view or goes into ``out``."""

    def allgatherv(self, send: Array, counts: Counts, *, out: Array | None = None, copy: bool = True) -> Array:
        found = self.inner.allgatherv(send, counts, out=out, copy=copy)
        return self.spoil(found, counts) if copy and out is None else found

    def spoil(self, found: Array, counts: Counts) -> Array:
        raise NotImplementedError


class WrongOrder(Gathers):
    def spoil(self, found: Array, counts: Counts) -> Array:
        ends = np.cumsum(np.asarray(counts))
        return np.concatenate([found[end - count : end] for end, count in zip(ends, counts, strict=True)][::-1])


class SwallowedElement(Gathers):
    """The last element of large results is not copied."""

    def spoil(self, found: Array, counts: Counts) -> Array:
        if found.size > 1000:
            found[-1] = np.zeros(1, found.dtype)[0]
        return found


class RarelyWrong(Gathers):
    calls = 0

    def spoil(self, found: Array, counts: Counts) -> Array:
        self.calls += 1
        if self.calls % 7 == 0 and found.size > 20:
            found[7] = found[8]
        return found


class NativeBytes(Gathers):
    def spoil(self, found: Array, counts: Counts) -> Array:
        return found.astype(found.dtype.newbyteorder("="))


class SharedResult(Gathers):
    """Every result of a size is the same memory."""

    def __init__(self, inner: Communicator) -> None:
        super().__init__(inner)
        self.kept: dict[Any, Array] = {}

    def spoil(self, found: Array, counts: Counts) -> Array:
        kept = self.kept.setdefault((found.size, found.dtype.str), found)
        kept[...] = found
        return kept


class StaleView(Honest):
    """Views of memory that the next gather writes to, and nothing that stops it."""

    def __init__(self, inner: Communicator) -> None:
        super().__init__(inner)
        self.memory = np.zeros(1 << 20, np.uint8)

    def allgatherv(self, send: Array, counts: Counts, *, out: Array | None = None, copy: bool = True) -> Array:
        found = self.inner.allgatherv(send, counts, out=out)
        if copy or out is not None or found.nbytes > self.memory.size:
            return found
        view = self.memory[: found.nbytes].view(found.dtype)
        view[...] = found
        view.flags.writeable = False
        return view

    def barrier(self) -> None:
        self.inner.barrier()
        self.memory[...] = 255


class WriteableView(Honest):
    def allgatherv(self, send: Array, counts: Counts, *, out: Array | None = None, copy: bool = True) -> Array:
        found = self.inner.allgatherv(send, counts, out=out)
        return found if copy or out is not None else found[:]


class OwnOrder(Honest):
    """Sums start at the own rank: each rank rounds in its own way."""

    def allreduce(self, send: Array, op: ReduceOp = ReduceOp.SUM, *, out: Array | None = None) -> Array:
        if op is not ReduceOp.SUM or send.dtype != np.float64 or out is not None:
            return self.inner.allreduce(send, op, out=out)
        parts = self.inner.allgatherv(send, [send.size] * self.size).reshape(self.size, *send.shape)
        total = np.array(parts[self.rank])
        with np.errstate(all="ignore"):
            for step in range(1, self.size):
                total = np.asarray(total + parts[(self.rank + step) % self.size])
        return total


class Reductions(Honest):
    def allreduce(self, send: Array, op: ReduceOp = ReduceOp.SUM, *, out: Array | None = None) -> Array:
        found = self.inner.allreduce(send, op, out=out)
        with np.errstate(all="ignore"):
            self.spoil(found, send, op)
        return found

    def spoil(self, found: Array, send: Array, op: ReduceOp) -> None:
        raise NotImplementedError


class NoNegativeZero(Reductions):
    def spoil(self, found: Array, send: Array, op: ReduceOp) -> None:
        if found.dtype.kind == "f":
            found += 0.0


class IgnoresNan(Reductions):
    def spoil(self, found: Array, send: Array, op: ReduceOp) -> None:
        if op is ReduceOp.MAX and found.dtype == np.float64:
            found[np.isnan(found)] = np.inf


class ClobbersSend(Reductions):
    def spoil(self, found: Array, send: Array, op: ReduceOp) -> None:
        if send.flags.writeable:
            send[...] = found


class OutIsNotReturned(Honest):
    def allreduce(self, send: Array, op: ReduceOp = ReduceOp.SUM, *, out: Array | None = None) -> Array:
        return self.inner.allreduce(send, op, out=out).copy()


class FirstRootOnly(Honest):
    def broadcast(self, buf: Array, root: int = 0) -> None:
        self.inner.broadcast(buf, 0)


class ShortBroadcast(Honest):
    def broadcast(self, buf: Array, root: int = 0) -> None:
        if buf.ndim == 1 and buf.size > 5000:
            buf = buf[:-1]
        self.inner.broadcast(buf, root)


class NoBarrier(Honest):
    def barrier(self) -> None:
        pass


class EverybodyWrites(Honest):
    def create_shared_region(self, shape: int | Sequence[int], dtype: DTypeLike) -> SharedRegion:
        region = self.inner.create_shared_region(shape, dtype)
        region.array = region.array.copy()
        return region


class _NoFence(HeapRegion):
    def fence(self) -> None:
        self._communicator.barrier()


class NoFence(Honest):
    def create_shared_region(self, shape: int | Sequence[int], dtype: DTypeLike) -> SharedRegion:
        extents = tuple(np.empty(shape, np.uint8).shape)
        return _NoFence(self, extents, np.dtype(dtype))


class TakesAnyRoot(Honest):
    def broadcast(self, buf: Array, root: int = 0) -> None:
        try:
            self.inner.broadcast(buf, root)
        except CommError as error:
            if error.kind != "InvalidArgument":
                raise


class RefusesAfterSending(Honest):
    """Finds out too late that the arguments are wrong."""

    def allreduce(self, send: Array, op: ReduceOp = ReduceOp.SUM, *, out: Array | None = None) -> Array:
        try:
            return self.inner.allreduce(send, op, out=out)
        except CommError as error:
            if error.kind == "InvalidArgument":
                self.inner.barrier()
            raise


class NamelessErrors(Honest):
    def broadcast(self, buf: Array, root: int = 0) -> None:
        try:
            self.inner.broadcast(buf, root)
        except CommError as error:
            error.operation = "communicate"
            raise


class NeverClosed(Honest):
    def close(self) -> None:
        pass


class DeafToAbort(Honest):
    def abort(self, reason: str = "") -> None:
        pass


class SplitsOff(Honest):
    """What is split off is the whole."""

    def split_local(self) -> Communicator:
        return self


class CastsToBytes(Honest):
    """The ranks' dtypes are not compared."""

    def allgatherv(self, send: Array, counts: Counts, *, out: Array | None = None, copy: bool = True) -> Array:
        width = send.dtype.itemsize
        raw = np.ascontiguousarray(send).reshape(-1).view(np.uint8)
        found = self.inner.allgatherv(raw, [int(count) * width for count in counts])
        return found.view(send.dtype)
