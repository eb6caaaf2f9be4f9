"""Collectives between processes of one host, through memory that they share."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from operator import index
from sys import getrefcount
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cobre.errors import CommError
from cobre.transport import segment
from cobre.transport.checks import (
    check_above_zero,
    check_counts,
    check_group,
    check_group_name,
    check_out,
    check_plain,
    check_reducible,
    check_region,
    check_root,
    check_send,
    check_writeable,
)
from cobre.transport.communicator import Communicator, Counts, ReduceOp, SharedRegion
from cobre.transport.control import Control, Verdict
from cobre.transport.failures import Group
from cobre.transport.forming import Meeting, meet
from cobre.transport.meet import Meet
from cobre.transport.meet import is_there as meet_is_there
from cobre.transport.meetings import Meetings
from cobre.transport.plans import BroadcastPlan, GatherPlan, Halves, Plan, ReducePlan, signature
from cobre.transport.reductions import add_in_order, reduce_in_order
from cobre.transport.segments import Allotment, SegmentRegion

__all__ = ["ShmCommunicator"]

_HARMLESS = ("InvalidArgument", "ViewAlive", "OutOfMemory")
_BARRIER, _FENCE = signature("barrier"), signature("fence")
_SMALL = 8192  # bytes of all contributions up to which every rank reduces all of it by itself
_OVERLAP = 32768  # bytes of a contribution from which it is copied into the result while others are still on their way
_ARRAY = np.ndarray


class _Holder:
    """Refers to an object as a communicator does to what it lent."""

    def __init__(self) -> None:
        self.lent = object()


_holder = _Holder()
_UNUSED = getrefcount(_holder.lent)  # where nobody else refers to it, however this Python counts
_REMEMBERED = 64  # calls of different shapes for which the places of data are kept


class ShmCommunicator(Communicator):
    """One rank of a group whose ranks are processes (or threads) of one host and one user.

    rank, size: this rank's place. name: what the ranks of one run call their group, and no other run on this host does:
    up to 150 letters, digits and ``_.+=:@-``. generation: which forming of the group this is. timeout: seconds that a
    collective waits for other ranks. connect_timeout: seconds until all ranks must have come. capacity: bytes of
    shared memory for data to begin with, as rank 0 has it; a collective that needs more makes more. cancelled: looked
    at while the group forms; once it is true, this rank gives up and the others are told.

    Returns when all ranks have come; nothing has a name in /dev/shm from then on. Raises CommError: InvalidArgument
    (a bad place or name), AddressInUse or Refused (a name or place that is taken), OutOfMemory (/dev/shm is full),
    Mismatch (two sizes), RankLost, Aborted (cancelled), and Timeout with the ranks that did not come.
    """

    backend = "shm"

    # The plans of the latest calls, known at a glance, or None: like none of them, which shows as an AttributeError.
    _last: Any
    _last_reduction: Any

    def __init__(
        self,
        *,
        rank: int,
        size: int,
        name: str | None = None,
        generation: int = 0,
        timeout: float = 300.0,
        connect_timeout: float = 30.0,
        capacity: int = 256 * 1024,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        group = Group(self.backend, *check_group(rank, size, generation))
        check_above_zero(timeout=timeout, connect_timeout=connect_timeout, capacity=capacity)
        met = meet(group, check_group_name(name), math.ceil(capacity / 2), connect_timeout, cancelled)
        self._begin(group, met, timeout)

    def _begin(self, group: Group, met: Meeting, timeout: float) -> None:
        self.rank, self.size, self.generation = group.rank, group.size, group.generation
        self._group = group
        self._meetings = Meetings(group, met, timeout)
        self._allotment = Allotment(group, self._meetings, met.control.header.secret.decode())
        self._halves: Halves | None = Halves(met.memory, Control.bytes_for(self.size), int(met.control.header.half))
        self._forget()
        self._meet: Meet | None = None
        self._lent: NDArray[Any] | None = None  # the latest view that was handed out
        self._regions: weakref.WeakSet[SegmentRegion] = weakref.WeakSet()
        Meetings.closing_with(self, self._meetings)

    def allgatherv(
        self, send: NDArray[Any], counts: Counts, *, out: NDArray[Any] | None = None, copy: bool = True
    ) -> NDArray[Any]:
        meetings = self._meetings
        if meetings.hindered and (meetings.broken or getrefcount(self._lent) != _UNUSED):
            self._enter("allgatherv")
        try:
            plan = self._last
            if counts is not plan.counts or send.dtype is not plan.dtype:
                plan = self._last = self._gathers[send.dtype, tuple(map(index, counts))]
            if len(send) != plan.count:
                raise ValueError  # the slow way says what is wrong, or finds that all is well
        except (KeyError, TypeError, AttributeError, ValueError):
            plan = self._last = self._gather_plan(send, counts)
        if out is not None:
            if (
                type(out) is not _ARRAY
                or out.shape != plan.whole_shape
                or out.dtype is not plan.dtype
                or not out.flags.carray
            ):
                check_out("allgatherv", out, plan.whole_shape, plan.dtype)
        elif copy:
            out = np.empty(plan.total, plan.dtype)
        mine, whole = plan.halves[meetings.sequence + 1 & 1]
        try:
            try:  # from here on this rank must arrive or break the group: others may have written beside this place
                mine[...] = send
            except ValueError:
                mine[...] = self._flat(send, plan)
            if out is None:
                meetings.arrive(plan.signature, "allgatherv")
                view: NDArray[Any] = whole.view(_ARRAY)
                self._lent = view
                meetings.hindered = True
                return view
            return self._gather_into(out, plan, send, whole)
        except BaseException as error:
            self._failed("allgatherv", error)
            raise

    def _flat(self, send: NDArray[Any], plan: GatherPlan) -> NDArray[Any]:
        check_send("allgatherv", send, plan.counts, self.rank)
        return send.reshape(plan.count)

    def _gather_into(
        self, out: NDArray[Any], plan: GatherPlan, send: NDArray[Any], whole: NDArray[Any]
    ) -> NDArray[Any]:
        if plan.bytes <= _OVERLAP:
            self._meetings.arrive(plan.signature, "allgatherv")
            out[...] = whole
            return out
        out[plan.own] = self._flat(send, plan)
        self._meetings.arrive(plan.signature, "allgatherv")
        for place in plan.others:
            out[place] = whole[place]
        return out

    def allreduce(
        self, send: NDArray[Any], op: ReduceOp = ReduceOp.SUM, *, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        meetings = self._meetings
        if meetings.hindered:
            self._enter("allreduce")
        try:
            plan = self._last_reduction
            if op is not plan.op or send.dtype is not plan.dtype or send.shape != plan.shape:
                plan = self._last_reduction = self._reductions[op, send.dtype, send.shape]
        except (KeyError, TypeError, AttributeError):
            plan = self._last_reduction = self._reduction_plan(send, op)
        if out is None:
            out = np.empty(plan.shape, plan.dtype)
        elif type(out) is not _ARRAY or out.shape != plan.shape or out.dtype is not plan.dtype or not out.flags.carray:
            check_out("allreduce", out, plan.shape, plan.dtype)
        try:
            half = meetings.sequence + 1 & 1
            plan.mine[half][...] = send
            meetings.arrive(plan.signature, "allreduce")
            if plan.is_number:
                out[...] = add_in_order(plan.numbers[half].tolist())
                return out
            if plan.bytes <= _SMALL or self.size == 1:
                reduce_in_order(op, plan.parts[half], out)
                return out
            reduce_in_order(op, plan.slices[half], plan.piece[1 - half])
            meetings.arrive(plan.second, "allreduce")
            out[...] = plan.result[1 - half]
            return out
        except BaseException as error:
            self._failed("allreduce", error)
            raise

    def broadcast(self, buf: NDArray[Any], root: int = 0) -> None:
        meetings = self._meetings
        if meetings.hindered:
            self._enter("broadcast")
        try:
            known = root if type(root) is int else check_root("broadcast", root, self.size)
            plan = self._broadcasts[known, buf.dtype, buf.shape]
        except (KeyError, TypeError, AttributeError):
            plan = self._broadcast_plan(buf, root)
        if self.rank != plan.root:
            check_writeable("broadcast", "buf", buf)
        try:
            half = meetings.sequence + 1 & 1
            if self.rank == plan.root:
                plan.mine[half][...] = buf
            meetings.arrive(plan.signature, "broadcast")
            if self.rank != plan.root:
                buf[...] = plan.whole[half]
        except BaseException as error:
            self._failed("broadcast", error)
            raise

    def barrier(self) -> None:
        meetings = self._meetings
        if meetings.hindered:
            self._enter("barrier")
        try:
            meetings.arrive(_BARRIER, "barrier")
        except BaseException as error:
            self._failed("barrier", error)
            raise

    def create_shared_region(self, shape: int | Sequence[int], dtype: DTypeLike) -> SharedRegion:
        self._enter("create_shared_region")
        extents, kind = check_region(shape, dtype)
        size = math.prod(extents) * kind.itemsize
        try:
            memory = self._allotment.allot(size, "create_shared_region", extents, kind.str, kind.descr)
        except BaseException as error:
            self._failed("create_shared_region", error)
            raise
        region = SegmentRegion(self, memory, extents, kind)
        self._regions.add(region)
        return region

    def compiled(self) -> Meet | None:
        if self._meet is None and self.size > 1 and meet_is_there():
            self._meet = Meet(self._meetings, self._halves_for, self._failed)
        return self._meet

    def _halves_for(self, operation: str) -> Halves:
        if self._meetings.hindered:
            self._enter(operation)
        if self._halves is None:
            raise self._group.closed(operation)
        return self._halves

    def meet_at_fence(self) -> None:
        """A barrier under the name of a region's fence."""
        self._enter("fence")
        try:
            self._meetings.arrive(_FENCE, "fence")
        except BaseException as error:
            self._failed("fence", error)
            raise

    def split_local(self) -> Communicator:
        self._enter("split_local")
        half = segment.page_rounded(1)
        try:
            memory = self._allotment.allot(Control.bytes_for(self.size) + 2 * half, "split_local")
            control = Control(memory, self.rank, self.size)
            if self.rank == 0:
                control.found(self.generation, half)
            control.register()
            self._meetings.arrive(signature("split_local"), "split_local")
        except BaseException as error:
            self._failed("split_local", error)
            raise
        new = ShmCommunicator.__new__(ShmCommunicator)
        new._begin(self._group, Meeting(memory, control), self.timeout)
        return new

    def abort(self, reason: str = "") -> None:
        self._meetings.give_up(Verdict("Aborted", (), reason))

    def close(self) -> None:
        for region in list(self._regions):
            region.close()
        self._meetings.close()
        # Whatever still refers to the mapping (a view, a thread inside a collective) keeps it for as long as it needs.
        self._halves, self._lent, self._meet = None, None, None
        self._forget()

    @property
    def closed(self) -> bool:
        return self._meetings.closed

    @property
    def timeout(self) -> float:
        return self._meetings.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._meetings.timeout = seconds

    def _enter(self, operation: str) -> None:
        """Raises where no collective can begin: the group is closed or broken, or a view is in use."""
        refusal = self._meetings.refusal(operation)
        if refusal is not None:
            raise refusal
        if self._lent is not None and getrefcount(self._lent) != _UNUSED:
            raise self._group.error(
                "ViewAlive",
                operation,
                "a view that allgatherv(copy=False) returned, or a slice of it, is still in use",
                "delete it, or copy what is needed beyond the next collective",
            )
        self._lent = None
        self._meetings.unhinder()

    def _failed(self, operation: str, error: BaseException) -> None:
        """Breaks the group for an error in the middle of a collective: the others cannot go on without this rank."""
        if isinstance(error, CommError):
            if error.kind not in _HARMLESS and error.kind != "Closed":
                self._meetings.give_up(Verdict.of(error))
            return
        if self._meetings.closed:  # by another thread, which took away what this one was using
            raise self._group.closed(operation) from error
        self._meetings.give_up(Verdict.of(error))

    def _gather_plan(self, send: NDArray[Any], counts: Counts) -> GatherPlan:
        found = check_counts("allgatherv", counts, self.size)
        check_send("allgatherv", send, found, self.rank)
        if type(counts) is tuple:
            found = counts  # the same object, when it comes again, is known at a glance
        known = self._gathers.get((send.dtype, found))
        if known is not None:
            return known
        plan = GatherPlan(self.rank, send.dtype, found)
        self._lay(plan, "allgatherv")
        self._remember(self._gathers, (send.dtype, found), plan)
        return plan

    def _reduction_plan(self, send: NDArray[Any], op: ReduceOp) -> ReducePlan:
        check_reducible("allreduce", send, op)
        known = self._reductions.get((op, send.dtype, send.shape))
        if known is not None:
            return known
        plan = ReducePlan(self.rank, self.size, op, send.dtype, send.shape)
        self._lay(plan, "allreduce")
        self._remember(self._reductions, (op, send.dtype, send.shape), plan)
        return plan

    def _broadcast_plan(self, buf: NDArray[Any], root: int) -> BroadcastPlan:
        check_plain("broadcast", "buf", buf)
        found = check_root("broadcast", root, self.size)
        if self.rank != found:
            check_writeable("broadcast", "buf", buf)
        plan = BroadcastPlan(found, buf.dtype, buf.shape)
        self._lay(plan, "broadcast")
        self._remember(self._broadcasts, (found, buf.dtype, buf.shape), plan)
        return plan

    def _lay(self, plan: Plan, operation: str) -> None:
        """Gives a plan its places, in larger halves where these are too small: that depends on the call alone, so that
        all ranks come to the same."""
        halves = self._halves
        if halves is None:
            raise self._group.closed(operation)
        if plan.bytes > halves.half:
            half = segment.page_rounded(max(plan.bytes, 2 * halves.half))
            try:
                memory = self._allotment.allot(2 * half, operation, plan.signature)
            except BaseException as error:
                self._failed(operation, error)
                raise
            self._halves = halves = Halves(memory, 0, half)
            self._forget()
        plan.lay(halves)

    def _forget(self) -> None:
        """Drops all plans."""
        self._last = self._last_reduction = None
        self._gathers: dict[Any, GatherPlan] = {}
        self._reductions: dict[Any, ReducePlan] = {}
        self._broadcasts: dict[Any, BroadcastPlan] = {}

    @staticmethod
    def _remember(plans: dict[Any, Any], key: object, plan: Plan) -> None:
        if len(plans) >= _REMEMBERED:
            plans.clear()
        plans[key] = plan
