"""The order in which other processes see what this one writes into memory they share.

One function, called at every publish (data, fence, flag) and every consume (flag, fence, data). On x86-64 stores are
seen in the order in which they were made and loads are made in order, so that those places need none (``ORDERED``);
elsewhere they do, and everywhere a store that must be seen before a *later load* is made needs one: a rank that goes to
sleep says so and then looks once more, a rank that publishes does so and then looks who sleeps.
"""

from __future__ import annotations

import platform
import threading

__all__ = ["ORDERED", "Fence"]

ORDERED = platform.machine().lower() in ("x86_64", "amd64")
"""Whether the processor itself keeps stores in order and loads in order."""


class Fence:
    """``fence()``: what this thread read and wrote before is done before what it reads and writes after.

    Releasing a lock and taking it again: an atomic operation with release semantics, then one with acquire semantics.
    x86-64 executes both as locked instructions, each a full barrier; on ARMv8 a release is ordered before a later
    acquire, so that nothing passes the pair in either direction (docs/decisions/0010). One instance for each thread.
    """

    __slots__ = ("_acquire", "_release")

    def __init__(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        self._release = lock.release
        self._acquire = lock.acquire

    def __call__(self) -> None:
        self._release()
        self._acquire()
