"""What a worker and whoever owns it say to each other while a run is under way."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from cobre.engine.marks import Board
from cobre.sddp.training import IterationRecord

if TYPE_CHECKING:
    import threading

    from cobre.sddp.simulation import FinishedBlock

__all__ = ["Dialogue", "Finished", "Notice", "Progress", "Resumed", "Surroundings"]

_PATIENCE = 0.1  # seconds that the owner may take for what it is told before it is not waited for


class Surroundings(Protocol):
    """Where a worker lives; an actor's context is one."""

    @property
    def board(self) -> Board | None:
        """Words in which others read where the worker stands."""

    @property
    def interrupted(self) -> threading.Event:
        """Set when the call under way shall end early."""

    def emit(self, value: Any) -> None:
        """Tells the run's owner something while a call is under way."""

    def hear(self, timeout: float | None = None) -> Any:
        """What the owner says to that, or None after ``timeout`` seconds: of which run, and how many of its pieces of
        progress were dealt with.
        """


@dataclass(frozen=True)
class Progress:
    """What a worker tells of a run: after each iteration its record, or the scenarios that all ranks have simulated.

    seconds: since this worker's part began; collective_seconds: those of them inside collectives.
    """

    seconds: float
    collective_seconds: float
    record: IterationRecord | None = None
    scenarios_complete: int = 0
    scenarios_total: int = 0


class Notice:
    """What a worker tells the owner itself, whatever becomes of its progress: none of them is dropped."""


@dataclass(frozen=True)
class Resumed(Notice):
    """Rank 0: all ranks are there and go on. completed: iterations, or scenarios, that stand."""

    completed: int


@dataclass(frozen=True, eq=False)
class Finished(Notice):
    """A block of scenarios is simulated, and what is written of it is whole."""

    block: FinishedBlock


class Dialogue:
    """Tells the owner of the progress of a run, and hears whether to go on.

    run: the owner's number of the run, 0 where it wants to be told nothing. Rank 0 waits a moment for the owner's
    verdict before the next piece is begun, so that a run stops where it would in the owner's own process; an owner who
    is slower is told, and not waited for until it has caught up.
    """

    def __init__(self, surroundings: Surroundings, run: int, leads: bool) -> None:
        self._surroundings, self._run, self._leads = surroundings, run, leads
        self._told = self._dealt_with = 0

    def goes_on(self, progress: Progress) -> bool:
        """Tells this progress; False where the run shall end."""
        if self._run:
            self._surroundings.emit(progress)
            if self._leads:
                self._listen()
        return not self._surroundings.interrupted.is_set()

    def _listen(self) -> None:
        patience = _PATIENCE if self._dealt_with == self._told else 0.0
        self._told += 1
        deadline = perf_counter() + patience
        while self._dealt_with < self._told:
            heard = self._surroundings.hear(max(0.0, deadline - perf_counter()))
            if heard is None:
                return
            run, dealt_with = heard
            if run == self._run:  # what was said of an earlier run may come late
                self._dealt_with = dealt_with
