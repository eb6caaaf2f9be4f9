"""Events on their way from the workers to the one callback, which may be slow: they are merged, never piled up."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

__all__ = ["Relay"]

_MOST = 64  # events of one worker that wait for the callback; beyond that the older ones are dropped


class Relay:
    """What the threads that hear from workers hand to the thread that the user called from.

    Everything but ``take`` returns at once, from any thread. Each worker's events stay in their order; where more than
    64 of one worker wait, the oldest of them are dropped. The end of the work and its failure are never dropped.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[int, deque[Any]] = {}
        self._order: deque[int] = deque()  # whose event is next
        self._dropped: dict[int, int] = {}
        self._over = self._woken = False

    def put(self, rank: int, event: Any) -> None:
        """An event of this worker."""
        with self._changed:
            mine = self._waiting.setdefault(rank, deque(maxlen=_MOST))
            if len(mine) < _MOST:
                self._order.append(rank)
            else:
                self._dropped[rank] = self._dropped.get(rank, 0) + 1
            mine.append(event)
            self._changed.notify_all()

    def begin(self) -> None:
        """Other work begins: more is to be waited for, and what is left of the work before it is forgotten."""
        with self._changed:
            self._over = False
            self._waiting.clear()
            self._order.clear()
            self._dropped.clear()

    def finish(self) -> None:
        """Nothing more is to be waited for: what is here is still taken."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Whoever waits for an event looks at what else there is."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def take(self, timeout: float | None = None) -> tuple[int, Any] | None:
        """The next event with its worker; None when the work is over and no event is left, after ``timeout`` seconds,
        or when woken.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._order) or self._over or self._woken, timeout)
            self._woken = False
            if not self._order:
                return None
            rank = self._order.popleft()
            return rank, self._waiting[rank].popleft()

    def dropped(self, rank: int) -> int:
        """How many events of this worker were dropped since this was last asked."""
        with self._changed:
            return self._dropped.pop(rank, 0)

    @property
    def over(self) -> bool:
        """Whether the work has ended, well or not."""
        with self._changed:
            return self._over and not self._order
