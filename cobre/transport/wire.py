"""What two ranks of a tcp group say to each other: the header before every payload, and notices beside them.

A payload is preceded by a header of 40 bytes that says which collective it belongs to. The receiver knows what must
stand there, byte for byte, before it reads: whatever differs is a mismatch, and nothing is parsed to find that out.

A notice travels on a channel of its own, past payloads that are stuck. It is 16 bytes, then
ranks and a text of bounded length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from cobre.transport.digests import digest

__all__ = ["HEADER", "Abort", "Answer", "Ask", "Goodbye", "Notice", "NoticeReader", "header", "signature"]

HEADER = 40
"""Bytes before every payload."""

_MAGIC = b"cbr1"
_HEADER = struct.Struct("<4sIQ16sQ")  # magic, generation, sequence number, signature, bytes of payload
_NOTICE = struct.Struct("<BBHIQ")  # what it is, kind of error, number of ranks, bytes of text, sequence number
_NOTICE_TEXT = 2048
_NOTICE_RANKS = 256
_KINDS = ("Aborted", "RankLost", "Timeout", "Mismatch", "Closed")
_ABORT, _GOODBYE, _ASK, _ANSWER = 1, 2, 3, 4


def header(generation: int, sequence: int, signature: bytes, length: int) -> bytes:
    """The bytes that stand before ``length`` bytes of payload."""
    return _HEADER.pack(_MAGIC, generation, sequence, signature, length)


def signature(*call: object) -> bytes:
    """Sixteen bytes that stand for a call: its name and everything that must be the same on all ranks.

    call: plain values, tuples of them, and dtypes.
    """
    text = repr([part.descr if isinstance(part, np.dtype) else part for part in call])
    return digest(text.encode(), 16)


@dataclass(frozen=True)
class Abort:
    """The sender's group is broken: the kind of its error, whom it blames, its words, and since which collective.

    Ranks that are still in an earlier one, which the sender has finished, finish it too. 0: at once.
    """

    kind: str
    ranks: tuple[int, ...]
    reason: str
    sequence: int = 0

    def pack(self) -> bytes:
        text = self.reason.encode("utf-8", "replace")[:_NOTICE_TEXT]
        ranks = self.ranks[:_NOTICE_RANKS]
        head = _NOTICE.pack(_ABORT, _KINDS.index(self.kind), len(ranks), len(text), self.sequence)
        return head + struct.pack(f"<{len(ranks)}I", *ranks) + text


@dataclass(frozen=True)
class Goodbye:
    """The sender has closed its communicator, after so many collectives."""

    collectives: int

    def pack(self) -> bytes:
        return _NOTICE.pack(_GOODBYE, 0, 0, 0, self.collectives)


@dataclass(frozen=True)
class Ask:
    """The sender's patience is at its end: whom does the receiver wait for?"""

    def pack(self) -> bytes:
        return _NOTICE.pack(_ASK, 0, 0, 0, 0)


@dataclass(frozen=True)
class Answer:
    """The sender is inside a collective, and waits for these ranks."""

    ranks: tuple[int, ...]

    def pack(self) -> bytes:
        ranks = self.ranks[:_NOTICE_RANKS]
        return _NOTICE.pack(_ANSWER, 0, len(ranks), 0, 0) + struct.pack(f"<{len(ranks)}I", *ranks)


Notice = Abort | Goodbye | Ask | Answer


class NoticeReader:
    """Puts notices together from the pieces in which they arrive; holds at most one notice's bytes."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[Notice]:
        """The notices that are complete now. Raises ValueError for bytes that are none."""
        self._held += data
        found = []
        while (notice := self._next()) is not None:
            found.append(notice)
        return found

    def _next(self) -> Notice | None:
        if len(self._held) < _NOTICE.size:
            return None
        what, kind, count, length, sequence = _NOTICE.unpack_from(self._held)
        if kind >= len(_KINDS) or count > _NOTICE_RANKS or length > _NOTICE_TEXT:
            raise ValueError("no notice")
        end = _NOTICE.size + 4 * count + length
        if len(self._held) < end:
            return None
        body, self._held = self._held[_NOTICE.size : end], self._held[end:]
        if what == _ASK:
            return Ask()
        if what == _GOODBYE:
            return Goodbye(sequence)
        ranks = struct.unpack_from(f"<{count}I", body)
        if what == _ANSWER:
            return Answer(ranks)
        if what == _ABORT:
            return Abort(_KINDS[kind], ranks, body[4 * count :].decode("utf-8", "replace"), sequence)
        raise ValueError("no notice")
