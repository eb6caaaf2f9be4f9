"""A writer's own lane: which slots and which bytes of its ring are free.

A slot, and the bytes of its message, are free when every reader that counts is done with it: readers that have not come
yet count, those that closed do not, and those that died only as long as nobody else is there.
"""

from __future__ import annotations

from cobre.transport.channel_memory import (
    ABSENT,
    ATTACHED,
    ATTACHMENTS,
    FAILED,
    PIECE,
    TAIL,
)
from cobre.transport.channel_ring import Ring
from cobre.transport.channel_wait import Attachment, Peers
from cobre.transport.message_header import FRONT, HEADER_BYTES, KIND_AT, KINDS

__all__ = ["AllLane", "OneLane", "WriterLane"]


class WriterLane(Ring):
    """What is free in the lane of one writer; ``done`` messages of ``tail`` are out of it."""

    def __init__(self, attachment: Attachment, peers: Peers) -> None:
        self.plan = attachment.address.plan
        super().__init__(self.plan.capacity, self.plan.ring)
        self.place = attachment.place
        self.cursor = -1  # word of the one reader's cursor, where nothing else counts
        self._attachment = attachment
        self._peers = peers
        self._words = attachment.memory.words
        self.tail = self._words[attachment.block + TAIL]
        self.done = max(0, self.tail - self.capacity)
        self.live: list[int] = []
        self.failed: list[int] = []
        self.recount()
        self.refresh()
        if self.tail:
            self._recover()

    def _recover(self) -> None:
        """Where the messages stand that an earlier holder of the place has published."""
        control, headers = self._attachment.memory.control, self.plan.headers(self.place)
        for sequence in range(self.done, self.tail):
            at = headers + sequence % self.capacity * HEADER_BYTES
            size, offset, _, _, extension, *_ = FRONT.unpack_from(control, at)
            is_mark = control[at + KIND_AT] == KINDS.index("mark")
            start = self.head if is_mark else offset - self.place * self.size
            self.put(sequence, start, start + (size + extension + PIECE - 1 & -PIECE))

    def quick(self, need: int) -> int:
        """``refresh`` and ``fit`` for any number of bytes; -1 also where it takes a closer look."""
        if self.cursor >= 0:
            done = self.done = self._words[self.cursor]
        else:
            self.refresh()
            done = self.done
        ahead = self.tail - done
        if not ahead:
            return 0 if need <= self.size else -1
        if done < self.turn or ahead >= self.capacity:
            return self.fit(need, done)
        if need <= self.starts[done % self.capacity]:
            return 0
        return self.head if need <= self.size - self.head else -1

    def recount(self) -> None:
        """Looks anew which readers are there (``live``) and which have died (``failed``)."""
        states = [(place, self._peers.state(place)) for place in range(self.plan.readers)]
        self.live = [place for place, state in states if state in (ABSENT, ATTACHED)]
        self.failed = [place for place, state in states if state == FAILED]

    def refresh(self) -> None:
        """Brings ``done`` up to date."""
        raise NotImplementedError


class AllLane(WriterLane):
    """Every message goes to every reader."""

    def recount(self) -> None:
        super().recount()
        if self.live:
            back = [place for place in self.failed if not self._give_up(place)]
            self.live += back
            self.failed = [place for place in self.failed if place not in back]
        # One that died counts for as long as there is nobody else, and publishing ends in its name: the one that was
        # not given up, whose place may be taken again.
        all_cursors = [self.plan.cursor_word(place, self.place) for place in self.live or self.failed]
        self._cursors = [at for at in all_cursors if not self._words[at + 1]] or all_cursors
        self.cursor = self._cursors[0] if len(self.live) == 1 else -1

    def _give_up(self, place: int) -> bool:
        """No longer waits for a reader that died; False where another process has taken its place meanwhile."""
        given_up = self.plan.cursor_word(place, self.place) + 1
        self._words[given_up] = 1
        self._attachment.fence()
        if self._peers.state(place) == FAILED:
            return True
        self._words[given_up] = 0
        return False

    def refresh(self) -> None:
        words, done = self._words, self.tail
        for at in self._cursors:
            passed = words[at]
            if passed < done:
                done = passed
        self.done = max(self.done, done)  # what a reader that was given up had not read is gone


class OneLane(WriterLane):
    """Every message goes to one reader: the one that claims it. What a reader had claimed when it died is lost."""

    def __init__(self, attachment: Attachment, peers: Peers) -> None:
        plan = attachment.address.plan
        self._finished_at = plan.finished_word(attachment.place)
        super().__init__(attachment, peers)

    def recount(self) -> None:
        super().recount()
        while self.done < self.tail and (self._finished(self.done) or self._lost(self.done)):
            self.done += 1

    def refresh(self) -> None:
        while self.done < self.tail and self._finished(self.done):
            self.done += 1

    def _finished(self, sequence: int) -> bool:
        return self._words[self._finished_at + sequence % self.capacity] == sequence + 1

    def _lost(self, sequence: int) -> bool:
        """Whether only a reader that has gone could have finished it."""
        slot = sequence % self.capacity
        claim = self._words[self.plan.claims_word(self.place) + slot]
        if claim >> 16 == sequence + 1:
            place = (claim & 0xFF) - 1
            attachments = self._words[self.plan.reader_word(place) + ATTACHMENTS]
            # One that has closed keeps what its views show as a copy.
            gone = self._peers.state(place) not in (ABSENT, ATTACHED)
            return gone or attachments & 0xFF != claim >> 8 & 0xFF
        address = self._words[self.plan.address_word(self.place) + slot]
        return bool(address) and self._peers.state(address - 1) not in (ABSENT, ATTACHED)

    def target(self, need: int) -> int:
        return self.done + 1
