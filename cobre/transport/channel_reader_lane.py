"""One writer's messages in the memory of a channel, as one reader sees them."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from cobre.transport.channel_memory import TAIL, WANTS, Memory, Plan
from cobre.transport.channel_views import PLACES, Template
from cobre.transport.message import Message
from cobre.transport.message_header import FRONT, HEADER_BYTES, Layout

if TYPE_CHECKING:
    from cobre.transport.channel_reader import MemoryReader

__all__ = ["ReaderLane", "View"]


class View(NamedTuple):
    """What is left of a message that was released while something referred to its memory."""

    sequence: int
    array: weakref.ref[NDArray[Any]]
    offset: int
    size: int
    text: str


class ReaderLane:
    """One writer's messages, as one reader sees them: the source of its messages."""

    __slots__ = (
        "_reader", "cursor", "header", "layouts", "memory", "name", "next", "place", "seen", "session", "slots",
        "tail", "views", "wants",
    )  # fmt: skip

    def __init__(self, reader: MemoryReader, plan: Plan, place: int, memory: Memory, data: mmap.mmap) -> None:
        self._reader = weakref.ref(reader)  # which refers to this
        self.name, self.session, self.place = reader.name, reader.session, place
        self.header, self.memory = memory.control, data
        block = plan.writer_word(place)
        self.tail, self.wants = block + TAIL, block + WANTS
        self.cursor = plan.cursor_word(reader.place, place)
        self.slots = [plan.headers(place) + slot * HEADER_BYTES for slot in range(plan.capacity)]
        self.next = int(memory.words[self.cursor])  # sequence number of the next message
        self.seen = self.next  # this one is not there yet, as far as known
        self.layouts: dict[int, Layout] = {}
        self.views: list[View] = []

    def let_go(self, message: Message) -> None:
        reader = self._reader()
        if reader is None:
            message.forget()
        else:
            reader.let_go(message)

    def oldest_view(self) -> View | None:
        """The first message that something still refers to."""
        self.views = [view for view in self.views if view.array() is not None]
        return self.views[0] if self.views else None

    def message(self, sequence: int) -> Message:
        """The message with this number, which is there."""
        at = self.slots[sequence % len(self.slots)]
        front = FRONT.unpack_from(self.header, at)
        message = Message.found(front, self, at)
        layout = message.layout
        if front[6]:
            self.layouts[front[6]] = layout
            if layout.kind == "array" and layout.size:
                self.place_of(layout, front[1])
        return message

    def place_of(self, layout: Layout, offset: int) -> Callable[..., Any]:
        """What makes an array of this layout that begins there: the method ``view`` of one."""
        made = Template(layout.shape, layout.dtype, self.memory, offset).view
        if len(layout.places) < PLACES:
            layout.places[offset] = made
        return made
