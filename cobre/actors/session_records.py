"""What is told of a session, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from cobre.actors.node_failures import pipeline_error
from cobre.actors.node_states import NodeState, SessionState

__all__ = ["NodeStatus", "SessionLimits", "SessionMetrics"]


@dataclass(frozen=True)
class SessionLimits:
    """What one session may use; None is no limit.

    processes: checked before any is started. memory_bytes: resident, of all nodes' processes together, looked at once a
    second; shared memory counts in each process that has touched it. message_bytes: the payload of one message.

    Raises PipelineError of kind OutOfRange for a limit that is no whole number above zero.
    """

    processes: int | None = None
    memory_bytes: int | None = None
    message_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("processes", "memory_bytes", "message_bytes"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and value > 0):
                told = f"the limit {name} is {value!r}"
                raise pipeline_error("OutOfRange", told, "give a whole number above zero, or None for no limit")


@dataclass(frozen=True)
class NodeStatus:
    """One node. started: when its process was asked for, seconds since the epoch; None before that.

    processed: messages that came in (of a source: none). sent: messages that went out. busy_seconds: in its own code;
    waiting_seconds: for messages; blocked_seconds: in publishing, copies and waiting for room. memory_bytes: resident,
    as last sampled (once a second). exit: None while the process lives, then ``normal``, ``error`` with the exit code,
    ``killed`` with the signal, or ``timeout`` (it did not stop in time). failure: what it failed of, or None. inputs,
    outputs: the names of its channels. restarts: how often it was started again; the counts are of all its processes
    together. dropped: messages that it had begun with and not finished when it failed, which nobody else will process.
    """

    name: str
    type_name: str
    state: NodeState
    session: str
    pid: int | None = None
    started: float | None = None
    memory_bytes: int | None = None
    processed: int = 0
    sent: int = 0
    busy_seconds: float = 0.0
    waiting_seconds: float = 0.0
    blocked_seconds: float = 0.0
    exit: str | None = None
    failure: str | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    restarts: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class SessionMetrics:
    """The whole. processes: that live now. memory_bytes: resident, all together, as last sampled. channel_bytes: shared
    memory that the channels reserve. messages: published on all channels. seconds: since the start.
    ready_seconds: from the start until all nodes were ready; None before that.
    """

    state: SessionState
    processes: int
    memory_bytes: int
    channel_bytes: int
    messages: int
    seconds: float
    ready_seconds: float | None
