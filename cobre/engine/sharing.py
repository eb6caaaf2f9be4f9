"""Objects that many processes of a host read, in memory once: their arrays stand in one block that all can map."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cobre.errors import CobreError
from cobre.transport.communicator import Communicator

__all__ = ["Packed", "share", "tell_all"]

Value = TypeVar("Value")
_ALIGNMENT = 64  # bytes, a cache line


@dataclass(frozen=True, eq=False)
class Packed:
    """An object in two parts: ``pickled``, its structure, and ``block``, the bytes of all its arrays one after another.

    Itself pickled, the block travels out of band as one buffer, however many small arrays it holds. places:
    (buffers, 2), where each begins, and its bytes.
    """

    pickled: bytes
    places: NDArray[np.int64]
    block: NDArray[np.uint8]

    @classmethod
    def of(cls, value: object) -> Packed:
        """Raises what pickling the value raises."""
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        sizes = np.array([view.nbytes for view in views], np.int64)
        padded = -(-sizes // _ALIGNMENT) * _ALIGNMENT
        starts = np.cumsum(padded) - padded
        block = np.zeros(int(padded.sum()), np.uint8)
        for view, start in zip(views, starts.tolist(), strict=True):
            block[start : start + view.nbytes] = view
        return cls(pickled, np.stack([starts, sizes], axis=1), block)

    def open(self) -> Any:
        """The object, its arrays on top of the block: read-only, whether the block is or not."""
        whole = memoryview(self.block.data).toreadonly()
        return pickle.loads(self.pickled, buffers=[whole[start : start + size] for start, size in self.places.tolist()])


def share(communicator: Communicator, make: Callable[[], Value]) -> Value:
    """Collective. What ``make`` gives, made once a host and mapped read-only by all of the host's ranks.

    The first rank of each host makes it. The memory goes when the last array in it has gone. What ``make`` raises on
    one rank is raised on all of them (as a CobreError where it cannot be pickled). Raises CommError.
    """
    with communicator.split_local() as local:
        packed, error = _attempt(make) if local.is_leader else (None, None)
        _agree_on_failure(communicator, error)
        return cast(Value, _spread(local, packed).open())


def tell_all(communicator: Communicator, value: Any, root: int = 0) -> Any:
    """Collective. The root's value, on all ranks; what others give is not looked at. It must be possible to pickle it.

    Raises CommError.
    """
    tells = communicator.rank == root
    pickled = pickle.dumps(value, protocol=5) if tells else b""
    size = np.array([len(pickled)], np.int64)
    communicator.broadcast(size, root)
    data = np.frombuffer(pickled, np.uint8).copy() if tells else np.empty(int(size[0]), np.uint8)
    communicator.broadcast(data, root)
    return value if tells else pickle.loads(data.tobytes())


def _attempt(make: Callable[[], object]) -> tuple[Packed | None, Exception | None]:
    try:
        return Packed.of(make()), None
    except Exception as error:
        return None, error


def _agree_on_failure(communicator: Communicator, error: Exception | None) -> None:
    """Raises the error of the first rank that has one, on all ranks."""
    told = b"" if error is None else _pickled(error)
    sizes = communicator.allgatherv(np.array([len(told)]), [1] * communicator.size)
    failed = np.flatnonzero(sizes)
    if not failed.size:
        return
    first = int(failed[0])
    text = np.zeros(int(sizes[first]), np.uint8)
    if first == communicator.rank:
        text[:] = np.frombuffer(told, np.uint8)
    communicator.broadcast(text, first)
    if error is not None and first == communicator.rank:
        raise error
    raise pickle.loads(text.tobytes())


def _pickled(error: Exception) -> bytes:
    try:
        told = pickle.dumps(error)
        pickle.loads(told)  # some can be written and not be read
        return told
    except Exception:
        return pickle.dumps(CobreError(f"{type(error).__name__}: {error}", kind=type(error).__name__))


def _spread(local: Communicator, packed: Packed | None) -> Packed:
    """The leader's object, on top of memory that the ranks of this host share."""
    sizes = np.zeros(3, np.int64)
    if packed is not None:
        sizes[:] = packed.block.size, packed.places.nbytes, len(packed.pickled)
    local.broadcast(sizes)
    block, places, whole = np.cumsum(sizes).tolist()
    with local.create_shared_region(whole, np.uint8) as region:
        if packed is not None:
            region.array[:block] = packed.block
            region.array[block:places] = packed.places.reshape(-1).view(np.uint8)
            region.array[places:] = np.frombuffer(packed.pickled, np.uint8)
        region.fence()
        array = region.array
    return Packed(array[places:].tobytes(), array[block:places].view(np.int64).reshape(-1, 2), array[:block])
