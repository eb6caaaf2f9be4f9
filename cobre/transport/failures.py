"""The errors of collectives, each worded in one place, whichever backend meets it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cobre.errors import CommError

__all__ = ["Group", "invalid"]


def invalid(operation: str, message: str, suggestion: str | None = None, **context: Any) -> CommError:
    """An argument that no backend can take; nothing was sent."""
    return CommError(
        f"{operation}: {message}", operation=operation, kind="InvalidArgument", context=context, suggestion=suggestion
    )


@dataclass(frozen=True)
class Group:
    """Whose errors these are: the part of every error that is the same for all operations of one rank."""

    backend: str
    rank: int
    size: int
    generation: int

    def error(
        self, kind: str, operation: str, message: str, suggestion: str | None = None, **context: Any
    ) -> CommError:
        """An error of this rank; ``message`` follows the operation and the rank."""
        return CommError(
            f"{operation} on rank {self.rank} of {self.size} ({self.backend}): {message}",
            operation=operation,
            kind=kind,
            context={**self.context(), **context},
            suggestion=suggestion,
        )

    def context(self) -> dict[str, Any]:
        """What every error of this rank says of where it came from."""
        return {"backend": self.backend, "rank": self.rank, "size": self.size, "generation": self.generation}

    def closed(self, operation: str) -> CommError:
        return self.error("Closed", operation, "the communicator is closed", "form a new one with create_communicator")

    def timed_out(self, operation: str, ranks: Iterable[int], seconds: float, state: str = "") -> CommError:
        missing = sorted(ranks)
        return self.error(
            "Timeout",
            operation,
            f"{name_ranks(missing)} did not arrive within {seconds:g} s{state}",
            "see what that rank is doing, or give a larger timeout if it only needs longer",
            ranks=missing,
            timeout=seconds,
        )

    def lost(self, operation: str, rank: int, how: str) -> CommError:
        """``how`` completes "rank 3 ...": "died (pid 12)", "closed its communicator"."""
        return self.error("RankLost", operation, f"rank {rank} {how}", "close, and form the group again", ranks=[rank])

    def mismatch(self, operation: str, ranks: Iterable[int], what: str = "") -> CommError:
        culprits = sorted(ranks)
        return self.error(
            "Mismatch",
            operation,
            f"{name_ranks(culprits)} made another call than this one{what}",
            "all ranks must make the same collective calls, with the same counts, shapes and dtypes, in the same order",
            ranks=culprits,
        )

    def aborted(self, operation: str, reason: str, ranks: Iterable[int] = (), told: str | None = None) -> CommError:
        """told: the reason as it was given, where ``reason`` says more than that; kept as context["reason"]."""
        return self.error(
            "Aborted",
            operation,
            f"the group was aborted: {reason or 'no reason was given'}",
            "close, and form the group again",
            ranks=sorted(ranks),
            reason=reason if told is None else told,
        )

    def called_off(self) -> CommError:
        """This rank stopped waiting for the others before the group had formed."""
        return self.aborted("connect", f"rank {self.rank} was told to give up")


def name_ranks(ranks: list[int]) -> str:
    """``rank 3``, ``ranks 1 and 2``, ``ranks 1, 2 and 3``."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"
