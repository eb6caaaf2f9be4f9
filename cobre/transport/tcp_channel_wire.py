"""What a writer and a reader of a tcp channel say to each other, once each knows who the other is.

Two streams lead from each writer to each reader. On the first the writer sends frames: a prefix, a message's header,
its body (payload and extension) and, last, a trailer that says whether the message counts. A writer whose time runs out
in the middle fills up what is missing and says that it does not: a reader never sees a part of a message. On the second
the reader says where it is with them, that it leaves, or that the channel has ended. A writer that has died or left
therefore never has anything unread that would make its system throw away what it had sent.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "Account",
    "DROPPED",
    "FILLER",
    "KEPT",
    "NOTE_TEXT",
    "PREFIX",
    "TRAILER",
    "Frame",
    "Note",
    "NoteReader",
    "Say",
    "pack_note",
    "pack_prefix",
    "unpack_prefix",
]

_PREFIX = struct.Struct("<B7xQQ")  # what follows, bytes of the body, nanoseconds that the writer has been blocked
_NOTE = struct.Struct("<B3xIQQQQ")  # what it is, bytes of text, an account

PREFIX = _PREFIX.size
"""Bytes before every frame."""

NOTE_TEXT = 4096
"""Bytes of words that either sends, at most."""

TRAILER = 8
"""Bytes after every message."""

KEPT, DROPPED = b"kept....", b"dropped."
"""The two trailers."""

FILLER = bytes(1 << 18)
"""What stands in place of the rest of a payload whose message does not count."""


class Frame(IntEnum):
    """What a writer sends."""

    MESSAGE = 1
    WANTING = 2  # it waits for room: the size is one more than what it needs, or 0: no longer; nothing follows
    LEAVING = 3  # it has closed in good order
    ABANDONING = 4  # it has not; size bytes of words follow


class Say(IntEnum):
    """What a reader sends."""

    ACCOUNT = 1  # where it is with the writer's messages
    LEAVING = 2
    ABANDONING = 3  # text: why
    ENDED = 4  # text: why


class Account(NamedTuple):
    """Where a reader is with the messages of one writer: numbers since the beginning.

    done, done_bytes: it has given back so many messages, and bytes. taken: its user has got so many. wanted: where each
    message goes to one reader, it can do with so many.
    """

    done: int = 0
    done_bytes: int = 0
    taken: int = 0
    wanted: int = 0


class Note(NamedTuple):
    """A reader's word."""

    say: Say
    account: Account
    text: str


_NO_ACCOUNT = Account()


def pack_prefix(frame: Frame, size: int, blocked: int) -> bytes:
    """size: bytes of a body or of words; blocked: nanoseconds that the writer has waited for room up to now."""
    return _PREFIX.pack(frame, size, blocked)


def unpack_prefix(data: bytes | bytearray | memoryview, at: int) -> tuple[Frame, int, int]:
    """Back again. Raises ValueError for bytes that are none."""
    frame, size, blocked = _PREFIX.unpack_from(data, at)
    return Frame(frame), size, blocked


def pack_note(say: Say, account: Account = _NO_ACCOUNT, text: str = "") -> bytes:
    """account: of an ACCOUNT; text: of all others."""
    words = text.encode("utf-8", "replace")[:NOTE_TEXT]
    return _NOTE.pack(say, len(words), *account) + words


class NoteReader:
    """Puts notes together from the pieces in which they arrive."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[Note]:
        """The notes that are complete now. Raises ValueError for bytes that are none."""
        held, at, found = self._held + data, 0, []
        while len(held) - at >= _NOTE.size:
            say, length, *account = _NOTE.unpack_from(held, at)
            if length > NOTE_TEXT:
                raise ValueError("no note")
            end = at + _NOTE.size + length
            if len(held) < end:
                break
            words = held[at + _NOTE.size : end].decode("utf-8", "replace")
            found.append(Note(Say(say), Account(*account), words))
            at = end
        self._held = held[at:]
        return found
