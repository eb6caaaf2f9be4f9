"""Names in shared memory while this process is the one that has to remove them.

A process that its parent started and supervises may have asked the system to be killed when the parent ends
(PR_SET_PDEATHSIG, Linux alone), and one that is killed removes nothing. While it has such a name, a process takes that
wish back; whoever learns of the parent's end calls ``remove`` and ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

__all__ = ["hold", "let_go", "remove"]

_SET_DEATH_SIGNAL, _GET_DEATH_SIGNAL = 1, 2
_held: set[Path] = set()
_taken_back: list[tuple[int, int]] = []  # the signal, and the parent then


def hold(path: Path) -> None:
    """This process is about to give memory that name."""
    _held.add(path)
    if len(_held) == 1 and not _taken_back and (signal := _death_signal()):
        _taken_back.append((signal, os.getppid()))
        _set_death_signal(0)


def let_go(path: Path) -> None:
    """The name is gone, or is none of this process's any more. A parent that ended meanwhile is followed at once."""
    _held.discard(path)
    if not _held and _taken_back:
        signal, parent = _taken_back.pop()
        _set_death_signal(signal)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal)


def remove() -> None:
    """Removes all names that this process holds, before it ends. From any thread."""
    for path in tuple(_held):
        with contextlib.suppress(OSError):
            os.unlink(path)


def _death_signal() -> int:
    """What the calling thread is to be sent when the thread that started this process ends; 0: nothing."""
    if sys.platform != "linux":
        return 0
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(_GET_DEATH_SIGNAL, ctypes.byref(found))
    return found.value


def _set_death_signal(signal: int) -> None:
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal)
