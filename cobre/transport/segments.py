"""Further segments of a group that has formed: more room for data, and shared regions."""

from __future__ import annotations

import errno
import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from cobre.errors import CommError
from cobre.transport.communicator import SharedRegion
from cobre.transport.control import State
from cobre.transport.failures import Group
from cobre.transport.meetings import Meetings
from cobre.transport.plans import signature
from cobre.transport.segment import PREFIX, Segment, sweep

if TYPE_CHECKING:
    from cobre.transport.shm import ShmCommunicator

__all__ = ["Allotment", "SegmentRegion"]

_GRANTED = 0


class Allotment:
    """Makes segments that all ranks map, and that have a name only until they have.

    secret: the part of their names that no other run has.
    """

    def __init__(self, group: Group, meetings: Meetings, secret: str) -> None:
        self.secret = secret
        self._group = group
        self._meetings = meetings
        self._made = 0

    def allot(self, size: int, operation: str, *call: object) -> mmap.mmap:
        """Collective. Zeroed memory of at least ``size`` bytes that all ranks share.

        call: what all ranks must agree on. Raises CommError; OutOfMemory on all ranks where one cannot have it.
        """
        control, rank = self._meetings.control, self._group.rank
        self._made += 1
        name = f"{PREFIX}{self.secret}.{self._made}"
        self._meetings.arrive(signature("allot", operation, size, *call), operation)
        segment, failed = None, _GRANTED
        try:
            if rank == 0:
                segment, failed = _attempt(name, size)
                control.header.granted = failed
            self._meetings.arrive(signature("made", operation, size), operation)
            failed = int(control.header.granted)
            if failed == _GRANTED and rank != 0:
                segment, failed = _attempt(name, None)
            control.ranks[rank].answer = failed
            self._meetings.arrive(signature("attached", operation, size), operation)
        finally:
            if segment is not None:
                segment.release_name()
            sweep(name)  # where rank 0 was killed before it could
        answers = [int(control.ranks[r].answer) for r in range(self._group.size)]
        refused = [r for r, answer in enumerate(answers) if answer != _GRANTED]
        if errno.ENOENT in answers:
            raise self._maker_gone(operation)
        if refused or segment is None:
            raise self._no_room(operation, size, refused, answers[refused[0]])
        return segment.memory

    def _maker_gone(self, operation: str) -> CommError:
        """The error where a rank found nothing to attach to: rank 0 died or gave up after it had arrived."""
        control = self._meetings.control
        if control.state(0) == State.BROKEN:
            return control.verdict(0).error(self._group, operation, 0)
        return self._group.lost(operation, 0, f"died or left (process {control.ranks[0].process})")

    def _no_room(self, operation: str, size: int, refused: list[int], code: int) -> CommError:
        return self._group.error(
            "OutOfMemory",
            operation,
            f"no further {size:,} bytes of shared memory could be had: {os.strerror(code)}",
            "make /dev/shm larger or free some of it, send less at once, or use kind='tcp'",
            bytes=size,
            ranks=refused,
        )


def _attempt(name: str, size: int | None) -> tuple[Segment | None, int]:
    """The segment, made where a size is given, else attached to; or None and the system's error number."""
    try:
        segment = Segment.attach(name) if size is None else Segment.make(name, size)
    except OSError as error:
        return None, error.errno or errno.EIO
    except OverflowError:  # more than the system can be asked for
        return None, errno.ENOMEM
    return segment, _GRANTED if segment is not None else errno.ENOENT


class SegmentRegion(SharedRegion):
    """One array in a segment of its own, which all ranks look at."""

    def __init__(
        self, communicator: ShmCommunicator, memory: mmap.mmap, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        window = memoryview(memory)
        self.array = np.ndarray(shape, dtype, window if communicator.is_leader else window.toreadonly())
        self._communicator: ShmCommunicator | None = communicator

    @property
    def is_shared(self) -> bool:
        return True

    def fence(self) -> None:
        if self._communicator is None:
            raise CommError("fence: the region is closed", operation="fence", kind="Closed")
        self._communicator.meet_at_fence()

    def close(self) -> None:
        self._communicator = None
        self.array = np.empty((0,) * self.array.ndim, self.array.dtype)
