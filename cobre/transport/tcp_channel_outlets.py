"""A writer's way to all readers of a tcp channel: to wait for them, and what to make of those that are not there."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from cobre.transport.tcp_channel_outlet import Outlet
from cobre.transport.tcp_channel_settings import Bell, Settings
from cobre.transport.tcp_channel_wire import Frame, pack_prefix

__all__ = ["Outlets"]

_PAUSE = 0.1  # seconds
_LOOK = 0.5  # seconds between looks whether a reader has been called for long enough
_Selector: Any = getattr(selectors, "EpollSelector", None) or getattr(selectors, "KqueueSelector", None)
"""What can be waited on itself."""


class Outlets:
    """The streams to all readers, which one thread uses; ``end`` and ``wake`` may come from another."""

    def __init__(self, settings: Settings, place: int) -> None:
        self._settings = settings
        self._ended: str | None = None
        self._bell = Bell()
        try:
            self._selector = _Selector()
        except OSError:
            self._bell.close()
            raise
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._followed: dict[socket.socket, int] = {}
        name = os.urandom(8).hex()
        self._all = [
            Outlet(settings.spot(reader), place, name, settings.capacity, settings.limit)
            for reader in range(settings.readers)
        ]

    def __iter__(self) -> Iterator[Outlet]:
        return iter(self._all)

    @property
    def left(self) -> list[Outlet]:
        """Those whose readers have not gone."""
        return [outlet for outlet in self._all if not outlet.gone]

    @property
    def ended(self) -> str | None:
        """Why the channel has ended, None while it has not."""
        if self._ended is not None:
            return self._ended
        return next((outlet.ended for outlet in self._all if outlet.ended is not None), None)

    def end(self, reason: str) -> None:
        """The channel has ended. From any thread."""
        self._ended = reason
        self._bell.ring()

    def wake(self) -> None:
        """Has whoever waits look again. From any thread."""
        self._bell.ring()

    def wait(self, condition: Callable[[], bool], deadline: float | None) -> bool:
        """Does what can be done until the condition holds; False where the time is up before. It may raise."""
        while True:
            for outlet in self._all:
                outlet.go_on()
            if condition():
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0.0:
                return False
            self.sleep(left)

    def sleep(self, seconds: float | None) -> None:
        """Returns when an outlet can go on, ``wake`` was called, or so many seconds have passed."""
        self._follow()
        pauses = [pause for outlet in self._all if (pause := outlet.pause()) is not None]
        if seconds is not None:
            pauses.append(seconds)
        if any(outlet.state == "calling" for outlet in self._all):
            pauses.append(min(_LOOK, self._settings.connect_timeout))  # who does not answer says nothing of it either
        self._selector.select(min(pauses) if pauses else None)
        if self._ended is None:
            self._bell.take()

    def ready(self, condition: Callable[[], bool]) -> bool:
        """Does what can be done at once; whether the condition holds, or nothing can be published any more.

        Where not, ``fileno`` becomes readable when that may have changed. While a reader is called there is nothing to
        wait on between two calls: then this takes as long as the pause, and the answer is to try again.
        """
        if self._ended is None:
            self._bell.take()
        calling = self.wait(lambda: False, 0.0) or any(outlet.state == "calling" for outlet in self._all)
        if calling:
            self.sleep(_PAUSE)
            return True
        if self.ended is not None or not self.left or condition():
            return True
        self._follow()
        return False

    def fileno(self) -> int:
        """Of what ``sleep`` waits on."""
        return int(self._selector.fileno())

    def _follow(self) -> None:
        """Waits for what the outlets wait for now."""
        wanted = {stream: events for outlet in self._all for stream, events in outlet.awaited()}
        for stream in [stream for stream in self._followed if stream not in wanted]:
            self._selector.unregister(stream)
            del self._followed[stream]
        for stream, events in wanted.items():
            if stream not in self._followed:
                self._selector.register(stream, events)
            elif self._followed[stream] != events:
                self._selector.modify(stream, events)
            self._followed[stream] = events

    def look(self, operation: str) -> None:
        """Raises ChannelError where nothing can be published any more: Closed, PeerDied, PlaceTaken, OutOfRange."""
        reason = self.ended
        if reason is not None:
            raise self._settings.ended(operation, reason)
        for outlet in self._all:
            if outlet.refusal is not None:
                message = f"reader {outlet.spot.place} at {outlet.spot} refuses: {outlet.refusal.message}"
                raise self._settings.error(outlet.refusal.kind, operation, message, address=str(outlet.spot))
        if not self.left:
            self.nobody(operation, self._all)

    def nobody(self, operation: str, outlets: Sequence[Outlet]) -> NoReturn:
        """All of them have gone. Raises ChannelError: PeerDied, Closed."""
        lost = [outlet for outlet in outlets if outlet.state == "lost"]
        if not lost:
            raise self._settings.ended(operation, "all readers have closed")
        why = "; ".join(f"reader {outlet.spot.place} {outlet.how}" for outlet in lost)
        raise self._settings.error(
            "PeerDied",
            operation,
            f"no reader is left: {why}",
            "see what that process ended with, and make the channel anew",
            places=[outlet.spot.place for outlet in lost],
        )

    def look_for_absent(self, operation: str) -> None:
        """Raises ChannelError Unreachable for a reader that is not there yet."""
        for outlet in self._all:
            if outlet.state == "calling":
                raise self._settings.error(
                    "Unreachable",
                    operation,
                    f"no reader {outlet.spot.place} at {outlet.spot} ({outlet.last()})",
                    "see that it runs and that the address is right, or give a larger connect_timeout",
                    address=str(outlet.spot),
                )

    def close(self, frame: Frame, words: bytes, blocked: int, deadline: float) -> None:
        """Says farewell to all readers that can be reached until then, and lets go of everything."""
        farewell = memoryview(pack_prefix(frame, len(words), blocked) + words)
        waiting = self.left

        def told() -> bool:
            for outlet in list(waiting):
                if outlet.gone or self.ended is not None:
                    waiting.remove(outlet)
                elif outlet.state == "open" and not outlet.busy:
                    outlet.begin([farewell])
                    waiting.remove(outlet)
            return not waiting and not any(outlet.busy for outlet in self._all)

        self.wait(told, 0.0 if self.ended is not None else deadline)
        for outlet in self._all:
            outlet.close()
        self._selector.close()
        self._bell.close()
