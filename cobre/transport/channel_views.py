"""What views of a channel's memory show after their port has gone: what they showed before."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["PLACES", "Template", "keep_views"]

PLACES = 64
"""How many templates of one layout are kept: as many as messages of it are usually in the channel."""

_FIXED = 0x10  # MAP_FIXED
_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def keep_views(data: mmap.mmap, parts: Sequence[tuple[int, int]]) -> None:
    """Puts copies, which are this process's own, in place of parts (offset, bytes) of a mapping that was read-only.

    Addresses stay, and what is read there changes at no moment. Raises OSError where there is no memory for that.
    """
    parts = [(offset, size) for offset, size in parts if size]
    if not parts:
        return
    whole = np.frombuffer(data, np.uint8)
    for offset, size in parts:
        begin = offset // mmap.PAGESIZE * mmap.PAGESIZE
        end = min(len(whole), -(-(offset + size) // mmap.PAGESIZE) * mmap.PAGESIZE)
        copy = os.memfd_create("cobre-views", os.MFD_CLOEXEC)
        try:
            os.posix_fallocate(copy, 0, end - begin)
            with mmap.mmap(copy, end - begin) as room:
                room[:] = whole[begin:end].tobytes()
            address = whole.ctypes.data + begin
            if _mmap(address, end - begin, mmap.PROT_READ, mmap.MAP_PRIVATE | _FIXED, copy, 0) != address:
                raise OSError(ctypes.get_errno(), "the views of a channel cannot be kept")
        finally:
            os.close(copy)


class Template(np.ndarray[Any, Any]):
    """An array that views are made of: quicker than anew.

    Made straight over the memory, and of a type of its own: so what is sliced from a view of it refers to the view, as
    numpy goes past bases of one type only. By that a slice keeps the view alive, and its memory from being used again.
    """
