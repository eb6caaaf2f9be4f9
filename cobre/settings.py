"""Where a run runs: the arguments that say so, and the environment (``COBRE_*``), which is read here alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cobre.errors import Diagnostic, DiagnosticKind, ValidationError

__all__ = [
    "HANG_TIMEOUT",
    "MOST_WORKERS",
    "RESTART_PERIOD",
    "Backend",
    "Placement",
    "check_no_placement",
    "check_restarts",
    "fault_plan",
    "resolve_placement",
    "resolve_pool",
]

log = logging.getLogger(__name__)

Backend = Literal["auto", "local", "shm", "tcp"]
_BACKENDS = ("auto", "local", "shm", "tcp")
_RANKS = ("COBRE_TCP_RANK", "COBRE_SHM_RANK")
MOST_WORKERS = 1024
HANG_TIMEOUT = 120.0
RESTART_PERIOD = 3600.0


@dataclass(frozen=True)
class Placement:
    """How many ranks compute, and what they exchange cuts through.

    backend ``local``: in the calling process, one rank. hang_timeout: seconds after which a worker that gives no
    sign of life is ended. memory_limit: bytes that a worker may hold, or None. max_restarts: how often, within
    restart_period seconds, the run may lose a worker and go on.
    """

    backend: Literal["local", "shm", "tcp"]
    num_workers: int
    hang_timeout: float = HANG_TIMEOUT
    memory_limit: int | None = None
    max_restarts: int = 0
    restart_period: float = RESTART_PERIOD

    @property
    def in_process(self) -> bool:
        return self.backend == "local"


def resolve_placement(
    backend: str = "auto",
    num_workers: int = 1,
    environment: Mapping[str, str] | None = None,
    *,
    hang_timeout: float = HANG_TIMEOUT,
    memory_limit: int | None = None,
    max_restarts: int = 0,
    restart_period: float = RESTART_PERIOD,
) -> Placement:
    """The placement that the arguments and the environment ask for; arguments win.

    ``auto`` is ``COBRE_COMM_BACKEND`` where that is set; else the calling process for one worker; else ``tcp`` where
    ``COBRE_TCP_COORDINATOR`` is set; else ``shm``. ``local`` runs in the calling process, however many workers.

    environment: read instead of the process's. Raises ValidationError with everything that is wrong: values out of
    range, the start method ``fork``, a rank that a scheduler has set, faults or restarts of workers where there are
    none.
    """
    given = os.environ if environment is None else environment
    found = [*_bad_numbers(num_workers, hang_timeout, memory_limit), *_bad_restarts(max_restarts, restart_period)]
    source, chosen = "backend", backend
    if backend == "auto" and given.get("COBRE_COMM_BACKEND"):
        source, chosen = "COBRE_COMM_BACKEND", given["COBRE_COMM_BACKEND"]
    if chosen not in _BACKENDS:
        found.append(_fault("InvalidEnum", source, chosen, f"must be one of {', '.join(_BACKENDS)}"))
    if found:
        raise ValidationError.of(found, "the run")
    if chosen == "auto":
        many = "tcp" if given.get("COBRE_TCP_COORDINATOR") else "shm"
        chosen = many if num_workers > 1 else "local"
    if chosen == "local":
        _refuse_what_needs_workers(given, max_restarts)
        if num_workers > 1 and source != "backend":
            log.warning("COBRE_COMM_BACKEND=local: running in this process, not with %d workers", num_workers)
        return Placement("local", 1)
    _refuse_what_cannot_spawn(given)
    where: Literal["shm", "tcp"] = "tcp" if chosen == "tcp" else "shm"
    return Placement(where, num_workers, float(hang_timeout), memory_limit, max_restarts, float(restart_period))


def resolve_pool(
    backend: str,
    num_workers: int,
    environment: Mapping[str, str] | None = None,
    *,
    hang_timeout: float = HANG_TIMEOUT,
    memory_limit: int | None = None,
) -> Placement:
    """The placement of workers that are to last: as ``resolve_placement`` has it, and ``shm`` for a single one too.

    Raises ValidationError for ``local`` as well, which has no workers.
    """
    given = os.environ if environment is None else environment
    asked = given.get("COBRE_COMM_BACKEND") or "auto" if backend == "auto" else backend
    if asked == "local":
        text = "has no workers: it is the calling process alone"
        raise ValidationError.of([_fault("IncompatibleSettings", "backend", asked, text, "use shm or tcp")], "the pool")
    if asked == "auto" and num_workers == 1:
        backend = "tcp" if given.get("COBRE_TCP_COORDINATOR") else "shm"
    return resolve_placement(backend, num_workers, given, hang_timeout=hang_timeout, memory_limit=memory_limit)


def check_no_placement(backend: str, num_workers: int, hang_timeout: float, memory_limit: int | None) -> None:
    """Refuses, beside workers that are there already, arguments that say what workers there are to be."""
    given = {"backend": backend, "num_workers": num_workers, "hang_timeout": hang_timeout, "memory_limit": memory_limit}
    default = {"backend": "auto", "num_workers": 1, "hang_timeout": HANG_TIMEOUT, "memory_limit": None}
    text = "is settled by workers=, which are there already"
    found = [
        _fault("IncompatibleSettings", name, value, text, "leave it out, or give it to cobre.Workers")
        for name, value in given.items()
        if value != default[name]
    ]
    if found:
        raise ValidationError.of(found, "the run")


def fault_plan(environment: Mapping[str, str] | None = None) -> str | None:
    """What ``COBRE_FAULTS`` has workers do to themselves, behind the name of what does it; None where it is not set.

    See ``cobre.testing.faults``; environment: read instead of the process's.
    """
    text = (os.environ if environment is None else environment).get("COBRE_FAULTS")
    return f"cobre.testing.faults:arm {text}" if text else None


def check_restarts(max_restarts: int, restart_period: float) -> None:
    """Raises ValidationError for numbers that make no sense."""
    found = _bad_restarts(max_restarts, restart_period)
    if found:
        raise ValidationError.of(found, "the run")


def _bad_restarts(max_restarts: object, restart_period: object) -> list[Diagnostic]:
    found = []
    whole = isinstance(max_restarts, int) and not isinstance(max_restarts, bool)
    if not whole or max_restarts < 0:  # type: ignore[operator]
        found.append(_fault("OutOfRange", "max_restarts", max_restarts, "must be a whole number from 0"))
    number = isinstance(restart_period, int | float) and not isinstance(restart_period, bool)
    if not number or not restart_period > 0:  # type: ignore[operator]
        text = "must be a number of seconds above 0"
        found.append(_fault("OutOfRange", "restart_period", restart_period, text, "float('inf') counts all of a run"))
    return found


def _refuse_what_needs_workers(given: Mapping[str, str], max_restarts: int) -> None:
    advice = "use num_workers=2 or backend='shm', or leave it out"
    found = []
    if given.get("COBRE_FAULTS"):
        text = "faults happen to worker processes, and this run has none"
        found.append(_fault("IncompatibleSettings", "COBRE_FAULTS", None, text, advice))
    if max_restarts:
        text = "restarts are of worker processes, and this run has none"
        found.append(_fault("IncompatibleSettings", "max_restarts", max_restarts, text, advice))
    if found:
        raise ValidationError.of(found, "the run")


def _bad_numbers(num_workers: object, hang_timeout: object, memory_limit: object) -> list[Diagnostic]:
    found = []
    whole = isinstance(num_workers, int) and not isinstance(num_workers, bool)
    if not whole or not 1 <= num_workers <= MOST_WORKERS:  # type: ignore[operator]
        text = f"must be a whole number from 1 to {MOST_WORKERS}"
        found.append(
            _fault("OutOfRange", "num_workers", num_workers, text, "as many as the machine has cores is usual")
        )
    number = isinstance(hang_timeout, int | float) and not isinstance(hang_timeout, bool)
    if not number or not 0 < hang_timeout < float("inf"):  # type: ignore[operator]
        found.append(_fault("OutOfRange", "hang_timeout", hang_timeout, "must be a number of seconds above 0"))
    least = 1 << 20
    limited = isinstance(memory_limit, int) and not isinstance(memory_limit, bool)
    if memory_limit is not None and (not limited or memory_limit < least):  # type: ignore[operator]
        found.append(_fault("OutOfRange", "memory_limit", memory_limit, "must be a number of bytes, at least 1 MB"))
    return found


def _refuse_what_cannot_spawn(given: Mapping[str, str]) -> None:
    found = []
    if multiprocessing.get_start_method(allow_none=True) == "fork":
        text = "workers cannot be forked: a fork of a process with running threads is undefined"
        advice = "leave multiprocessing's start method unset, or set 'spawn' or 'forkserver'"
        found.append(_fault("IncompatibleSettings", "multiprocessing.set_start_method", "fork", text, advice))
    for name in _RANKS:
        if given.get(name):
            text = "this process is one rank of a scheduler's run, and would start workers of its own"
            advice = "run 'cobre worker CASE' as the rank, or unset the variable"
            found.append(_fault("IncompatibleSettings", name, given[name], text, advice))
    if found:
        raise ValidationError.of(found, "the run")


def _fault(kind: DiagnosticKind, name: str, value: object, text: str, advice: str | None = None) -> Diagnostic:
    return Diagnostic(kind, "settings", text, field=name, value=value, suggestion=advice)
