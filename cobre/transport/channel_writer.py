"""Publishing into the memory of a channel: room in the writer's own ring, a header, and one store that shows it."""

from __future__ import annotations

import itertools
import operator
import weakref
from collections.abc import Sequence
from sys import getrefcount
from time import time_ns
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cobre.errors import ChannelError
from cobre.transport.channel_memory import (
    ASLEEP,
    ATTACHMENTS,
    BYTES,
    CLOSED,
    ENDED,
    FAILED,
    HIGH_WATER,
    MARGIN,
    MARKS,
    PIECE,
    TAIL,
)
from cobre.transport.channel_ports import ChannelWriter, Loan
from cobre.transport.channel_room import Room
from cobre.transport.channel_views import PLACES, Template
from cobre.transport.channel_wait import Address, Attachment, failure, refused
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
_pack = FRONT.pack_into
_EXTENSION = MARGIN // 2  # bytes that a loan keeps for metadata that the header has no room for
_LENDABLE = ("array", "bytes", "audio", "video")


class MemoryWriter(ChannelWriter):
    """One writer's place in a channel in shared memory: see ``Channel.writer``."""

    def __init__(self, address: Address, place: int) -> None:
        self.name, self.place = address.name, place
        self._attachment = attachment = Attachment(address, True, place)
        try:
            self._begin(address, attachment)
        except BaseException as error:
            attachment.leave(FAILED, "it could not begin")
            if isinstance(error, OSError):
                raise refused(error, "writer", self.name, "it cannot begin") from None
            raise
        self._forgotten = weakref.finalize(self, attachment.leave, FAILED, "it was not closed")

    def _begin(self, address: Address, attachment: Attachment) -> None:
        plan, memory, block = address.plan, attachment.memory, attachment.block
        self._room = Room(attachment)
        self._lane = self._room.lane
        self._memory: Any = memory.map_all()
        self._words: Any = memoryview(self._memory).cast("Q")
        self._capacity = plan.capacity
        self._headers = [plan.headers(self.place) + slot * HEADER_BYTES for slot in range(plan.capacity)]
        self._ring = self.place * plan.ring  # where its ring begins in the data
        self._start = plan.control + self._ring  # and in the memory
        self._tail, self._bytes, self._water = block + TAIL, block + BYTES, block + HIGH_WATER
        self._marks = block + MARKS
        self._sleepers = [(reader, plan.reader_word(reader) + ASLEEP) for reader in range(plan.readers)]
        self._rung = [0] * plan.readers
        self._addresses = plan.address_word(self.place) if address.to_one else -1
        self._to = 0  # 1 + place of the reader that alone gets what is published, 0: any
        self._kinds = frozenset(address.kinds)
        self._fenced = attachment.fenced
        self._sent, self._high_water = self._words[self._bytes], self._words[self._water]
        self._time = self._last_time()
        self._shown: list[Layout | None] = [None] * plan.capacity
        session = address.session.encode()
        for at in self._headers:
            self._memory[at + SESSION_AT : at + SESSION_AT + len(session)] = session
        # A reader remembers layouts by number: those of the place's earlier holders had others.
        self._layouts = Layouts(self.name, itertools.count(self._words[block + ATTACHMENTS] << 20))
        self._mark = mark_layout()
        self._array = self._mark  # the layout of the latest array; at first one like no array
        self._wish: tuple[Any, Any] = (None, None)  # the shape and dtype of the latest loan
        self._wished = self._mark
        self._loan: MemoryLoan | None = None

    def _last_time(self) -> int:
        """Of the place's earlier holder."""
        tail = self._lane.tail
        return int(FRONT.unpack_from(self._memory, self._headers[(tail - 1) % self._capacity])[3]) if tail else 0

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
        self._words = _Gone(f"writer {self.place}", self.name)
        self._memory, self._array, self._wished, self._wish = b"", self._mark, self._mark, (None, None)
        self._layouts = Layouts(self.name, itertools.repeat(0))

    def publish(self, data: Data, /, timeout: float | None = None, **metadata: Any) -> None:
        layout = self._array
        if timeout is not None and timeout < 0.0:
            timeout = 0.0  # less would be to try
        if metadata or type(data) is not _ARRAY or data.dtype is not layout.dtype or data.shape != layout.shape:
            self._publish(data, timeout, metadata, "publish")
            return
        # The quick way: an array like the one before, with nothing else.
        offset = -1 if self._loan is not None or self._words[ENDED] else self._lane.quick(layout.size)
        room = layout.places.get(offset)
        if room is None:
            self._publish(data, timeout, metadata, "publish")
            return
        room[...] = data
        self._show(layout, offset)

    def try_publish(self, data: Data, /, **metadata: Any) -> bool:
        return self._publish(data, -1.0, metadata, "try_publish")

    def _publish(self, data: Data, timeout: float | None, metadata: dict[str, Any], operation: str) -> bool:
        layout, source = self._layouts.of(data, operation)
        self._check(layout.kind, operation)
        inline, extension = encode_metadata(layout, metadata, operation, self.name)
        size = layout.size
        need = size + len(extension) + PIECE - 1 & -PIECE
        offset = self._room.find(need, timeout, operation)
        if offset < 0:
            return False
        at = self._start + offset
        if layout.kind in ("text", "bytes"):  # of another length each time
            self._memory[at : at + size] = source
        elif size:
            self._place(layout, offset)[...] = source
        if layout.kind == "array" and not layout.extension:
            self._array = layout
        if extension:
            self._memory[at + size : at + size + len(extension)] = extension
        self._show(layout, offset, inline, len(extension))
        return True

    def _check(self, kind: str, operation: str) -> None:
        """Raises where nothing of this kind can be published now."""
        self._room.refuse(operation)
        if self._loan is not None:
            advice = "publish or drop it first: leaving its with block does"
            raise failure("LoanOpen", operation, self.name, "a loan is open", advice)
        if self._kinds and kind not in self._kinds:
            allowed = " and ".join(sorted(self._kinds))
            raise failure("WrongType", operation, self.name, f"it carries {allowed}, not {kind}", type=kind)

    def _place(self, layout: Layout, offset: int) -> Template:
        """An array of this layout at that place of the ring."""
        known: Template | None = layout.places.get(offset)
        if known is None:
            known = Template(layout.shape, layout.dtype, self._memory, self._start + offset)
            if len(layout.places) < PLACES:
                layout.places[offset] = known
        return known

    def _show(self, layout: Layout, offset: int, inline: bytes = b"", extension: int = 0, number: int = -1) -> None:
        """Publishes what stands at ``offset`` of the ring, and the extension behind it; or the mark with a number."""
        lane, words, memory = self._lane, self._words, self._memory
        tail = lane.tail
        slot = tail % self._capacity
        at = self._headers[slot]
        now = time_ns()
        if now <= self._time:
            now = self._time + 1
        self._time = now
        size = layout.size
        # Of a mark the header says its number where others say where they begin.
        place = self._ring + offset if number < 0 else number
        _pack(memory, at, size, place, tail, now, extension, len(inline), layout.number)
        if self._shown[slot] is not layout:
            memory[at + BLOCK_AT : at + SESSION_AT] = layout.block
            self._shown[slot] = layout
        if inline:
            memory[at + INLINE_AT : at + INLINE_AT + len(inline)] = inline
        if self._addresses >= 0:
            words[self._addresses + slot] = self._to
        lane.put(tail, offset, offset + (size + extension + 63 & -64))  # PIECE: a constant is quicker than a name
        lane.tail = tail = tail + 1
        if self._fenced:
            self._attachment.fence()
            words[self._tail] = tail
            self._attachment.fence()
        else:
            words[self._tail] = tail
        for reader, asleep in self._sleepers:
            sleep = words[asleep]
            if sleep and sleep != self._rung[reader]:  # who has been rung for this sleep will look
                self._rung[reader] = sleep
                self._attachment.ring(reader)
        words[self._bytes] = self._sent = self._sent + size
        if tail - lane.done > self._high_water:
            words[self._water] = self._high_water = tail - lane.done

    def ready(self) -> bool:
        return self._room.ready()

    def fileno(self) -> int:
        if self._attachment.closed:
            self._room.refuse("fileno")
        return self._room.peers.fileno()

    def mark(self, number: int, timeout: float | None = None) -> None:
        """Publishes a mark to every reader. number: 0 to 2**63 - 1. Raises ChannelError as ``publish`` does."""
        if not 0 <= number < 1 << 63:
            raise failure("OutOfRange", "mark", self.name, f"a mark has a number from 0 to 2**63 - 1, not {number}")
        self._check("", "mark") if not self._kinds else self._check(next(iter(self._kinds)), "mark")
        self._room.peers.watch()
        self._lane.recount()
        readers = [0] if self._addresses < 0 else [1 + place for place in self._lane.live]
        try:
            for address in readers:
                self._to = address
                self._show(self._mark, self._room.find(0, timeout, "mark"), number=number)
                self._words[self._marks] += 1
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
        layout = self._wished
        if kind != "array" or dtype is not self._wish[1] or shape != self._wish[0]:
            layout = self._loan_layout(shape, dtype, kind, rate, format)
        need = layout.size + _EXTENSION
        offset = -1 if self._loan is not None or self._words[ENDED] else self._lane.quick(need)
        room = layout.places.get(offset)
        if room is None:
            self._check(kind, "loan")
            timeout = timeout if timeout is None else max(0.0, timeout)
            offset = self._room.find(need + PIECE - 1 & -PIECE, timeout, "loan")
            room = self._place(layout, offset)
        self._loan = loan = MemoryLoan()
        loan.array = room.view(_ARRAY)
        loan.layout, loan.offset, loan.writer, loan.extra = layout, offset, self, None
        return loan

    def _loan_layout(self, shape: Any, dtype: DTypeLike, kind: str, rate: float, format: str) -> Layout:
        if kind not in _LENDABLE:
            raise failure("WrongType", "loan", self.name, f"there is no loan of kind {kind!r}", "; ".join(_LENDABLE))
        self._check(kind, "loan")
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
            self._wish, self._wished = (shape if isinstance(shape, int) else extents, dtype), layout
        return layout

    def publish_loan(self, loan: MemoryLoan) -> None:
        """Shows readers what a loan was filled with, and what is to go with it."""
        array, layout = loan.array, loan.layout
        del loan.array
        if getrefcount(array) != _ALONE:  # whoever keeps it cannot write any more to what readers see
            array.setflags(write=False)
        self._loan = loan.writer = None
        if self._words[ENDED]:
            self._room.refuse("publish")
        if loan.extra is None and not layout.extension:
            self._show(layout, loan.offset)
            return
        inline, extension = encode_metadata(layout, loan.metadata, "publish", self.name)
        if len(extension) > _EXTENSION:
            raise failure(
                "TooLarge",
                "publish",
                self.name,
                f"the metadata of a loan has {len(extension)} bytes, and {_EXTENSION} are kept for it",
                "publish large metadata as a message of its own",
            )
        if extension:
            at = self._start + loan.offset + layout.size
            self._memory[at : at + len(extension)] = extension
        self._show(layout, loan.offset, inline, len(extension))

    def drop_loan(self) -> None:
        """Nothing comes of the loan: its room is what the next message takes."""
        self._loan = None


class MemoryLoan(Loan):
    """Room in a writer's ring."""

    __slots__ = ("array", "extra", "layout", "offset", "writer")

    array: NDArray[Any]
    writer: MemoryWriter | None
    layout: Layout
    offset: int
    extra: dict[str, Any] | None

    @property
    def metadata(self) -> dict[str, Any]:  # type: ignore[override]
        """What goes with it."""
        if self.extra is None:
            self.extra = {}
        return self.extra

    def __getattr__(self, name: str) -> Any:
        if name == "array":
            raise _over()
        raise AttributeError(f"a loan has no {name!r}")

    def publish(self) -> None:
        if self.writer is None:
            raise _over()
        self.writer.publish_loan(self)

    def drop(self) -> None:
        if self.writer is not None:
            self.writer.drop_loan()
            self.writer = None
            del self.array

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.drop()
        elif self.writer is not None:
            self.writer.publish_loan(self)


def _over() -> ChannelError:
    return failure("Closed", "loan", "", "the loan has been published or dropped", "take another one")


class _Gone:
    """What a closed port sees in place of memory."""

    def __init__(self, port: str, channel: str) -> None:
        self._said = (port, channel)

    def __getitem__(self, _: int) -> int:
        port, channel = self._said
        raise failure("Closed", "call", channel, f"{port} has been closed")


class _Probe:
    """A loan, as far as counting references goes."""

    def __init__(self) -> None:
        self.array = object()

    def alone(self) -> int:
        array, _ = self.array, self
        del self.array
        return getrefcount(array)


_ALONE = _Probe().alone()  # however this Python counts
