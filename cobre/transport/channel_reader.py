"""Receiving from the memory of a channel: the next header, and the payload where it stands."""

from __future__ import annotations

import os
import time
import weakref
from sys import getrefcount
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.errors import ChannelError
from cobre.transport.channel_memory import ASLEEP, CLOSED, ENDED, FAILED, Plan
from cobre.transport.channel_ports import ChannelReader
from cobre.transport.channel_reader_lane import ReaderLane, View
from cobre.transport.channel_views import keep_views
from cobre.transport.channel_wait import Address, Attachment, Peers, failure, refused
from cobre.transport.message import Message
from cobre.transport.message_header import FRONT

__all__ = ["MemoryReader"]

_ARRAY = np.ndarray
_new, _unpack = object.__new__, FRONT.unpack_from

_LOOKS, _YIELDS, _GLANCES = range(60), range(20), range(6)
_HASTE = 0.0001  # seconds after which a core that was yielded is in use by somebody else


class MemoryReader(ChannelReader):
    """One reader's place in a channel in shared memory where every message goes to every reader."""

    def __init__(self, address: Address, place: int) -> None:
        self.name, self.place, self.session = address.name, place, address.session
        self._attachment = attachment = Attachment(address, False, place)
        try:
            self._begin(address.plan, attachment)
        except BaseException as error:
            attachment.leave(FAILED, "it could not begin")
            if isinstance(error, OSError):
                raise refused(error, "reader", self.name, "it cannot begin") from None
            raise
        self._forgotten = weakref.finalize(self, _forget, attachment, self._lanes, self._data)

    def _begin(self, plan: Plan, attachment: Attachment) -> None:
        memory = attachment.memory
        self._check_cursors(plan, attachment)
        self._peers = Peers(attachment)
        self._words: Any = memory.words
        self._data: Any = memory.map_data()
        self._capacity = plan.capacity
        self._lanes = [ReaderLane(self, plan, writer, memory, self._data) for writer in range(plan.writers)]
        self._fenced = attachment.fenced
        self._only = self._lanes[0] if len(self._lanes) == 1 and not self._fenced else None
        self._turn = 0
        self._asleep = attachment.block + ASLEEP
        self._sleeps = int(self._words[self._asleep + 1])  # of all holders of the place: no number comes twice
        self._armed = False
        self._held: Message | None = None
        self._lent: NDArray[Any] | None = None  # the array of the message that is held, if it was made at once
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
            self._settle()
        _forget(self._attachment, self._lanes, self._data, state, reason)
        # The mapping goes with the last thing that refers to it.
        self._words, self._data, self._lanes, self._only = None, b"", [], None

    def receive(self, timeout: float | None = None) -> Message:
        # The quick way: from one writer to all readers, an array like one before, and nothing refers to the last one.
        lane, array, words = self._only, self._lent, self._words
        if lane is None or array is None or lane.views or getrefcount(array) != _LENT:
            array = None  # a reference of ours must not count as a view
            if self._held is not None:
                self._settle()
            message = self._take()
            return self._wait(timeout) if message is None else message
        held: Any = self._held
        self._lent = array = self._held = None
        del held.data
        held.at = -1
        words[lane.cursor] = sequence = lane.next
        if words[lane.wants]:
            self._pass(lane)
        if sequence == lane.seen:
            if (timeout is not None and timeout <= 0.0) or not _comes(words, lane.tail, sequence):
                return self._wait(timeout)
            lane.seen = words[lane.tail]
        return self._next(lane, sequence)

    def try_receive(self) -> Message | None:
        if self._held is not None:
            self._settle()
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
        if self._words is None:
            self._check_open("receive")
        lane = self._only
        if lane is None:
            return self._take_in_turn()
        sequence = lane.next
        if sequence == lane.seen:
            lane.seen = self._words[lane.tail]
            if sequence == lane.seen:
                return None
        return self._next(lane, sequence)

    def _take_in_turn(self) -> Message | None:
        """The next message of one of several writers: each has its turn."""
        lanes, count = self._lanes, len(self._lanes)
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
            return self._next(lane, sequence)
        return None

    def _next(self, lane: ReaderLane, sequence: int) -> Message:
        """The message with this number, which is the latest that was received from now on."""
        if self._armed:
            self._disarm()
        lane.next = sequence + 1
        at = lane.slots[sequence % self._capacity]
        front = _unpack(lane.header, at)
        layout = lane.layouts.get(front[6])
        if layout is None:
            self._held = message = lane.message(sequence)
            return message
        self._held = message = _new(Message)
        message.front, message.layout, message.source, message.at = front, layout, lane, at
        view = layout.places.get(front[1])
        if view is None:
            if not layout.places:  # there are some of arrays that have bytes
                return message
            view = lane.place_of(layout, front[1])
        self._lent = message.data = view(_ARRAY)
        return message

    def _settle(self) -> None:
        """The message is over; its memory stays for as long as anything refers to it."""
        message, self._held, self._lent = self._held, None, None
        assert message is not None
        lane = self._lanes[message.writer]
        array, finished = message.forget(), message.sequence
        if array is not None and getrefcount(array) != _ALONE:
            text = f"{message.kind} {array.shape} {array.dtype}"
            lane.views.append(View(finished, weakref.ref(array), message.front[1], message.size, text))
            finished = -1
        del array
        self._pass(lane, finished)

    def _pass(self, lane: ReaderLane, sequence: int = -1) -> None:
        """Tells the writer what this reader is done with: all before ``lane.next`` that nothing refers to.

        sequence: the message that it has just finished, or -1.
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
        self._lent = None
        if message.taken():
            text = f"{message.kind} {message.shape} {message.dtype}"
            raise self._view_alive("release", message.sequence, text)
        self._settle()

    def ready(self) -> bool:
        if self._held is not None:
            self._settle()
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
        self._peers.hush()
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
                self._peers.doze(left)
                if not self._attachment.closed:
                    found = self._take()
        finally:
            error = None  # it refers to this frame when it was raised
            if self._armed and not self._attachment.closed:
                self._disarm()
        return found

    def _linger(self) -> Message | None:
        """Looks for a while, then yields the core a few times."""
        lane = self._only
        if lane is not None and self._words is not None:
            return self._take() if _comes(self._words, lane.tail, lane.next) else None
        for _ in _YIELDS:
            before = time.monotonic()
            os.sched_yield()
            message = self._take()
            if message is not None:
                return message
            if time.monotonic() - before > _HASTE:
                break
        return None

    def _verdict(self, operation: str) -> ChannelError | None:
        """Why no message can come, if it is so: look for one once more after this."""
        for lane in self._lanes:
            if lane.views:
                self._pass(lane)  # views may have died since
                if lane.views and self._words[lane.wants] > lane.views[0].sequence:
                    return self._view_alive(operation, lane.views[0].sequence, lane.views[0].text)
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


def _comes(words: Any, tail: int, sequence: int) -> bool:
    """Whether the message with this number comes while one looks for it, yielding the core now and then."""
    for _ in _LOOKS:
        if words[tail] != sequence:
            return True
    for _ in _YIELDS:
        before = time.monotonic()
        os.sched_yield()
        if words[tail] != sequence:
            return True
        if time.monotonic() - before > _HASTE:
            break
        for _ in _GLANCES:
            if words[tail] != sequence:
                return True
    return False


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
    """A reader, as far as counting references goes."""

    __slots__ = ("_lent", "data")

    def forget(self) -> object:
        return object()

    def alone(self) -> int:
        array = self.forget()
        return getrefcount(array)

    def lent(self) -> int:
        self._lent = self.data = object()
        _, array = self, self._lent
        return getrefcount(array)


_ALONE, _LENT = _Probe().alone(), _Probe().lent()  # however this Python counts
