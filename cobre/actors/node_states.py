"""The states of a node and of a session, each with its table of transitions beside it."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["NODE_TRANSITIONS", "SESSION_TRANSITIONS", "NodeState", "SessionState"]


class NodeState(IntEnum):
    """Where a node stands. The number is what its process writes on its board.

    idle: there is no process yet. processing: its own code runs, or it hands on what that returned. ready: it waits
    for a message. error: it failed; that of the node to blame stays so. stopped: its process is gone.
    """

    IDLE = 0
    INITIALIZING = 1
    READY = 2
    PROCESSING = 3
    STOPPING = 4
    STOPPED = 5
    ERROR = 6


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


class SessionState(IntEnum):
    """Where a session stands.

    created: nothing was started. initializing: the nodes start. ready: all can work. running: a message went in, or a
    node produces by itself. stopping: it ends in good order. terminating: a failure ends it. stopped: all is gone.
    """

    CREATED = 0
    INITIALIZING = 1
    READY = 2
    RUNNING = 3
    STOPPING = 4
    TERMINATING = 5
    STOPPED = 6


SESSION_TRANSITIONS: dict[SessionState, frozenset[SessionState]] = {
    SessionState.CREATED: frozenset({SessionState.INITIALIZING, SessionState.STOPPED}),
    SessionState.INITIALIZING: frozenset({SessionState.READY, SessionState.STOPPING, SessionState.TERMINATING}),
    SessionState.READY: frozenset({SessionState.RUNNING, SessionState.STOPPING, SessionState.TERMINATING}),
    SessionState.RUNNING: frozenset({SessionState.STOPPING, SessionState.TERMINATING}),
    SessionState.STOPPING: frozenset({SessionState.TERMINATING, SessionState.STOPPED}),
    SessionState.TERMINATING: frozenset({SessionState.STOPPED}),
    SessionState.STOPPED: frozenset(),
}
