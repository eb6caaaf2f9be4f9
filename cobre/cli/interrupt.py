"""Ctrl-C and SIGTERM: the first asks a run to stop and save, the second Ctrl-C ends it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Interrupts"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """The signals that ask the process to stop, handled while the ``with`` block lasts.

    Inside ``saving()`` the first of them sets ``requested``, for a progress callback to answer, and calls ``tell``;
    a Ctrl-C after that, and any of them outside ``saving()`` where there is nothing to lose, raise
    KeyboardInterrupt. A repeated SIGTERM asks for nothing new: schedulers send several.
    """

    def __init__(self) -> None:
        self.requested = False
        self._work: str | None = None
        self.tell: Callable[[str], object] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in SIGNALS:
            # A process started with nohup or in a shell's background ignores some signals on purpose.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def saving(self, work: str, tell: Callable[[str], object]) -> Iterator[None]:
        """Work whose results are saved if it may end in its own time.

        work: what is waited for then. tell: says so to the user, called from inside a signal handler; ``self.tell``
        may be set to something better meanwhile.
        """
        self._work, self.tell = work, tell
        try:
            yield
        finally:
            self._work = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._work is None or (self.requested and number == signal.SIGINT):
            raise KeyboardInterrupt
        if not self.requested:
            self.requested = True
            if self.tell is not None:
                self.tell(f"stopping after {self._work}, then saving; Ctrl-C again stops at once, unsaved")
