"""How a command ends: the exit codes, and what is said of a failure."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from rich.text import Text

from cobre.cli.findings import diagnostic_record, show_findings
from cobre.cli.terminal import Terminal
from cobre.errors import (
    ActorError,
    ChannelError,
    CobreError,
    CommError,
    IOError,
    NodeError,
    PipelineError,
    SolverError,
    ValidationError,
    WorkerError,
)

__all__ = ["ExitCode", "guarded", "usage_record"]


class ExitCode(IntEnum):
    """What the shell is told."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    INVALID = 3
    SOLVER = 4
    IO = 5
    WORKER = 6
    STOPPED = 7  # by Ctrl-C or SIGTERM, with everything saved
    ABORTED = 130  # by Ctrl-C at once
    BROKEN_PIPE = 141  # as the shell reports a death by SIGPIPE


_CODES: tuple[tuple[type[CobreError], ExitCode], ...] = (
    (ValidationError, ExitCode.INVALID),
    (SolverError, ExitCode.SOLVER),
    (IOError, ExitCode.IO),
    (WorkerError, ExitCode.WORKER),
    (CommError, ExitCode.WORKER),
    (ActorError, ExitCode.WORKER),
    (NodeError, ExitCode.WORKER),
    (ChannelError, ExitCode.WORKER),
    (PipelineError, ExitCode.INVALID),
)


def guarded(terminal: Terminal, command: Callable[[], ExitCode]) -> ExitCode:
    """Run ``command`` and turn whatever it raises into an exit code, a message on stderr and, with ``--json``, the
    document on stdout.
    """
    try:
        code = command()
        terminal.flush()
        return code
    except CobreError as error:
        return _report(terminal, error)
    except KeyboardInterrupt:
        return _say(terminal, ExitCode.ABORTED, "Interrupted", "stopped at once; what was under way is not saved")
    except BrokenPipeError:  # 'cobre report out | head' is no failure worth words
        terminal.abandon_stdout()
        return ExitCode.BROKEN_PIPE
    except OSError as error:
        return _say(terminal, ExitCode.IO, "IOFailed", f"reading or writing failed: {error}")
    except Exception as error:  # the last line of defence: nothing ends in a traceback unasked
        return _internal(terminal, error)


def usage_record(message: str) -> dict[str, Any]:
    """The JSON document for a command line that is wrong."""
    return _record("Usage", message, suggestion="see 'cobre --help'")


def _report(terminal: Terminal, error: CobreError) -> ExitCode:
    code = next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.INTERNAL)
    diagnostics = error.diagnostics if isinstance(error, ValidationError) else ()
    if diagnostics:
        show_findings(terminal, diagnostics, "error", "bold red")
        headline = f"{error.message.splitlines()[0].rstrip(':')}"
    else:
        headline = error.message
    _print(terminal, headline, error.suggestion)
    if terminal.verbose:
        terminal.note("".join(traceback.format_exception(error)), style="dim")
    told = ("stage", "iteration", "rank", "node", "exit_code", "signal")
    fields = {name: getattr(error, name) for name in told if hasattr(error, name)}
    document = _record(error.kind, error.message, error.context | fields, error.suggestion)
    document["error"]["diagnostics"] = [diagnostic_record(d) for d in diagnostics]
    _emit(terminal, document)
    return code


def _internal(terminal: Terminal, error: Exception) -> ExitCode:
    text = f"internal error: {type(error).__name__}: {error}"
    advice = "please report it with the case and what --verbose prints"
    if terminal.verbose:
        terminal.note("".join(traceback.format_exception(error)), style="dim")
    _print(terminal, text, advice)
    _emit(terminal, _record("Internal", text, suggestion=advice))
    return ExitCode.INTERNAL


def _say(terminal: Terminal, code: ExitCode, kind: str, message: str) -> ExitCode:
    _print(terminal, message, None)
    _emit(terminal, _record(kind, message))
    return code


def _print(terminal: Terminal, message: str, suggestion: str | None) -> None:
    terminal.note(Text.assemble(("error: ", "bold red"), message))
    if suggestion:
        terminal.note(Text.assemble("  ", (suggestion, "green")))


def _emit(terminal: Terminal, document: dict[str, Any]) -> None:
    try:
        terminal.emit(document)
        terminal.flush()
    except OSError:
        terminal.abandon_stdout()


def _record(
    kind: str, message: str, context: dict[str, Any] | None = None, suggestion: str | None = None
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "kind": kind,
        "message": message,
        "context": context or {},
        "suggestion": suggestion,
        "diagnostics": [],
    }
    return {"error": record}
