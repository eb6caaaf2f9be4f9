"""Hashes and message authentication codes, without the library that Python's ``hashlib`` and ``hmac`` load.

That library, OpenSSL, costs each rank 3.5 MB of memory, as much as the rest of a transport. BLAKE2b is part of Python
itself, takes a key, and is then a message authentication code of the strength of HMAC.
"""

from __future__ import annotations

import os
import struct

try:
    from _blake2 import blake2b
except ImportError:  # a Python that keeps it elsewhere
    from hashlib import blake2b

__all__ = ["digest", "mac", "same"]


def digest(data: bytes, size: int) -> bytes:
    """The first ``size`` bytes, at most 64, of what stands for ``data``."""
    return blake2b(data, digest_size=size).digest()


def mac(key: bytes, *parts: bytes) -> bytes:
    """32 bytes over the parts, each with its length, that only who knows the key can make; no key is too long."""
    state = blake2b(key=blake2b(key, digest_size=32, person=b"cobre key").digest(), digest_size=32)
    for part in parts:
        state.update(struct.pack("<Q", len(part)))
        state.update(part)
    return state.digest()


def same(first: bytes, second: bytes) -> bool:
    """Whether both are equal, in a time that tells nothing of where they differ: what is compared is random."""
    key = os.urandom(32)
    return blake2b(first, key=key).digest() == blake2b(second, key=key).digest()
