"""Live progress: a few lines that renew themselves on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cobre.cli.formats import amount, duration, percent, seconds
from cobre.cli.terminal import Terminal
from cobre.events import ProgressEvent

__all__ = ["Display", "Plan", "Progress", "displayed"]

_RECENT = 10  # iterations whose mean time is that of those to come
_SECONDS_BETWEEN_LINES = 3.0


@dataclass(frozen=True)
class Plan:
    """What is to be done: ``total`` iterations or scenarios at most, in ``time_limit`` seconds at most."""

    title: str
    total: int | None = None
    time_limit: float | None = None


@dataclass
class Progress:
    """How far the work of ``plan`` has come, by the events seen so far. workers: the last event of each, by rank."""

    plan: Plan
    began: float = field(default_factory=perf_counter)
    event: ProgressEvent | None = None
    event_at: float = 0.0  # by this clock
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    workers: dict[int, ProgressEvent] = field(default_factory=dict)

    def see(self, event: ProgressEvent) -> None:
        if event.worker_id is not None:
            self.workers[event.worker_id] = event
            if event.phase == "training" and event.worker_id != 0:  # they all tell the same
                return
        self.event, self.event_at = event, self.elapsed
        self.recent.append(event.iteration_time_ms / 1000.0)

    @property
    def elapsed(self) -> float:
        return perf_counter() - self.began

    @property
    def done(self) -> int:
        """Iterations or scenarios that are complete."""
        if self.event is None:
            return 0
        return (self.event.iteration if self.event.phase == "training" else self.event.scenarios_complete) or 0

    @property
    def total(self) -> int | None:
        """Iterations or scenarios in all, by the plan or, where scenarios are enumerated, by the events."""
        return self.plan.total or (self.event.scenarios_total if self.event else None)

    def left(self) -> float | None:
        """Seconds to the nearer of the limits on iterations (or scenarios) and time; None where there is no telling."""
        if self.total is not None and self.done >= self.total:
            return None
        guesses = []
        if self.event is not None and self.total is not None:
            each = self.event.wall_time_ms / 1000.0 / max(self.done, 1)
            if self.event.phase == "training":
                each = sum(self.recent) / len(self.recent)
            guesses.append(max(0.0, (self.total - self.done) * each - (self.elapsed - self.event_at)))
        if self.plan.time_limit is not None:
            # The limit counts from the training's beginning, this clock from before the stage LPs are built.
            waited = 0.0 if self.event is None else self.event_at - self.event.wall_time_ms / 1000.0
            guesses.append(max(0.0, self.plan.time_limit - (self.elapsed - waited)))
        return min(guesses, default=None)


class Display(Protocol):
    """Shows the events of a piece of work."""

    def show(self, event: ProgressEvent) -> None: ...

    def tell(self, text: str) -> None:
        """Show what a signal handler has to say, from inside it."""


@contextmanager
def displayed(terminal: Terminal, plan: Plan) -> Iterator[Display]:
    """The display that suits the terminal's stderr, for as long as the block lasts."""
    if terminal.quiet:
        yield _Silent(terminal)
    elif terminal.err.is_terminal and not terminal.err.is_dumb_terminal:
        live = _Live(Progress(plan))
        with Live(live, console=terminal.err, refresh_per_second=5, transient=True):
            yield live
    else:
        lines = _Lines(terminal, Progress(plan))
        try:
            yield lines
        finally:
            lines.finish()


class _Silent:
    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def show(self, event: ProgressEvent) -> None:
        pass

    def tell(self, text: str) -> None:
        self._terminal.alert(text)


class _Lines:
    """The first event, then one a few seconds at most, and the last."""

    def __init__(self, terminal: Terminal, progress: Progress) -> None:
        self._terminal, self._progress = terminal, progress
        self._printed_at = -_SECONDS_BETWEEN_LINES
        self._pending = False
        terminal.note(progress.plan.title)

    def show(self, event: ProgressEvent) -> None:
        self._progress.see(event)
        self._pending = True
        if self._progress.elapsed - self._printed_at >= _SECONDS_BETWEEN_LINES:
            self.finish()

    def finish(self) -> None:
        if self._pending:
            self._terminal.note(_line(self._progress))
            self._printed_at, self._pending = self._progress.elapsed, False

    def tell(self, text: str) -> None:
        self._terminal.alert(text)


class _Live:
    """Drawn anew several times a second, by a thread of rich's, so that the clock runs between events too."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._notice: str | None = None

    def show(self, event: ProgressEvent) -> None:
        self._progress.see(event)

    def tell(self, text: str) -> None:
        # Drawing from inside a signal handler could meet a drawing half done; the thread's next one shows it.
        self._notice = text

    def __rich__(self) -> RenderableType:
        progress = self._progress
        done, total = progress.done, progress.total
        table = Table.grid(padding=(0, 2))
        for label, value in (*_figures(progress), *_workers(progress)):
            table.add_row(Text(label, "dim"), Text(value))
        parts: list[RenderableType] = [Text(progress.plan.title, "bold")]
        if total:
            bar = Table.grid()  # which ends its line; a bar alone does not
            bar.add_row(ProgressBar(total=total, completed=done, width=40))
            parts.append(bar)
        parts.append(table)
        if self._notice:
            parts.append(Text(self._notice, "bold yellow"))
        return Group(*parts)


def _figures(progress: Progress) -> list[tuple[str, str]]:
    """Label and value of everything worth showing now."""
    event, total = progress.event, progress.total
    of = f" of {total:,}" if total else ""
    figures = []
    if event is None:
        figures.append(("done", f"0{of}"))
    elif event.phase == "training":
        figures += [
            ("iteration", f"{progress.done:,}{of}"),
            ("bound", amount(event.lower_bound)),
            ("estimate", amount(event.upper_bound)),
            ("gap", percent(event.gap)),
            ("each", seconds(event.iteration_time_ms / 1000.0)),
        ]
    else:
        figures.append(("scenario", f"{progress.done:,}{of}"))
    figures.append(("elapsed", duration(progress.elapsed)))
    left = progress.left()
    if left is not None:
        figures.append(("left", duration(left)))
    return figures


def _workers(progress: Progress) -> list[tuple[str, str]]:
    """Label and state of each worker: what it does, its memory, and the part of its time in which it computed."""
    return [(f"worker {rank}", _worker(event)) for rank, event in sorted(progress.workers.items())]


def _worker(event: ProgressEvent) -> str:
    parts = [event.state] if event.state else []
    if event.memory_bytes is not None:
        parts.append(f"{event.memory_bytes / 1e6:,.0f} MB")
    if event.busy_share is not None:
        parts.append(f"computing {percent(event.busy_share)}")
    return ", ".join(parts) or "starting"


def _line(progress: Progress) -> str:
    parts = [f"{label} {value}" for label, value in _figures(progress)]
    parts += [f"{label}: {value}" for label, value in _workers(progress)]
    return "  " + "  ".join(parts)
