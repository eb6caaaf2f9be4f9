"""What goes into the supervisor and what comes out of it, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cobre.errors import CobreError

__all__ = ["ExitReport", "Grace", "HealthSample", "Limits", "ProcessSpec", "ProcessStatistics", "refused"]


@dataclass(frozen=True)
class Limits:
    """What ends a process that goes beyond it; None is no limit.

    memory_bytes: resident memory, looked at with each health sample. hang_seconds: how long it may be busy, not
    waiting for others, without a beat of its board; a stopped process counts, whatever its board says.
    start_seconds: from its launch until it says that it is ready.

    Raises CobreError of kind ``OutOfRange`` for a limit that is not above zero.
    """

    memory_bytes: int | None = None
    hang_seconds: float | None = None
    start_seconds: float | None = 60.0

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "hang_seconds", "start_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise refused(f"the limit {name}", value, "give a number above zero, or None for no limit")


@dataclass(frozen=True)
class Grace:
    """Seconds that each step of stopping in good order may take: ask, then SIGTERM, then the whole tree is killed.

    Raises CobreError of kind ``OutOfRange`` for a time below zero.
    """

    ask: float = 5.0
    terminate: float = 2.0

    def __post_init__(self) -> None:
        for name in ("ask", "terminate"):
            if not getattr(self, name) >= 0.0:
                raise refused(f"the grace {name}", getattr(self, name), "give a number of seconds, 0 or more")


@dataclass(frozen=True)
class ProcessSpec:
    """What to start.

    name: what reports and messages call it. entry: ``module:function``, called in the new process with its ChildEnd.
    environment: variables added to those of this process. marks: names of the free words of its board. imports: modules
    that a fork server imports before it forks, so that its processes need not; they must start no threads.
    """

    name: str
    entry: str
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    marks: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class HealthSample:
    """One look at a process.

    seconds: since its launch. memory_bytes: resident. cpu_percent: of one core, since the sample before. state: what
    the system calls it (``running``, ``sleeping``, ``stopped``, ...). children: processes that it started and has.
    """

    seconds: float
    memory_bytes: int
    cpu_percent: float
    state: str
    threads: int
    children: int


@dataclass(frozen=True)
class ProcessStatistics:
    """What was seen of one process. samples: the last ones, oldest first."""

    name: str
    pid: int | None
    alive: bool
    samples: tuple[HealthSample, ...] = ()
    peak_memory_bytes: int | None = None

    @property
    def latest(self) -> HealthSample | None:
        """The last sample, or None before the first one."""
        return self.samples[-1] if self.samples else None


@dataclass(frozen=True)
class ExitReport:
    """How a process ended.

    exit_code: None where a signal ended it, or where the system did not say. signal: its name (``SIGKILL``).
    cause: ``exited`` by itself; ``crashed`` by a signal that its own fault raised; ``killed from outside``; ``memory
    limit``, ``hang``, ``start limit``: killed for going beyond it (after the last two ``stderr_tail`` shows where its
    threads stood, if it could still say so); ``stopped`` in good order; ``killed`` by its owner
    (or the cause that the owner gave); ``fate``: killed because another one failed; ``not started``: the launch
    failed, ``stderr_tail`` says why; ``unknown``: somebody else took its exit status.
    deliberate: this side wanted the end, and it came that way. memory_bytes, state: as last seen, None before the
    first sample. marks, waiting: what stood on its board at the end. seconds: from launch to end.
    out_of_memory: ``yes`` where the control group's own counter says that the system killed for want of memory,
    ``possibly`` after a SIGKILL that nobody here sent, else None.
    """

    name: str
    pid: int | None
    exit_code: int | None
    signal: str | None
    cause: str
    deliberate: bool
    memory_bytes: int | None = None
    state: str | None = None
    marks: Mapping[str, int] = field(default_factory=dict)
    waiting: bool = False
    seconds: float = 0.0
    stderr_tail: str = ""
    out_of_memory: str | None = None

    def describe(self) -> str:
        """A sentence without its full stop: who ended, and how."""
        who = self.name if self.pid is None else f"{self.name} (pid {self.pid})"
        if self.cause == "not started":
            return f"{who} could not be started: {self.stderr_tail}"
        if self.cause in ("memory limit", "hang", "start limit"):
            return f"{who} was killed: {_LIMITS[self.cause]}"
        if self.signal is not None:
            return f"{who} was ended by {self.signal} ({self.cause})"
        if self.exit_code is None:
            return f"{who} ended, and the system did not say how"
        return f"{who} ended with exit code {self.exit_code}"


def refused(what: str, value: object, advice: str) -> CobreError:
    """The error for a setting that makes no sense."""
    return CobreError(f"{what} is {value!r}", kind="OutOfRange", context={"value": value}, suggestion=advice)


_LIMITS = {
    "memory limit": "it used more memory than its limit",
    "hang": "it made no progress for longer than its limit",
    "start limit": "it was not ready within its limit",
}
