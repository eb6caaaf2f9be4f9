"""Waiting for several futures at once, until the first of them fails."""

from __future__ import annotations

import threading
import time
from typing import Any

from cobre.actors.failures import actor_error
from cobre.actors.futures import CallFuture

__all__ = ["Waiters"]


class _Waiter:
    """A thread that waits for the futures of a list, one after the other."""

    def __init__(self) -> None:
        self.told = False
        self.current: CallFuture | None = None

    def stop(self) -> bool:
        """Whether some call has failed since it last looked."""
        return self.told

    def poke(self) -> None:
        """Some call has failed."""
        self.told = True
        current = self.current
        if current is not None:
            current.look()


class Waiters:
    """The threads of a process that wait in ``ActorSystem.get``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[_Waiter] = set()

    def failed(self) -> None:
        """A call has failed; called in any thread."""
        if self._waiting:
            with self._lock:
                waiting = tuple(self._waiting)
            for waiter in waiting:
                waiter.poke()

    def wait(self, futures: list[CallFuture], timeout: float | None) -> list[Any]:
        """Their results in order. Raises what the first failure that is seen raises; ActorError of kind Timeout."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if len(futures) == 1:
            futures[0].settle(deadline, _never) if futures[0].pending else None
        else:
            self._settle(futures, deadline)
        missing = sum(future.pending for future in futures)
        if missing and not any(map(_has_failed, futures)):
            told = f"{missing} of {len(futures)} calls had no answer after {timeout:g} s"
            raise actor_error("Timeout", told, "the calls go on; give them more time")
        if missing:
            futures = [future for future in futures if _has_failed(future)][:1]
        return [future.result() for future in futures]

    def _settle(self, futures: list[CallFuture], deadline: float | None) -> None:
        waiter = _Waiter()
        with self._lock:
            self._waiting.add(waiter)
        try:
            if any(map(_has_failed, futures)):
                return
            for future in futures:
                if future.pending:
                    future.listen()  # so that its failure is seen while another is waited for
            for future in futures:
                if not future.pending:
                    continue
                waiter.current = future
                while future.pending and (deadline is None or time.monotonic() < deadline):
                    future.settle(deadline, waiter.stop)
                    if waiter.told:
                        waiter.told = False
                        if any(map(_has_failed, futures)):
                            return
        finally:
            with self._lock:
                self._waiting.discard(waiter)


def _has_failed(future: CallFuture) -> bool:
    return not future.pending and (future.cancelled() or future.exception() is not None)


def _never() -> bool:
    return False
