"""The life of supervised processes as a pure state machine: events in, instructions out.

    launching -> starting -> running -> condemned -> asked -> terminated -> killed -> ended

Condemned is one that hangs: it is told to show where it stands, and killed when it has had the time for that.
It knows no process and no clock: every event says when it happened. A process ends once and is reported once, in
whatever order its events come; what is heard of a process that has ended, or never was, changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from cobre.supervisor.records import Grace, Limits

__all__ = [
    "Added",
    "Ask",
    "Ended",
    "Event",
    "Instruction",
    "Kill",
    "KillAsked",
    "Launch",
    "LaunchFailed",
    "Launched",
    "Lifecycle",
    "Ready",
    "Report",
    "Sampled",
    "Show",
    "Step",
    "StopAsked",
    "Terminate",
    "Tick",
]

FAILURES = ("memory limit", "hang", "start limit")
"""Causes for which we kill a process, and which are its failure all the same."""

FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS", "SIGTRAP")
"""Signals that a process's own fault raises."""


SHOWING = 0.25
"""Seconds that a process that hangs is given to write where its threads stand."""

SHOW_SIGNAL = "SIGUSR1"
"""The signal that has it do so; one that has no answer to it yet dies of it."""


class Step(IntEnum):
    """How far a process has come; it never goes back."""

    LAUNCHING = 0
    STARTING = 1
    RUNNING = 2
    CONDEMNED = 3
    ASKED = 4
    TERMINATED = 5
    KILLED = 6


@dataclass(frozen=True)
class Event:
    """Something that happened ``at`` that time, in seconds of any steady clock."""

    at: float


@dataclass(frozen=True)
class Added(Event):
    """A process is to be launched."""

    key: int
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Launched(Event):
    """The process is there."""

    key: int


@dataclass(frozen=True)
class LaunchFailed(Event):
    """The process could not be made."""

    key: int


@dataclass(frozen=True)
class Ready(Event):
    """The process says that it can work."""

    key: int


@dataclass(frozen=True)
class Sampled(Event):
    """A look at the process: its resident bytes, its board, and whether it is stopped."""

    key: int
    memory_bytes: int
    beats: int
    busy: bool
    waiting: bool
    stopped: bool


@dataclass(frozen=True)
class StopAsked(Event):
    """The owner wants these to end in good order. grace: None asks once and leaves them all the time they take."""

    keys: tuple[int, ...]
    grace: Grace | None


@dataclass(frozen=True)
class KillAsked(Event):
    """The owner wants these to be gone."""

    keys: tuple[int, ...]
    cause: str


@dataclass(frozen=True)
class Ended(Event):
    """The process is no more. exit_code, signal: both None where the system did not say."""

    key: int
    exit_code: int | None
    signal: str | None


@dataclass(frozen=True)
class Tick(Event):
    """Time has passed."""


@dataclass(frozen=True)
class Instruction:
    """What is to be done with the process ``key``."""

    key: int


@dataclass(frozen=True)
class Launch(Instruction):
    """Start it, and say how that went."""


@dataclass(frozen=True)
class Ask(Instruction):
    """Tell it to end."""


@dataclass(frozen=True)
class Show(Instruction):
    """Have it write to stderr where its threads stand."""


@dataclass(frozen=True)
class Terminate(Instruction):
    """Send it SIGTERM."""


@dataclass(frozen=True)
class Kill(Instruction):
    """Kill it and its descendants."""


@dataclass(frozen=True)
class Report(Instruction):
    """Say that it has ended. seconds: since its launch."""

    cause: str
    deliberate: bool
    exit_code: int | None
    signal: str | None
    seconds: float


@dataclass
class _Member:
    key: int
    limits: Limits
    began: float
    step: Step = Step.LAUNCHING
    launched: bool = False
    cause: str = "killed"
    grace: Grace | None = None
    deadline: float = math.inf
    beats: int = -1
    looked: float = 0.0  # when the last sample was taken
    still: float = 0.0  # seconds without a sign of life, as far as somebody looked


class Lifecycle:
    """All processes of one supervisor. together: the first end that nobody wanted is the end of all the others."""

    def __init__(self, *, together: bool = False) -> None:
        self._together = together
        self._members: dict[int, _Member] = {}

    @property
    def keys(self) -> tuple[int, ...]:
        """The processes that have not ended, in the order in which they were added."""
        return tuple(self._members)

    def step(self, key: int) -> Step | None:
        """How far a process has come, or None where it has ended or never was."""
        member = self._members.get(key)
        return None if member is None else member.step

    @property
    def deadline(self) -> float:
        """When the next Tick is due; infinity where nothing waits for one."""
        return min((member.deadline for member in self._members.values()), default=math.inf)

    def handle(self, event: Event) -> list[Instruction]:
        """What is to be done now that this has happened, in this order."""
        match event:
            case Added():
                return self._added(event)
            case StopAsked():
                return [todo for member in self._among(event.keys) for todo in self._stop(member, event)]
            case KillAsked():
                return [todo for member in self._among(event.keys) for todo in self._kill(member, event.cause)]
            case Tick():
                return [todo for member in self._among(self.keys) for todo in self._tick(member, event.at)]
        member = self._members.get(getattr(event, "key", -1))
        if member is None:
            return []
        match event:
            case Launched():
                return self._launched(member, event.at)
            case LaunchFailed():
                return self._gone(member, "not started", member.step >= Step.ASKED, event)
            case Ready() if member.step < Step.RUNNING:
                member.step, member.deadline, member.still = Step.RUNNING, math.inf, 0.0
            case Sampled():
                return self._sampled(member, event)
            case Ended():
                return self._gone(member, *_verdict(member, event), event)
        return []

    def _among(self, keys: Iterable[int]) -> list[_Member]:
        return [self._members[key] for key in keys if key in self._members]

    def _added(self, event: Added) -> list[Instruction]:
        if event.key in self._members:
            return []
        self._members[event.key] = _Member(event.key, event.limits, event.at, looked=event.at)
        return [Launch(event.key)]

    def _launched(self, member: _Member, at: float) -> list[Instruction]:
        if member.launched:
            return []
        member.launched, member.began, member.looked = True, at, at
        if member.step == Step.LAUNCHING:
            member.step = Step.STARTING
            member.deadline = math.inf if member.limits.start_seconds is None else at + member.limits.start_seconds
        if member.step == Step.TERMINATED:  # what could not be done to it before it was there
            return [Terminate(member.key)]
        return [Kill(member.key)] if member.step == Step.KILLED else []

    def _stop(self, member: _Member, event: StopAsked) -> list[Instruction]:
        if member.step > Step.ASKED:
            return []
        known = member.step == Step.ASKED
        member.step, member.cause, member.grace = Step.ASKED, "stopped", event.grace or member.grace
        # A second demand can only shorten what is left.
        due = math.inf if event.grace is None else event.at + event.grace.ask
        member.deadline = min(due, member.deadline) if known else due
        return [] if known else [Ask(member.key)]

    def _kill(self, member: _Member, cause: str) -> list[Instruction]:
        if member.step == Step.KILLED:
            return []
        member.step, member.cause, member.deadline = Step.KILLED, cause, math.inf
        return [Kill(member.key)] if member.launched else []

    def _tick(self, member: _Member, at: float) -> list[Instruction]:
        if at < member.deadline:
            return []
        if member.step < Step.RUNNING:
            return self._condemn(member, "start limit", at)
        if member.step == Step.CONDEMNED:
            return self._kill(member, member.cause)
        if member.step == Step.ASKED and member.grace is not None:
            member.step, member.deadline = Step.TERMINATED, at + member.grace.terminate
            return [Terminate(member.key)] if member.launched else []
        return self._kill(member, "stopped")

    def _sampled(self, member: _Member, seen: Sampled) -> list[Instruction]:
        limits = member.limits
        if limits.memory_bytes is not None and seen.memory_bytes > limits.memory_bytes:
            return self._kill(member, "memory limit")
        idle = not seen.stopped and (seen.waiting or not seen.busy)
        since, member.looked = seen.at - member.looked, seen.at
        if seen.beats != member.beats or idle or member.step > Step.RUNNING:
            member.beats, member.still = seen.beats, 0.0
        elif limits.hang_seconds is not None:
            # Whoever has not looked for long was held up itself (Ctrl-Z stops all of a run): it takes a second look.
            member.still += min(since, 0.5 * limits.hang_seconds)
            if member.still >= limits.hang_seconds:
                return self._condemn(member, "hang", seen.at)
        return []

    def _condemn(self, member: _Member, cause: str, at: float) -> list[Instruction]:
        member.step, member.cause, member.deadline = Step.CONDEMNED, cause, at + SHOWING
        return [Show(member.key)]

    def _gone(self, member: _Member, cause: str, deliberate: bool, event: Event) -> list[Instruction]:
        code, signal = (event.exit_code, event.signal) if isinstance(event, Ended) else (None, None)
        del self._members[member.key]
        todo: list[Instruction] = []
        if self._together and not deliberate:  # first of all: every moment that the others go on is lost
            todo += [kill for other in self._among(self.keys) for kill in self._kill(other, "fate")]
        return [*todo, Report(member.key, cause, deliberate, code, signal, event.at - member.began)]


def _verdict(member: _Member, end: Ended) -> tuple[str, bool]:
    """The cause of an end, and whether it was wanted: what we did counts only where the end looks like it."""
    ours = member.step >= Step.ASKED
    clean, unknown = end.exit_code == 0, end.exit_code is None and end.signal is None
    if member.step == Step.KILLED and (end.signal == "SIGKILL" or unknown):
        return member.cause, member.cause not in FAILURES
    if member.step == Step.CONDEMNED and (end.signal == SHOW_SIGNAL or unknown):
        return member.cause, False
    if member.step == Step.TERMINATED and (end.signal in ("SIGTERM", None)):
        return "stopped", True
    if ours and clean and member.cause not in FAILURES:
        return member.cause, True
    if member.step == Step.KILLED and member.cause == "stopped" and end.signal == "SIGTERM":
        return "stopped", True  # it had been sent before
    if end.signal is not None:
        return ("crashed" if end.signal in FAULTS else "killed from outside"), False
    return ("unknown" if unknown else "exited"), False
