"""How a writer of a tcp channel sends to all readers: from the memory it was given, without a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from cobre.transport.tcp_channel_outlet import Outlet
from cobre.transport.tcp_channel_outlets import Outlets
from cobre.transport.tcp_channel_settings import Settings
from cobre.transport.tcp_channel_wire import KEPT, Frame

__all__ = ["AT_ONCE", "LINGER", "Sender", "ToAll"]

AT_ONCE = float("-inf")
"""A deadline: nothing is waited for."""

LINGER = 2.0
"""Seconds that closing may take where a reader cannot be reached or does not read."""

_HANDING_OVER = 0.25  # seconds that a message may be on its way, once there is room for it, whatever the timeout
_ARRIVING = 0.05  # seconds that a new writer gives readers that are there already to answer


class Sender(Protocol):
    """What a writer sends through. All but ``end`` and ``wake`` come from one thread."""

    blocked: int
    """Nanoseconds that were waited for room."""

    def connect(self, deadline: float | None) -> bool:
        """Waits until every reader has been reached; False where the time is up before. Raises ChannelError."""

    def room(self, size: int, operation: str, deadline: float | None) -> bool:
        """Waits until there is room for so many bytes; False where the time is up before.

        Raises ChannelError: Closed, PeerDied, Unreachable, PlaceTaken.
        """

    def deliver(
        self, parts: Sequence[memoryview], size: int, is_mark: bool, operation: str, deadline: float | None
    ) -> bool:
        """Hands over a message for which there is room; False where the time is up before: then it counts nowhere.

        What ``parts`` refer to may be changed afterwards. Raises ChannelError: Closed, PeerDied.
        """

    def ready(self) -> bool:
        """Whether what there was no room for last is to be tried again; else ``fileno`` says when it may be."""

    def fileno(self) -> int:
        """A descriptor to wait on, after ``ready``."""

    def end(self, reason: str) -> None:
        """The channel has ended: whoever waits is woken. From any thread."""

    def wake(self) -> None:
        """Has whoever waits look again. From any thread."""

    def close(self, frame: Frame, words: bytes) -> None:
        """Says farewell to all readers, after what was delivered, and lets go of everything."""


class ToAll:
    """Every message to every reader. What is handed over is with the system of this host, or further."""

    def __init__(self, settings: Settings, place: int) -> None:
        self.blocked = 0
        self._settings = settings
        self._size = 0  # of what is to be sent
        self._outlets = Outlets(settings, place)
        reached = self._each(lambda outlet: outlet.state != "calling")
        self._outlets.wait(reached, time.monotonic() + _ARRIVING)

    def connect(self, deadline: float | None) -> bool:
        return self._outlets.wait(self._checked("connect", self._each(lambda outlet: outlet.state == "open")), deadline)

    def room(self, size: int, operation: str, deadline: float | None) -> bool:
        self._size = size
        checked = self._checked(operation, self._each(self._free))
        if self._outlets.wait(checked, 0.0):
            return True
        began = time.monotonic_ns()
        for outlet in self._outlets:
            if not outlet.room(size):
                outlet.want(size, self.blocked)
        found = False
        try:
            found = self._outlets.wait(checked, deadline)
            return found
        finally:
            self.blocked += time.monotonic_ns() - began
            if not found and deadline != AT_ONCE:  # who only tried will try again
                for outlet in self._outlets:
                    outlet.want(None, self.blocked)

    def deliver(
        self, parts: Sequence[memoryview], size: int, is_mark: bool, operation: str, deadline: float | None
    ) -> bool:
        outlets = self._outlets
        targets = [outlet for outlet in outlets if outlet.state == "open"]
        if deadline is not None:
            deadline = max(deadline, time.monotonic() + _HANDING_OVER)
        trailer = KEPT if len(targets) == 1 else b""  # several get theirs when all have the rest

        def handed_over() -> bool:
            return outlets.ended is not None or not any(outlet.busy for outlet in targets)

        try:
            for outlet in targets:
                outlet.begin(parts, trailer)
            done = outlets.wait(handed_over, deadline) and not any(outlet.busy for outlet in targets)
        except BaseException:  # an interruption
            _take_back(targets)
            raise
        if not done and _take_back(targets):
            outlets.look(operation)
            return False
        reached = [outlet for outlet in targets if not outlet.gone]
        if not reached:
            outlets.look(operation)
            outlets.nobody(operation, targets)
        if not trailer:
            for outlet in reached:
                outlet.begin((), KEPT)
            outlets.wait(handed_over, deadline)
        for outlet in reached:
            outlet.counted(size)
        return True

    def ready(self) -> bool:
        return self._outlets.ready(self._each(self._free))

    def fileno(self) -> int:
        return self._outlets.fileno()

    def end(self, reason: str) -> None:
        self._outlets.end(reason)

    def wake(self) -> None:
        self._outlets.wake()

    def close(self, frame: Frame, words: bytes) -> None:
        patience = LINGER if frame is Frame.LEAVING else 0.0
        self._outlets.close(frame, words, self.blocked, time.monotonic() + patience)

    def _free(self, outlet: Outlet) -> bool:
        return outlet.state == "open" and not outlet.busy and outlet.room(self._size)

    def _each(self, condition: Callable[[Outlet], bool]) -> Callable[[], bool]:
        return lambda: all(condition(outlet) for outlet in self._outlets.left)

    def _checked(self, operation: str, condition: Callable[[], bool]) -> Callable[[], bool]:
        began = time.monotonic()

        def checked() -> bool:
            self._outlets.look(operation)
            if condition():
                return True
            if time.monotonic() - began > self._settings.connect_timeout:
                self._outlets.look_for_absent(operation)
            return False

        return checked


def _take_back(targets: Sequence[Outlet]) -> bool:
    """Whether the message, which is on its way, counts nowhere."""
    taken_back = [outlet.cancel() for outlet in targets if outlet.state == "open"]
    return all(taken_back)
