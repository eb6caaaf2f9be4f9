"""Which ranks of a tcp group share a host, and the group that they form among themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cobre.errors import CommError
from cobre.transport import segment
from cobre.transport.communicator import Communicator
from cobre.transport.digests import digest
from cobre.transport.local import LocalCommunicator

__all__ = ["split_by_host"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SEGMENTS = Path("/dev/shm")
_BYTES = 64
_ATTEMPT = 2.0  # seconds that ranks, who start together, wait for each other before they look who is left


_Share = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def split_by_host(whole: Communicator, share: _Share, connect_timeout: float) -> Communicator:
    """Collective. A group in shared memory of the ranks of this rank's host, in their order here; alone, a local one.

    Ranks share a host if they see the same boot, the same /dev/shm and run as the same user: then each can open what
    the others make. share: gathers as many bytes of each rank, one row each. Raises CommError.
    """
    own = np.zeros(2 * _BYTES, np.uint8)
    own[:_BYTES] = _fingerprint()
    own[_BYTES : _BYTES + 16] = np.frombuffer(os.urandom(16), np.uint8)
    found = share(own)
    mates = [rank for rank in range(whole.size) if np.array_equal(found[rank, :_BYTES], own[:_BYTES])]
    name = found[mates[0], _BYTES : _BYTES + 16].tobytes().hex()  # the lowest one's
    part, attempts = None, max(1, round(connect_timeout / _ATTEMPT))
    for attempt in range(attempts):
        failure = None
        try:
            part = part or _meet(whole, mates, f"{name}-{attempt}")
        except CommError as error:
            failure = error
        done = np.zeros(whole.size, bool)
        try:
            done[:] = share(np.array([part is not None], np.uint8))[:, 0]  # notices a rank that has died meanwhile
        finally:
            if part is not None and not done[mates].all():
                part.close()
            if not done.all():
                segment.sweep()  # a rank that was killed may have left the name of one
        if done.all():
            assert part is not None
            return part
        part = part if done[mates].all() else None
    raise failure or CommError(
        "split_local: ranks of another host did not meet", operation="split_local", kind="Timeout"
    )


def _meet(whole: Communicator, mates: list[int], name: str) -> Communicator:
    if len(mates) == 1:
        return LocalCommunicator(generation=whole.generation, timeout=whole.timeout)
    from cobre.transport.shm import ShmCommunicator

    return ShmCommunicator(
        rank=mates.index(whole.rank),
        size=len(mates),
        name=name,
        generation=whole.generation,
        timeout=whole.timeout,
        connect_timeout=_ATTEMPT,
    )


def _fingerprint() -> NDArray[np.uint8]:
    """What is the same on ranks that can share memory, as ``_BYTES`` bytes; where it cannot be told, like no other."""
    try:
        shared = os.stat(_SEGMENTS)
        text = f"{_BOOT.read_text().strip()} {shared.st_dev} {shared.st_ino} {os.geteuid()}"
    except OSError:
        text = os.urandom(16).hex()
    return np.frombuffer(digest(text.encode(), _BYTES), np.uint8)
