"""What the conformance suite sends, and what must come back, reckoned with numpy alone."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.errors import CommError
from cobre.transport.communicator import Communicator, ReduceOp

__all__ = [
    "DTYPES",
    "REDUCIBLE",
    "LARGE",
    "agree",
    "contribution",
    "digest",
    "gathered",
    "reduced",
    "refusal",
    "require_same",
    "still_works",
]

Array = NDArray[Any]

LARGE = 100_000

_NUMBERS = "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 g F D G >i2 >u4 >i8 >f4 >f8 >D"
REDUCIBLE: tuple[np.dtype[Any], ...] = tuple(np.dtype(name) for name in _NUMBERS.split())
"""One dtype of each kind and size that can be reduced, some of them with their bytes the other way round."""

_RECORD = [("count", "<i4"), ("value", "<f8", (2,)), ("name", "S3")]
DTYPES: tuple[np.dtype[Any], ...] = (
    *REDUCIBLE,
    *(np.dtype(name) for name in ("S1", "S7", "U5", ">U3", "V12", "M8[ns]", "M8[D]", "m8[s]", ">M8[ms]")),
    np.dtype(_RECORD),
    np.dtype(_RECORD, align=True),
)
"""One dtype of each plain kind and size."""

_UFUNCS: dict[ReduceOp, np.ufunc] = {ReduceOp.SUM: np.add, ReduceOp.MIN: np.minimum, ReduceOp.MAX: np.maximum}
_EXTENDED = {np.dtype(np.longdouble).itemsize, np.dtype(np.clongdouble).itemsize}
_PADDED = np.finfo(np.longdouble).nmant == 63  # x87: ten bytes that count, and others that hold anything


def contribution(dtype: np.dtype[Any], rank: int, count: int, salt: int = 0) -> Array:
    """``count`` elements (one dimension) that tell rank, position and ``salt`` apart wherever the dtype has room."""
    base = np.arange(count, dtype=np.int64) * 7 + rank * 1009 + salt * 31
    if dtype.names is not None:
        made = np.zeros(count, dtype)
        for field in dtype.names:
            made[field] = base.reshape(-1, *[1] * (made[field].ndim - 1)) + len(field)
        return made
    if dtype.kind == "b":
        return (_spread(base) >> np.uint64(63)).astype(bool)
    if dtype.kind in "SU":
        return np.char.mod("%d", base).astype(dtype)
    if dtype.kind == "V":
        return np.repeat(base, -(-dtype.itemsize // 8)).view(f"V{8 * -(-dtype.itemsize // 8)}").astype(dtype)
    if dtype.kind == "f":
        return (base % 2039 / 8.0 - 100.0).astype(dtype)
    if dtype.kind == "c":
        return (base % 2039 / 8.0 - 100.0 - 1j * (base % 31)).astype(dtype)
    if dtype.kind in "iu":
        return _spread(base).astype(dtype)
    return base.astype(dtype)


def _spread(base: Array) -> Array:
    """Integers over the whole range, so that their sums wrap around."""
    return base.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def gathered(dtype: np.dtype[Any], counts: Sequence[int], salt: int = 0) -> Array:
    """What ``allgatherv`` of every rank's ``contribution`` must return."""
    parts = [contribution(dtype, rank, count, salt) for rank, count in enumerate(counts)]
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)


def reduced(op: ReduceOp, parts: Sequence[Array]) -> Array:
    """What ``allreduce`` of ``parts`` must return: reduced from rank 0 upward; NaN is ``numpy.nan`` in a sum."""
    ufunc, dtype = _UFUNCS[op], parts[0].dtype
    with np.errstate(all="ignore"):
        result = functools.reduce(lambda one, other: ufunc(one, other).astype(dtype, copy=False), parts)
    result = np.array(result, dtype)
    if op is ReduceOp.SUM and dtype.kind in "fc":
        result[np.isnan(result)] = np.nan
    return result


def significant(array: Array) -> bytes:
    """The bytes that make an array's value, in C order: those of padding hold anything."""
    if array.dtype.names is not None:
        return b"".join(significant(array[field]) for field in array.dtype.names)
    if _PADDED and array.dtype.kind in "fc" and array.dtype.itemsize in _EXTENDED and array.dtype.char in "gG":
        width = np.dtype(np.longdouble).itemsize
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, width)[:, :10].tobytes()
    return array.tobytes()


def digest(arrays: Iterable[Array]) -> bytes:
    """Sixteen bytes that stand for the bits, shapes and dtypes of the arrays."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape} ".encode() + significant(array))
    return found.digest()


def require_same(found: object, expected: Array, what: str) -> None:
    """Raises AssertionError unless ``found`` is an array of the dtype, shape and bits of ``expected``."""
    assert isinstance(found, np.ndarray), f"{what}: {type(found).__name__} instead of an array"
    assert found.dtype == expected.dtype, f"{what}: dtype {found.dtype} instead of {expected.dtype}"
    assert found.shape == expected.shape, f"{what}: shape {found.shape} instead of {expected.shape}"
    if significant(found) != significant(expected):
        flat, right = np.ascontiguousarray(found).reshape(-1), np.ascontiguousarray(expected).reshape(-1)
        bytes_of = (flat.size, flat.dtype.itemsize)
        differ = (flat.view(np.uint8).reshape(bytes_of) != right.view(np.uint8).reshape(bytes_of)).any(axis=1)
        wrong = (
            at for at in np.flatnonzero(differ) if significant(flat[at : at + 1]) != significant(right[at : at + 1])
        )
        first = next(wrong)
        raise AssertionError(
            f"{what}: {np.count_nonzero(differ)} of {flat.size} elements are wrong, the first at {first}: "
            f"{flat[first]!r} instead of {right[first]!r}"
        )


def agree(communicator: Communicator, arrays: Iterable[Array], what: str) -> None:
    """Collective. Raises AssertionError unless all ranks hold the same bits."""
    own = np.frombuffer(digest(arrays), np.uint8)
    everybody = communicator.allgatherv(own, [own.size] * communicator.size).reshape(communicator.size, -1)
    others = [rank for rank in range(communicator.size) if not np.array_equal(everybody[rank], own)]
    assert not others, f"{what}: rank {communicator.rank} holds other bits than ranks {others}"


def refusal(call: Any, *args: Any, **keywords: Any) -> CommError:
    """The CommError that ``call`` raises, without its traceback, which would keep arrays alive.

    Raises AssertionError where it raises none, or not a whole one.
    """
    try:
        result = call(*args, **keywords)
    except CommError as error:
        raised = error.with_traceback(None)
    else:
        name = getattr(call, "__name__", "the call")
        raise AssertionError(f"{name} returned {type(result).__name__} instead of raising CommError")
    assert raised.operation, f"{raised!r} does not name its operation"
    assert raised.message, f"{raised!r} has no message"
    return raised


def still_works(communicator: Communicator, salt: int) -> None:
    """Collective. Raises AssertionError unless a gather, which none of the earlier ones looks like, is right."""
    counts = [(rank + salt) % 3 + 1 for rank in range(communicator.size)]
    kind = np.dtype(np.int64)
    found = communicator.allgatherv(contribution(kind, communicator.rank, counts[communicator.rank], salt), counts)
    require_same(found, gathered(kind, counts, salt), "a gather after it")
