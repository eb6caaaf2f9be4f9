"""Where the workers of a run meet, and whether this machine has room for them: looked at before any of them starts."""

from __future__ import annotations

import os
import resource
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from cobre.errors import Diagnostic, ValidationError
from cobre.sddp.problem import Problem
from cobre.sddp.settings import Enumerated, TrainingSettings
from cobre.transport.environment import settings_of
from cobre.transport.segment import DIRECTORY
from cobre.transport.tcp_address import LOOPBACK, meeting_place

__all__ = ["Place", "check_machine", "check_shared_memory", "choose_place", "shared_bytes"]

_WORKER_BYTES = 40 << 20  # what a worker holds before it holds any of the problem
_WORKER_DESCRIPTORS = 8  # of this process, for each worker
_SPARE_DESCRIPTORS = 32
_NUMBER = 8  # bytes


@dataclass(frozen=True)
class Place:
    """What the ranks are told to find each other: keywords of ``create_communicator``.

    first: rank 0's. others: those of all others; where rank 0 announces its address, they get that as ``coordinator``.
    """

    backend: str
    first: Mapping[str, Any]
    others: Mapping[str, Any]
    announced: bool


def choose_place(backend: str, environment: Mapping[str, str] | None = None) -> Place:
    """A meeting place that no other run has: a new name (shm), or (tcp) the address that is given, else any free port.

    Between hosts, the ranks get keys of their own. environment: read instead of the process's. Raises CommError
    (InvalidArgument) for an address that is none.
    """
    run = secrets.token_hex(8)
    if backend == "shm":
        name = {"name": f"run-{run}"}
        return Place(backend, name, name, announced=False)
    given = settings_of("tcp", environment)
    shared = {"token": given.get("token") or secrets.token_hex(16), "run_id": run}
    if not given.get("coordinator"):
        return Place(backend, {**shared, "port": 0, "coordinator": LOOPBACK}, shared, announced=True)
    address = meeting_place("COBRE_TCP_COORDINATOR", given["coordinator"], given.get("port", 29500))
    bind = given.get("bind_address")
    if not (address.is_loopback and (bind is None or meeting_place("COBRE_TCP_BIND_ADDR", bind, 0).is_loopback)):
        shared["keys"] = given.get("keys") or _new_keys()
        shared["bind_address"] = bind or address.host
    announced = address.port == 0
    place = {**shared, "coordinator": given["coordinator"], "port": address.port}
    return Place(backend, place, shared if announced else place, announced)


def _new_keys() -> Any:
    from cobre.transport.curve import new_keys  # pyzmq, which a run inside one host need not load

    return new_keys()


def check_machine(workers: int) -> None:
    """Refuses more workers than this machine has memory, or this process descriptors, for. Raises ValidationError."""
    memory = psutil.virtual_memory().available
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = psutil.Process().num_fds()
    found = []
    if workers * _WORKER_BYTES > memory:
        most = max(1, memory // _WORKER_BYTES)
        text = f"{workers} workers need about {_mega(workers * _WORKER_BYTES)}, and {_mega(memory)} are free"
        found.append(_fault(workers, text, f"use at most {most}"))
    if soft != resource.RLIM_INFINITY and used + _SPARE_DESCRIPTORS + workers * _WORKER_DESCRIPTORS > soft:
        need = used + _SPARE_DESCRIPTORS + workers * _WORKER_DESCRIPTORS
        text = f"{workers} workers need {need} open files, and this process may have {soft}"
        found.append(_fault(workers, text, f"use fewer, or raise the limit (ulimit -n {need})"))
    if found:
        raise ValidationError.of(found, "the run")


def shared_bytes(problem: Problem, settings: TrainingSettings | None, workers: int) -> int:
    """Bytes of shared memory that the collectives of a run may come to need, generously."""
    width = 2 + problem.initial_state.size
    passes = settings.passes if settings else None
    points, forward, backward = 1, 0, 0
    for stage in problem.stages:
        openings = len(stage.openings)
        points = points * openings if isinstance(passes, Enumerated) else getattr(passes, "count", 1)
        basis = 5 * (stage.columns + stage.rows + 1) * openings
        backward = max(backward, points * openings * width + basis)  # a stage's outcomes and bases
        forward += points * width  # all stages of all passes
    halves = 2
    growth = 2  # a group holds what it outgrew until all ranks have moved
    return (1 << 20) + workers * 4096 + halves * growth * max(forward, backward) * _NUMBER


def check_shared_memory(needed: int) -> None:
    """Refuses a run whose collectives /dev/shm has no room for. Raises ValidationError with the size needed."""
    try:
        state = os.statvfs(DIRECTORY)
    except OSError as error:
        text = f"{DIRECTORY} cannot be used: {error.strerror}"
        raise ValidationError.of([_shm(text, "use backend='tcp'")], "the run") from None
    free = state.f_bavail * state.f_frsize
    if free < needed:
        text = f"{DIRECTORY} has {_mega(free)} free, and the run may need {_mega(needed)}"
        advice = "make it larger (docker run --shm-size, mount -o remount,size=), or use backend='tcp'"
        raise ValidationError.of([_shm(text, advice)], "the run")


def _mega(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _fault(workers: int, text: str, advice: str) -> Diagnostic:
    return Diagnostic("OutOfRange", "settings", text, field="num_workers", value=workers, suggestion=advice)


def _shm(text: str, advice: str) -> Diagnostic:
    return Diagnostic("IncompatibleSettings", "settings", text, field="backend", value="shm", suggestion=advice)
