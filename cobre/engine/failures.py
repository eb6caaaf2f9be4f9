"""What ended a run: the failures of its workers, brought into one WorkerError that says who, why and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cobre.errors import ActorError, CobreError, CommError, WorkerError

__all__ = ["Failure", "is_echo", "is_echo_error", "worker_error"]

_ECHOES = {"RankLost", "Aborted", "Closed", "Timeout"}  # what other ranks find when one has gone

# cause of a death -> (kind of the error, what to do about it)
_ADVICE = {
    "memory limit": (
        "MemoryLimit",
        "use fewer workers, a smaller problem or fewer cuts (cut selection), or raise memory_limit",
    ),
    "hang": (
        "WorkerHung",
        "if single linear programs take that long, raise hang_timeout; else report it with the worker's stderr",
    ),
    "start limit": ("StartTimeout", "the machine may be overloaded: use fewer workers, or try again"),
    "not started": ("NotStarted", "look at the limits on processes, memory and open files (ulimit -a)"),
}
_KILLED_FOR_MEMORY = "give the machine or the container more memory, or use fewer workers"
_KILLED_OUTRIGHT = "the system does so when memory runs out (journalctl -k tells); else somebody sent the signal"
_OWN_DOING = {
    "memory limit": "was killed because it held more memory than memory_limit allows",
    "hang": "was killed because it gave no sign of life for longer than hang_timeout",
    "start limit": "was killed because it was not ready in time",
    "not started": "could not be started",
}
_CRASHED = "the worker's stderr may say more; run with num_workers=1 to see whether the crash is in the solver"
_KILLED = "something sent it that signal: the system's log (journalctl -k) may tell, or what else runs on this machine"
_EXITED = "something in the worker ended the process by itself: its stderr may say what"
_APART = "the workers lost each other although none of them ended: run it again, inside one host with backend='shm'"
_RAISED = "the error in 'inner' is the worker's own; its traceback is its cause"


@dataclass(frozen=True)
class Failure:
    """What became of one worker: the exception that its call ended in, and where it stood then.

    where: ``phase``, ``iteration`` and ``stage`` as far as they are known. stderr: the last of what it wrote there.
    """

    rank: int
    error: BaseException
    pid: int | None = None
    memory_bytes: int | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    stderr: str = ""

    @property
    def died(self) -> bool:
        """Whether the process is gone, rather than having raised."""
        return isinstance(self.error, ActorError) and self.error.kind == "Died"


def is_echo(failure: Failure) -> bool:
    """Whether this is what one rank sees of another's failure, or of the end that was put to it."""
    error = failure.error
    if isinstance(error, ActorError):
        wanted = error.context.get("cause") in ("fate", "stopped", "killed")
        return error.kind == "Closed" or (error.kind == "Died" and wanted)
    return is_echo_error(error)


def is_echo_error(error: BaseException | None) -> bool:
    """Whether this is what a rank raises that has lost others, or was called back."""
    return isinstance(error, CommError) and error.kind in _ECHOES


def worker_error(failures: Sequence[Failure]) -> WorkerError:
    """The error of a run in which these failures, one at least, were seen in this order.

    The first that is no echo of another is the cause; the others stand in ``context['failures']``.
    """
    first = next((failure for failure in failures if not is_echo(failure)), failures[0])
    others = [failure for failure in failures if failure is not first]
    error = _of_a_death(first) if first.died else _of_an_exception(first)
    error.context["failures"] = [_short(failure) for failure in others if not is_echo(failure)]
    return error


def _of_a_death(failure: Failure) -> WorkerError:
    told = getattr(failure.error, "context", {})
    kind, advice = _ADVICE.get(told.get("cause", ""), ("WorkerDied", _advice(told)))
    return WorkerError(
        f"worker {failure.rank} (pid {told.get('pid', failure.pid)}) {_how(told)}{_place(failure.where)}",
        rank=failure.rank,
        exit_code=None if told.get("signal") else told.get("exit_code"),
        kind=kind,
        context=_context(failure, told),
        suggestion=advice,
    )


def _advice(told: Mapping[str, Any]) -> str:
    if told.get("out_of_memory"):
        return _KILLED_FOR_MEMORY if told["out_of_memory"] == "yes" else _KILLED_OUTRIGHT
    if told.get("signal") in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"):
        return _CRASHED
    return _KILLED if told.get("signal") else _EXITED


def _how(told: Mapping[str, Any]) -> str:
    cause = told.get("cause", "")
    if cause in _OWN_DOING:
        last = str(told.get("stderr", "")).strip().splitlines()[-1:] if cause == "not started" else []
        return ": ".join([_OWN_DOING[cause], *last])
    if told.get("signal"):
        known = ": the system ran out of memory" if told.get("out_of_memory") == "yes" else ""
        return f"was ended by {told['signal']}{known}"
    return f"ended with exit code {told.get('exit_code')}"


def _of_an_exception(failure: Failure) -> WorkerError:
    inner = failure.error
    if not isinstance(inner, CobreError):
        name = type(inner).__name__
        wrapped = CobreError(f"{name}: {inner}".removesuffix(": "), kind=name)
        wrapped.__cause__ = inner.__cause__
        inner = wrapped
    return WorkerError(
        f"worker {failure.rank} failed{_place(failure.where)}: {inner.message}",
        rank=failure.rank,
        exit_code=None,
        inner=inner,
        kind="WorkerFailed",
        context=_context(failure, {"cause": "raised"}),
        suggestion=_advice_after(failure, inner),
    )


def _advice_after(failure: Failure, inner: CobreError) -> str:
    if isinstance(failure.error, MemoryError):
        return _KILLED_FOR_MEMORY
    if is_echo(failure):  # and nothing was seen that it is one of
        return _APART
    return inner.suggestion or _RAISED


def _context(failure: Failure, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pid": told.get("pid", failure.pid),
        "memory_bytes": told.get("memory_bytes", failure.memory_bytes),
        "out_of_memory": told.get("out_of_memory"),
        "signal": told.get("signal"),
        "cause": told.get("cause", "exited"),
        "stderr": told.get("stderr", failure.stderr),
        **{name: failure.where.get(name) for name in ("phase", "iteration", "stage")},
    }


def _place(where: Mapping[str, Any]) -> str:
    parts = [str(where["phase"])] if where.get("phase") else []
    parts += [f"{name} {where[name]}" for name in ("iteration", "stage") if where.get(name) is not None]
    return f" ({', '.join(parts)})" if parts else ""


def _short(failure: Failure) -> dict[str, Any]:
    error = failure.error
    said = _how(error.context) if failure.died and isinstance(error, ActorError) else f"{type(error).__name__}: {error}"
    return {"rank": failure.rank, "error": said, **{k: v for k, v in failure.where.items() if v is not None}}
