"""Actors: objects that live in processes of their own, called through handles, answered by futures.

with ActorSystem() as system:
    counter = system.spawn(Counter, 10)
    future = counter.add.remote(5)
    print(system.get(future))

Names are brought in when they are first used: a worker's process needs few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cobre.actors.failures import RemoteTraceback
    from cobre.actors.handle import ActorHandle
    from cobre.actors.inside import context
    from cobre.actors.node import Item, Node, Progress, register_node
    from cobre.actors.pipeline import Pipeline
    from cobre.actors.pipeline_file import RuntimeSettings, read_pipeline, read_runtime
    from cobre.actors.references import Ref
    from cobre.actors.session import Session
    from cobre.actors.session_records import NodeStatus, SessionLimits, SessionMetrics
    from cobre.actors.system import ActorSystem
    from cobre.supervisor import Limits, RestartPolicy

__all__ = [
    "ActorHandle",
    "ActorSystem",
    "Item",
    "Limits",
    "Node",
    "NodeStatus",
    "Pipeline",
    "Progress",
    "Ref",
    "RemoteTraceback",
    "RestartPolicy",
    "RuntimeSettings",
    "Session",
    "SessionLimits",
    "SessionMetrics",
    "context",
    "read_pipeline",
    "read_runtime",
    "register_node",
]

_HOMES = {
    "ActorHandle": "cobre.actors.handle",
    "ActorSystem": "cobre.actors.system",
    "Item": "cobre.actors.node",
    "Limits": "cobre.supervisor",
    "Node": "cobre.actors.node",
    "NodeStatus": "cobre.actors.session_records",
    "Pipeline": "cobre.actors.pipeline",
    "Progress": "cobre.actors.node",
    "Ref": "cobre.actors.references",
    "RemoteTraceback": "cobre.actors.failures",
    "RestartPolicy": "cobre.supervisor",
    "RuntimeSettings": "cobre.actors.pipeline_file",
    "Session": "cobre.actors.session",
    "SessionLimits": "cobre.actors.session_records",
    "SessionMetrics": "cobre.actors.session_records",
    "context": "cobre.actors.inside",
    "read_pipeline": "cobre.actors.pipeline_file",
    "read_runtime": "cobre.actors.pipeline_file",
    "register_node": "cobre.actors.node",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cobre.actors' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
