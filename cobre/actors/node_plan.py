"""What a node's process is told before it starts, and what it tells; both ends agree on it here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cobre.actors.node import Node

__all__ = ["MARKS", "Lost", "NodePlan", "Reached", "Report", "Traffic", "marks_of"]

MARKS = ("state", "received", "sent", "busy", "waiting", "blocked")
"""The words of a node's board: its state, messages in and out, and nanoseconds in its own code, in waiting for
messages, and in publishing (copies and waiting for room)."""


def marks_of(inputs: int, *, restarts: bool) -> tuple[str, ...]:
    """The words of a node's board. One that may be started again leaves its successor, for each place that it reads at,
    how many of the messages there it has begun with (``begun 0``), and one more than the last mark (``mark 0``)."""
    if not restarts:
        return MARKS
    return (*MARKS, *(f"{word} {place}" for place in range(inputs) for word in ("begun", "mark")))


class NodePlan(NamedTuple):
    """inputs: for each place that the node reads at, its port. outputs: its ports. ends: a pickle of the channel and
    place of each input and of the channel of each output: unpickling that takes imports for which there is time later.
    message_bytes: the most that one message may have. faults: ``module:function text``; the function, called with the
    node's name and the text, gives what is called at every point that the node comes to. restarts: whether it is
    started again when it fails. before: the board of the one before it, where it was.
    """

    name: str
    made: type[Node]
    config: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ends: bytes
    message_bytes: int | None = None
    faults: str | None = None
    restarts: bool = False
    before: Mapping[str, int] | None = None


class Report(NamedTuple):
    """A word of progress. stage: ``starting loading connecting ready failed``."""

    stage: str
    fraction: float
    message: str


class Reached(NamedTuple):
    """A node without outputs is done with all that came before this mark."""

    mark: int


class Traffic(NamedTuple):
    """What the readers of channels over tcp know of their traffic, by channel and place, before they close."""

    reports: Mapping[tuple[str, int], Mapping[str, Any]]


class Lost(NamedTuple):
    """What ``run`` returns where a channel was lost under the node: the fault of another, who is known elsewhere."""

    kind: str
    channel: str
    message: str
