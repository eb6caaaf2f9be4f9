"""Reductions in rank order, written once so that every backend gives the same bits."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.transport.communicator import ReduceOp

__all__ = ["add_in_order", "reduce_in_order"]

_UFUNCS: dict[ReduceOp, np.ufunc] = {ReduceOp.SUM: np.add, ReduceOp.MIN: np.minimum, ReduceOp.MAX: np.maximum}

# An overflow is in the result; which rank computed it should not matter, so that none warns of it. Entering a context
# in which numpy is quiet costs a fraction of making one with numpy.errstate each time.
_QUIET = contextvars.copy_context()
_QUIET.run(np.seterr, all="ignore")


def reduce_in_order(op: ReduceOp, parts: Sequence[NDArray[Any]], out: NDArray[Any]) -> None:
    """``out`` becomes ((parts[0] op parts[1]) op parts[2]) ...; it may be parts[0] itself, but no other part.

    parts: at least one, all of out's shape and dtype. A NaN in a result is always the same NaN: which of two
    the processor keeps depends on where in memory they stand.
    """
    if out.dtype.kind in "fc":
        _QUIET.copy().run(_reduce, _UFUNCS[op], parts, out)
    else:
        _reduce(_UFUNCS[op], parts, out)


def add_in_order(values: Sequence[float]) -> float:
    """((values[0] + values[1]) + values[2]) ...: the sum of ``reduce_in_order`` for one double, without an array.

    Not ``sum``: from Python 3.12 on that compensates for rounding.
    """
    total = values[0]
    for value in values[1:]:
        total += value
    return total if total == total else math.nan


def _reduce(ufunc: np.ufunc, parts: Sequence[NDArray[Any]], out: NDArray[Any]) -> None:
    if len(parts) == 1:
        out[...] = parts[0]
    else:
        ufunc(parts[0], parts[1], out)
        for part in parts[2:]:
            ufunc(out, part, out)
    if out.dtype.kind in "fc":
        total = out.item() if out.size == 1 else out.sum()  # one that is not a number, where any element is not
        if total != total:
            out[out != out] = np.nan
