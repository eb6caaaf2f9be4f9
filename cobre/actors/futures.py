"""The future of a call: concurrent.futures' own, which costs next to nothing until somebody waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from typing import Any, NoReturn, Protocol

from cobre.actors.failures import actor_error

__all__ = ["Asked", "CallFuture"]

_PENDING, _CANCELLED, _FINISHED = "PENDING", "CANCELLED_AND_NOTIFIED", "FINISHED"  # concurrent.futures' words
_making = threading.Lock()  # held for a few instructions, never while anything is waited for


class Asked(Protocol):
    """Who answers a future, and is told when the answer is not wanted any more."""

    def unwanted(self, future: CallFuture) -> None:
        """Nobody waits for this call's answer."""

    def waits_for_itself(self) -> bool:
        """Whether the calling thread is the one that answers."""


class CallFuture(Future[Any]):
    """The answer to one call.

    ``cancel`` succeeds until the answer has come: a call that has not started is dropped by the worker; one that runs
    goes on, and what it returns is discarded. Callbacks run in the system's reply thread (those of a cancelled future
    in the thread that cancelled): one that raises is logged, one that blocks delays all later answers.
    """

    # What the base class makes for everybody (a condition, two lists) is made when it is first looked at.
    def __init__(self, asked: Asked, method: str, number: int = 0) -> None:
        self._state = _PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._made: threading.Condition | None = None
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
        return made

    def finish(self, result: Any, failure: BaseException | None = None) -> bool:
        """Answers it, once; False where it was answered or cancelled before."""
        with _making:
            if self._made is None:
                if self._state != _PENDING:
                    return False
                self._result, self._exception = result, failure
                self._state = _FINISHED
                return True
        try:
            if failure is None:
                super().set_result(result)
            else:
                super().set_exception(failure)
        except InvalidStateError:
            return False
        return True

    def result(self, timeout: float | None = None) -> Any:
        """What the call returned. Raises what it raised, an ActorError, CancelledError, or TimeoutError (seconds)."""
        if self._state == _FINISHED and self._exception is None:
            return self._result
        self._check_not_inside()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or None. Raises CancelledError, or TimeoutError (seconds)."""
        self._check_not_inside()
        return super().exception(timeout)

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
        self._invoke_callbacks()  # type: ignore[attr-defined]
        self._asked.unwanted(self)
        return True

    def _check_not_inside(self) -> None:
        if self._state == _PENDING and self._asked.waits_for_itself():
            raise actor_error(
                "Unsupported",
                f"a callback waits for {self.method}() in the thread that answers it",
                "wait in a thread of your own, or add a callback to that future",
                method=self.method,
            )

    def __reduce__(self) -> NoReturn:
        raise actor_error("Unsupported", "the future of a call cannot be sent", "wait for it and send its result")
