"""The memory of a channel: where everything stands in it, who holds which place, and how others come to it.

It is one file without a name, reserved as a whole before data flows, that the processes of one user on one Linux host
map. Whoever made the channel keeps it open, with a pipe for each port to be woken by; others open both through
``/proc``, for as long as that process lives. Each port holds a lock of its own on the byte of its place, which the
system drops with the process.

    page 0     token, whether it has ended and why
    places     a block for each writer, then for each reader
    cursors    for each reader and writer: how many of its messages the reader is done with
    claims     where each message goes to one reader: who has claimed a slot, who is done with it
    headers    ``capacity`` headers of 256 bytes for each writer
    data       a ring of bytes for each writer

Every word is written by one process at a time, in one store of its own width, and never torn.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from dataclasses import dataclass

from cobre.transport.message_header import HEADER_BYTES
from cobre.transport.segment import page_rounded

__all__ = [
    "ABSENT",
    "ATTACHED",
    "CLOSED",
    "FAILED",
    "MARGIN",
    "PIECE",
    "Memory",
    "Plan",
    "lock_byte",
]

ABSENT, ATTACHED, CLOSED, FAILED = range(4)
"""States of a place."""

PIECE = 64
"""Payloads begin at multiples of this."""

MARGIN = 4096
"""Bytes that each ring has beyond what was asked for: room for the extension of a loan's header."""

_BLOCK = 512
_WORD = 8
ENDED, REASON = 128 // _WORD, 192
_REASON_BYTES = 248
# Words of a place's block; each group has cache lines of its own.
TAIL, WANTS, ASLEEP = 0, 8, 8
PROCESS, STARTED, STATE, ATTACHMENTS = 16, 17, 18, 19
MARKS, BYTES, BLOCKED, HIGH_WATER = 24, 25, 26, 27
_TEXT_AT = 256  # bytes
_GET_LOCK, _SET_LOCK = 36, 37  # F_OFD_...: some builds of Python do not name them
_FLOCK = "hhqqi4x"  # struct flock
_CLAIMING, _ENDING, _PLACES = 0, 1, 16  # bytes of the file that are locked
_CREATE_FLAGS = 1 | 2  # MFD_CLOEXEC, MFD_ALLOW_SEALING
_ADD_SEALS, _SEALS = 1033, 1 | 2 | 4  # F_ADD_SEALS: neither this nor the size may change


@dataclass(frozen=True)
class Plan:
    """Where everything stands. Offsets are bytes, names with ``_word`` are indices of 8-byte words."""

    writers: int
    readers: int
    capacity: int
    lane: int  # bytes of a ring, as asked for

    @property
    def ring(self) -> int:
        return page_rounded(self.lane + MARGIN)

    def writer_word(self, place: int) -> int:
        return (mmap.PAGESIZE + _BLOCK * place) // _WORD

    def reader_word(self, place: int) -> int:
        return self.writer_word(self.writers + place)

    def cursor_word(self, reader: int, writer: int) -> int:
        return self.writer_word(self.writers + self.readers) + (reader * self.writers + writer) * 8

    def low_word(self, writer: int) -> int:
        """All messages of the writer before this one have been claimed."""
        return self.cursor_word(self.readers, 0) + writer * 8

    def claims_word(self, writer: int) -> int:
        """``capacity`` words: (1 + sequence) << 8 | 1 + place of the reader that claimed it."""
        return self.low_word(self.writers) + writer * 3 * self.capacity

    def finished_word(self, writer: int) -> int:
        """``capacity`` words: 1 + sequence of the message in the slot that its reader is done with."""
        return self.claims_word(writer) + self.capacity

    def address_word(self, writer: int) -> int:
        """``capacity`` words: 1 + place of the reader that alone may claim it, 0 for any."""
        return self.claims_word(writer) + 2 * self.capacity

    def headers(self, writer: int) -> int:
        begin = -(-self.claims_word(self.writers) * _WORD // HEADER_BYTES) * HEADER_BYTES
        return begin + writer * self.capacity * HEADER_BYTES

    @property
    def control(self) -> int:
        """Bytes in front of the data."""
        return page_rounded(self.headers(self.writers))

    @property
    def size(self) -> int:
        return self.control + self.writers * self.ring


class Memory:
    """The control part of a channel's memory, as one process sees it, and the file it is in."""

    def __init__(self, plan: Plan, descriptor: int) -> None:
        """Takes over the descriptor. Raises OSError where it cannot be mapped."""
        self.plan = plan
        self.descriptor = descriptor
        self.control = mmap.mmap(descriptor, plan.control, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        self.words = memoryview(self.control).cast("Q")

    @classmethod
    def make(cls, plan: Plan, token: bytes) -> Memory:
        """New memory, all of it reserved. Raises OSError (ENOMEM, ENOSPC: no room), and nothing is left then."""
        descriptor = os.memfd_create("cobre-channel", _CREATE_FLAGS)
        try:
            os.posix_fallocate(descriptor, 0, plan.size)
            fcntl.fcntl(descriptor, _ADD_SEALS, _SEALS)
            memory = cls(plan, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        memory.control[: len(token)] = token
        return memory

    def holds(self, token: bytes) -> bool:
        """Whether this is the memory that the token was written into."""
        return self.control[: len(token)] == token

    def map_all(self) -> mmap.mmap:
        """Control and data, to be written to."""
        return mmap.mmap(self.descriptor, self.plan.size, mmap.MAP_SHARED | mmap.MAP_POPULATE)

    def map_data(self) -> mmap.mmap:
        """The data, to be read only: whatever is made of it cannot be written to."""
        size, flags = self.plan.size - self.plan.control, mmap.MAP_SHARED | mmap.MAP_POPULATE
        return mmap.mmap(self.descriptor, size, flags, mmap.PROT_READ, offset=self.plan.control)

    def block_word(self, writing: bool, place: int) -> int:
        return self.plan.writer_word(place) if writing else self.plan.reader_word(place)

    def claim_place(self, writing: bool, place: int) -> bool:
        """Locks the place; False where somebody else holds it."""
        return lock_byte(self.descriptor, _PLACES + (place if writing else self.plan.writers + place))

    def is_held(self, writing: bool, place: int) -> bool:
        """Whether somebody else holds the place, and lives."""
        at = _PLACES + (place if writing else self.plan.writers + place)
        request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)
        return bool(struct.unpack(_FLOCK, fcntl.fcntl(self.descriptor, _GET_LOCK, request))[0] != fcntl.F_UNLCK)

    def lock_claims(self) -> bool:
        """Whether this process may claim messages now: ``unlock_claims`` soon."""
        try:
            fcntl.fcntl(self.descriptor, _SET_LOCK, _LOCK_CLAIMS)
        except (BlockingIOError, PermissionError):  # as systems differ
            return False
        return True

    def unlock_claims(self) -> None:
        fcntl.fcntl(self.descriptor, _SET_LOCK, _UNLOCK_CLAIMS)

    def place_text(self, writing: bool, place: int) -> str:
        """Why a port was abandoned."""
        at = self.block_word(writing, place) * _WORD + _TEXT_AT
        return self._text(at)

    def set_place_text(self, writing: bool, place: int, text: str) -> None:
        self._set_text(self.block_word(writing, place) * _WORD + _TEXT_AT, text)

    @property
    def ended(self) -> bool:
        return self.words[ENDED] != 0

    @property
    def reason(self) -> str:
        """Why it was ended."""
        return self._text(REASON)

    def end(self, reason: str) -> None:
        """Says that the channel has ended; the first reason stays."""
        while not lock_byte(self.descriptor, _ENDING):
            os.sched_yield()  # somebody else is saying so
        try:
            if not self.ended:
                self._set_text(REASON, reason)
                self.words[ENDED] = 1
        finally:
            _unlock(self.descriptor, _ENDING, 1)

    def _text(self, at: int) -> str:
        length = self.words[at // _WORD]
        return bytes(self.control[at + _WORD : at + _WORD + length]).decode(errors="replace")

    def _set_text(self, at: int, text: str) -> None:
        encoded = text.encode(errors="replace")[:_REASON_BYTES]
        self.control[at + _WORD : at + _WORD + len(encoded)] = encoded
        self.words[at // _WORD] = len(encoded)

    def close(self) -> None:
        """Gives up locks and descriptor; the mapping goes with the last thing that refers to it."""
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):
                _unlock(self.descriptor, 0, 0)  # a mapping keeps the file open, and with it the locks
            os.close(self.descriptor)
            self.descriptor = -1


_LOCK_CLAIMS = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _CLAIMING, 1, 0)
_UNLOCK_CLAIMS = struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, _CLAIMING, 1, 0)


def lock_byte(descriptor: int, at: int) -> bool:
    """Locks one byte for this opening of the file; False where another opening has it."""
    try:
        fcntl.fcntl(descriptor, _SET_LOCK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0))
    except BlockingIOError:
        return False
    except PermissionError:  # what some systems say instead
        return False
    return True


def _unlock(descriptor: int, at: int, length: int) -> None:
    fcntl.fcntl(descriptor, _SET_LOCK, struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, at, length, 0))
