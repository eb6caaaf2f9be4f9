"""Shared regions where memory is not shared: a copy on every rank, brought up to date by a broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from cobre.errors import CommError
from cobre.transport.communicator import Communicator, SharedRegion

__all__ = ["HeapRegion"]


class HeapRegion(SharedRegion):
    """The leader's array, and a read-only copy of it on every other rank."""

    def __init__(self, communicator: Communicator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._communicator = communicator
        self._held = np.zeros(shape, dtype)
        self.array = self._held if communicator.is_leader else self._held.view()
        self.array.flags.writeable = communicator.is_leader
        self._closed = False

    @property
    def is_shared(self) -> bool:
        return False

    def fence(self) -> None:
        if self._closed:
            raise CommError("fence: the region is closed", operation="fence", kind="Closed")
        self._communicator.broadcast(self._held, 0)

    def close(self) -> None:
        self._closed = True
