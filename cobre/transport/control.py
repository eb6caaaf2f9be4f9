"""The first pages of a group's segment: who is there, how far each rank is, who sleeps, and why it came to an end.

    0      magic, version, size, generation, bytes of one half of the data, formed, secret, ...
    1024   16 bits for each rank: 1 + the rank it sleeps for, 0 while it is awake
    4096   512 bytes for each rank: two flags and a bell on cache lines of their own, its process, its verdict

Every word has one writer at a time and is written by one store of its own width, so that it is never seen torn; but for
``claims``, which two ranks write by compare and swap (meet.c).
Words are ctypes objects over the mapping: the quickest way to read one from Python.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from cobre.errors import CommError
from cobre.transport import futex
from cobre.transport.failures import Group
from cobre.transport.fence import be_fenced
from cobre.transport.segment import page_rounded

__all__ = ["ASLEEP", "COUNTER", "MAGIC", "MAX_SIZE", "REASONS", "VERSION", "Control", "State", "Verdict", "started_at"]

COUNTER = 0xFFFFFF
"""The bits of a flag that count collectives; those above say which call it is."""

ASLEEP = 1 << 60
"""The bit of a flag that says that its rank, which has arrived, sleeps: whoever arrives reads all flags anyway."""

MAGIC = 0x0065_7262_6F63_0001
VERSION = 2
MAX_SIZE = (4096 - 1024) // 2
_HEADER, _BLOCK, _SLEEPERS = 4096, 512, 1024
_TEXT = 216  # bytes of a verdict's reason


class State(IntEnum):
    """What a rank has said of itself."""

    ABSENT = 0
    ATTACHED = 1
    CLOSED = 2
    BROKEN = 3


REASONS = ("Aborted", "Mismatch", "RankLost", "Timeout")
"""The kinds of CommError that one rank passes on to the others; their places here are what stands in the segment."""


@dataclass(frozen=True)
class Verdict:
    """Why a rank gave up. blamed: the ranks that it found missing or wrong, at most 16 of them."""

    kind: str
    blamed: tuple[int, ...]
    text: str

    @classmethod
    def of(cls, error: BaseException) -> Verdict:
        """What the others are told of an error that ended this rank's part."""
        if isinstance(error, CommError) and error.kind in REASONS:
            return cls(error.kind, tuple(error.context.get("ranks", ())), error.context.get("reason", error.message))
        return cls("Aborted", (), f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    def error(self, group: Group, operation: str, rank: int) -> CommError:
        """The error of a rank of ``group`` that meets this verdict of ``rank``."""
        if self.kind == "Aborted":
            by = "" if rank == group.rank else f" (by rank {rank})"
            return group.aborted(operation, f"{self.text or 'no reason was given'}{by}", self.blamed, self.text)
        told = f"the group is broken: {self.text}" if rank == group.rank else f"rank {rank} gave up: {self.text}"
        return group.error(self.kind, operation, told, ranks=list(self.blamed), reason=self.text)


class _Header(ctypes.Structure):
    _fields_ = (
        ("magic", ctypes.c_uint64),
        ("version", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("generation", ctypes.c_uint64),
        ("half", ctypes.c_uint64),
        ("formed", ctypes.c_uint64),
        ("dispute", ctypes.c_uint64),  # 1 + the size that a rank came with, where it was another one
        ("disputing", ctypes.c_uint64),  # that rank
        ("granted", ctypes.c_uint64),  # what came of the leader's last attempt to make a segment
        ("secret", ctypes.c_char * 32),
    )


class _Rank(ctypes.Structure):
    _fields_ = (
        ("even", ctypes.c_uint64),
        ("_1", ctypes.c_char * 56),
        ("odd", ctypes.c_uint64),
        ("_2", ctypes.c_char * 56),
        ("bell", ctypes.c_uint32),
        ("_3", ctypes.c_char * 60),
        ("state", ctypes.c_uint64),
        ("process", ctypes.c_uint64),
        ("started", ctypes.c_uint64),
        ("namespace", ctypes.c_uint64),  # in which "process" is a number
        ("fenced", ctypes.c_uint64),  # whether others can fence it
        ("answer", ctypes.c_uint64),  # what came of this rank's last attempt to attach to a segment
        ("reason", ctypes.c_uint64),
        ("blamed", ctypes.c_uint16 * 16),  # 1 + rank
        ("length", ctypes.c_uint64),
        ("text", ctypes.c_char * _TEXT),
        ("claims", ctypes.c_uint64),  # of units of work that this rank, if it is even, shares with the next one
    )


assert ctypes.sizeof(_Header) <= _SLEEPERS
assert ctypes.sizeof(_Rank) <= _BLOCK


class Control:
    """The control pages, seen by one rank."""

    def __init__(self, memory: mmap.mmap, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self.header = _Header.from_buffer(memory)
        blocks = [_HEADER + _BLOCK * r for r in range(size)]
        self.ranks = [_Rank.from_buffer(memory, at) for at in blocks]
        halves = (_Rank.even.offset, _Rank.odd.offset)
        self.flags = [[ctypes.c_uint64.from_buffer(memory, at + half) for at in blocks] for half in halves]
        self.bells = [ctypes.c_uint32.from_buffer(memory, at + _Rank.bell.offset) for at in blocks]
        self.sleeping = [ctypes.c_uint16.from_buffer(memory, _SLEEPERS + 2 * r) for r in range(size)]
        self.claims = [ctypes.c_uint64.from_buffer(memory, at + _Rank.claims.offset) for at in blocks]
        self._rings = itertools.count()  # of all threads of this process

    @staticmethod
    def bytes_for(size: int) -> int:
        """Bytes that the control pages of a group take; its data begins there."""
        return page_rounded(_HEADER + _BLOCK * size)

    def ring(self, rank: int) -> None:
        """Wakes a rank that sleeps, or keeps it from falling asleep."""
        # Whatever stood there must change, whoever else rings at this moment: each ringer has values of its own.
        self.bells[rank].value = (self.rank + 1) << 20 | next(self._rings) & 0xFFFFF
        futex.wake(self.bells[rank])

    def ring_all(self) -> None:
        """Wakes every other rank, and whichever thread of this one sleeps."""
        for rank in range(self.size):
            self.ring(rank)

    def found(self, generation: int, half: int) -> None:
        """Fills in the header of a new group, all but ``magic``."""
        header = self.header
        header.version, header.size, header.generation, header.half = VERSION, self.size, generation, half
        header.secret = os.urandom(16).hex().encode()  # the module secrets would load a cryptography library

    def register(self) -> None:
        """Says that this rank is there, and which process it is."""
        # Flags read as "two collectives ago", so that the first of each parity finds them behind.
        self.flags[0][self.rank].value, self.flags[1][self.rank].value = 0, COUNTER
        mine = self.ranks[self.rank]
        mine.process, mine.started = os.getpid(), started_at(os.getpid())
        mine.namespace, mine.fenced = _namespace(), be_fenced()
        mine.state = State.ATTACHED

    def process(self, rank: int) -> tuple[int, int] | None:
        """A rank's process and when it started, or None where its number means nothing here."""
        theirs = self.ranks[rank]
        return (theirs.process, theirs.started) if theirs.namespace == _namespace() else None

    def state(self, rank: int) -> State:
        return State(self.ranks[rank].state)

    def give_up(self, verdict: Verdict) -> None:
        """Posts why this rank takes part no longer, then wakes everybody."""
        mine = self.ranks[self.rank]
        text = verdict.text.encode()[:_TEXT]  # cut where it is too long; a broken last letter is replaced when read
        mine.reason, mine.length, mine.text = REASONS.index(verdict.kind), len(text), text
        for place, rank in enumerate(verdict.blamed[:16]):
            mine.blamed[place] = 1 + rank
        mine.state = State.BROKEN
        self.ring_all()

    def verdict(self, rank: int) -> Verdict:
        """Why a rank, whose state is BROKEN, gave up."""
        theirs = self.ranks[rank]
        text = bytes(theirs.text)[: theirs.length].decode(errors="replace")
        return Verdict(REASONS[theirs.reason], tuple(r - 1 for r in theirs.blamed if r), text)


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def started_at(process: int) -> int:
    """When a process began, in the system's ticks: with its number, what tells it from a later one; 0 if unknown."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[19])
