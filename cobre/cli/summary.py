"""What a run came to, as people and as programs read it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Any

from rich.text import Text

from cobre.cli.formats import amount, count, percent, seconds
from cobre.cli.terminal import Terminal
from cobre.hydro.entities import Case
from cobre.results import SimulationResult, TrainingResult
from cobre.sddp.settings import Enumerated

__all__ = [
    "reason_in_words",
    "show_lines",
    "simulation_lines",
    "simulation_record",
    "training_lines",
    "training_record",
]

Lines = list[tuple[str, str]]

_REASONS = {
    "bound_stalling": "the bound stalled",
    "gap": "the gap closed",
    "iteration_limit": "the iteration limit was reached",
    "shutdown": "on request",
    "simulation": "the simulated cost met the bound",
    "time_limit": "the time limit was reached",
}


def reason_in_words(reason: str, iterations: int) -> str:
    """``the iteration limit was reached, after 60 iterations``."""
    return f"{_REASONS.get(reason, reason)}, after {count(iterations, 'iteration')}"


def show_lines(terminal: Terminal, lines: Lines) -> None:
    """Labels and values in two columns, on stdout."""
    indent = 2 + max((len(label) for label, _ in lines), default=0)
    room = max(20, terminal.out.width - indent)
    for label, value in lines:
        # Words wrap beneath each other; a path stays in one piece, to be copied.
        for number, part in enumerate(wrap(value, room, break_long_words=False, break_on_hyphens=False) or [""]):
            terminal.say(Text.assemble(((label if number == 0 else "").ljust(indent), "dim"), part))


def training_lines(case: Case, result: TrainingResult) -> Lines:
    """The summary of a training."""
    interval = float(result.convergence_history.column("ci_95")[-1].as_py())
    exact = isinstance(case.training.passes, Enumerated)
    estimate = amount(result.final_upper_bound) + (
        "" if exact else f" +/- {amount(interval, result.final_upper_bound)} (95 %)"
    )
    return [
        ("ended", reason_in_words(result.termination_reason, result.iterations)),
        ("lower bound", amount(result.final_lower_bound)),
        ("upper bound" if exact else "upper estimate", estimate),
        ("gap", percent(result.final_gap)),
        ("cuts", f"{result.total_cuts:,}"),
        ("training time", _time(result)),
        *_restarts(result),
    ]


def simulation_lines(result: SimulationResult) -> Lines:
    """The summary of a simulation."""
    return [
        ("simulated", count(result.scenarios, "scenario") + ("" if result.complete else ", stopped before its last")),
        ("mean cost", amount(result.mean_cost)),
        ("deviation", amount(result.std_cost, result.mean_cost)),
        ("simulation time", _time(result)),
        *_restarts(result),
    ]


def training_record(case: Case, result: TrainingResult) -> dict[str, Any]:
    """The same for programs."""
    last = result.convergence_history.slice(result.iterations - 1).to_pylist()[0]
    return {
        "iterations": result.iterations,
        "termination_reason": result.termination_reason,
        "lower_bound": result.final_lower_bound,
        "upper_bound": result.final_upper_bound,
        "upper_bound_std": last["upper_bound_std"],
        "upper_bound_ci_95": last["ci_95"],
        "upper_bound_kind": "exact" if isinstance(case.training.passes, Enumerated) else "statistical",
        "gap": result.final_gap,
        "cuts": result.total_cuts,
        "wall_time_ms": result.wall_time_ms,
        "solver_time_ms": round(1000.0 * result.solver.seconds),
        "restarts": [asdict(restart) for restart in result.restarts],
        "files": _names(result.output_files),
    }


def simulation_record(result: SimulationResult) -> dict[str, Any]:
    """The same for programs."""
    return {
        "scenarios": result.scenarios,
        "complete": result.complete,
        "mean_cost": result.mean_cost,
        "std_cost": result.std_cost,
        "wall_time_ms": result.wall_time_ms,
        "solver_time_ms": round(1000.0 * result.solver.seconds),
        "restarts": [asdict(restart) for restart in result.restarts],
        "files": _names(result.output_files),
    }


def _names(files: tuple[Path, ...]) -> list[str]:
    return [str(file) for file in files]


def _restarts(result: TrainingResult | SimulationResult) -> Lines:
    """The last loss of a worker, where there was any."""
    if not result.restarts:
        return []
    last = result.restarts[-1]
    return [("restarts", f"{last.number:,}, the last because {last.reason}")]


def _time(result: TrainingResult | SimulationResult) -> str:
    """Wall time, and the part of it (of all workers) that was spent in the solver."""
    wall, workers = result.wall_time_ms / 1000.0, len(result.workers or (None,))
    spread = "" if result.workers is None else f" on {workers} workers"
    return f"{seconds(wall)}{spread}, {percent(result.solver.seconds / max(wall * workers, 1e-9))} in the solver"
