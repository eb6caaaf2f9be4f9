"""The order in which other processes see what this one writes into memory they share.

One function, called at every publish (data, fence, flag) and every consume (flag, fence, data). On x86-64 stores are
seen in the order in which they were made and loads are made in order, so that those places need none (``ORDERED``);
elsewhere they do.

Everywhere a store that must be seen before a *later load* is made needs one: a rank that goes to sleep says so and
then looks once more, a rank that publishes does so and then looks who sleeps. Ranks publish all the time and seldom
sleep: where the system can fence all of them at once, the sleeper does it for both sides (``fence_everybody``).
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading

__all__ = ["ORDERED", "Fence", "be_fenced", "fence_everybody"]

_GLOBAL_EXPEDITED, _REGISTER = 2, 4  # commands of membarrier(2)
_NUMBERS = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365, "s390x": 356}
_NUMBER = _NUMBERS.get(platform.machine()) if sys.platform == "linux" else None
_syscall = ctypes.CDLL(None).syscall if _NUMBER is not None else None

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
        try:
            self._release()
        except RuntimeError:  # an interruption (Ctrl-C) came between the two the last time
            self._acquire()
            self._release()
        self._acquire()


def be_fenced() -> bool:
    """Asks the system to let ``fence_everybody`` of other processes act on this one; False where it cannot."""
    return _membarrier(_REGISTER)


def fence_everybody() -> None:
    """A full fence on every running thread of every process that asked for it, and on this one, before it returns.

    Raises OSError where the system cannot: ask ``be_fenced`` first.
    """
    if not _membarrier(_GLOBAL_EXPEDITED):
        raise OSError("the system does not let processes fence one another")


def _membarrier(command: int) -> bool:
    if _syscall is None:
        return False
    arguments = (ctypes.c_long(number) for number in (_NUMBER or 0, command, 0, 0))
    return bool(_syscall(*arguments) == 0)
