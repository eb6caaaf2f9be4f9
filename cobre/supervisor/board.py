"""A page of words that a process writes and its supervisor reads, even after the process was killed."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from ctypes import addressof, c_char

__all__ = ["BEATS", "WAITING", "Board"]

_BYTES = 4096  # a page, the same on every system that maps more at once
BEATS, WAITING, _BUSY, _MARKS = 0, 1, 2, 3


class Board:
    """Words of 64 bits in memory without a name that two processes map; the worker writes, the supervisor reads.

    A word is written by one store: it is never seen torn, and costs neither side a system call. One writer a word.
    """

    def __init__(self, descriptor: int, marks: Sequence[str] = ()) -> None:
        """Maps the page behind ``descriptor``, which stays the caller's to close. marks: names of the free words."""
        if len(marks) > _BYTES // 8 - _MARKS:
            raise ValueError(f"a board has room for {_BYTES // 8 - _MARKS} marks, not for {len(marks)}")
        self._memory = mmap.mmap(descriptor, _BYTES)
        self._words = memoryview(self._memory).cast("q")
        self._places = {name: place for place, name in enumerate(marks, _MARKS)}

    def beat(self) -> None:
        """Says that the process goes on."""
        self._words[BEATS] += 1

    def mark(self, name: str, value: int) -> None:
        """Writes a free word. Raises KeyError for a name that the process was not started with."""
        self._words[self._places[name]] = value

    @property
    def words(self) -> memoryview:
        """All words, for a process that cannot spend a call on each: those of ``place`` and ``WAITING`` are its own."""
        return self._words

    def place(self, name: str) -> int:
        """Where a free word stands among ``words``. Raises KeyError."""
        return self._places[name]

    def address(self, name: str | None = None) -> int:
        """Of a free word, or of the one that ``beat`` counts in, for compiled loops; good until ``close``."""
        place = BEATS if name is None else self._places[name]
        return addressof(c_char.from_buffer(self._memory, 8 * place))

    def marks(self) -> dict[str, int]:
        """The free words by name; 0 where nothing was written."""
        return {name: self._words[place] for name, place in self._places.items()}

    @property
    def beats(self) -> int:
        """How often ``beat`` was called."""
        return self._words[BEATS]

    @property
    def waiting(self) -> bool:
        """Whether the process waits for others, so that standing still is not its fault."""
        return bool(self._words[WAITING])

    @waiting.setter
    def waiting(self, value: bool) -> None:
        self._words[WAITING] = value

    @property
    def busy(self) -> bool:
        """Whether the process has work to do: only then can it hang."""
        return bool(self._words[_BUSY])

    @busy.setter
    def busy(self, value: bool) -> None:
        self._words[_BUSY] = value

    def close(self) -> None:
        """Gives the memory back; may be called twice. What is asked after that raises ValueError."""
        self._words.release()
        self._memory.close()


def new_page() -> int:
    """The descriptor of a page of zeros that two processes can map, and that is gone with its last user.

    Raises OSError.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("cobre-board", os.MFD_CLOEXEC)
    else:
        import tempfile  # a process of ours, which imports this module as well, never comes here

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, _BYTES)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
