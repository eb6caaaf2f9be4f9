"""What an actor knows of where it runs."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from cobre.actors.failures import actor_error

if TYPE_CHECKING:
    import threading

    from cobre.supervisor import Board

__all__ = ["Context", "context"]


class Context:
    """The process's own side of an actor.

    name: what its owner calls it. board: the words that its supervisor reads, even after its death: beats, marks,
    whether it waits for others. interrupted: set when the owner asked that the call under way end early (or when the
    actor is being stopped); cleared when a call starts.
    """

    def __init__(self, name: str, board: Board, interrupted: threading.Event, emit: Callable[[Any], None]) -> None:
        self.name = name
        self.board = board
        self.interrupted = interrupted
        self._emit = emit
        self.told: SimpleQueue[Any] = SimpleQueue()
        """What the owner told, and nobody has heard yet."""

    def hear(self, timeout: float | None = None) -> Any:
        """The next value that the owner gave to ``handle.tell``; None where none comes within ``timeout`` seconds."""
        try:
            return self.told.get(timeout=timeout)
        except Empty:
            return None

    def emit(self, value: Any) -> None:
        """Sends a value to the owner's ``on_event``, in the order of these calls and before the answer of the call.

        May be called in any thread of the actor. Waits while the owner is too slow to take what came before. Raises
        ActorError of kind NotSerializable, or TooLarge.
        """
        self._emit(value)


_current: list[Context] = []


def context() -> Context:
    """The context of the actor that this process is. Raises ActorError of kind Unsupported outside of one."""
    if not _current:
        raise actor_error(
            "Unsupported",
            "context() is for code that runs inside an actor; this process is none",
            "call it in a method of a class that was given to ActorSystem.spawn",
        )
    return _current[0]


def enter(found: Context) -> None:
    """Makes it the context of this process."""
    _current[:] = [found]
