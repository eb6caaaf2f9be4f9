"""How a writer of a tcp channel sends each message to one of several readers: to one that waits for it.

Messages wait at the writer, whose thread hands them out whatever the writer does: a reader that takes long keeps no
message from one that has nothing to do. A message is kept until the user of its reader has got it; what a reader had
not handed on when it died goes to another one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cobre.transport.tcp_channel_outlet import Outlet
from cobre.transport.tcp_channel_outlets import Outlets
from cobre.transport.tcp_channel_sending import LINGER
from cobre.transport.tcp_channel_settings import Bell, Settings
from cobre.transport.tcp_channel_wire import KEPT, Frame

__all__ = ["ToOne"]

_LOOK = 1.0  # seconds between looks at what else may have happened to readers that have not been reached


@dataclass
class _Entry:
    """A message that waits for a reader. to: those that have yet to get a mark, which all do; None: any one."""

    parts: list[memoryview]
    size: int
    to: list[Outlet] | None = None


class ToOne:
    """A queue of at most ``capacity`` messages, those included that readers are not done with, and the thread."""

    def __init__(self, settings: Settings, place: int) -> None:
        self.blocked = 0
        self._settings = settings
        self._news = Bell()  # for who waits for room with a descriptor
        try:
            self._outlets = Outlets(settings, place)
        except OSError:
            self._news.close()
            raise
        self._changed = threading.Condition()
        self._queue: deque[_Entry] = deque()
        self._queued_bytes = 0
        # what each was sent and its user has not got, with its number among all that it was sent
        self._given: dict[Outlet, deque[tuple[int, _Entry]]] = {outlet: deque() for outlet in self._outlets}
        self._farewell: tuple[Frame, bytes] | None = None
        self._turn = 0
        self._size = 0  # of what is to be sent
        self._watched = False
        self._thread = threading.Thread(target=self._run, name=f"cobre channel writer {place}")
        self._thread.start()

    def connect(self, deadline: float | None) -> bool:
        return self._wait("connect", deadline, lambda: all(outlet.state == "open" for outlet in self._outlets.left))

    def room(self, size: int, operation: str, deadline: float | None) -> bool:
        began = time.monotonic_ns()
        with self._changed:
            self._size = size
            self._outlets.look(operation)
            if self._fits(size):
                return True
        try:
            return self._wait(operation, deadline, lambda: self._fits(size))
        finally:
            self.blocked += time.monotonic_ns() - began

    def deliver(
        self, parts: Sequence[memoryview], size: int, is_mark: bool, operation: str, deadline: float | None
    ) -> bool:
        kept = [memoryview(bytes(part)) for part in parts]
        with self._changed:
            self._outlets.look(operation)
            self._queue.append(_Entry(kept, size, self._outlets.left if is_mark else None))
            self._queued_bytes += size
        self._outlets.wake()
        return True

    def ready(self) -> bool:
        with self._changed:
            while self._news.take():
                pass
            outlets = self._outlets
            if outlets.ended is not None or not outlets.left or self._fits(self._size):
                return True
            self._watched = True
            return False

    def fileno(self) -> int:
        return self._news.fileno()

    def end(self, reason: str) -> None:
        self._outlets.end(reason)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self, frame: Frame, words: bytes) -> None:
        """Returns when all messages have been handed out or, where that takes long, leaves the rest to the thread."""
        self._farewell = frame, words
        self._outlets.wake()  # nothing, where the thread has seen it by now
        self._thread.join(LINGER)

    def _wait(self, operation: str, deadline: float | None, condition: Callable[[], bool]) -> bool:
        absent = time.monotonic() + self._settings.connect_timeout
        with self._changed:
            while True:
                self._outlets.look(operation)
                if condition():
                    return True
                now = time.monotonic()
                if now >= absent and not any(outlet.state == "open" for outlet in self._outlets):
                    self._outlets.look_for_absent(operation)
                left = _LOOK if deadline is None else min(deadline - now, _LOOK)
                if left <= 0.0:
                    return False
                self._changed.wait(left)

    def _fits(self, size: int) -> bool:
        left = self._outlets.left
        held = len(self._queue) + sum(outlet.held for outlet in left)
        held_bytes = self._queued_bytes + sum(outlet.held_bytes for outlet in left)
        return held < self._settings.capacity and held_bytes + size <= self._settings.limit

    def _run(self) -> None:
        patience: float | None = None
        while True:
            farewell = self._farewell  # before readers are heard: what they said until then counts
            for outlet in self._outlets:
                outlet.go_on()
            with self._changed:
                self._recover()
                self._hand_out()
                self._changed.notify_all()
                if self._watched:
                    self._watched = False
                    self._news.ring()
                over = not self._queue or self._outlets.ended is not None or not self._outlets.left
                reached = any(outlet.state == "open" for outlet in self._outlets)
            if farewell is not None:
                patience = patience or time.monotonic() + LINGER
                if over or (not reached and time.monotonic() > patience):
                    break
            self._outlets.sleep(None if farewell is None or reached else LINGER / 10)
        self._outlets.close(*farewell, self.blocked, time.monotonic() + LINGER)
        self._news.close()

    def _recover(self) -> None:
        """What readers had not handed on when they went is first in the queue again."""
        for outlet, given in self._given.items():
            while given and given[0][0] <= outlet.account.taken:
                given.popleft()
            if outlet.gone:
                back = [entry for _, entry in given if entry.to is None]
                self._queue.extendleft(reversed(back))
                self._queued_bytes += sum(entry.size for entry in back)
                given.clear()

    def _hand_out(self) -> None:
        while self._queue and (self._mark() if self._queue[0].to is not None else self._next()):
            self._queued_bytes -= self._queue.popleft().size

    def _next(self) -> bool:
        """Sends the first message to the reader that waits and has least to do; False where none waits."""
        waiting = [
            outlet
            for outlet in self._outlets
            if outlet.state == "open" and not outlet.busy and outlet.account.wanted > outlet.published
        ]
        if not waiting:
            return False
        self._turn += 1
        count = self._settings.readers
        chosen = min(waiting, key=lambda outlet: (outlet.held, (outlet.spot.place - self._turn) % count))
        self._send(chosen, self._queue[0])
        return True

    def _mark(self) -> bool:
        """Sends a mark to all readers that can take it; whether all have it."""
        entry = self._queue[0]
        assert entry.to is not None
        for outlet in list(entry.to):
            if outlet.gone:
                entry.to.remove(outlet)
            elif outlet.state == "open" and not outlet.busy:
                entry.to.remove(outlet)
                self._send(outlet, entry)
        return not entry.to

    def _send(self, outlet: Outlet, entry: _Entry) -> None:
        outlet.begin(entry.parts, KEPT)
        outlet.counted(entry.size)
        self._given[outlet].append((outlet.published, entry))
