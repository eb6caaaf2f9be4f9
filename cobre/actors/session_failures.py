"""The error of a session: which node failed, how, in what state, and with which exception of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cobre.actors.node_states import NodeState
from cobre.errors import ActorError, CobreError, NodeError

if TYPE_CHECKING:
    from cobre.actors.handle import ActorHandle
    from cobre.actors.node_plan import Lost
    from cobre.supervisor import ExitReport

__all__ = ["died", "failed", "late", "lost_channel", "over_memory", "state_of"]

_STATES = tuple(NodeState)
_LINES = 30  # of a dead node's stderr, in the message; the context has all that was kept
_KINDS = {"memory limit": "MemoryLimit", "hang": "Hung", "not started": "NotSpawned", "start limit": "NotSpawned"}
_DOING = {
    NodeState.IDLE: "before it could work",
    NodeState.INITIALIZING: "while initializing",
    NodeState.READY: "while it waited for a message",
    NodeState.PROCESSING: "while processing",
    NodeState.STOPPING: "while stopping",
}
_ADVICE = {
    "MemoryLimit": "raise the limit of the node, or have it use less memory",
    "Hung": "raise hang_seconds if its work takes that long; what its threads did is in the context, under stderr",
    "OutOfMemory": "the system ran out of memory: use fewer nodes at a time, smaller channels or less memory in each",
    "NotSpawned": "see the message: the system could not start one more process, or it was not up within its limit",
}


def state_of(marks: Mapping[str, int]) -> NodeState:
    """The state that a node wrote on its board."""
    return _STATES[marks.get("state", 0)]


def failed(pipeline: str, node: str, handle: ActorHandle, inner: BaseException) -> NodeError:
    """The node raised an exception of its own, or its process ended: then there is none."""
    state = state_of(handle.marks())
    report = handle.process.report
    if isinstance(inner, ActorError) and inner.kind == "Died" and report is not None:
        return died(pipeline, node, report)
    initializing = state in (NodeState.IDLE, NodeState.INITIALIZING)
    said = inner.message if isinstance(inner, CobreError) else str(inner)
    where = _DOING.get(state, "")
    error = NodeError(
        f"node {node} of {pipeline} failed {where}: {type(inner).__name__}: {said}",
        node=node,
        inner=inner,
        kind="InitFailed" if initializing else "Failed",
        context={"pipeline": pipeline, "state": str(state), "pid": _pid(handle), "exception": type(inner).__name__},
        suggestion=inner.suggestion if isinstance(inner, CobreError) else "its traceback is the cause of this error",
    )
    error.__cause__ = inner
    return error


def died(pipeline: str, node: str, report: ExitReport) -> NodeError:
    """The node's process ended without being asked to."""
    state = state_of(report.marks)
    kind = "OutOfMemory" if report.out_of_memory == "yes" else _KINDS.get(report.cause, "Died")
    message = f"node {report.describe()} {_DOING.get(state, '')}".rstrip()
    if report.out_of_memory == "yes":
        message += ", by the out-of-memory killer"
    lines = report.stderr_tail.strip().splitlines()[-_LINES:]
    if lines and report.cause != "not started":
        message += "\nthe last lines of its stderr:\n" + "\n".join(f"  {line}" for line in lines)
    return NodeError(
        message,
        node=node,
        exit_code=report.exit_code,
        signal=report.signal,
        kind=kind,
        context={
            "pipeline": pipeline,
            "state": str(state),
            "pid": report.pid,
            "cause": report.cause,
            "memory_bytes": report.memory_bytes,
            "out_of_memory": report.out_of_memory,
            "stderr": report.stderr_tail,
            "seconds": report.seconds,
        },
        suggestion=_ADVICE.get(kind, _advice(report)),
    )


def _advice(report: ExitReport) -> str | None:
    seen = "" if report.memory_bytes is None else f"; {report.memory_bytes / 2**30:.2f} GiB were last seen in use"
    if report.out_of_memory == "possibly":
        return f"perhaps the machine ran out of memory{seen}: the system's log tells"
    if report.exit_code == 137:
        return "137 is what a shell makes of a SIGKILL: most often the out-of-memory killer's"
    return None


def late(pipeline: str, nodes: Mapping[str, str], seconds: float) -> NodeError:
    """Nodes were not ready in time. nodes: what each of them said last."""
    first = next(iter(nodes))
    told = "; ".join(f"{name} ({said})" for name, said in nodes.items())
    return NodeError(
        f"not ready after {seconds:g} s in {pipeline}: {told}",
        node=first,
        kind="InitTimedOut",
        context={"pipeline": pipeline, "late": list(nodes), "timeout": seconds},
        suggestion="give initialize_timeout more seconds, or see what initialize() of the node waits for",
    )


def lost_channel(pipeline: str, node: str, lost: Lost) -> NodeError:
    """A node lost a channel, and nobody is known to have failed."""
    return NodeError(
        f"node {node} of {pipeline} lost a channel: {lost.message}",
        node=node,
        kind="Failed",
        context={"pipeline": pipeline, "channel": lost.channel, "kind": lost.kind},
        suggestion="a node must not close its channels or leave them to a process that it forks",
    )


def over_memory(pipeline: str, uses: Mapping[str, int], limit: int) -> NodeError:
    """All nodes together use more than the session's limit. uses: resident bytes of each."""
    most = max(uses, key=lambda name: uses[name])
    return NodeError(
        f"the nodes of {pipeline} use {sum(uses.values()):,} bytes, more than the limit of {limit:,}; "
        f"node {most} has the most, {uses[most]:,}",
        node=most,
        kind="MemoryLimit",
        context={"pipeline": pipeline, "memory_bytes": dict(uses), "limit": limit},
        suggestion="raise SessionLimits(memory_bytes=...), or have the nodes use less",
    )


def _pid(handle: ActorHandle) -> Any:
    return handle.process.report.pid if handle.process.report is not None else handle.pid
