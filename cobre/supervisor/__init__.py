"""Processes: started, watched and ended by one owner, so that none outlives it and every end has a report.

A process of ours imports this package as well, in its first milliseconds: names come in when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cobre.supervisor.board import Board
    from cobre.supervisor.child import ChildEnd
    from cobre.supervisor.launcher import Launcher
    from cobre.supervisor.policy import RestartCount, RestartPolicy
    from cobre.supervisor.process import Process
    from cobre.supervisor.records import ExitReport, Grace, HealthSample, Limits, ProcessSpec, ProcessStatistics
    from cobre.supervisor.supervisor import Supervisor

__all__ = [
    "Board",
    "ChildEnd",
    "ExitReport",
    "Grace",
    "HealthSample",
    "Launcher",
    "Limits",
    "Process",
    "ProcessSpec",
    "ProcessStatistics",
    "RestartCount",
    "RestartPolicy",
    "Supervisor",
]

_HOMES = {
    "board": ("Board",),
    "child": ("ChildEnd",),
    "launcher": ("Launcher",),
    "policy": ("RestartCount", "RestartPolicy"),
    "process": ("Process",),
    "records": ("ExitReport", "Grace", "HealthSample", "Limits", "ProcessSpec", "ProcessStatistics"),
    "supervisor": ("Supervisor",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'cobre.supervisor' has no attribute {name!r}")
    value = getattr(import_module(f"cobre.supervisor.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
