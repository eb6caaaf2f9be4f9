"""What a collective's arguments must be, checked the same way by every backend before anything is sent."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cobre.transport import segment
from cobre.transport.communicator import Counts, ReduceOp
from cobre.transport.failures import invalid

__all__ = [
    "check_above_zero",
    "check_counts",
    "check_group",
    "check_group_name",
    "check_out",
    "check_plain",
    "check_reducible",
    "check_region",
    "check_root",
    "check_send",
    "check_writeable",
]


def check_group(rank: object, size: object, generation: object) -> tuple[int, int, int]:
    """Rank, size and generation as integers. Raises CommError where they name no place in a group."""
    known = {"rank": rank, "size": size, "generation": generation}
    for name, value in known.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise invalid("connect", f"{name} is {value!r}, but must be a whole number", value=value)
    r, n, g = (int(value) for value in known.values())  # type: ignore[call-overload]
    if n < 1:
        raise invalid("connect", f"size is {n}, but a group has at least one rank", size=n)
    if not 0 <= r < n:
        raise invalid("connect", f"rank is {r}, but the ranks of a group of {n} are 0 to {n - 1}", rank=r, size=n)
    if not 0 <= g < 2**32:
        raise invalid("connect", f"generation is {g}, but must be from 0 up to 2**32 - 1", generation=g)
    return r, n, g


def check_group_name(name: object) -> str:
    """The name of a group in shared memory. Raises CommError where it can be none."""
    if not segment.AVAILABLE:
        raise invalid("connect", "shared memory needs Linux", "use kind='tcp'")
    if name is None:
        raise invalid("connect", "the group has no name", "pass name=, or set COBRE_SHM_NAME on every rank of the run")
    if not isinstance(name, str) or not 0 < len(name) <= 150 or not segment.is_name(f"{segment.PREFIX}{name}.0"):
        raise invalid("connect", f"{name!r} cannot name a group: use up to 150 letters, digits and _.+=:@-", name=name)
    return name


def check_above_zero(**settings: object) -> None:
    """Raises CommError for a setting that is not a number above 0; infinity is one."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise invalid("connect", f"{name} is {value!r}, but must be a number above 0", value=value)


def check_plain(operation: str, name: str, array: object) -> None:
    """Raises CommError unless ``array`` is a numpy array of a dtype without objects."""
    if not isinstance(array, np.ndarray):
        raise invalid(operation, f"{name} is a {type(array).__name__}, but must be a numpy array", "use numpy.asarray")
    _check_dtype(operation, array.dtype)


def check_send(operation: str, send: object, counts: tuple[int, ...], rank: int) -> None:
    """Raises CommError unless ``send`` is a plain array of ``counts[rank]`` elements."""
    check_plain(operation, "send", send)
    assert isinstance(send, np.ndarray)
    if send.size != counts[rank]:
        raise invalid(operation, f"send has {send.size} elements, but counts[{rank}] is {counts[rank]}")


def check_counts(operation: str, counts: Counts, size: int) -> tuple[int, ...]:
    """The counts as plain integers. Raises CommError unless they are ``size`` whole numbers from 0 up."""
    try:
        found = tuple(operator.index(count) for count in counts)
    except TypeError:
        raise invalid(operation, f"counts are {counts!r}, but must be a sequence of whole numbers") from None
    if len(found) != size:
        raise invalid(operation, f"counts has {len(found)} entries, but the group has {size} ranks")
    if min(found) < 0:
        raise invalid(operation, f"counts are {list(found)}, but none may be negative")
    return found


def check_out(operation: str, out: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises CommError unless ``out`` can take a result of this shape and dtype."""
    check_plain(operation, "out", out)
    assert isinstance(out, np.ndarray)
    if out.shape != shape or out.dtype != dtype:
        raise invalid(
            operation, f"out has shape {out.shape} and dtype {out.dtype}, but the result has {shape} and {dtype}"
        )
    if not out.flags.c_contiguous:
        raise invalid(operation, "out is not contiguous", "use a buffer made by numpy.empty")
    check_writeable(operation, "out", out)


def check_writeable(operation: str, name: str, array: NDArray[Any]) -> None:
    """Raises CommError for an array that cannot be written to."""
    if not array.flags.writeable:
        raise invalid(operation, f"{name} cannot be written to", "pass an array that owns its memory, or a copy")


def check_reducible(operation: str, send: object, op: object) -> None:
    """Raises CommError unless ``send`` is an array that ``op`` can reduce."""
    check_plain(operation, "send", send)
    assert isinstance(send, np.ndarray)
    if not isinstance(op, ReduceOp):
        raise invalid(operation, f"op is {op!r}, but must be ReduceOp.SUM, ReduceOp.MIN or ReduceOp.MAX")
    if send.dtype.kind not in "biufc":
        raise invalid(
            operation, f"send has dtype {send.dtype}, but only bool, integer, float and complex can be reduced"
        )


def check_root(operation: str, root: object, size: int) -> int:
    """The root as an integer. Raises CommError unless it is a rank."""
    try:
        found = operator.index(root)  # type: ignore[arg-type]
    except TypeError:
        found = -1
    if isinstance(root, bool) or not 0 <= found < size:
        raise invalid(operation, f"root is {root!r}, but the ranks of this group are 0 to {size - 1}", root=root)
    return found


def check_region(shape: int | Sequence[int], dtype: DTypeLike) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a shared region. Raises CommError for a negative extent or a dtype that holds objects."""
    operation = "create_shared_region"
    try:
        extents = (operator.index(shape),) if not isinstance(shape, Sequence) else tuple(map(operator.index, shape))
    except TypeError:
        raise invalid(operation, f"shape is {shape!r}, but must be whole numbers") from None
    if any(extent < 0 for extent in extents):
        raise invalid(operation, f"shape is {extents}, but no extent may be negative")
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise invalid(operation, f"{dtype!r} is no dtype: {error}") from None
    _check_dtype(operation, kind)
    return extents, kind


def _check_dtype(operation: str, dtype: np.dtype[Any]) -> None:
    if dtype.hasobject or dtype.itemsize == 0:
        raise invalid(operation, f"dtype {dtype} is not plain: it holds objects or has no size", dtype=str(dtype))
