"""The states of a node and of a session, each with its table of transitions beside it."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["NODE_TRANSITIONS", "NUMBERS", "SESSION_TRANSITIONS", "NodeState", "SessionState"]


class NodeState(StrEnum):
    """Where a node stands.

    idle: there is no process yet. processing: its own code runs, or it hands on what that returned. ready: it waits
    for a message. error: it failed; that of the node to blame stays so. stopped: its process is gone.
    """

    IDLE = "idle"
    INITIALIZING = "initializing"
    READY = "ready"
    PROCESSING = "processing"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = "error"


NUMBERS: dict[NodeState, int] = {state: number for number, state in enumerate(NodeState)}
"""What a node's process writes on its board: IDLE is 0, a word that was not written yet."""

NODE_TRANSITIONS: dict[NodeState, frozenset[NodeState]] = {
    NodeState.IDLE: frozenset({NodeState.INITIALIZING, NodeState.ERROR, NodeState.STOPPED}),
    NodeState.INITIALIZING: frozenset({NodeState.READY, NodeState.STOPPING, NodeState.STOPPED, NodeState.ERROR}),
    NodeState.READY: frozenset({NodeState.PROCESSING, NodeState.STOPPING, NodeState.STOPPED, NodeState.ERROR}),
    NodeState.PROCESSING: frozenset({NodeState.READY, NodeState.STOPPING, NodeState.STOPPED, NodeState.ERROR}),
    NodeState.STOPPING: frozenset({NodeState.STOPPED, NodeState.ERROR}),
    NodeState.STOPPED: frozenset(),
    NodeState.ERROR: frozenset({NodeState.STOPPING, NodeState.STOPPED}),
}
"""What may follow what. ``stopped`` follows any state: the session of a node may be killed at any time."""


class SessionState(StrEnum):
    """Where a session stands.

    created: nothing was started. initializing: the nodes start. ready: all can work. running: a message went in, or a
    node produces by itself. stopping: it ends in good order. terminating: a failure ends it. stopped: all is gone.
    """

    CREATED = "created"
    INITIALIZING = "initializing"
    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    TERMINATING = "terminating"
    STOPPED = "stopped"


SESSION_TRANSITIONS: dict[SessionState, frozenset[SessionState]] = {
    SessionState.CREATED: frozenset({SessionState.INITIALIZING, SessionState.STOPPED}),
    SessionState.INITIALIZING: frozenset({SessionState.READY, SessionState.STOPPING, SessionState.TERMINATING}),
    SessionState.READY: frozenset({SessionState.RUNNING, SessionState.STOPPING, SessionState.TERMINATING}),
    SessionState.RUNNING: frozenset({SessionState.STOPPING, SessionState.TERMINATING}),
    SessionState.STOPPING: frozenset({SessionState.TERMINATING, SessionState.STOPPED}),
    SessionState.TERMINATING: frozenset({SessionState.STOPPED}),
    SessionState.STOPPED: frozenset(),
}
