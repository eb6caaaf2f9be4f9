"""The future of a call: concurrent.futures' own, which costs next to nothing until somebody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, NoReturn, Protocol

from cobre.actors.failures import actor_error

__all__ = ["Asked", "CallFuture", "Reading"]

_PENDING, _CANCELLED, _FINISHED = "PENDING", "CANCELLED_AND_NOTIFIED", "FINISHED"  # concurrent.futures' words
_making = threading.Lock()  # held for a few instructions, never while anything is waited for


class Reading(Protocol):
    """A thread that reads a worker's answers itself, until the one has come that it waits for."""

    def poke(self) -> None:
        """Has it look whether that is so; nothing where it is the calling thread."""


class Asked(Protocol):
    """Who answers a future, and is told when the answer is not wanted any more."""

    def unwanted(self, future: CallFuture) -> None:
        """Nobody waits for this call's answer."""

    def waits_for_itself(self) -> bool:
        """Whether the calling thread is the one that answers."""

    def later(self, demand: Callable[[], object]) -> None:
        """Has that called in the thread that answers."""

    def read_for(self, future: CallFuture, deadline: float | None, stop: Callable[[], bool]) -> None:
        """Reads answers in the calling thread, if nobody else does, until this one has come; else returns at once."""

    def listen(self) -> None:
        """Has the thread that answers listen, which it may have left to those who wait."""

    def failed(self) -> None:
        """A call has failed: those who wait for several look."""


class CallFuture(Future[Any]):
    """The answer to one call.

    ``cancel`` succeeds until the answer has come: a call that has not started is dropped by the worker; one that runs
    goes on, and what it returns is discarded. Callbacks run in the system's reply thread (one that is added when the
    answer is there, at once in the thread that adds it): one that raises is logged, one that blocks delays all later
    answers.
    """

    # What the base class makes for everybody (a condition, two lists) is made when it is first looked at.
    _state = _PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _made: threading.Condition | None = None
    reader: Reading | None = None

    def __init__(self, asked: Asked, method: str, number: int = 0) -> None:
        self._asked = asked
        self.method = method
        self.number = number

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        made = self._made
        if made is None:
            with _making:
                made = self._made
                if made is None:
                    self._waiters: list[Any] = []
                    self._done_callbacks: list[Any] = []
                    made = self._made = threading.Condition()
            self._asked.listen()  # whoever looks waits for the reply thread
        return made

    @property
    def pending(self) -> bool:
        """Whether there is neither an answer nor a cancellation."""
        return self._state == _PENDING

    def finish(self, result: Any, failure: BaseException | None = None) -> bool:
        """Answers it, once; False where it was answered or cancelled before."""
        with _making:
            unseen = self._made is None
            if unseen:
                if self._state != _PENDING:
                    return False
                self._result, self._exception = result, failure
                self._state = _FINISHED
        if not unseen:
            try:
                if failure is None:
                    super().set_result(result)
                else:
                    super().set_exception(failure)
            except InvalidStateError:
                return False
        if self.reader is not None:
            self.reader.poke()
        if failure is not None:
            self._asked.failed()
        return True

    def _invoke_callbacks(self) -> None:
        if not self._done_callbacks:
            return
        if self._asked.waits_for_itself():
            super()._invoke_callbacks()  # type: ignore[misc]
        else:
            self._asked.later(super()._invoke_callbacks)  # type: ignore[misc]

    def result(self, timeout: float | None = None) -> Any:
        """What the call returned. Raises what it raised, an ActorError, CancelledError, or TimeoutError (seconds)."""
        if self._state == _PENDING:
            self.settle(None if timeout is None else time.monotonic() + timeout, _never)
        if self._state == _FINISHED and self._exception is None:
            return self._result
        return super().result(0.0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or None. Raises CancelledError, or TimeoutError (seconds)."""
        if self._state == _PENDING:
            self.settle(None if timeout is None else time.monotonic() + timeout, _never)
        return super().exception(0.0)

    def settle(self, deadline: float | None, stop: Callable[[], bool]) -> None:
        """Waits until it is answered or cancelled, the deadline (time.monotonic) is past, or ``stop`` says so.

        Whoever makes ``stop`` say so calls ``look`` then. The thread that waits reads the answer itself where it can.
        """
        if self._asked.waits_for_itself():
            raise actor_error(
                "Unsupported",
                f"a callback waits for {self.method}() in the thread that answers it",
                "wait in a thread of your own, or add a callback to that future",
                method=self.method,
            )
        self._asked.read_for(self, deadline, stop)
        while self._state == _PENDING:
            with self._condition:
                left = None if deadline is None else deadline - time.monotonic()
                if self._state != _PENDING or stop() or (left is not None and left <= 0):
                    return
                self._condition.wait(left)

    def listen(self) -> None:
        """Has it answered as soon as the answer is there, whether anybody waits for it or not."""
        self._asked.listen()

    def look(self) -> None:
        """Has those who wait in ``settle`` ask their ``stop``."""
        if self.reader is not None:
            self.reader.poke()
        with self._condition:
            self._condition.notify_all()

    def cancel(self) -> bool:
        """Whether the answer had not come yet, and never will now."""
        if self.number == 0:  # an actor that is not made is stopped or killed
            return False
        with self._condition:
            if self._state != _PENDING:
                return self._state == _CANCELLED
            self._state = _CANCELLED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        if self.reader is not None:
            self.reader.poke()
        self._invoke_callbacks()
        self._asked.unwanted(self)
        return True

    def __reduce__(self) -> NoReturn:
        raise actor_error("Unsupported", "the future of a call cannot be sent", "wait for it and send its result")


def _never() -> bool:
    return False
