"""How far a run has come, as the events that its callback is given."""

from __future__ import annotations

from dataclasses import replace

from cobre.engine.dialogue import Progress
from cobre.events import ProgressEvent
from cobre.sddp.training import IterationRecord

__all__ = ["progress_event", "simulation_event", "training_event"]


def progress_event(rank: int, progress: Progress) -> ProgressEvent:
    """Of what a worker told."""
    if progress.record is not None:
        event = training_event(progress.record)
    else:
        event = simulation_event(progress.scenarios_complete, progress.scenarios_total, progress.seconds)
    busy = 1.0 - progress.collective_seconds / max(progress.seconds, 1e-9)
    return replace(event, worker_id=rank, busy_share=busy)


def training_event(record: IterationRecord) -> ProgressEvent:
    """Of an iteration of a training."""
    return ProgressEvent(
        phase="training",
        iteration=record.iteration,
        lower_bound=record.lower_bound,
        upper_bound=record.upper_bound,
        gap=record.gap,
        wall_time_ms=_milliseconds(record.seconds),
        iteration_time_ms=_milliseconds(record.iteration_seconds),
    )


def simulation_event(complete: int, total: int, seconds: float) -> ProgressEvent:
    """Of scenarios that are simulated; ``seconds`` since the beginning."""
    return ProgressEvent(
        phase="simulation",
        wall_time_ms=_milliseconds(seconds),
        scenarios_complete=complete,
        scenarios_total=total,
    )


def _milliseconds(seconds: float) -> int:
    return round(1000.0 * seconds)
