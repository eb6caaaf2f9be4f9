"""Every exception that cobre raises, and the record of a problem found in input.

    CobreError
      ValidationError      the input or the settings are wrong (yours to mend); ``diagnostics`` lists all of it
      SolverError          a linear program could not be solved, after every retry
      IOError              a file could not be read or written
      WorkerError          a worker process failed or died
      CommError            a collective between processes failed
      ActorError           a call to an actor could not be answered
      ChannelError         a message could not be published or received
      PipelineError        a graph of nodes or its session is wrong
        NodeError          a node of a session failed or died

Each carries ``kind`` (a stable word to branch on), ``message`` (a sentence), ``context`` (a dictionary of
plain values: where it happened) and ``suggestion`` (what to do next, or None), and survives pickling whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "ActorError",
    "ChannelError",
    "CobreError",
    "CommError",
    "Diagnostic",
    "DiagnosticKind",
    "IOError",
    "NodeError",
    "PipelineError",
    "SolverError",
    "ValidationError",
    "WorkerError",
]

DiagnosticKind = Literal[
    "MissingFile",
    "ParseError",
    "SchemaViolation",
    "TypeMismatch",
    "OutOfRange",
    "InvalidEnum",
    "DuplicateId",
    "MissingReference",
    "CoverageMismatch",
    "StageMismatch",
    "IncompatibleSettings",
    "PhysicalConstraint",
    "PenaltyConsistency",
    "NotSupported",
]


@dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong (or suspicious) in the input.

    ``file`` is relative to the case directory (or ``settings`` for overrides and arguments), ``entity`` names
    what the record is about (``hydro 3``, ``stage 0``), ``field`` is its dotted path, ``value`` what stood there.
    """

    kind: DiagnosticKind
    file: str
    message: str
    entity: str | None = None
    field: str | None = None
    value: Any = None
    suggestion: str | None = None

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.entity, self.field) if part)
        advice = f" ({self.suggestion})" if self.suggestion else ""
        return f"{place}: {self.message}{advice} [{self.kind}]"


class CobreError(Exception):
    """Root of the tree: catch it to catch everything that cobre raises on purpose."""

    def __init__(
        self,
        message: str,
        *,
        kind: str | None = None,
        context: Mapping[str, Any] | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or type(self).__name__
        self.context: dict[str, Any] = dict(context or {})
        self.suggestion = suggestion

    def __str__(self) -> str:
        return f"{self.message} ({self.suggestion})" if self.suggestion else self.message


class ValidationError(CobreError):
    """The input or the settings are wrong. ``diagnostics`` holds everything that was found, not just the first."""

    def __init__(
        self,
        message: str,
        *,
        diagnostics: Sequence[Diagnostic] = (),
        kind: str | None = None,
        context: Mapping[str, Any] | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(
            message,
            kind=kind or (diagnostics[0].kind if diagnostics else "SchemaViolation"),
            context=context,
            suggestion=suggestion,
        )
        self.diagnostics = tuple(diagnostics)

    @classmethod
    def of(cls, diagnostics: Sequence[Diagnostic], subject: str) -> ValidationError:
        """The error for a non-empty list of findings about ``subject`` (a path or a name)."""
        shown = "\n".join(f"  {d}" for d in diagnostics[:20])
        more = f"\n  and {len(diagnostics) - 20} more" if len(diagnostics) > 20 else ""
        count = "1 problem" if len(diagnostics) == 1 else f"{len(diagnostics)} problems"
        return cls(f"{subject} has {count}:\n{shown}{more}", diagnostics=diagnostics)


class SolverError(CobreError):
    """A linear program stayed unsolved after every retry; ``context['model_file']`` is where it was written."""

    def __init__(
        self,
        message: str,
        *,
        stage: int | None = None,
        iteration: int | None = None,
        scenario: int | None = None,
        solver_status: str | None = None,
        kind: str | None = None,
        context: Mapping[str, Any] | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message, kind=kind, context=context, suggestion=suggestion)
        self.stage = stage
        self.iteration = iteration
        self.scenario = scenario
        self.solver_status = solver_status


class IOError(CobreError):
    """A file could not be read or written; what stood there before still stands.

    ``result`` is what a run had come to when its output could not be written (a TrainingResult), else None.
    """

    def __init__(
        self,
        message: str,
        *,
        result: Any = None,
        kind: str | None = None,
        context: Mapping[str, Any] | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message, kind=kind, context=context, suggestion=suggestion)
        self.result = result


class WorkerError(CobreError):
    """A worker process failed. ``inner`` is the error it raised, or None where it died without one.

    ``rank`` is that of the first failure seen; ``exit_code`` is the worker's, None where a signal ended it.
    """

    def __init__(
        self,
        message: str,
        *,
        rank: int | None = None,
        exit_code: int | None = None,
        inner: CobreError | None = None,
        kind: str | None = None,
        context: Mapping[str, Any] | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message, kind=kind, context=context, suggestion=suggestion)
        self.rank = rank
        self.exit_code = exit_code
        self.inner = inner


class CommError(CobreError):
    """A collective could not complete. ``operation`` is the one that was under way."""

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        kind: str | None = None,
        context: Mapping[str, Any] | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message, kind=kind, context=context, suggestion=suggestion)
        self.operation = operation


class ActorError(CobreError):
    """A call to an actor could not be answered."""


class ChannelError(CobreError):
    """A message could not be published or received. ``operation`` was under way on the channel named ``channel``.

    ``kind`` is one of Full, TimedOut, EndOfChannel (all writers have closed and all was read), PeerDied, Closed
    (the channel was ended, or this port closed), ViewAlive, LoanOpen, TooLarge, WrongType, OutOfRange, PlaceTaken,
    OutOfMemory, TooManyFiles, Unreachable and NotSupported.
    """

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        channel: str | None = None,
        kind: str | None = None,
        context: Mapping[str, Any] | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message, kind=kind, context=context, suggestion=suggestion)
        self.operation = operation
        self.channel = channel


class PipelineError(CobreError):
    """A graph of nodes is wrong, or a session of it cannot go on. ``node`` is the one concerned, None where none is.

    ``kind`` of a graph: Cycle, DanglingPort, TypeMismatch, UnknownNode, UnknownPort, DuplicateName, BadConfig and
    OutOfRange; of a session: NotStarted, Closed, TooManyProcesses and MemoryExhausted.
    """

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        kind: str | None = None,
        context: Mapping[str, Any] | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message, kind=kind, context=context, suggestion=suggestion)
        self.node = node


class NodeError(PipelineError):
    """A node failed, and its session ended. ``inner`` is the exception that it raised, None where it died without one.

    ``exit_code`` is the process's, None where a signal (``signal``, its name) ended it or it still ran. ``kind`` is
    one of Failed, Died, OutOfMemory, InitFailed, InitTimedOut, Hung, MemoryLimit and NotSpawned.
    """

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        exit_code: int | None = None,
        signal: str | None = None,
        inner: BaseException | None = None,
        kind: str | None = None,
        context: Mapping[str, Any] | None = None,
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message, node=node, kind=kind, context=context, suggestion=suggestion)
        self.exit_code = exit_code
        self.signal = signal
        self.inner = inner
