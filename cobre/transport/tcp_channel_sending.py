"""A writer's way to all readers of a tcp channel: waiting for room, and handing over a message to all or to one."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from cobre.transport.tcp_channel_outlet import Outlet
from cobre.transport.tcp_channel_settings import Bell, Settings
from cobre.transport.tcp_channel_wire import KEPT, Frame, pack_prefix

__all__ = ["Sender"]

_LINGER = 2.0  # seconds that closing may take where a reader cannot be reached or does not read
_HANDING_OVER = 0.25  # seconds that a message may be on its way, once there is room for it, whatever the timeout
_ARRIVING = 0.05  # seconds that a new writer gives readers that are there already to answer


class Sender:
    """The streams to all readers, used by one thread; ``end`` may come from another.

    blocked: nanoseconds that were waited for room.
    """

    def __init__(self, settings: Settings, place: int) -> None:
        self.blocked = 0
        self._settings = settings
        self._ended: str | None = None
        self._turn = 0
        self._bell = Bell()
        name = os.urandom(8).hex()
        self._outlets = [
            Outlet(settings.spot(reader), place, name, settings.capacity, settings.limit)
            for reader in range(settings.readers)
        ]
        self._wait(lambda: all(outlet.state != "calling" for outlet in self._outlets), time.monotonic() + _ARRIVING)

    def connect(self, deadline: float | None) -> bool:
        """Waits until every reader has been reached; False where the time is up before. Raises ChannelError."""
        return self._wait(self._checked("connect", lambda: self._all(lambda outlet: outlet.state == "open")), deadline)

    def room(self, operation: str, size: int, everybody: bool, deadline: float | None) -> bool:
        """Waits until all readers, or one, have room for so many bytes; False where the time is up before.

        Raises ChannelError: Closed, PeerDied, Unreachable, PlaceTaken.
        """

        def free(outlet: Outlet) -> bool:
            return outlet.state == "open" and not outlet.busy and outlet.room(size)

        def found() -> bool:
            if everybody:
                return self._all(free)
            left = [outlet for outlet in self._outlets if not outlet.gone]
            held, held_bytes = sum(outlet.held for outlet in left), sum(outlet.held_bytes for outlet in left)
            fits = held < self._settings.capacity and held_bytes + size <= self._settings.limit
            return fits and any(free(outlet) for outlet in left)

        checked = self._checked(operation, found)
        if self._wait(checked, 0.0):
            return True
        began = time.monotonic_ns()
        for outlet in self._outlets:
            if not outlet.room(size) or not everybody:
                outlet.want(size, self.blocked)
        try:
            return self._wait(checked, deadline)
        finally:
            self.blocked += time.monotonic_ns() - began

    def deliver(
        self, operation: str, parts: Sequence[memoryview], size: int, everybody: bool, deadline: float | None
    ) -> bool:
        """Hands over a message for which there is room to all readers, or to the one that has least to do.

        False where the time is up before: then it counts nowhere. Raises ChannelError: Closed, PeerDied.
        """
        targets = [outlet for outlet in self._outlets if outlet.state == "open"]
        if not everybody:
            targets = [self._least(targets, size)]
        if deadline is not None:
            deadline = max(deadline, time.monotonic() + _HANDING_OVER)
        trailer = KEPT if len(targets) == 1 else b""  # several get theirs when all have the rest

        def handed_over() -> bool:
            return self._why_ended() is not None or not any(outlet.busy for outlet in targets)

        try:
            for outlet in targets:
                outlet.begin(parts, trailer)
            done = self._wait(handed_over, deadline) and not any(outlet.busy for outlet in targets)
        except BaseException:  # an interruption
            _take_back(targets)
            raise
        if not done and _take_back(targets):
            self._look(operation)
            return False
        reached = [outlet for outlet in targets if not outlet.gone]
        if not reached:
            self._look(operation)
            self._nobody(operation, targets)
        if not trailer:
            for outlet in reached:
                outlet.begin((), KEPT)
            self._wait(handed_over, deadline)
        for outlet in reached:
            outlet.counted(size)
        return True

    def end(self, reason: str) -> None:
        """The channel has ended: whoever waits is woken. From any thread."""
        self._ended = reason
        self._bell.ring()

    def wake(self) -> None:
        """Has whoever waits look again. From any thread."""
        self._bell.ring()

    def close(self, frame: Frame, words: bytes) -> None:
        """Says farewell to all readers, and lets go of everything."""
        farewell = memoryview(pack_prefix(frame, len(words), self.blocked) + words)
        waiting = set(self._outlets)

        def told() -> bool:
            for outlet in list(waiting):
                if outlet.gone or self._why_ended() is not None:
                    waiting.discard(outlet)
                elif outlet.state == "open" and not outlet.busy:
                    outlet.begin([farewell])
                    waiting.discard(outlet)
            return not waiting and not any(outlet.busy for outlet in self._outlets)

        unhurried = frame is Frame.LEAVING and self._why_ended() is None
        self._wait(told, time.monotonic() + _LINGER if unhurried else 0.0)
        for outlet in self._outlets:
            outlet.close()
        self._bell.close()

    def _wait(self, condition: Callable[[], bool], deadline: float | None) -> bool:
        while True:
            for outlet in self._outlets:
                outlet.go_on()
            if condition():
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0.0:
                return False
            poll = select.poll()
            poll.register(self._bell.fileno(), select.POLLIN)
            pauses = [] if left is None else [left]
            for outlet in self._outlets:
                for descriptor, events in outlet.awaited():
                    poll.register(descriptor, events)
                pause = outlet.pause()
                if pause is not None:
                    pauses.append(pause)
            poll.poll(min(pauses) * 1000.0 if pauses else None)
            if self._ended is None:
                self._bell.take()

    def _checked(self, operation: str, condition: Callable[[], bool]) -> Callable[[], bool]:
        began = time.monotonic()

        def checked() -> bool:
            self._look(operation)
            if condition():
                return True
            if time.monotonic() - began > self._settings.connect_timeout:
                self._look_for_absent(operation)
            return False

        return checked

    def _all(self, free: Callable[[Outlet], bool]) -> bool:
        return all(free(outlet) for outlet in self._outlets if not outlet.gone)

    def _least(self, targets: list[Outlet], size: int) -> Outlet:
        """The reader that has least to do; among equals, in turn."""
        self._turn += 1
        count = len(self._outlets)
        return min(
            (outlet for outlet in targets if not outlet.busy and outlet.room(size)),
            key=lambda outlet: (outlet.held, (outlet.spot.place - self._turn) % count),
        )

    def _why_ended(self) -> str | None:
        if self._ended is not None:
            return self._ended
        return next((outlet.ended for outlet in self._outlets if outlet.ended is not None), None)

    def _look(self, operation: str) -> None:
        """Raises ChannelError where nothing can be published any more."""
        reason = self._why_ended()
        if reason is not None:
            raise self._settings.ended(operation, reason)
        for outlet in self._outlets:
            if outlet.refusal is not None:
                message = f"reader {outlet.spot.place} at {outlet.spot} refuses: {outlet.refusal.message}"
                raise self._settings.error(outlet.refusal.kind, operation, message, address=str(outlet.spot))
        if all(outlet.gone for outlet in self._outlets):
            self._nobody(operation, self._outlets)

    def _nobody(self, operation: str, outlets: Sequence[Outlet]) -> NoReturn:
        lost = [outlet for outlet in outlets if outlet.state == "lost"]
        if not lost:
            raise self._settings.ended(operation, "all readers have closed")
        first = lost[0]
        message = f"reader {first.spot.place} {first.how}, and no other is left"
        raise self._settings.error(
            "PeerDied", operation, message, "see what became of its process", reader=first.spot.place, reason=first.how
        )

    def _look_for_absent(self, operation: str) -> None:
        for outlet in self._outlets:
            if outlet.state == "calling":
                raise self._settings.error(
                    "Unreachable",
                    operation,
                    f"no reader {outlet.spot.place} at {outlet.spot} ({outlet.last()})",
                    "see that it runs and that the address is right, or give a larger connect_timeout",
                    address=str(outlet.spot),
                )


def _take_back(targets: Sequence[Outlet]) -> bool:
    """Whether the message, which is on its way, counts nowhere."""
    taken_back = [outlet.cancel() for outlet in targets if outlet.state == "open"]
    return all(taken_back)
