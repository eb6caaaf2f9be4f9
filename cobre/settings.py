"""Where a run runs: the arguments that say so, and the environment (``COBRE_*``), which is read here alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cobre.errors import Diagnostic, DiagnosticKind, ValidationError

__all__ = ["Backend", "Placement", "resolve_placement"]

Backend = Literal["auto", "local", "shm", "tcp"]
_BACKENDS = ("auto", "local", "shm", "tcp")


@dataclass(frozen=True)
class Placement:
    """How many ranks compute, and what they exchange cuts through."""

    backend: Literal["local"]
    num_workers: int


def resolve_placement(
    backend: str = "auto", num_workers: int = 1, environment: Mapping[str, str] | None = None
) -> Placement:
    """The placement that the arguments and ``COBRE_COMM_BACKEND`` ask for; arguments win.

    environment: read instead of the process's. Raises ValidationError for values that are wrong, and for more than
    one worker or a backend between processes, which this version does not have.
    """
    found = []
    if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 1:
        found.append(_fault("OutOfRange", "num_workers", num_workers, "must be a whole number, at least 1"))
    source = "backend"
    if backend == "auto":
        given = (os.environ if environment is None else environment).get("COBRE_COMM_BACKEND")
        if given:
            backend, source = given, "COBRE_COMM_BACKEND"
    if backend not in _BACKENDS:
        found.append(_fault("InvalidEnum", source, backend, f"must be one of {', '.join(_BACKENDS)}"))
    elif backend in ("shm", "tcp"):
        found.append(_fault("NotSupported", source, backend, "runs between processes are not supported yet"))
    elif backend == "auto" and not found and num_workers > 1:
        found.append(_fault("NotSupported", "num_workers", num_workers, "more than one worker is not supported yet"))
    if found:
        raise ValidationError.of(found, "the run")
    return Placement("local", 1)


def _fault(kind: DiagnosticKind, name: str, value: object, text: str) -> Diagnostic:
    advice = "use num_workers=1 and backend='auto' or 'local'" if kind == "NotSupported" else None
    return Diagnostic(kind, "settings", text, field=name, value=value, suggestion=advice)
