"""What a node's process is told before it starts, and what it tells; both ends agree on it here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cobre.actors.node import Node

__all__ = ["MARKS", "Lost", "NodePlan", "Reached", "Report"]

MARKS = ("state", "received", "sent", "busy", "waiting", "blocked")
"""The words of a node's board: its state, messages in and out, and nanoseconds in its own code, in waiting for
messages, and in publishing (copies and waiting for room)."""


class NodePlan(NamedTuple):
    """inputs: for each place that the node reads at, the port, the channel and the place. outputs: the channel of each
    port. message_bytes: the most that one message may have. faults: ``module:function text``; the function, called
    with the node's name and the text, gives what is called at every point that the node comes to.
    """

    name: str
    made: type[Node]
    config: Mapping[str, Any]
    inputs: tuple[tuple[str, Any, int], ...]
    outputs: Mapping[str, Any]
    message_bytes: int | None = None
    faults: str | None = None


class Report(NamedTuple):
    """A word of progress. stage: ``starting loading connecting ready failed``."""

    stage: str
    fraction: float
    message: str


class Reached(NamedTuple):
    """A node without outputs is done with all that came before this mark."""

    mark: int


class Lost(NamedTuple):
    """What ``run`` returns where a channel was lost under the node: the fault of another, who is known elsewhere."""

    kind: str
    channel: str
    message: str
