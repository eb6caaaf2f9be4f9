"""SDDP policies for energy planning under uncertainty, trained and simulated from Python.

import cobre

result = cobre.train("case", output_directory="out")
cobre.simulate("case", result.policy, output_directory="out")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cobre.api import CaseLoader, simulate, simulate_async, train, train_async, validate
from cobre.errors import (
    ActorError,
    CobreError,
    CommError,
    IOError,
    SolverError,
    ValidationError,
    WorkerError,
)
from cobre.events import ProgressEvent, WorkerInfo
from cobre.results import SimulationResult, TrainingResult
from cobre.sddp.policy import Policy

if TYPE_CHECKING:
    from cobre.hydro.entities import Case
    from cobre.hydro.validate import ValidationResult

__version__ = "0.1.0"

__all__ = [
    "ActorError",
    "Case",
    "CaseLoader",
    "CobreError",
    "CommError",
    "IOError",
    "Policy",
    "ProgressEvent",
    "SimulationResult",
    "SolverError",
    "TrainingResult",
    "ValidationError",
    "ValidationResult",
    "WorkerError",
    "WorkerInfo",
    "__version__",
    "simulate",
    "simulate_async",
    "train",
    "train_async",
    "validate",
]

# reading cases brings in pydantic: it is not needed by those who give a Problem, nor by workers
_LATER = {"Case": "cobre.hydro.entities", "ValidationResult": "cobre.hydro.validate"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'cobre' has no attribute {name!r}")
