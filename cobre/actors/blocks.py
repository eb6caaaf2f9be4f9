"""Memory that both ends of an actor map: written by the end that owns it, read by the other, under no name anywhere.

An owner keeps its blocks in a Pool and uses them again once the other end has let go of them, so that their pages are
there already. The other end keeps its mappings too and knows by a weak reference when the last view has died.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["OUT_OF_BAND", "Block", "Mappings", "Pool", "make_block"]

OUT_OF_BAND = 1 << 16  # bytes from which on memory is worth a block
_MOST_AT_ONCE = 32  # blocks of one end that the other holds; each costs both ends a descriptor
_KEEP = 1 << 26  # bytes that a pool keeps ready
_ASK_FIRST = 1 << 26  # bytes from which on it is asked whether the memory is there
_POPULATE: int = getattr(mmap, "MAP_POPULATE", 0)


class Block:
    """Memory of ``size`` bytes. ``descriptor`` is closed once the other end has it; ``announced`` says so."""

    __slots__ = ("announced", "descriptor", "memory", "number", "size", "view")

    def __init__(self, number: int, size: int, descriptor: int, memory: mmap.mmap) -> None:
        self.number = number
        self.size = size
        self.descriptor = descriptor
        self.memory = memory
        self.view = memoryview(memory)
        self.announced = False

    def close(self) -> None:
        """Gives the memory back, as far as this end is concerned."""
        with contextlib.suppress(BufferError):  # somebody writes into it at this moment: it goes when he is done
            self.view.release()
            self.memory.close()
        self.close_descriptor()

    def close_descriptor(self) -> None:
        """The mapping stays."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def make_block(number: int, size: int) -> Block:
    """A new block, all of it reserved: what is not there is an OSError now and not a SIGBUS later."""
    if size >= _ASK_FIRST and size > _available():
        raise MemoryError(f"{size:,} bytes are more than the machine has free")
    descriptor = _anonymous_file()
    try:
        _reserve(descriptor, size)
        memory = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | _POPULATE)
    except BaseException:
        os.close(descriptor)
        raise
    return Block(number, size, descriptor, memory)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("cobre-block", os.MFD_CLOEXEC)
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="cobre-")
    os.unlink(path)
    return descriptor


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(1 << 20)
    while size > 0:
        size -= os.write(descriptor, zeros[:size])


def _available() -> int:
    """Bytes that the machine can give without killing anybody, as far as it says."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/meminfo", "rb") as info:
        for line in info:
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) << 10
    return 1 << 62


def _size_class(size: int) -> int:
    """The next of four steps to a power of two: at most a quarter is wasted."""
    step = max(mmap.PAGESIZE, 1 << max(0, (size - 1).bit_length() - 3))
    return -(-size // step) * step


class Pool:
    """The blocks that this end owns and writes. Safe to use from several threads.

    forgotten: numbers of blocks that were given back to the system and that the other end may unmap.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lent: dict[int, Block] = {}
        self._free: list[Block] = []
        self._idle = 0
        self._last = 0
        self._closed = False
        self.forgotten: deque[int] = deque()

    def take(self, size: int) -> Block | None:
        """A block of at least that size, lent until its number comes back; None where too many are lent.

        Raises OSError or MemoryError where there is no memory.
        """
        size = _size_class(size)
        with self._lock:
            if self._closed or len(self._lent) >= _MOST_AT_ONCE:
                return None
            for index in range(len(self._free) - 1, -1, -1):
                if self._free[index].size == size:
                    block = self._free.pop(index)
                    self._idle -= size
                    break
            else:
                self._last += 1
                block = make_block(self._last, size)
            self._lent[block.number] = block
            return block

    def give_back(self, number: int) -> None:
        """The other end has let go of it, or has never heard of it."""
        with self._lock:
            block = self._lent.pop(number, None)
            if block is None:
                return
            self._free.append(block)
            self._idle += block.size
            while self._idle > _KEEP or len(self._free) > _MOST_AT_ONCE:
                oldest = self._free.pop(0)
                self._idle -= oldest.size
                if oldest.announced:
                    self.forgotten.append(oldest.number)
                oldest.close()

    def close(self) -> None:
        """Gives all memory back; the other end's views stay valid for as long as it lives."""
        with self._lock:
            self._closed = True
            for block in (*self._lent.values(), *self._free):
                block.close()
            self._lent.clear()
            self._free.clear()


class Mappings:
    """The other end's blocks, mapped here to be read.

    on_release: called, in whatever thread drops the last view of a block, after its number was added to ``released``;
    it must not take a lock.
    """

    def __init__(self, on_release: Callable[[], None] | None = None) -> None:
        self._mapped: dict[int, mmap.mmap] = {}
        self._live: dict[int, weakref.ref[Any]] = {}
        self._on_release = on_release
        self.released: deque[int] = deque()

    def add(self, number: int, size: int, descriptor: int) -> None:
        """Maps a block whose descriptor has come, and closes the descriptor. Raises OSError."""
        try:
            self._mapped[number] = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | _POPULATE)
        finally:
            os.close(descriptor)

    def view(self, number: int) -> memoryview:
        """A block's memory, read-only. When it and all that was made from it have died, the block is released."""
        import ctypes  # an exporter that can be weakly referred to; only those who get large data need it

        memory = self._mapped[number]
        owner = (ctypes.c_char * len(memory)).from_buffer(memory)
        self._live[number] = weakref.ref(owner, self._released(number))
        return memoryview(owner).cast("B").toreadonly()

    def lasting(self, number: int) -> memoryview:
        """A block's memory, read-only, whose end is not reported: a shared value's, which the owner keeps."""
        return memoryview(self._mapped.pop(number)).toreadonly()

    def _released(self, number: int) -> Callable[[Any], None]:
        released, on_release, live = self.released, self._on_release, self._live

        def note(_: Any) -> None:
            live.pop(number, None)
            released.append(number)
            if on_release is not None:
                on_release()

        return note

    def forget(self, number: int) -> None:
        """The owner will not name this block again."""
        self._mapped.pop(number, None)

    def close(self) -> None:
        """Lets go of everything; views that are still held stay valid."""
        self._on_release = None
        self._live.clear()
        self._mapped.clear()
