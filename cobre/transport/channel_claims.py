"""Receiving from a channel where every message goes to one of its readers: the one that claims it.

Claims are made under a lock that the system drops with its holder. A claim is one store, and only the writer's slot
tells what became of it: a reader that dies in the middle leaves either a claim or none.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref

from cobre.errors import ChannelError
from cobre.transport.channel_memory import ABSENT, ATTACHED, ATTACHMENTS, FAILED, STATE, Plan
from cobre.transport.channel_reader import MemoryReader
from cobre.transport.channel_reader_lane import ReaderLane, View
from cobre.transport.channel_wait import Attachment
from cobre.transport.message import Message

__all__ = ["ClaimingReader"]

_NAP = 0.0005  # seconds, where whoever claims does not come to an end: it was stopped in the middle
_TRIES, _NAPS = 200, 40
_RING = b"\1"


class ClaimingReader(MemoryReader):
    """One reader's place in a channel in shared memory where every message goes to one reader."""

    def _begin(self, plan: Plan, attachment: Attachment) -> None:
        self._plan = plan
        words = attachment.memory.words
        self._claim = words[attachment.block + ATTACHMENTS] % 256 << 8 | self.place + 1
        super()._begin(plan, attachment)
        self._only = None
        self._latest: tuple[ReaderLane, int] | None = None  # what was claimed since this was called

    def receive(self, timeout: float | None = None) -> Message:
        self._latest = None
        try:
            return super().receive(timeout)
        except BaseException:
            self._give_up()
            raise

    def try_receive(self) -> Message | None:
        self._latest = None
        try:
            return super().try_receive()
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Finishes what was claimed and, for an interruption (Ctrl-C), never handed out: nobody else will."""
        if self._attachment.closed:
            return
        self._attachment.memory.unlock_claims()
        if self._latest is None:
            return
        lane, sequence = self._latest
        claim = self._words[self._plan.claims_word(lane.place) + sequence % self._capacity]
        held = self._held
        handed_out = held is not None and (held.writer, held.sequence) == (lane.place, sequence)
        if claim == sequence + 1 << 16 | self._claim and not handed_out:
            self._pass(lane, sequence)

    def _settle(self) -> None:
        """As that of all readers; what was interrupted in it is done all the same, or a slot would be lost for good."""
        held = self._held
        assert held is not None
        made = held._made()
        view = None if made is None else weakref.ref(made)
        del made
        try:
            super()._settle()
        except BaseException:
            lane, sequence = self._lanes[held.writer], held.sequence
            finished = self._words[self._plan.finished_word(lane.place) + sequence % self._capacity] == sequence + 1
            if not finished and all(each.sequence != sequence for each in lane.views):
                if view is None:
                    self._pass(lane, sequence)
                else:
                    lane.views.append(View(sequence, view, held.front[1], held.size, held.kind))
            raise

    def _check_cursors(self, plan: Plan, attachment: Attachment) -> None:
        """Nobody has gone on without a reader that had claimed nothing."""

    def _available(self) -> bool:
        return any(self._find(lane) >= 0 for lane in self._lanes)

    def _take(self) -> Message | None:
        if self._words is None:
            self._check_open("receive")
        lanes, count = self._lanes, len(self._lanes)
        for ahead in range(count):
            lane = lanes[(self._turn + ahead) % count]
            if self._words[self._plan.low_word(lane.place)] != self._words[lane.tail]:
                sequence = self._claimed(lane)
                if sequence >= 0:
                    self._turn = (self._turn + ahead + 1) % count
                    return self._next(lane, sequence)
        return None

    def _claimed(self, lane: ReaderLane) -> int:
        """The message that is this reader's now; -1 where there is none for it."""
        if self._find(lane) < 0:
            return -1
        memory, words, plan = self._attachment.memory, self._words, self._plan
        tries = 0
        while not memory.lock_claims():
            tries += 1
            if tries < _TRIES:
                os.sched_yield()
            elif tries < _TRIES + _NAPS:
                time.sleep(_NAP)
            else:
                self._look_again()
                return -1
        try:
            sequence = self._find(lane)
            if sequence >= 0:
                self._latest = lane, sequence
                words[plan.claims_word(lane.place) + sequence % self._capacity] = sequence + 1 << 16 | self._claim
                self._raise_low(lane)
            self._attachment.fence()
            return sequence
        finally:
            memory.unlock_claims()

    def _look_again(self) -> None:
        """Keeps this reader from falling asleep: nobody rings when whoever claims comes to an end."""
        with contextlib.suppress(BlockingIOError):  # full of rings
            os.write(self._attachment.bell, _RING)

    def _verdict(self, operation: str) -> ChannelError | None:
        error = super()._verdict(operation)
        if error is not None and error.kind != "ViewAlive" and self._available():
            return None  # there is one to claim, and somebody else is at it
        return error

    def _find(self, lane: ReaderLane) -> int:
        """The first message that this reader may claim; -1 where there is none."""
        words, plan, capacity = self._words, self._plan, self._capacity
        claims, addresses = plan.claims_word(lane.place), plan.address_word(lane.place)
        for sequence in range(words[plan.low_word(lane.place)], words[lane.tail]):
            slot = sequence % capacity
            if words[claims + slot] >> 16 != sequence + 1 and words[addresses + slot] in (0, self.place + 1):
                return sequence
        return -1

    def _raise_low(self, lane: ReaderLane) -> None:
        """Says before which message there is nothing left to claim. Marks for readers that have gone do not count."""
        words, plan, capacity = self._words, self._plan, self._capacity
        claims, addresses = plan.claims_word(lane.place), plan.address_word(lane.place)
        sequence, tail = words[plan.low_word(lane.place)], words[lane.tail]
        while sequence < tail:
            slot = sequence % capacity
            if words[claims + slot] >> 16 != sequence + 1:
                address = words[addresses + slot]
                if not address or self._is_there(address - 1):
                    break
            sequence += 1
        words[plan.low_word(lane.place)] = sequence

    def _is_there(self, reader: int) -> bool:
        state = self._words[self._plan.reader_word(reader) + STATE]
        return state in (ABSENT, ATTACHED) or (state == FAILED and self._attachment.address.succession)

    def _pass(self, lane: ReaderLane, sequence: int = -1) -> None:
        """Tells the writer that the message is finished, and those whose views have died since."""
        finished, capacity = self._plan.finished_word(lane.place), self._capacity
        done = [] if sequence < 0 else [sequence]
        if lane.views:
            views, lane.views = lane.views, []
            for view in views:
                if view.array() is None:
                    done.append(view.sequence)
                else:
                    lane.views.append(view)
        self._attachment.fence()
        for one in done:
            self._words[finished + one % capacity] = one + 1
        if self._fenced:
            self._attachment.fence()
        if done and self._words[lane.wants]:
            self._attachment.ring(lane.place)
