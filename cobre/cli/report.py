"""``cobre report``: what a run was and what came of it, from its output folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from cobre.cli.failures import ExitCode
from cobre.cli.formats import amount, count, percent, seconds
from cobre.cli.record import RunRecord, SimulatedCosts
from cobre.cli.summary import Lines, reason_in_words, show_lines
from cobre.cli.terminal import Terminal
from cobre.errors import CobreError
from cobre.plots import plot_convergence, plot_storages

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["report"]


def report(terminal: Terminal, output: Path, pictures: bool) -> ExitCode:
    """Print the report of the run in ``output`` and draw its pictures into ``output/report``."""
    record = RunRecord(output)
    convergence, costs = record.convergence(), record.costs()
    _show(terminal, "Run", _what_it_was(record))
    if convergence is not None:
        terminal.say()
        terminal.say(Text("Convergence", "bold"))
        _show_table(terminal, *_convergence_rows(convergence))
    if costs is not None:
        _show(terminal, f"Simulated costs, discounted, of {count(costs.scenarios, 'scenario')}", _costs_lines(costs))
        if costs.categories:
            terminal.say()
            terminal.say(Text("Where the mean cost comes from", "bold"))
            _show_table(terminal, ("category", "mean", "share"), _category_rows(costs))
    drawn = _draw(terminal, record, convergence) if pictures else []
    if drawn:
        _show(terminal, "Pictures", [("written", str(path)) for path in drawn])
    terminal.emit(
        {
            "output": str(output),
            "training": record.training,
            "simulation": record.simulation,
            "policy": record.policy() or None,
            "convergence": convergence.to_pylist() if convergence is not None else None,
            "costs": asdict(costs) if costs else None,
            "pictures": [str(path) for path in drawn],
        }
    )
    return ExitCode.DONE


def _show(terminal: Terminal, title: str, lines: Lines) -> None:
    terminal.say()
    terminal.say(Text(title, "bold"))
    show_lines(terminal, [(f"  {label}", value) for label, value in lines])


def _what_it_was(record: RunRecord) -> Lines:
    anything = record.training or record.simulation or {}
    policy, training, simulation = record.policy(), record.training, record.simulation
    lines = [("case", str(anything.get("case", "-"))), ("source", str(anything.get("source", "-")))]
    if policy:
        lines.append(("policy", f"{count(policy['stages'], 'stage')}, {count(policy['states'], 'state')}"))
    if training:
        lines += [
            ("trained", _when(training)),
            ("ended", reason_in_words(str(training["termination_reason"]), int(training["iterations"]))),
            ("lower bound", amount(training["lower_bound"])),
            ("upper estimate", amount(training["upper_bound"])),
            ("gap", percent(training["gap"])),
        ]
    if simulation:
        complete = "" if simulation.get("complete", True) else " (stopped before its last scenario)"
        lines.append(("simulated", _when(simulation) + complete))
    versions = anything.get("versions", {})
    lines.append(("versions", ", ".join(f"{name} {versions[name]}" for name in sorted(versions) if name != "platform")))
    return lines


def _when(part: dict[str, Any]) -> str:
    wall = part["wall_time_ms"] / 1000.0
    share = percent(part["solver"]["seconds"] / max(wall, 1e-9))
    return f"{str(part['finished']).replace('T', ' ')}, in {seconds(wall)}, {share} in the solver"


def _convergence_rows(table: pa.Table) -> tuple[tuple[str, ...], Sequence[tuple[str, ...]]]:
    """The first iterations, ever fewer of the later ones, and the last."""
    shown = sorted({2**k for k in range(table.num_rows.bit_length()) if 2**k <= table.num_rows} | {table.num_rows})
    rows = table.take([i - 1 for i in shown]).to_pylist()
    body = [
        (
            f"{row['iteration']:,}",
            amount(row["lower_bound"]),
            amount(row["upper_bound"]),
            amount(row["ci_95"], row["upper_bound"]),
            percent(row["gap_percent"] / 100.0),
        )
        for row in rows
    ]
    return ("iteration", "lower bound", "upper", "+/- 95 %", "gap"), body


def _costs_lines(costs: SimulatedCosts) -> Lines:
    lines = [("mean", amount(costs.mean)), ("deviation", amount(costs.deviation, costs.mean))]
    return lines + [(f"{q:.0%} quantile", amount(value, costs.mean)) for q, value in costs.quantiles.items()]


def _category_rows(costs: SimulatedCosts) -> list[tuple[str, ...]]:
    return [
        (name.replace("_", " "), amount(mean, costs.mean), percent(mean / costs.mean) if costs.mean else "-")
        for name, mean in costs.categories.items()
    ]


def _show_table(terminal: Terminal, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for number, row in enumerate([header, *rows]):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        terminal.say(Text("  " + "  ".join(cells), "dim" if number == 0 else ""))


def _draw(terminal: Terminal, record: RunRecord, convergence: pa.Table | None) -> list[Path]:
    folder = record.path / "report"
    drawn = []
    try:
        if convergence is not None:
            title = str((record.training or {}).get("case", "Convergence"))
            plot_convergence(convergence, folder / "convergence.png", title=title)
            drawn.append(folder / "convergence.png")
        if (record.path / "simulation" / "hydros").is_dir():
            plot_storages(record.path, folder / "storages.png", names=record.hydro_names())
            drawn.append(folder / "storages.png")
    except CobreError as error:
        if error.kind != "MissingDependency":
            raise
        terminal.note(f"no pictures: {error}")
    return drawn
