"""Options that all commands have, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from cobre.cli.failures import ExitCode, guarded
from cobre.cli.terminal import Terminal

__all__ = ["Json", "Quiet", "Verbose", "end"]

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, everything else on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors and warnings only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="The log, and tracebacks of errors, on stderr.")]


def end(terminal: Terminal, command: Callable[[], ExitCode]) -> None:
    """Run ``command`` and leave with its exit code."""
    raise typer.Exit(int(guarded(terminal, command)))
