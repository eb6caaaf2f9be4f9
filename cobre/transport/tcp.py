"""Ranks that meet at an address: over TCP within a host, over ZeroMQ with CURVE keys between hosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
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
    check_writeable,
)
from cobre.transport.communicator import Communicator, Counts, ReduceOp, SharedRegion
from cobre.transport.failures import Group
from cobre.transport.handshake import Terms
from cobre.transport.local import LocalCommunicator
from cobre.transport.region import HeapRegion
from cobre.transport.tcp_door import Loop
from cobre.transport.tcp_forming import Plan, attend, join
from cobre.transport.tcp_mesh import Mesh
from cobre.transport.tcp_schedules import Schedules
from cobre.transport.tcp_streams import LinkMaker, StreamMaker

__all__ = ["TcpCommunicator"]


class TcpCommunicator(Communicator):
    """One rank of a group whose ranks meet at rank 0's address."""

    backend = "tcp"

    def __init__(
        self,
        *,
        rank: int,
        size: int,
        generation: int = 0,
        coordinator: str | None = None,
        port: int = 29500,
        bind_address: str | None = None,
        token: str | None = None,
        keys: str | Path | None = None,
        run_id: str = "",
        timeout: float = 300.0,
        connect_timeout: float = 30.0,
        announce: Callable[[str], object] | None = None,
    ) -> None:
        self.rank, self.size, self.generation = check_group(rank, size, generation)
        self._group = Group(self.backend, self.rank, self.size, self.generation)
        host, _, given = (coordinator or "127.0.0.1").partition(":")
        plan = Plan(
            group=self._group,
            terms=Terms(run_id, self.generation, self.size, curve=False),
            token=(token or "").encode(),
            coordinator=(host, int(given or port)),
            bind=bind_address,
            timeout=connect_timeout,
            make=self._maker,
            announce=announce,
        )
        links, waiter = (attend if self.rank == 0 else join)(plan)
        self._mesh = Mesh(self._group, links, waiter, timeout)
        self._schedules = Schedules(self._mesh, self.rank, self.size)

    def _maker(self, loop: Loop, host: str) -> LinkMaker:
        return StreamMaker(loop, self.rank, self.size, host)

    @property
    def timeout(self) -> float:
        """Seconds that a collective waits for other ranks before it raises."""
        return self._mesh.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._mesh.timeout = seconds

    def allgatherv(
        self, send: NDArray[Any], counts: Counts, *, out: NDArray[Any] | None = None, copy: bool = True
    ) -> NDArray[Any]:
        name = "allgatherv"
        self._mesh.check(name)
        shares = check_counts(name, counts, self.size)
        check_send(name, send, shares, self.rank)
        total = sum(shares)
        if out is None:
            out = np.empty(total, send.dtype)
        else:
            check_out(name, out, (total,), send.dtype)
        ends, end = [], 0
        for share in shares:
            end += share
            ends.append(end)
        out[end_of(ends, self.rank - 1) : ends[self.rank]] = send.reshape(-1)
        data = out.view(np.uint8).data if total else memoryview(b"")
        width = send.dtype.itemsize
        ends = [end * width for end in ends]
        self._mesh.run(name, (send.dtype, shares), lambda: self._schedules.gather(data, ends))
        return out

    def allreduce(
        self, send: NDArray[Any], op: ReduceOp = ReduceOp.SUM, *, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        name = "allreduce"
        self._mesh.check(name)
        check_reducible(name, send, op)
        if out is None:
            out = np.empty(send.shape, send.dtype)
        else:
            check_out(name, out, send.shape, send.dtype)
        flat_send, flat_out = np.ascontiguousarray(send).reshape(-1), out.reshape(-1)
        call = (send.dtype, send.shape, op.value)
        self._mesh.run(name, call, lambda: self._schedules.reduce(op, flat_send, flat_out))
        return out

    def broadcast(self, buf: NDArray[Any], root: int = 0) -> None:
        name = "broadcast"
        self._mesh.check(name)
        check_plain(name, "buf", buf)
        source = check_root(name, root, self.size)
        if self.rank != source:
            check_writeable(name, "buf", buf)
        flat = np.ascontiguousarray(buf).reshape(-1)
        data = flat.view(np.uint8).data if flat.size else memoryview(b"")
        self._mesh.run(name, (buf.dtype, buf.shape, source), lambda: self._schedules.broadcast(data, source))
        if self.rank != source and not np.may_share_memory(flat, buf):
            buf[...] = flat.reshape(buf.shape)

    def barrier(self) -> None:
        self._mesh.check("barrier")
        self._mesh.run("barrier", (), self._schedules.barrier)

    def create_shared_region(self, shape: int | Sequence[int], dtype: DTypeLike) -> SharedRegion:
        self._mesh.check("create_shared_region")
        extents, kind = check_region(shape, dtype)
        return HeapRegion(self, extents, kind)

    def split_local(self) -> Communicator:
        return LocalCommunicator()

    def abort(self, reason: str = "") -> None:
        self._mesh.abort(reason)

    def close(self) -> None:
        self._mesh.close()

    @property
    def closed(self) -> bool:
        return self._mesh.closed


def end_of(ends: list[int], rank: int) -> int:
    return ends[rank] if rank >= 0 else 0
