"""Receiving from the memory of a channel: the next header, and the payload where it stands."""

from __future__ import annotations

import os
import time
import weakref
from sys import getrefcount
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cobre.errors import ChannelError
from cobre.transport.channel_memory import ASLEEP, CLOSED, ENDED, FAILED, TAIL, WANTS, Plan
from cobre.transport.channel_ports import ChannelReader
from cobre.transport.channel_views import keep_views
from cobre.transport.channel_wait import Address, Attachment, Peers, failure
from cobre.transport.message import Message
from cobre.transport.message_header import FRONT, HEADER_BYTES, Layout

__all__ = ["MemoryReader", "ReaderLane"]

_LOOKS, _YIELDS = 60, 20
_HASTE = 0.0001  # seconds after which a core that was yielded is in use by somebody else


class _View(NamedTuple):
    """What is left of a message that was released while something referred to its memory."""

    sequence: int
    array: weakref.ref[NDArray[Any]]
    offset: int
    size: int
    text: str


class ReaderLane:
    """One writer's messages, as one reader sees them."""

    __slots__ = ("cursor", "headers", "layouts", "next", "place", "seen", "tail", "views", "wants")

    def __init__(self, plan: Plan, reader: int, place: int, words: memoryview) -> None:
        self.place = place
        block = plan.writer_word(place)
        self.tail, self.wants = block + TAIL, block + WANTS
        self.cursor = plan.cursor_word(reader, place)
        self.headers = plan.headers(place)
        self.next = int(words[self.cursor])  # sequence number of the next message
        self.seen = self.next  # this one is not there yet, as far as known
        self.layouts: dict[int, Layout] = {}
        self.views: list[_View] = []

    def oldest_view(self) -> _View | None:
        """The first message that something still refers to."""
        self.views = [view for view in self.views if view.array() is not None]
        return self.views[0] if self.views else None


class MemoryReader(ChannelReader):
    """One reader's place in a channel in shared memory where every message goes to every reader."""

    def __init__(self, address: Address, place: int) -> None:
        self.name, self.place, self.session = address.name, place, address.session
        self._attachment = attachment = Attachment(address, False, place)
        try:
            self._begin(address.plan, attachment)
        except BaseException:
            attachment.leave(FAILED, "it could not begin")
            raise
        self._forgotten = weakref.finalize(self, _forget, attachment, self._lanes, self._data)

    def _begin(self, plan: Plan, attachment: Attachment) -> None:
        memory = attachment.memory
        self._check_cursors(plan, attachment)
        self._peers = Peers(attachment)
        self._control: Any = memory.control
        self._words: Any = memory.words
        self._data: Any = memory.map_data()
        self._capacity = plan.capacity
        self._lanes = [ReaderLane(plan, self.place, writer, memory.words) for writer in range(plan.writers)]
        self._only = self._lanes[0] if len(self._lanes) == 1 else None
        self._turn = 0
        self._fenced = attachment.fenced
        self._asleep = attachment.block + ASLEEP
        self._sleeps = int(self._words[self._asleep + 1])  # of all holders of the place: no number comes twice
        self._armed = False
        self._held: Message | None = None
        self._mourned: set[tuple[int, int]] = set()  # writers whose death has been told

    def _check_cursors(self, plan: Plan, attachment: Attachment) -> None:
        """A reader that came back may go on only where no writer has gone on without it."""
        attachment.fence()
        for writer in range(plan.writers):
            if attachment.memory.words[plan.cursor_word(self.place, writer) + 1]:
                raise failure(
                    "Closed",
                    "reader",
                    self.name,
                    f"writer {writer} has gone on without reader {self.place}, whose process had died",
                    "make the channel anew",
                )

    @property
    def closed(self) -> bool:
        return self._attachment.closed

    def close(self) -> None:
        self._leave(CLOSED, "")

    def abandon(self, reason: str = "") -> None:
        self._leave(FAILED, reason)

    def _leave(self, state: int, reason: str) -> None:
        if self._attachment.closed:
            return
        self._forgotten.detach()
        if self._held is not None:
            self._settle(self._held)
        _forget(self._attachment, self._lanes, self._data, state, reason)
        # The mapping goes with the last thing that refers to it.
        self._control, self._words, self._data = b"", None, b""

    def receive(self, timeout: float | None = None) -> Message:
        if self._held is not None:
            self._settle(self._held)
        message = self._take()
        return self._wait(timeout) if message is None else message

    def try_receive(self) -> Message | None:
        if self._held is not None:
            self._settle(self._held)
        message = self._take()
        if message is None:
            self._check_open("try_receive")
            self._peers.watch()
            self._peers.sleep(0.0)
            error = self._verdict("try_receive")
            message = self._take()
            if message is None and error is not None:
                raise self._told(error)
        return message

    def _take(self) -> Message | None:
        """The next message, if there is one."""
        lane = self._only
        if lane is None:
            return self._take_in_turn()
        sequence = lane.next
        if sequence == lane.seen:
            if self._words is None:
                self._check_open("receive")
            lane.seen = self._words[lane.tail]
            if sequence == lane.seen:
                return None
            if self._fenced:
                self._attachment.fence()
        lane.next = sequence + 1
        return self._message(lane, sequence)

    def _take_in_turn(self) -> Message | None:
        """The next message of one of several writers: each has its turn."""
        lanes, count = self._lanes, len(self._lanes)
        if self._words is None:
            self._check_open("receive")
        for ahead in range(count):
            lane = lanes[(self._turn + ahead) % count]
            sequence = lane.next
            if sequence == lane.seen:
                lane.seen = self._words[lane.tail]
                if sequence == lane.seen:
                    continue
                if self._fenced:
                    self._attachment.fence()
            self._turn = (self._turn + ahead + 1) % count
            lane.next = sequence + 1
            return self._message(lane, sequence)
        return None

    def _message(self, lane: ReaderLane, sequence: int) -> Message:
        if self._armed:
            self._disarm()
        at = lane.headers + sequence % self._capacity * HEADER_BYTES
        front = FRONT.unpack_from(self._control, at)
        layout = lane.layouts.get(front[6])
        if layout is None:
            message = Message.lent(front, self._control, at, self._data, self, lane.place)
            if front[6]:
                lane.layouts[front[6]] = message.layout
        else:
            message = Message(front, layout, self._control, at, self._data, self, lane.place)
        self._held = message
        return message

    def _settle(self, message: Message) -> None:
        """The message is over; its memory stays for as long as anything refers to it."""
        self._held = None
        lane = self._lanes[message.writer]
        array = message.forget()
        if array is not None and getrefcount(array) != _ALONE:
            text = f"{message.kind} {array.shape} {array.dtype}"
            lane.views.append(_View(message.sequence, weakref.ref(array), message.offset, message.size, text))
        del array
        self._pass(lane, -1 if lane.views else message.sequence)

    def _pass(self, lane: ReaderLane, sequence: int = -1) -> None:
        """Tells the writer what this reader is done with: all before ``lane.next`` that nothing refers to.

        sequence: where there are no views, the message that it has just finished, or -1.
        """
        view = lane.oldest_view() if lane.views else None
        done = lane.next if view is None else view.sequence
        words = self._words
        if self._fenced:
            self._attachment.fence()
            words[lane.cursor] = done
            self._attachment.fence()
        else:
            words[lane.cursor] = done
        wants = words[lane.wants]
        if wants and done >= wants:
            self._attachment.ring(lane.place)

    def let_go(self, message: Message) -> None:
        """Releases a message for its ``release()``. Raises ChannelError ViewAlive."""
        if message is not self._held:
            message.forget()
            return
        if message.taken():
            text = f"{message.kind} {message.shape} {message.dtype}"
            raise self._view_alive("release", message.sequence, text)
        self._settle(message)

    def ready(self) -> bool:
        if self._held is not None:
            self._settle(self._held)
        self._check_open("ready")
        if self._available():
            return True
        self._arm()
        self._peers.watch()
        self._peers.sleep(0.0)
        return self._available() or self._verdict("ready") is not None

    def fileno(self) -> int:
        self._check_open("fileno")
        return self._peers.fileno()

    def _available(self) -> bool:
        """Whether ``_take`` would find something."""
        return any(self._words[lane.tail] != lane.next for lane in self._lanes)

    def _arm(self) -> None:
        """From here on whoever publishes rings: once for each time that this is called."""
        self._armed = True
        self._sleeps += 1
        self._words[self._asleep + 1] = self._sleeps
        self._words[self._asleep] = self._sleeps
        self._peers.fence()

    def _disarm(self) -> None:
        self._armed = False
        self._words[self._asleep] = 0

    def _wait(self, timeout: float | None) -> Message:
        """Waits for the next message. Raises as ``receive`` does."""
        deadline = None if timeout is None else time.monotonic() + timeout
        found = self._linger() if timeout is None or timeout > 0.0 else None
        try:
            while found is None:
                self._check_open("receive")
                self._peers.watch()
                self._arm()
                error = self._verdict("receive")
                found = self._take()
                if found is not None:
                    break
                if error is not None:
                    raise self._told(error)
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0.0:
                    raise self.timed_out("receive", timeout or 0.0)
                self._peers.sleep(left)
                if not self._attachment.closed:
                    found = self._take()
        finally:
            if self._armed and not self._attachment.closed:
                self._disarm()
        return found

    def _linger(self) -> Message | None:
        """Looks for a while, then yields the core a few times."""
        for _ in range(_LOOKS):
            if self._available():
                return self._take()
        for _ in range(_YIELDS):
            before = time.monotonic()
            os.sched_yield()
            if self._available():
                return self._take()
            if time.monotonic() - before > _HASTE:
                break
        return None

    def _verdict(self, operation: str) -> ChannelError | None:
        """Why no message can come, if it is so: look for one once more after this."""
        for lane in self._lanes:
            if lane.views:
                self._pass(lane)  # views may have died since
                view = lane.oldest_view()
                if view is not None and self._words[lane.wants] > view.sequence:
                    return self._view_alive(operation, view.sequence, view.text)
        if self._words[ENDED]:
            reason = self._attachment.memory.reason
            return failure("Closed", operation, self.name, f"the channel has ended{': ' if reason else ''}{reason}")
        states = [self._peers.state(lane.place) for lane in self._lanes]
        for place, state in enumerate(states):
            if state == FAILED and (place, self._peers.process(place)) not in self._mourned:
                return failure(
                    "PeerDied",
                    operation,
                    self.name,
                    self._peers.why(place),
                    "see what that process ended with, and make the channel anew",
                    place=place,
                    process=self._peers.process(place),
                )
        if all(state in (CLOSED, FAILED) for state in states):
            return failure("EndOfChannel", operation, self.name, "all writers have closed and all was read")
        return None

    def _told(self, error: ChannelError) -> ChannelError:
        """The error, which is now known to whoever uses this."""
        if error.kind == "PeerDied":
            self._mourned.add((error.context["place"], error.context["process"]))
        return error

    def _view_alive(self, operation: str, sequence: int, text: str) -> ChannelError:
        return failure(
            "ViewAlive",
            operation,
            self.name,
            f"a view of message {sequence} ({text}) is still in use",
            "delete it and what was sliced from it, or keep a copy instead",
            sequence=sequence,
        )

    def _check_open(self, operation: str) -> None:
        if self._attachment.closed:
            raise failure("Closed", operation, self.name, f"reader {self.place} has been closed")


def _forget(
    attachment: Attachment,
    lanes: list[ReaderLane],
    data: Any,
    state: int = FAILED,
    reason: str = "it was not closed",
) -> None:
    """Leaves the place. What views show stays as it is, though the memory will be used anew."""
    if attachment.closed or os.getpid() != attachment.process:
        return
    views = [view for lane in lanes for view in lane.views if view.array() is not None]
    keep_views(data, [(view.offset, view.size) for view in views])
    attachment.leave(state, reason)


class _Probe:
    """A message, as far as counting references goes."""

    def forget(self) -> object:
        return object()

    def alone(self) -> int:
        array = self.forget()
        return getrefcount(array)


_ALONE = _Probe().alone()  # however this Python counts
