"""What callers of actors are told when there is no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cobre.errors import ActorError
    from cobre.supervisor import ExitReport

__all__ = ["RemoteTraceback", "actor_error", "died"]

_LINES = 30  # of a dead worker's stderr, in the message; the context has all that was kept


class RemoteTraceback(Exception):
    """The cause of an exception that came from an actor: prints where it was raised there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def actor_error(kind: str, message: str, suggestion: str | None = None, **context: Any) -> ActorError:
    """An ActorError."""
    from cobre.errors import ActorError  # a worker that has nothing to say does without

    return ActorError(message, kind=kind, context=context, suggestion=suggestion)


def died(report: ExitReport, method: str | None, note: str = "") -> ActorError:
    """A worker ended without being asked to. note: a sentence about what happens next."""
    call = f"{method}() has no answer" if method else "it takes no calls any more"
    message = f"{report.describe()}; {call}{note}"
    lines = report.stderr_tail.strip().splitlines()[-_LINES:]
    if lines:
        message += "\nthe last lines of its stderr:\n" + "\n".join(f"  {line}" for line in lines)
    return actor_error(
        "Died",
        message,
        _advice(report),
        actor=report.name,
        pid=report.pid,
        method=method,
        signal=report.signal,
        exit_code=report.exit_code,
        cause=report.cause,
        memory_bytes=report.memory_bytes,
        out_of_memory=report.out_of_memory,
        stderr=report.stderr_tail,
        marks=dict(report.marks),
        seconds=report.seconds,
    )


def _advice(report: ExitReport) -> str | None:
    seen = "" if report.memory_bytes is None else f"; {report.memory_bytes / 2**30:.2f} GiB were last seen in use"
    if report.out_of_memory == "yes":
        return f"the system ran out of memory{seen}: use fewer workers or less memory in each"
    if report.out_of_memory == "possibly":
        return f"perhaps the machine ran out of memory{seen}: the system's log tells, and fewer workers need less"
    if report.cause == "memory limit":
        return f"raise the limit or use less memory{seen}"
    if report.cause == "hang":
        return "raise the limit if its work takes that long between two beats"
    if report.cause == "start limit":
        return "raise the limit if its process needs that long to start"
    if report.cause == "fate":
        return "look at the failure of the other worker, which came first"
    return None
