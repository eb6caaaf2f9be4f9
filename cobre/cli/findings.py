"""What is wrong with a case, as people and as programs read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.text import Text

from cobre.cli.formats import count
from cobre.cli.terminal import Terminal
from cobre.errors import Diagnostic

__all__ = ["diagnostic_record", "show_findings", "tally"]


def diagnostic_record(diagnostic: Diagnostic) -> dict[str, Any]:
    """A diagnostic as plain values, every field always there."""
    return {name: getattr(diagnostic, name) for name in diagnostic.__dataclass_fields__}


def tally(errors: Sequence[Diagnostic], warnings: Sequence[Diagnostic]) -> str:
    """``2 errors, 1 warning``."""
    return f"{count(len(errors), 'error')}, {count(len(warnings), 'warning')}"


def show_findings(terminal: Terminal, findings: Iterable[Diagnostic], title: str, style: str) -> None:
    """Every finding under the file it is about, on stderr, files in the order in which they were first met."""
    files: dict[str, list[Diagnostic]] = {}
    for finding in findings:
        files.setdefault(finding.file, []).append(finding)
    for file, of_file in files.items():
        terminal.note(Text.assemble((file, "bold")))
        for finding in of_file:
            terminal.note(_headline(finding, title, style))
            if finding.suggestion:
                terminal.note(Text.assemble("      ", (finding.suggestion, "green")))


def _headline(finding: Diagnostic, title: str, style: str) -> Text:
    place = ", ".join(part for part in (finding.entity, finding.field) if part)
    line = Text.assemble("  ", (title, style), " ", (finding.kind, "dim"), "  ")
    if place:
        line.append(f"{place}: ", "bold")
    line.append(finding.message)
    if finding.value is not None and str(finding.value) not in finding.message:
        line.append(f" (it is {finding.value!r})")
    return line
