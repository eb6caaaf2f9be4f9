"""SDDP policies for energy planning under uncertainty, trained and simulated from Python.

import cobre

result = cobre.train("case", output_directory="out")
cobre.simulate("case", result.policy, output_directory="out")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cobre.api import CaseLoader, Workers, simulate, simulate_async, train, train_async, validate
    from cobre.errors import (
        ActorError,
        ChannelError,
        CobreError,
        CommError,
        IOError,
        NodeError,
        PipelineError,
        SolverError,
        ValidationError,
        WorkerError,
    )
    from cobre.events import ProgressEvent, WorkerInfo, WorkerRestarted
    from cobre.hydro.entities import Case
    from cobre.hydro.validate import ValidationResult
    from cobre.results import SimulationResult, TrainingResult
    from cobre.sddp.policy import Policy

__version__ = "0.1.0"

__all__ = [
    "ActorError",
    "Case",
    "CaseLoader",
    "ChannelError",
    "CobreError",
    "CommError",
    "IOError",
    "NodeError",
    "PipelineError",
    "Policy",
    "ProgressEvent",
    "SimulationResult",
    "SolverError",
    "TrainingResult",
    "ValidationError",
    "ValidationResult",
    "WorkerError",
    "WorkerInfo",
    "WorkerRestarted",
    "Workers",
    "__version__",
    "simulate",
    "simulate_async",
    "train",
    "train_async",
    "validate",
]

# Each name is brought in when it is first used: importing cobre costs next to nothing, workers load what they need,
# and pydantic only comes with those who read a case.
_HOMES = {
    "cobre.api": ("CaseLoader", "Workers", "simulate", "simulate_async", "train", "train_async", "validate"),
    "cobre.errors": (
        "ActorError", "ChannelError", "CobreError", "CommError", "IOError", "NodeError", "PipelineError",
        "SolverError", "ValidationError", "WorkerError",
    ),
    "cobre.events": ("ProgressEvent", "WorkerInfo", "WorkerRestarted"),
    "cobre.hydro.entities": ("Case",),
    "cobre.hydro.validate": ("ValidationResult",),
    "cobre.results": ("SimulationResult", "TrainingResult"),
    "cobre.sddp.policy": ("Policy",),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'cobre' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
