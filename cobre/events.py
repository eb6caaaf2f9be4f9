"""Frozen records that leave a run while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["ProgressCallback", "ProgressEvent", "WorkerInfo", "WorkerRestarted"]


@dataclass(frozen=True)
class WorkerRestarted:
    """A run lost a worker and goes on without a change in its result: who, why, and from where.

    number: of the restart in its run, from 1. rank: of the worker that failed; replaced: the ranks that have new
    processes (none where workers lost each other and all of them live). kind, reason: of the WorkerError that would
    have ended the run (``WorkerDied``, ``WorkerHung``, ``MemoryLimit``, ...). phase, iteration, stage: where it
    stood. resumed_after: iterations, or in a simulation scenarios, that stand; seconds: from when the failure was heard
    of until all went on from there. Both are None where the next failure came before that.
    """

    number: int
    rank: int
    replaced: tuple[int, ...]
    kind: str
    reason: str
    phase: str | None = None
    iteration: int | None = None
    stage: int | None = None
    resumed_after: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ProgressEvent:
    """Where a run stands: one after every training iteration and every simulated block of scenarios.

    Bounds are in the problem's own unit and sense, None where there is none yet. Times are milliseconds.
    ``worker_id`` is None in one process, else the rank of the worker that the event is of. Then ``memory_bytes`` and
    ``state`` are the worker's resident memory and state (``running``, ``sleeping``, ...) as last sampled, None before
    the first sample, and ``busy_share`` is the part of its time so far in which it did not wait for other workers.
    ``restart``: this event says that the run goes on after a failure, and from where; it has no bounds.
    """

    phase: Literal["training", "simulation"]
    iteration: int | None = None
    lower_bound: float | None = None
    upper_bound: float | None = None
    gap: float | None = None
    wall_time_ms: int = 0
    iteration_time_ms: int = 0
    scenarios_complete: int | None = None
    scenarios_total: int | None = None
    worker_id: int | None = None
    memory_bytes: int | None = None
    state: str | None = None
    busy_share: float | None = None
    restart: WorkerRestarted | None = None


ProgressCallback = Callable[[ProgressEvent], object]
"""Called after each event; returning ``False`` stops the run after the iteration, with reason ``shutdown``."""


@dataclass(frozen=True)
class WorkerInfo:
    """What one worker of a multi-process run reports at its end.

    collective_time_ms: the part of its wall time in which it exchanged data with the others, or waited for them.
    solves: LPs that it solved. memory_bytes: the most resident memory that was seen, None where none was sampled.
    """

    rank: int
    wall_time_ms: int
    backend: str
    collective_time_ms: int = 0
    solves: int = 0
    pid: int | None = None
    memory_bytes: int | None = None
