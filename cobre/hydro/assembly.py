"""Puts a stage's linear program together from blocks of columns, rows and coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cobre.hydro.layout import Places
from cobre.sddp.problem import SparseRows
from cobre.sddp.risk import FloatArray

__all__ = ["Assembly"]


def _joined(parts: list[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate(parts).astype(kind) if parts else np.zeros(0, kind)


class Assembly:
    """Collects columns, rows and coefficients; what is absent has the place -1 and its coefficients fall away."""

    def __init__(self) -> None:
        self.column_count = 0
        self.row_count = 0
        self._cost: list[FloatArray] = []
        self._lower: list[FloatArray] = []
        self._upper: list[FloatArray] = []
        self._sense: list[NDArray[np.int8]] = []
        self._rhs: list[FloatArray] = []
        self._matrix: list[tuple[Places, Places, FloatArray]] = []
        self._incoming: list[tuple[Places, Places, FloatArray]] = []

    def columns(self, present: ArrayLike, lower: ArrayLike, upper: ArrayLike, cost: ArrayLike) -> Places:
        """A column wherever ``present`` (any shape; the others broadcast to it); gives their places."""
        mask = np.asarray(present, dtype=bool)
        places = _numbered(mask, self.column_count)
        self.column_count += int(mask.sum())
        for store, values in ((self._lower, lower), (self._upper, upper), (self._cost, cost)):
            store.append(np.broadcast_to(np.asarray(values, np.float64), mask.shape)[mask])
        return places

    def rows(self, present: ArrayLike, sense: int | NDArray[np.int8], rhs: ArrayLike) -> Places:
        """A row wherever ``present``; ``sense`` is -1 for <=, 0 for ==, +1 for >=."""
        mask = np.asarray(present, dtype=bool)
        places = _numbered(mask, self.row_count)
        self.row_count += int(mask.sum())
        self._sense.append(np.broadcast_to(np.asarray(sense, np.int8), mask.shape)[mask])
        self._rhs.append(np.broadcast_to(np.asarray(rhs, np.float64), mask.shape)[mask])
        return places

    def coefficients(self, rows: Places, columns: Places, values: ArrayLike) -> None:
        """Adds ``values`` at (rows, columns), all broadcast to one shape."""
        self._matrix.append(_present(rows, columns, values))

    def incoming(self, rows: Places, states: Places, values: ArrayLike) -> None:
        """Adds coefficients of the incoming states to the left side of the rows."""
        self._incoming.append(_present(rows, states, values))

    def matrix(self) -> SparseRows:
        return self._sparse(self._matrix, self.column_count)

    def incoming_matrix(self, states: int) -> SparseRows:
        return self._sparse(self._incoming, states)

    def vectors(self) -> dict[str, Any]:
        """``cost, lower, upper, sense, rhs`` as a Stage takes them."""
        return {
            "cost": _joined(list(self._cost), np.float64),
            "lower": _joined(list(self._lower), np.float64),
            "upper": _joined(list(self._upper), np.float64),
            "sense": _joined(list(self._sense), np.int8),
            "rhs": _joined(list(self._rhs), np.float64),
        }

    def _sparse(self, parts: list[tuple[Places, Places, FloatArray]], width: int) -> SparseRows:
        rows, columns, values = zip(*parts, strict=True) if parts else ((), (), ())
        return SparseRows.from_triplets(
            (self.row_count, width),
            _joined(list(rows), np.int32),
            _joined(list(columns), np.int32),
            _joined(list(values), np.float64),
        )


def _numbered(mask: NDArray[np.bool_], first: int) -> Places:
    places = np.full(mask.shape, -1, np.int32)
    places[mask] = np.arange(first, first + int(mask.sum()), dtype=np.int32)
    return places


def _present(rows: Places, columns: Places, values: ArrayLike) -> tuple[Places, Places, FloatArray]:
    r, c, v = np.broadcast_arrays(rows, columns, np.asarray(values, np.float64))
    keep = (r >= 0) & (c >= 0) & (v != 0.0)
    return r[keep], c[keep], v[keep]
