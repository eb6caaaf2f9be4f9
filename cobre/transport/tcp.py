"""Ranks that meet at an address: over TCP within a host, over ZeroMQ with CURVE keys between hosts."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cobre.errors import CommError
from cobre.transport.checks import (
    check_above_zero,
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
from cobre.transport.curve import CurveKeys
from cobre.transport.failures import Group
from cobre.transport.region import HeapRegion
from cobre.transport.tcp_forming import attend
from cobre.transport.tcp_hosts import split_by_host
from cobre.transport.tcp_joining import join
from cobre.transport.tcp_mesh import PIECE, Mesh
from cobre.transport.tcp_plan import Wishes, make_plan
from cobre.transport.tcp_schedules import Schedules
from cobre.transport.wire import signature

__all__ = ["TcpCommunicator"]

_BYTES = np.dtype(np.uint8)
_NOTHING = memoryview(b"")
_REMEMBERED = 256  # calls of different shapes for which the places of data are kept


class TcpCommunicator(Communicator):
    """One rank of a group whose ranks meet at rank 0's address: on one host, or on several.

    rank, size: this rank's place. generation: which forming of the group this is. coordinator: where rank 0 is called,
    ``host`` or ``host:port``; by default this host. port: where ``coordinator`` names none; 0 lets rank 0 take any.
    bind_address: where this rank listens: rank 0 inside its host unless it is given, the others where they reach
    rank 0 from. announce: called on rank 0 with ``host:port`` as soon as it listens there.

    token: a secret text that all ranks of the group hold, long and random; by default one that this user has on this
    host (in ``$XDG_STATE_HOME/cobre`` or ``~/.local/state/cobre``), so that ranks that any scheduler starts here meet
    and other users are kept out. keys: the directory that ``cobre keys`` made, or the keys; required, and what is sent
    is encrypted, where ``coordinator`` or ``bind_address`` can be reached from other hosts. run_id: ranks of other runs
    are refused.

    timeout: seconds that a collective waits for other ranks. connect_timeout: seconds until all ranks must have come.
    heartbeat: between hosts, seconds of silence after which a rank counts as lost. cancelled: looked at while the group
    forms; once it is true, this rank gives up and the others hear of it.

    Returns when all ranks have come and are linked, each with every other; nothing listens from then on. Raises
    CommError: InvalidArgument; AddressInUse; Refused; Mismatch (two sizes); RankLost; Aborted (cancelled); Timeout,
    with the ranks that did not come.
    """

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
        keys: str | Path | CurveKeys | None = None,
        run_id: str = "",
        timeout: float = 300.0,
        connect_timeout: float = 30.0,
        heartbeat: float = 20.0,
        announce: Callable[[str], object] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.rank, self.size, self.generation = check_group(rank, size, generation)
        check_above_zero(timeout=timeout)
        self._group = Group(self.backend, self.rank, self.size, self.generation)
        wishes = Wishes(
            coordinator, port, bind_address, token, keys, run_id, connect_timeout, heartbeat, announce, cancelled
        )
        plan = make_plan(self._group, wishes)
        self._mesh = Mesh(self._group, *(attend if self.rank == 0 else join)(plan), timeout)
        self._schedules = Schedules(self._mesh, self.rank, self.size)
        self._connect_timeout = connect_timeout
        self._gathers: dict[Any, _Gather] = {}
        self._regions: weakref.WeakSet[_Region] = weakref.WeakSet()
        self._abandoned = weakref.finalize(self, self._mesh.close)
        self._abandoned.atexit = False

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
        mesh = self._mesh
        if mesh.closed or mesh.failure is not None:
            mesh.check("allgatherv")
        try:
            plan = self._gathers[send.dtype, counts]
            fits = send.size == plan.count
        except (KeyError, TypeError, AttributeError):
            fits = False
        if not fits:
            plan = self._gather_plan(send, counts)
        if out is None:
            out = np.empty(plan.total, plan.dtype)
        else:
            check_out("allgatherv", out, (plan.total,), plan.dtype)
        data = out.view(_BYTES).data if plan.total else _NOTHING
        place = data[plan.span]
        if len(place) > PIECE and send.flags.c_contiguous and not np.may_share_memory(send, out):
            own = send.reshape(-1).view(_BYTES).data
            mesh.run("allgatherv", plan.signature, self._schedules.gather, own, data, plan.spans, _copy(own, place))
        else:  # what is sent is the copy: ``send`` may lie across the places of others
            out[plan.own] = send if send.ndim == 1 else send.reshape(-1)
            mesh.run("allgatherv", plan.signature, self._schedules.gather, place, data, plan.spans)
        return out

    def allreduce(
        self, send: NDArray[Any], op: ReduceOp = ReduceOp.SUM, *, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        self._mesh.check("allreduce")
        check_reducible("allreduce", send, op)
        if out is None:
            out = np.empty(send.shape, send.dtype)
        else:
            check_out("allreduce", out, send.shape, send.dtype)
        own = np.ascontiguousarray(send).reshape(-1)
        call = signature("allreduce", send.dtype, send.shape, op.value)
        self._mesh.run("allreduce", call, self._schedules.reduce, op, own, out.reshape(-1))
        return out

    def broadcast(self, buf: NDArray[Any], root: int = 0) -> None:
        self._mesh.check("broadcast")
        check_plain("broadcast", "buf", buf)
        source = check_root("broadcast", root, self.size)
        if self.rank != source:
            check_writeable("broadcast", "buf", buf)
        self._spread("broadcast", buf, source)

    def _spread(self, operation: str, buf: NDArray[Any], root: int) -> None:
        flat = buf if buf.flags.c_contiguous else np.ascontiguousarray(buf)
        call = signature(operation, buf.dtype, buf.shape, root)
        self._mesh.run(operation, call, self._schedules.broadcast, _bytes_of(flat.reshape(-1)), root)
        if flat is not buf and self.rank != root:
            buf[...] = flat

    def barrier(self) -> None:
        self._mesh.run("barrier", _BARRIER, self._schedules.barrier)

    def create_shared_region(self, shape: int | Sequence[int], dtype: DTypeLike) -> SharedRegion:
        name = "create_shared_region"
        self._mesh.check(name)
        extents, kind = check_region(shape, dtype)
        region, have = None, np.ones(1, np.uint8)
        try:
            region = _Region(self, extents, kind)
        except (MemoryError, ValueError):  # numpy's word for a shape that no address space holds
            have[0] = 0
        lacking = np.flatnonzero(self._share(name, have, kind, extents) == 0).tolist()
        if region is None or lacking:
            raise self._group.error(
                "OutOfMemory",
                name,
                f"there is no room for {extents} elements of {kind} on rank {lacking[0]}",
                "make the region smaller, or use fewer ranks on that host",
                ranks=lacking,
            )
        self._regions.add(region)
        return region

    def _share(self, operation: str, own: NDArray[np.uint8], *call: object) -> NDArray[np.uint8]:
        """The bytes of every rank, one row each. call: what else must be the same on all ranks."""
        rows = np.empty((self.size, own.size), np.uint8)
        rows[self.rank] = own
        spans = [slice(rank * own.size, (rank + 1) * own.size) for rank in range(self.size)]
        stamp = signature(operation, own.size, *call)
        self._mesh.run(operation, stamp, self._schedules.gather, own.data, rows.reshape(-1).data, spans)
        return rows

    def split_local(self) -> Communicator:
        self._mesh.check("split_local")
        return split_by_host(self, lambda own: self._share("split_local", own), self._connect_timeout)

    def abort(self, reason: str = "") -> None:
        self._mesh.abort(reason)

    def close(self) -> None:
        self._mesh.close()
        for region in list(self._regions):
            region.close()

    @property
    def closed(self) -> bool:
        return self._mesh.closed

    def _gather_plan(self, send: NDArray[Any], counts: Counts) -> _Gather:
        """Checks the arguments, and keeps what they come to for the next call like this."""
        shares = check_counts("allgatherv", counts, self.size)
        check_send("allgatherv", send, shares, self.rank)
        plan = _Gather.of(send.dtype, shares, self.rank)
        if type(counts) is tuple:
            if len(self._gathers) >= _REMEMBERED:
                self._gathers.clear()
            self._gathers[send.dtype, shares] = plan
        return plan


@dataclass(frozen=True, slots=True)
class _Gather:
    """Where the contributions to an ``allgatherv`` stand in its result: in elements, and in bytes."""

    signature: bytes
    dtype: np.dtype[Any]
    count: int
    total: int
    own: slice
    span: slice
    spans: list[slice]

    @classmethod
    def of(cls, dtype: np.dtype[Any], shares: tuple[int, ...], rank: int) -> _Gather:
        starts = [sum(shares[:other]) for other in range(len(shares) + 1)]
        width = dtype.itemsize
        spans = [slice(start * width, end * width) for start, end in pairwise(starts)]
        own = slice(starts[rank], starts[rank + 1])
        return cls(signature("allgatherv", dtype, shares), dtype, shares[rank], starts[-1], own, spans[rank], spans)


class _Region(HeapRegion):
    """The leader's array and copies of it, brought up to date by an operation of its own name."""

    def __init__(self, communicator: TcpCommunicator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(communicator, shape, dtype)
        self._spread = communicator._spread

    def fence(self) -> None:
        if self._closed:
            raise CommError("fence: the region is closed", operation="fence", kind="Closed")
        self._spread("fence", self._held, 0)


_BARRIER = signature("barrier")


def _copy(source: memoryview, target: memoryview) -> Iterator[int]:
    """Copies a piece at each step."""
    for start in range(0, len(source), PIECE):
        target[start : start + PIECE] = source[start : start + PIECE]
        yield 1


def _bytes_of(flat: NDArray[Any]) -> memoryview:
    """The memory of a contiguous array of one dimension."""
    return flat.view(_BYTES).data if flat.size else _NOTHING
