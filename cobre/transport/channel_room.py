"""Waiting for room in a writer's lane, and what is said where none can come."""

from __future__ import annotations

import os
import time

from cobre.errors import ChannelError
from cobre.transport.channel_lane import AllLane, OneLane, WriterLane
from cobre.transport.channel_memory import ASLEEP, BLOCKED, ENDED, WANTS
from cobre.transport.channel_wait import Attachment, Peers, failure

__all__ = ["Room"]

_LOOKS, _YIELDS = 30, 20
_HASTE = 0.0001  # seconds after which a core that was yielded is in use by somebody else


class Room:
    """The room that one writer has: where its next message can stand, now or later."""

    def __init__(self, attachment: Attachment) -> None:
        self.name = attachment.name
        self._attachment = attachment
        self._words = attachment.memory.words
        self.peers = Peers(attachment)
        self.peers.watch()
        self.lane: WriterLane = (OneLane if attachment.address.to_one else AllLane)(attachment, self.peers)
        plan = attachment.address.plan
        self._wants, self._blocked = attachment.block + WANTS, attachment.block + BLOCKED
        self._sleepers = [plan.reader_word(reader) + ASLEEP for reader in range(plan.readers)]
        self._waited = int(self._words[self._blocked])
        self._words[self._wants] = 0
        self._armed = False
        self._refused = 0  # bytes that there was no room for

    def find(self, need: int, timeout: float | None, operation: str) -> int:
        """Where ``need`` bytes of the ring (a multiple of PIECE) are free; -1 where none are and ``timeout`` < 0.

        timeout: seconds to wait for it. Raises ChannelError: Closed, PeerDied, TimedOut, TooLarge.
        """
        lane = self.lane
        if need > lane.size:
            raise self._too_large(need, operation)
        if self._armed:
            self._armed, self._words[self._wants] = False, 0
        lane.refresh()
        offset = lane.fit(need, lane.done)
        return offset if offset >= 0 else self._wait(need, timeout, operation)

    def ready(self) -> bool:
        """Whether what was last refused may have room now, or none can come; where not, readers ring when it may."""
        if self._attachment.closed:
            return True
        self.peers.sleep(0.0)
        self.peers.watch()
        lane = self.lane
        lane.recount()
        self._armed, self._words[self._wants] = True, lane.target(self._refused)
        self.peers.fence()
        lane.refresh()
        if lane.fit(self._refused, lane.done) >= 0 or self._words[ENDED] or not lane.live:
            return True
        self._rouse()
        return False

    def refuse(self, operation: str) -> None:
        """Raises where the port was closed or the channel has ended."""
        if self._attachment.closed:
            raise failure("Closed", operation, self.name, f"writer {self._attachment.place} has been closed")
        if self._words[ENDED]:
            reason = self._attachment.memory.reason
            raise failure("Closed", operation, self.name, f"the channel has ended{': ' if reason else ''}{reason}")

    def _wait(self, need: int, timeout: float | None, operation: str) -> int:
        self._refused = need
        began = time.monotonic()
        try:
            offset = self._linger(need) if timeout is None or timeout > 0.0 else -1
            return offset if offset >= 0 else self._sleep(need, timeout, began, operation)
        finally:
            if not self._attachment.closed:
                self._words[self._wants] = 0
                self._waited += int((time.monotonic() - began) * 1e9)
                self._words[self._blocked] = self._waited

    def _linger(self, need: int) -> int:
        """Looks for a while, then yields the core a few times."""
        lane = self.lane
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
        lane, peers = self.lane, self.peers
        first = True
        while True:
            peers.watch()
            lane.recount()
            self._words[self._wants] = lane.target(need)
            peers.fence()
            lane.refresh()
            offset = lane.fit(need, lane.done)
            if offset >= 0:
                return offset
            self._look(operation)
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
            if first:
                self._rouse()
            elif left == 0.0:
                if timeout is not None and timeout < 0.0:
                    return -1
                raise self._timed_out(timeout or 0.0, operation)
            first = False
            peers.sleep(left)
            self.refuse(operation)

    def _rouse(self) -> None:
        """Wakes sleeping readers: one that keeps views in the way of this writer has to be told so."""
        for reader, asleep in enumerate(self._sleepers):
            if self._words[asleep]:
                self._attachment.ring(reader)

    def _look(self, operation: str) -> None:
        """Raises where no room can come."""
        self.refuse(operation)
        lane = self.lane
        if lane.live:
            return
        if lane.failed:
            raise failure(
                "PeerDied",
                operation,
                self.name,
                f"no reader is left: {'; '.join(self.peers.why(place) for place in lane.failed)}",
                "see what that process ended with, and make the channel anew",
                processes=[self.peers.process(place) for place in lane.failed],
            )
        raise failure("Closed", operation, self.name, "all readers have closed")

    def _timed_out(self, timeout: float, operation: str) -> ChannelError:
        lane = self.lane
        return failure(
            "TimedOut",
            operation,
            self.name,
            f"no room came within {timeout:g} s: {lane.tail - lane.done} of {lane.capacity} messages are in use",
            "see what the readers are doing, or give a larger timeout, capacity or bytes if they only need longer",
            timeout=timeout,
            occupancy=lane.tail - lane.done,
            readers=[self.peers.process(place) for place in lane.live],
        )

    def _too_large(self, need: int, operation: str) -> ChannelError:
        limit = self._attachment.address.plan.lane
        return failure(
            "TooLarge",
            operation,
            self.name,
            f"the message has {need} bytes, and all messages of a writer together have {limit}",
            "make the channel with larger bytes=, several times the largest message",
            bytes=need,
            limit=limit,
        )
