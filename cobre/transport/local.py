"""The group of one: every collective gives back what was put in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cobre.transport.checks import (
    check_counts,
    check_group,
    check_out,
    check_plain,
    check_reducible,
    check_region,
    check_root,
    check_send,
)
from cobre.transport.communicator import Communicator, Counts, ReduceOp, SharedRegion
from cobre.transport.failures import Group, invalid
from cobre.transport.reductions import reduce_in_order
from cobre.transport.region import HeapRegion

__all__ = ["LocalCommunicator"]


class LocalCommunicator(Communicator):
    """Rank 0 of 1, in this process; no operation waits for anybody."""

    backend = "local"

    def __init__(self, *, rank: int = 0, size: int = 1, generation: int = 0, timeout: float = 300.0) -> None:
        self.rank, self.size, self.generation = check_group(rank, size, generation)
        if size != 1:
            raise invalid("connect", f"a local group has one rank, not {size}", "use kind='shm' or 'tcp'", size=size)
        self.timeout = timeout
        self._group = Group(self.backend, self.rank, self.size, self.generation)
        self._closed = False
        self._aborted: str | None = None

    def allgatherv(
        self, send: NDArray[Any], counts: Counts, *, out: NDArray[Any] | None = None, copy: bool = True
    ) -> NDArray[Any]:
        self._open("allgatherv")
        check_send("allgatherv", send, check_counts("allgatherv", counts, 1), 0)
        if out is None:
            return send.flatten()
        check_out("allgatherv", out, (send.size,), send.dtype)
        out[...] = send.reshape(-1)
        return out

    def allreduce(
        self, send: NDArray[Any], op: ReduceOp = ReduceOp.SUM, *, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        self._open("allreduce")
        check_reducible("allreduce", send, op)
        if out is None:
            out = np.empty(send.shape, send.dtype)
        check_out("allreduce", out, send.shape, send.dtype)
        reduce_in_order(op, [send], out)
        return out

    def broadcast(self, buf: NDArray[Any], root: int = 0) -> None:
        self._open("broadcast")
        check_plain("broadcast", "buf", buf)
        check_root("broadcast", root, 1)

    def barrier(self) -> None:
        self._open("barrier")

    def create_shared_region(self, shape: int | Sequence[int], dtype: DTypeLike) -> SharedRegion:
        self._open("create_shared_region")
        extents, kind = check_region(shape, dtype)
        try:
            return HeapRegion(self, extents, kind)
        except (MemoryError, ValueError):  # numpy's word for a shape that no address space holds
            raise self._group.error(
                "OutOfMemory",
                "create_shared_region",
                f"there is no room for {extents} elements of {kind}",
                "make the region smaller",
            ) from None

    def split_local(self) -> Communicator:
        self._open("split_local")
        return LocalCommunicator(generation=self.generation, timeout=self.timeout)

    def abort(self, reason: str = "") -> None:
        if self._aborted is None:
            self._aborted = reason

    def close(self) -> None:
        self._closed = True

    @property
    def closed(self) -> bool:
        return self._closed

    def _open(self, operation: str) -> None:
        if self._closed:
            raise self._group.closed(operation)
        if self._aborted is not None:
            raise self._group.aborted(operation, self._aborted)
