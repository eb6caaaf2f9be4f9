"""Publishing into the memory of a channel: room in the writer's own ring, a header, and one store that shows it."""

from __future__ import annotations

import itertools
import operator
import os
import time
import weakref
from collections.abc import Sequence
from time import time_ns
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cobre.errors import ChannelError
from cobre.transport.channel_lane import AllLane, OneLane, WriterLane
from cobre.transport.channel_memory import (
    ASLEEP,
    ATTACHMENTS,
    BLOCKED,
    BYTES,
    CLOSED,
    ENDED,
    FAILED,
    HIGH_WATER,
    MARGIN,
    MESSAGES,
    PIECE,
    TAIL,
    WANTS,
)
from cobre.transport.channel_ports import ChannelWriter, Loan
from cobre.transport.channel_wait import Address, Attachment, Peers, failure
from cobre.transport.message_header import (
    BLOCK_AT,
    FRONT,
    HEADER_BYTES,
    INLINE_AT,
    SESSION_AT,
    Data,
    Layout,
    Layouts,
    encode_metadata,
    mark_layout,
)

__all__ = ["MemoryLoan", "MemoryWriter"]

_ARRAY = np.ndarray
_EXTENSION = MARGIN // 2  # bytes that a loan keeps for metadata that the header has no room for
_LOOKS, _YIELDS = 30, 20
_HASTE = 0.0001  # seconds after which a core that was yielded is in use by somebody else
_NONE: tuple[bytes, bytes] = (b"", b"")


class MemoryWriter(ChannelWriter):
    """One writer's place in a channel in shared memory: see ``Channel.writer``."""

    def __init__(self, address: Address, place: int) -> None:
        self.name, self.place = address.name, place
        self._attachment = attachment = Attachment(address, True, place)
        try:
            self._begin(address, attachment)
        except BaseException:
            attachment.leave(FAILED, "it could not begin")
            raise
        self._forgotten = weakref.finalize(self, attachment.leave, FAILED, "it was not closed")

    def _begin(self, address: Address, attachment: Attachment) -> None:
        plan, memory = address.plan, attachment.memory
        self._peers = Peers(attachment)
        self._peers.watch()
        self._lane: WriterLane = (OneLane if address.to_one else AllLane)(attachment, self._peers)
        self._memory: Any = memory.map_all()
        self._words: Any = memoryview(self._memory).cast("Q")
        self._bytes = memoryview(self._memory)
        self._headers = plan.headers(self.place)
        self._ring = self.place * plan.ring  # where its ring begins in the data
        self._data = plan.control
        self._block = attachment.block
        self._tail_at = attachment.block + TAIL
        self._sleepers = [(reader, plan.reader_word(reader) + ASLEEP) for reader in range(plan.readers)]
        self._rung = [0] * plan.readers
        self._capacity = plan.capacity
        self._addresses = plan.address_word(self.place) if address.to_one else -1
        self._to = 0  # 1 + place of the reader that alone gets what is published, 0: any
        self._kinds = frozenset(address.kinds)
        self._fenced = attachment.fenced
        self._messages, self._sent = (self._words[self._block + word] for word in (MESSAGES, BYTES))
        self._high_water, self._blocked = (self._words[self._block + word] for word in (HIGH_WATER, BLOCKED))
        self._words[self._block + WANTS] = 0
        self._time = 0
        if self._lane.tail:  # of the place's earlier holder
            last = self._headers + (self._lane.tail - 1) % plan.capacity * HEADER_BYTES
            self._time = FRONT.unpack_from(self._memory, last)[3]
        self._shown: list[Layout | None] = [None] * plan.capacity
        session = address.session.encode()
        for slot in range(plan.capacity):
            at = self._headers + slot * HEADER_BYTES + SESSION_AT
            self._memory[at : at + len(session)] = session
        # A reader remembers layouts by number: those of the place's earlier holders had others.
        self._layouts = Layouts(self.name, itertools.count(self._words[self._block + ATTACHMENTS] << 20))
        self._array = mark_layout()  # like no array
        self._mark = mark_layout()
        self._loan: MemoryLoan | None = None
        self._refused = 0  # bytes that there was no room for

    @property
    def closed(self) -> bool:
        return self._attachment.closed

    def close(self) -> None:
        self._leave(CLOSED, "")

    def abandon(self, reason: str = "") -> None:
        self._leave(FAILED, reason)

    def _leave(self, state: int, reason: str) -> None:
        self._forgotten.detach()
        self._attachment.leave(state, reason)
        # The mapping goes with the last thing that refers to it.
        self._memory, self._words, self._bytes = b"", _Gone(f"writer {self.place}", self.name), memoryview(b"")

    def publish(self, data: Data, /, timeout: float | None = None, **metadata: Any) -> None:
        self._publish(data, timeout, metadata, "publish")

    def try_publish(self, data: Data, /, **metadata: Any) -> bool:
        return self._publish(data, -1.0, metadata, "try_publish")

    def _publish(self, data: Data, timeout: float | None, metadata: dict[str, Any], operation: str) -> bool:
        layout = self._array
        if type(data) is _ARRAY and data.dtype is layout.dtype and data.shape == layout.shape:
            source: Any = data
        else:
            layout, source = self._prepared(data, operation)
        if metadata or layout.extension:
            inline, extension = encode_metadata(layout, metadata, operation, self.name)
        else:
            inline, extension = _NONE
        size = layout.size
        need = size + len(extension) + PIECE - 1 & -PIECE
        offset = self._room(need, timeout, operation)
        if offset < 0:
            return False
        at = self._data + self._ring + offset
        if size:
            _ARRAY(layout.shape, layout.dtype, self._memory, at)[...] = source
        if extension:
            self._bytes[at + size : at + size + len(extension)] = extension
        self._show(layout, self._ring + offset, offset, need, inline, len(extension))
        return True

    def _prepared(self, data: Data, operation: str) -> tuple[Layout, Any]:
        layout, source = self._layouts.of(data, operation)
        self._check_kind(layout.kind, operation)
        if layout.kind == "array":
            self._array = layout
        return layout, source

    def _check_kind(self, kind: str, operation: str) -> None:
        if self._kinds and kind not in self._kinds:
            allowed = " and ".join(sorted(self._kinds))
            raise failure("WrongType", operation, self.name, f"it carries {allowed}, not {kind}", type=kind)

    def _room(self, need: int, timeout: float | None, operation: str) -> int:
        """Where ``need`` bytes of the ring are free, or -1 with a negative timeout."""
        if self._words[ENDED] or self._loan is not None:
            self._refuse(operation)
        lane = self._lane
        lane.refresh()
        offset = lane.fit(need, lane.done)
        return offset if offset >= 0 else self._wait(need, timeout, operation)

    def _show(self, layout: Layout, place: int, offset: int, need: int, inline: bytes, extension: int) -> None:
        """Publishes what stands at ``offset``. place: what the header says of where it is."""
        lane, words, memory = self._lane, self._words, self._memory
        tail = lane.tail
        slot = tail % self._capacity
        at = self._headers + slot * HEADER_BYTES
        now = time_ns()
        if now <= self._time:
            now = self._time + 1
        self._time = now
        FRONT.pack_into(memory, at, layout.size, place, tail, now, extension, len(inline), layout.number)
        if self._shown[slot] is not layout:
            memory[at + BLOCK_AT : at + SESSION_AT] = layout.block
            self._shown[slot] = layout
        if inline:
            memory[at + INLINE_AT : at + INLINE_AT + len(inline)] = inline
        if self._addresses >= 0:
            words[self._addresses + slot] = self._to
        lane.starts[slot] = offset
        lane.head = offset + need
        lane.tail = tail = tail + 1
        if self._fenced:
            self._attachment.fence()
            words[self._tail_at] = tail
            self._attachment.fence()
        else:
            words[self._tail_at] = tail
        for reader, asleep in self._sleepers:
            sleep = words[asleep]
            if sleep and sleep != self._rung[reader]:  # who has been rung for this sleep will look
                self._rung[reader] = sleep
                self._attachment.ring(reader)
        self._count(layout, tail - lane.done)

    def _count(self, layout: Layout, used: int) -> None:
        words, block = self._words, self._block
        if layout.kind != "mark":
            self._messages += 1
            words[block + MESSAGES] = self._messages
            self._sent += layout.size
            words[block + BYTES] = self._sent
        if used > self._high_water:
            self._high_water = words[block + HIGH_WATER] = used

    def mark(self, number: int, timeout: float | None = None) -> None:
        """Publishes a mark to every reader. number: 0 to 2**63 - 1. Raises ChannelError as ``publish`` does."""
        if not 0 <= number < 1 << 63:
            raise failure("OutOfRange", "mark", self.name, f"a mark has a number from 0 to 2**63 - 1, not {number}")
        self._peers.watch()
        self._lane.recount()
        try:
            for address in [0] if self._addresses < 0 else [1 + place for place in self._lane.live]:
                self._to = address
                self._show(self._mark, number, self._room(0, timeout, "mark"), 0, b"", 0)
        finally:
            self._to = 0

    def loan(
        self,
        shape: int | Sequence[int],
        dtype: DTypeLike = np.uint8,
        *,
        kind: str = "array",
        rate: float = 0.0,
        format: str = "",
        timeout: float | None = None,
    ) -> MemoryLoan:
        layout = self._array
        if shape != layout.shape or dtype is not layout.dtype or kind != "array":
            layout = self._loan_layout(shape, dtype, kind, rate, format)
        need = layout.size + _EXTENSION + PIECE - 1 & -PIECE
        offset = self._room(need, timeout, "loan")
        array = _ARRAY(layout.shape, layout.dtype, self._memory, self._data + self._ring + offset)
        self._loan = loan = MemoryLoan(self, layout, offset, array)
        return loan

    def _loan_layout(self, shape: Any, dtype: DTypeLike, kind: str, rate: float, format: str) -> Layout:
        if kind not in ("array", "bytes", "audio", "video"):
            raise failure(
                "WrongType", "loan", self.name, f"there is no loan of kind {kind!r}", "array, bytes, audio or video"
            )
        self._check_kind(kind, "loan")
        try:
            extents = tuple(map(operator.index, shape)) if np.iterable(shape) else (operator.index(shape),)
            found = np.dtype(dtype)
        except TypeError as error:
            raise failure("WrongType", "loan", self.name, str(error), "give a shape of integers and a dtype") from None
        if any(extent < 0 for extent in extents) or len(extents) > 64:
            raise failure("OutOfRange", "loan", self.name, f"the shape {extents} cannot be")
        if kind == "bytes" and (len(extents) != 1 or found != np.uint8):
            raise failure("WrongType", "loan", self.name, "bytes are one row of uint8", "loan(size, kind='bytes')")
        layout = self._layouts.get(kind, found, extents, rate, format, "loan")
        if kind == "array":
            self._array = layout
        return layout

    def publish_loan(self, loan: MemoryLoan) -> None:
        """Shows readers what a loan was filled with."""
        self._loan = None
        layout, size, metadata = loan.layout, loan.layout.size, loan.metadata
        if self._words[ENDED]:
            self._refuse("publish")
        inline, extension = _NONE
        if metadata or layout.extension:
            inline, extension = encode_metadata(layout, metadata, "publish", self.name)
            if len(extension) > _EXTENSION:
                raise failure(
                    "TooLarge",
                    "publish",
                    self.name,
                    f"the metadata of a loan has {len(extension)} bytes, and {_EXTENSION} are kept for it",
                    "publish large metadata as a message of its own",
                )
        place = self._ring + loan.offset
        if extension:
            at = self._data + place + size
            self._bytes[at : at + len(extension)] = extension
        self._show(layout, place, loan.offset, size + len(extension) + PIECE - 1 & -PIECE, inline, len(extension))

    def drop_loan(self) -> None:
        """Nothing comes of the loan: its room is what the next message takes."""
        self._loan = None

    def _refuse(self, operation: str) -> None:
        """Raises what stands in the way of publishing."""
        if self._attachment.closed:
            raise failure("Closed", operation, self.name, f"writer {self.place} has been closed")
        if self._words[ENDED]:
            reason = self._attachment.memory.reason
            raise failure("Closed", operation, self.name, f"the channel has ended{': ' if reason else ''}{reason}")
        raise failure(
            "LoanOpen",
            operation,
            self.name,
            "a loan is open",
            "publish or drop it first: leaving its with block does",
        )

    def _wait(self, need: int, timeout: float | None, operation: str) -> int:
        """Waits until ``need`` bytes are free, and says where; -1 with a negative timeout."""
        if need > self._lane.size:
            raise self._too_large(need, operation)
        self._refused = need
        began = time.monotonic()
        try:
            offset = -1 if timeout is not None and timeout <= 0.0 else self._linger(need)
            return offset if offset >= 0 else self._sleep(need, timeout, began, operation)
        finally:
            if not self._attachment.closed:
                self._words[self._block + WANTS] = 0
                if timeout is None or timeout >= 0.0:
                    self._blocked += int((time.monotonic() - began) * 1e9)
                    self._words[self._block + BLOCKED] = self._blocked

    def ready(self) -> bool:
        lane, words = self._lane, self._words
        if self._attachment.closed:
            return True
        self._peers.sleep(0.0)
        self._peers.watch()
        lane.recount()
        words[self._block + WANTS] = lane.target(self._refused)
        self._peers.fence()
        lane.refresh()
        found = lane.fit(self._refused, lane.done) >= 0 or bool(words[ENDED]) or not lane.live
        if found:
            words[self._block + WANTS] = 0
        return found

    def fileno(self) -> int:
        return self._peers.fileno()

    def _linger(self, need: int) -> int:
        """Looks for a while."""
        lane = self._lane
        for look in range(_LOOKS + _YIELDS):
            if look >= _LOOKS:
                before = time.monotonic()
                os.sched_yield()
                if time.monotonic() - before > _HASTE:
                    break
            lane.refresh()
            offset = lane.fit(need, lane.done)
            if offset >= 0:
                return offset
        return -1

    def _sleep(self, need: int, timeout: float | None, began: float, operation: str) -> int:
        lane, peers, words = self._lane, self._peers, self._words
        first = True
        while True:
            peers.watch()
            lane.recount()
            words[self._block + WANTS] = lane.target(need)
            peers.fence()
            lane.refresh()
            offset = lane.fit(need, lane.done)
            if offset >= 0:
                return offset
            self._look(operation)
            if first:
                self._rouse()
            left = None if timeout is None else timeout - (time.monotonic() - began)
            if left is not None and left <= 0.0 and not first:
                if timeout is not None and timeout < 0.0:
                    return -1
                raise self._no_room(timeout or 0.0, operation)
            first = False
            peers.sleep(left if left is None or left > 0.0 else 0.0)
            if self._attachment.closed:
                self._refuse(operation)

    def _rouse(self) -> None:
        """Wakes sleeping readers: one that keeps views in the way of this writer has to be told so."""
        for reader, asleep in self._sleepers:
            if self._words[asleep]:
                self._attachment.ring(reader)

    def _look(self, operation: str) -> None:
        """Raises where no room can come."""
        if self._words[ENDED]:
            self._refuse(operation)
        lane = self._lane
        if lane.live:
            return
        if lane.failed:
            why = "; ".join(self._peers.why(place) for place in lane.failed)
            raise failure(
                "PeerDied",
                operation,
                self.name,
                f"no reader is left: {why}",
                "see what that process ended with, and make the channel anew",
                processes=[self._peers.process(place) for place in lane.failed],
            )
        raise failure("Closed", operation, self.name, "all readers have closed")

    def _no_room(self, timeout: float, operation: str) -> ChannelError:
        lane = self._lane
        return failure(
            "TimedOut",
            operation,
            self.name,
            f"no room came within {timeout:g} s: {lane.tail - lane.done} of {lane.capacity} messages are in use",
            "see what the readers are doing, or give a larger timeout, capacity or bytes if they only need longer",
            timeout=timeout,
            occupancy=lane.tail - lane.done,
            readers=[self._peers.process(place) for place in lane.live],
        )

    def _too_large(self, need: int, operation: str) -> ChannelError:
        return failure(
            "TooLarge",
            operation,
            self.name,
            f"the message has {need} bytes, and all messages of a writer together have {self._lane.size}",
            "make the channel with larger bytes=, several times the largest message",
            bytes=need,
            limit=self._lane.size,
        )


class MemoryLoan(Loan):
    """Room in a writer's ring."""

    def __init__(self, writer: MemoryWriter, layout: Layout, offset: int, array: NDArray[Any]) -> None:
        self.array = array
        self.metadata = {}
        self.layout = layout
        self.offset = offset
        self._writer: MemoryWriter | None = writer

    def publish(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            raise failure("Closed", "publish", "", "the loan has been published or dropped")
        self.array.flags.writeable = False
        writer.publish_loan(self)

    def drop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            self.array.flags.writeable = False
            writer.drop_loan()


class _Gone:
    """What a closed port sees in place of memory."""

    def __init__(self, port: str, channel: str) -> None:
        self._said = (port, channel)

    def __getitem__(self, _: int) -> int:
        port, channel = self._said
        raise failure("Closed", "call", channel, f"{port} has been closed")
