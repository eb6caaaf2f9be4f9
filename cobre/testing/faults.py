"""Faults on purpose: what a run does when a worker fails, seen with a run of one's own.

with faults.inject(rank=1, how="SIGKILL", when="backward", iteration=2, stage=3):
    cobre.train("case", num_workers=3)  # raises WorkerError

The block sets the environment variable COBRE_FAULTS, which may as well be set by hand: JSON, an object as in
``{"rank": 1, "how": "SIGKILL", "when": "backward", "iteration": 2, "stage": 3}`` or a list of them. What it says is
looked at before any worker starts. A fault at a point that the run never comes to does nothing; one that happens is
logged by the worker first, so that its stderr and the WorkerError's context tell that it was no accident.

How a worker fails (``HOWS``):

    raise-cobre         raises a CobreError of kind ``Injected``
    raise               raises a ValueError
    unpicklable-error   raises an exception that cannot be sent to the parent
    unpicklable-result  goes on, but what its call returns in the end cannot be sent
    system-exit         raises SystemExit with code 4
    exit                ends by ``os._exit(3)``
    SIGKILL             is killed as the system kills: no handler, no clean-up
    SIGSEGV             reads from address 0
    abort               calls abort(), as a failed assertion in a library does
    out-of-memory       lowers its own limit (RLIMIT_AS) and allocates beyond it: a MemoryError. Linux only
    memory-limit        grows by 400 MB, 16 MB at a time, and then hangs: what ``memory_limit`` is for
    hang                stands still in Python
    hang-native         stands still in C code that holds the interpreter's lock, so that no thread of it runs
    stop                stops itself (SIGSTOP)
    broken-transport    breaks what it talks to the other ranks through: tcp connections are shut down, a group in
                        shared memory is aborted; it goes on to its next collective

When (``WHENS``): the first time that the worker comes to the point, or the first time in the given ``iteration`` and
``stage``, both from 1. In a simulation the ``iteration`` is the number of the block of scenarios.

    starting            its object is made
    connecting          it is about to meet the other ranks
    forward, backward   a stage of that pass of the training
    bound               the lower bound at the end of an iteration (which takes no ``stage``)
    collective          it is 0.05 s late for a collective, in which the others wait for it meanwhile
    simulation          a stage of a block of scenarios
    writing             it is about to write what was simulated of a block (which takes no ``stage``)
    stopping            all is computed, and its call is about to return

A fault happens once, in the first process that has the rank: a process that replaces it (``max_restarts``,
``cobre.Workers``) has none. With ``life`` it is that of the rank's second process, or third; with ``"each": true``
every process of the rank has it, each time that it comes to the point.

A node of a pipeline is named instead of a rank: ``inject(node="mix", how="SIGKILL", when="processing", message=3)``,
or ``{"node": "mix", ...}``. It has all hows but the two that are of a rank's results and of its group, and these
whens (``NODE_WHENS``); sessions that are started inside the block have the fault:

    initializing        before its ``initialize``
    processing          before its ``process``, of any message or of the given one (from 1); a source: before it sends
    waiting             in the middle of waiting for a message, 0.05 s after it began
    publishing          in the middle of waiting for room to publish, 0.05 s after it began
    stopping            when all its inputs have ended, before its ``finish``
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cobre.engine.marks import POINTS
from cobre.errors import Diagnostic, DiagnosticKind, ValidationError
from cobre.testing.faults_deeds import DEEDS
from cobre.testing.faults_nodes import NODE_HOWS, NODE_WHENS, NodeFault

__all__ = [
    "HOWS",
    "NODE_HOWS",
    "NODE_WHENS",
    "VARIABLE",
    "WHENS",
    "Fault",
    "NodeFault",
    "arm",
    "check",
    "inject",
    "parse",
]

log = logging.getLogger(__name__)

VARIABLE = "COBRE_FAULTS"
HOWS = tuple(DEEDS)
WHENS = POINTS
_TAKES = {"starting": (), "connecting": (), "stopping": (), "bound": ("iteration",), "writing": ("iteration",)}
_LATE = 0.05  # seconds


@dataclass(frozen=True)
class Fault:
    """What one rank does to itself, and where. iteration, stage: None is any.

    life: which process of the rank has it, from 1. each: all of them have it, again and again.
    """

    rank: int
    how: str
    when: str
    iteration: int | None = None
    stage: int | None = None
    life: int = 1
    each: bool = False

    def __str__(self) -> str:
        place = [f"{name} {value}" for name in ("iteration", "stage") if (value := getattr(self, name)) is not None]
        return f"rank {self.rank}: {self.how} at {' '.join([self.when, *place])}"

    def is_at(self, point: str, iteration: int, stage: int) -> bool:
        """Whether this is where it happens."""
        return self.when == point and self.iteration in (None, iteration) and self.stage in (None, stage)


@contextmanager
def inject(
    *,
    how: str,
    when: str,
    rank: int | None = None,
    iteration: int | None = None,
    stage: int | None = None,
    life: int | None = None,
    each: bool | None = None,
    node: str | None = None,
    message: int | None = None,
) -> Iterator[Fault | NodeFault]:
    """Workers (or nodes) that are started inside the block have this fault; blocks inside each other add up.

    It goes through the environment of this process, which all threads share. Raises ValidationError for what no
    worker could do.
    """
    before = os.environ.get(VARIABLE)
    given = {"rank": rank, "how": how, "when": when, "iteration": iteration, "stage": stage, "life": life, "each": each}
    told = [{name: value for name, value in {**given, "node": node, "message": message}.items() if value is not None}]
    fault = parse(json.dumps(told))[0]
    os.environ[VARIABLE] = json.dumps([*_read(before or "[]"), *told])
    try:
        yield fault
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def arm(rank: int, text: str, life: int = 1) -> Callable[..., None]:
    """What a worker, the rank's ``life``-th process, calls at every point that it comes to.

    Raises ValidationError for a text that makes no sense.
    """
    mine = [fault for fault in parse(text) if isinstance(fault, Fault) and fault.rank == rank]
    waiting = [fault for fault in mine if fault.each or fault.life == life]

    def reached(point: str, *, iteration: int = 0, stage: int = 0) -> None:
        for fault in [fault for fault in waiting if fault.is_at(point, iteration, stage)]:
            if not fault.each:
                waiting.remove(fault)
            log.warning("injected fault: %s", fault)
            if point == "collective":
                time.sleep(_LATE)
            DEEDS[fault.how]()

    return reached


def check(text: str, size: int) -> None:
    """Raises ValidationError where the text makes no sense, or names a rank that a run of ``size`` ranks has not."""
    found = [
        _fault("OutOfRange", f"[{number}].rank", fault.rank, f"the run has ranks 0 to {size - 1}")
        for number, fault in enumerate(parse(text))
        if isinstance(fault, Fault) and fault.rank >= size
    ]
    if found:
        raise ValidationError.of(found, VARIABLE)


def parse(text: str) -> list[Fault | NodeFault]:
    """The faults that the text asks for. Raises ValidationError with everything that is wrong with it."""
    found: list[Diagnostic] = []
    told = _read(text)
    for number, each in enumerate(told):
        found += _look_at(number, each)
    if found:
        raise ValidationError.of(found, VARIABLE)
    return [NodeFault(**each) if "node" in each else Fault(**each) for each in told]


def _read(text: str) -> list[Any]:
    try:
        told = json.loads(text)
    except ValueError as error:
        raise ValidationError.of([_fault("ParseError", "", text, f"is no JSON: {error}")], VARIABLE) from None
    return told if isinstance(told, list) else [told]


def _look_at(number: int, told: Any) -> Iterator[Diagnostic]:
    at = f"[{number}]"
    if not isinstance(told, Mapping):
        yield _fault("TypeMismatch", at, told, "must be an object with rank (or node), how and when")
        return
    if "node" in told:
        yield from _look_at_node(at, told)
        return
    for name in {*told} - {"rank", "how", "when", "iteration", "stage", "life", "each"}:
        yield _fault("SchemaViolation", f"{at}.{name}", told[name], "is no field of a fault")
    for name, known in (("how", HOWS), ("when", WHENS)):
        if told.get(name) not in known:
            yield _fault("InvalidEnum", f"{at}.{name}", told.get(name), f"must be one of {', '.join(known)}")
    if not _is_whole(told.get("rank"), 0):
        yield _fault("OutOfRange", f"{at}.rank", told.get("rank"), "must be a whole number from 0")
    for name in ("iteration", "stage"):
        value = told.get(name)
        if value is not None and not _is_whole(value, 1):
            yield _fault("OutOfRange", f"{at}.{name}", value, "must be a whole number from 1")
        elif value is not None and name not in _TAKES.get(str(told.get("when")), ("iteration", "stage")):
            yield _fault("IncompatibleSettings", f"{at}.{name}", value, f"{told['when']} has no {name}")
    if not _is_whole(told.get("life", 1), 1):
        yield _fault("OutOfRange", f"{at}.life", told["life"], "must be a whole number from 1")
    if not isinstance(told.get("each", False), bool):
        yield _fault("TypeMismatch", f"{at}.each", told["each"], "must be true or false")
    if told.get("each") is True and "life" in told:
        yield _fault("IncompatibleSettings", f"{at}.life", told["life"], "each is every process of the rank")
    if told.get("how") == "out-of-memory" and sys.platform != "linux":
        yield _fault("NotSupported", f"{at}.how", told["how"], "only Linux holds a process to RLIMIT_AS")


def _look_at_node(at: str, told: Mapping[str, Any]) -> Iterator[Diagnostic]:
    for name in {*told} - {"node", "how", "when", "message"}:
        yield _fault("SchemaViolation", f"{at}.{name}", told[name], "is no field of a node's fault")
    for name, known in (("how", NODE_HOWS), ("when", NODE_WHENS)):
        if told.get(name) not in known:
            yield _fault("InvalidEnum", f"{at}.{name}", told.get(name), f"must be one of {', '.join(known)}")
    if not isinstance(told["node"], str):
        yield _fault("TypeMismatch", f"{at}.node", told["node"], "must be the name of a node")
    message = told.get("message")
    if message is not None and not _is_whole(message, 1):
        yield _fault("OutOfRange", f"{at}.message", message, "must be a whole number from 1")
    elif message is not None and told.get("when") != "processing":
        yield _fault("IncompatibleSettings", f"{at}.message", message, f"{told.get('when')} has no message")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _fault(kind: DiagnosticKind, place: str, value: object, text: str) -> Diagnostic:
    return Diagnostic(kind, "settings", text, field=f"{VARIABLE}{place}", value=value)
