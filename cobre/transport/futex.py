"""Sleeping on a word of shared memory until another process changes it and says so."""

from __future__ import annotations

import ctypes
import errno
import platform
import sys
import time

__all__ = ["AVAILABLE", "wait", "wake"]

_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
_NUMBER = _NUMBERS.get(platform.machine()) if sys.platform == "linux" else None
_WAIT, _WAKE, _EVERYBODY = 0, 1, 2**31 - 1
_NAP = 0.001  # seconds, where the system has no futex
_LONGEST = 3600.0  # seconds of one sleep: a timeout may be infinite

AVAILABLE = _NUMBER is not None
"""Whether the system lets a process sleep on a word; elsewhere ``wait`` takes short naps."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64))


_syscall = ctypes.CDLL(None, use_errno=True).syscall if AVAILABLE else None


def wait(word: ctypes.c_uint32, seen: int, timeout: float) -> None:
    """Returns when ``word``, which was ``seen``, has been changed and woken, after ``timeout`` seconds, or for nothing.

    The caller looks again at what it waits for. A signal ends it as well, so that its handler runs.
    """
    if _syscall is None:
        time.sleep(min(timeout, _NAP))
        return
    seconds = min(timeout, _LONGEST)
    limit = _Timespec(int(seconds), int(seconds % 1.0 * 1e9))
    address = ctypes.c_void_p(ctypes.addressof(word))
    number, operation = ctypes.c_long(_NUMBER or 0), ctypes.c_long(_WAIT)
    code = _syscall(number, address, operation, ctypes.c_uint32(seen), ctypes.byref(limit), None, ctypes.c_long(0))
    if code and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT):
        raise OSError(ctypes.get_errno(), "the system refuses to sleep on shared memory")


def wake(word: ctypes.c_uint32) -> None:
    """Wakes everybody who sleeps on ``word``; change it first."""
    if _syscall is not None:
        address = ctypes.c_void_p(ctypes.addressof(word))
        number, operation = ctypes.c_long(_NUMBER or 0), ctypes.c_long(_WAKE)
        _syscall(number, address, operation, ctypes.c_uint32(_EVERYBODY), None, None, ctypes.c_long(0))
