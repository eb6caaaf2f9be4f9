"""Which ranks of a tcp group share a host, and the group that they form among themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cobre.transport.communicator import Communicator
from cobre.transport.digests import digest
from cobre.transport.local import LocalCommunicator

__all__ = ["split_by_host"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SEGMENTS = Path("/dev/shm")
_BYTES = 64


def split_by_host(
    whole: Communicator, share: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], connect_timeout: float
) -> Communicator:
    """Collective. A group in shared memory of the ranks of this rank's host, in their order here; alone, a local one.

    Ranks share a host if they see the same boot, the same /dev/shm and run as the same user: then each can open what
    the others make. share: gathers as many bytes of each rank, one row each. Raises CommError.
    """
    own = np.zeros(2 * _BYTES, np.uint8)
    own[:_BYTES] = _fingerprint()
    own[_BYTES : _BYTES + 16] = np.frombuffer(os.urandom(16), np.uint8)
    found = share(own)
    mates = [rank for rank in range(whole.size) if np.array_equal(found[rank, :_BYTES], own[:_BYTES])]
    if len(mates) == 1:
        return LocalCommunicator(generation=whole.generation, timeout=whole.timeout)
    from cobre.transport.shm import ShmCommunicator

    return ShmCommunicator(
        rank=mates.index(whole.rank),
        size=len(mates),
        name=found[mates[0], _BYTES : _BYTES + 16].tobytes().hex(),  # the lowest one's
        generation=whole.generation,
        timeout=whole.timeout,
        connect_timeout=connect_timeout,
    )


def _fingerprint() -> NDArray[np.uint8]:
    """What is the same on ranks that can share memory, as ``_BYTES`` bytes; where it cannot be told, like no other."""
    try:
        shared = os.stat(_SEGMENTS)
        text = f"{_BOOT.read_text().strip()} {shared.st_dev} {shared.st_ino} {os.geteuid()}"
    except OSError:
        text = os.urandom(16).hex()
    return np.frombuffer(digest(text.encode(), _BYTES), np.uint8)
