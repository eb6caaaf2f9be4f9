"""Where a training begins, and how often what it has come to is saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Checkpointing", "PolicySettings"]


@dataclass(frozen=True)
class Checkpointing:
    """A checkpoint after iteration ``first`` (None: ``interval``) and after every ``interval`` iterations from there.

    Iterations are those of the whole run, also where it goes on from a checkpoint. compress: smaller files, for more
    work.
    """

    interval: int = 1
    first: int | None = None
    compress: bool = False

    def is_due(self, iteration: int) -> bool:
        """Whether it is time after this iteration."""
        first = self.interval if self.first is None else self.first
        return iteration >= first and (iteration - first) % self.interval == 0


@dataclass(frozen=True)
class PolicySettings:
    """How a training begins: ``fresh``, with the cuts of an earlier policy (``warm_start``), or where an earlier run
    was interrupted (``resume``).

    path: where the earlier one is, from the output directory. checkpointing: None for no checkpoints.
    """

    mode: Literal["fresh", "warm_start", "resume"] = "fresh"
    path: str = "./policy"
    checkpointing: Checkpointing | None = None
