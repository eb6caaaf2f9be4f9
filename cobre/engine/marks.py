"""Where a worker stands: words that others can read even after its death, and points at which something may be done.

A worker comes to points in this order: starting, connecting, then forward, backward, bound or simulation at each stage,
collective whenever it meets the other ranks, writing where it writes results, stopping at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cobre.sddp.contracts import Phase

__all__ = ["MARKS", "PHASES", "POINTS", "Board", "Position", "where"]

POINTS = ("starting", "connecting", "forward", "backward", "bound", "simulation", "collective", "writing", "stopping")
PHASES = (None, "starting", "connecting", "forward", "backward", "bound", "simulation", "writing", "stopping")
"""What the word ``phase`` means: its place here. A collective is no phase: it is a part of one."""

MARKS = ("phase", "iteration", "stage")


class Board(Protocol):
    """The words; see ``cobre.supervisor``."""

    waiting: bool

    def beat(self) -> None: ...

    def mark(self, name: str, value: int) -> None: ...

    def address(self, name: str | None = None) -> int: ...


def where(marks: Mapping[str, int]) -> dict[str, Any]:
    """``phase``, ``iteration`` and ``stage`` (of a simulation: block and stage) by a worker's words; None: unknown."""
    return {
        "phase": PHASES[marks.get("phase", 0)],
        "iteration": marks.get("iteration") or None,
        "stage": marks.get("stage") or None,
    }


class Position:
    """Where this worker stands, written on its board. hook: called at every point with its name and what is known."""

    def __init__(self, board: Board | None = None, hook: Callable[..., object] | None = None) -> None:
        self._board, self._hook = board, hook
        self._iteration = self._stage = 0

    def reach(self, point: str, iteration: int = 0, stage: int = 0) -> None:
        """Comes to one of ``POINTS`` other than a collective."""
        self._iteration, self._stage = iteration, stage
        if self._board is not None:
            self._board.mark("phase", PHASES.index(point))
            self._board.mark("iteration", iteration)
            self._board.mark("stage", stage)
            self._board.beat()
        if self._hook is not None:
            self._hook(point, iteration=iteration, stage=stage)

    def reached(self, phase: Phase, iteration: int, stage: int) -> None:
        """As the algorithm says it."""
        self.reach(phase, iteration, stage)

    def words(self) -> tuple[int, int] | None:
        """Addresses of the words ``stage`` and of beats, 0 where nobody reads them; None where somebody must be called
        at every stage."""
        if self._hook is not None:
            return None
        return (0, 0) if self._board is None else (self._board.address("stage"), self._board.address())

    def waiting(self, waits: bool) -> None:
        """Goes into a collective, or comes out of it."""
        if waits and self._hook is not None:
            self._hook("collective", iteration=self._iteration, stage=self._stage)
        self.meeting(waits)

    def meeting(self, waits: bool) -> None:
        """Waits for the others to come, or does so no more: standing still there is not its own doing."""
        if self._board is not None:
            self._board.waiting = waits
            self._board.beat()
