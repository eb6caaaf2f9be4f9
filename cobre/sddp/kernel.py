"""Small LPs that differ in their right-hand sides only, in compiled loops: ``kernel.c``, called through ctypes.

    kept vertices, right-hand sides -> the best vertex of each, whether its basis is optimal
    bases, right-hand sides         -> the optimal bases, by a dual simplex method, cuts found as they are violated

For LPs of some tens of rows a solve takes a twentieth of what a call of HiGHS costs
(docs/decisions/0016-a-kernel-for-small-lps.md). The kernel is compiled when the package is installed; where that was
not possible, HiGHS does all the work.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, addressof, byref, c_char, c_double, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.cuts import CutPool
from cobre.sddp.highs import BASIC, LOWER, UPPER, ZERO
from cobre.sddp.risk import FloatArray
from cobre.sddp.template import Template

__all__ = ["LOST", "OPTIMAL", "SAME", "Bases", "Proofs", "SmallLP", "Walked", "Walks", "kernel_is_there"]

IntArray = NDArray[np.int64]
StatusArray = NDArray[np.int8]
BoolArray = NDArray[np.bool_]
Bases = tuple[StatusArray, IntArray]
OPTIMAL, BOUND, LOST, SAME = 0, 1, 2, 3  # outcomes of a walk


class _Form(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("m", "n", "s", "k", "wide", "vars")),
        *(
            (name, c_void_p)
            for name in ("matrix", "columns", "lower", "upper", "cost", "rhs", "moving", "watched", "cut_scale")
        ),
        ("watched_scale", c_void_p),
        ("intercept_scale", c_double),
    ]


class _Pool(Structure):
    _fields_ = [
        ("size", c_int64), ("room", c_int64), ("slopes", c_void_p), ("by_state", c_void_p), ("intercepts", c_void_p),
        ("shown", c_void_p),
    ]  # fmt: skip


_KEPT = ("levels", "slopes", "status", "tight", "known", "base", "gain", "low", "high", "place", "still")


class _Kept(Structure):
    _fields_ = [("size", c_int64), ("room", c_int64), *((name, c_void_p) for name in _KEPT)]


_WALKED = ("outcome", "pivots", "same", "objective", "outgoing", "duals", "status", "tight")


class _Walked(Structure):
    _fields_ = [(name, c_void_p) for name in _WALKED]


@cache
def _library() -> ctypes.CDLL | None:
    found = sorted(Path(__file__).parent.glob("_kernel*.so"))
    if not found:
        return None
    library = ctypes.CDLL(str(found[0]))
    for name in ("cobre_prove", "cobre_walk"):
        getattr(library, name).restype = c_int64
    form, pool, kept, at, number = POINTER(_Form), POINTER(_Pool), POINTER(_Kept), c_void_p, c_int64
    library.cobre_prove.argtypes = [form, pool, kept, number, at, number, *[at] * 7]
    library.cobre_walk.argtypes = [form, pool, at, at, number, at, at, at, at, at, number, POINTER(_Walked)]
    return library


def _address(array: NDArray[Any]) -> int:
    """Of its first number, which others must follow in order; in a quarter of the time of ``array.ctypes.data``."""
    assert array.flags.c_contiguous
    if array.size and array.flags.writeable:
        return addressof(c_char.from_buffer(array))  # type: ignore[arg-type]  # arrays are buffers
    return int(array.ctypes.data)


def kernel_is_there() -> bool:
    """Whether the compiled kernel was installed with the package."""
    return _library() is not None


@dataclass(frozen=True, eq=False)
class Proofs:
    """Of r pairs: the best vertex (r,), -1 where none is kept, its value, whether it is proved optimal, and the
    outgoing states and cost-to-go (r, S + 1), scaled, of those that are."""

    vertices: IntArray
    values: FloatArray
    proved: BoolArray
    outgoing: FloatArray


@dataclass(frozen=True, eq=False)
class Walks:
    """r pairs to be solved. rows: (r,) of the right-hand sides. units: (r,) of work, those of one unit together.

    places: (r,) the starts, of those that ``SmallLP.walk`` is given, and known: (r,) what they give, scaled, -inf where
    that is not known: a pair begins at a basis that its unit has come to before, where that gives more.
    """

    rows: IntArray
    units: IntArray
    places: IntArray
    known: FloatArray


@dataclass(frozen=True, eq=False)
class Walked:
    """Of r pairs: outcome (r,) OPTIMAL, BOUND (a dual feasible basis, for pivots ran out), LOST (the rest says nothing)
    or SAME (the basis of the ``same``-th, which is of the same unit and before it, is optimal: neither duals nor basis
    are given again); objective (r,), outgoing (r, S + 1), duals (r, m), all scaled; status (r, n + m) and tight
    (r, S + 1)."""

    outcome: NDArray[np.uint8]
    pivots: IntArray
    same: IntArray
    objective: FloatArray
    outgoing: FloatArray
    duals: FloatArray
    status: StatusArray
    tight: IntArray


class SmallLP:
    """One stage's LP as the kernel sees it. watched_scale: (S + 1,) what makes states and the cost-to-go of watched
    columns. Needs ``kernel_is_there()``. Methods raise MemoryError."""

    def __init__(self, template: Template, watched_scale: FloatArray) -> None:
        library = _library()
        assert library is not None, "the kernel is not installed"
        self._library = library
        m, n = template.matrix.shape
        self.rows, self.columns, self.states = m, n, template.watched.size - 1
        self.moving = template.moving.size
        slots = self.states + 2
        self.wide = m + slots
        lower = np.where(template.sense < 0, -np.inf, 0.0), np.where(template.sense > 0, np.inf, 0.0)
        arrays: dict[str, NDArray[Any]] = {
            "matrix": template.matrix,
            "columns": template.matrix.T,
            "lower": np.concatenate([template.lower, lower[0], np.zeros(slots)]),
            "upper": np.concatenate([template.upper, lower[1], np.full(slots, np.inf)]),
            "cost": template.cost,
            "rhs": template.rhs,
            "moving": template.moving,
            "watched": template.watched,
            "cut_scale": template.cut_scale,
            "watched_scale": watched_scale,
        }
        self._arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        addresses = {name: array.ctypes.data for name, array in self._arrays.items()}
        self._form = _Form(
            m=m, n=n, s=self.states, k=self.moving, wide=self.wide, vars=n + self.wide,
            intercept_scale=template.intercept_scale, **addresses,
        )  # fmt: skip

        self._kept: tuple[FloatArray, _Kept] | None = None
        self._pool: tuple[CutPool, int, _Pool, tuple[FloatArray, ...]] | None = None
        self.slack_start = self._slack_start(template)

    def _slack_start(self, template: Template) -> Bases | None:
        """The basis of all slacks, where it is dual feasible; else None."""
        cost = template.cost
        lower, upper = np.isfinite(template.lower), np.isfinite(template.upper)
        status = np.where(lower & ((cost >= 0.0) | ~upper), LOWER, np.where(upper, UPPER, ZERO))
        if ((cost > 0.0) & (status != LOWER) | (cost < 0.0) & (status != UPPER)).any():
            return None
        status = np.append(status, np.full(self.rows, BASIC)).astype(np.int8)
        return status[np.newaxis], np.full((1, self.states + 1), -1)

    def prove(
        self, pool: CutPool, kept: Any, states: FloatArray, openings: IntArray, points: IntArray, sides: FloatArray
    ) -> Proofs:
        """The best vertex of each of r pairs of an opening (r,) and a row (r,) of ``states`` (P, S).

        kept: vertices (``cobre.sddp.vertices.Vertices``). sides: (r, K) scaled right-hand sides.
        """
        count = openings.size
        found = Proofs(
            vertices=np.empty(count, np.int64),
            values=np.empty(count),
            proved=np.zeros(count, bool),
            outgoing=np.zeros((count, self.states + 1)),
        )
        table = self._table(kept)
        ins = tuple(map(np.ascontiguousarray, (states, openings, points, sides)))
        self._call(
            self._library.cobre_prove, pool, byref(table), states.shape[0], ins[0], count, *ins[1:],
            found.vertices, found.values, found.proved, found.outgoing,
        )  # fmt: skip
        return found

    def _table(self, kept: Any) -> _Kept:
        """Where the vertices' arrays are; they move when there is more room or less in them."""
        if self._kept is None or self._kept[0] is not kept.levels:
            room, addresses = kept.last_used.size, {name: _address(getattr(kept, name)) for name in _KEPT}
            self._kept = kept.levels, _Kept(room=room, **addresses)
        self._kept[1].size = kept.size
        return self._kept[1]

    def walk(self, pool: CutPool, starts: Bases, walks: Walks, sides: FloatArray, most: int) -> Walked:
        """Solve pairs of right-hand sides (P, K) from bases, status (v, n + m) and tight (v, S + 1), which must be dual
        feasible. most: pivots."""
        count = walks.rows.size
        found = Walked(
            outcome=np.empty(count, np.uint8),
            pivots=np.empty(count, np.int64),
            same=np.empty(count, np.int64),
            objective=np.empty(count),
            outgoing=np.empty((count, self.states + 1)),
            duals=np.empty((count, self.rows)),
            status=np.empty((count, self.rows + self.columns), np.int8),
            tight=np.empty((count, self.states + 1), np.int64),
        )
        addresses = _Walked(*(_address(getattr(found, name)) for name in _WALKED))
        self._call(
            self._library.cobre_walk, pool, *starts, count,
            walks.places, walks.known, walks.units, walks.rows, sides, most, byref(addresses),
        )  # fmt: skip
        return found

    def _call(self, function: Any, pool: CutPool, *arguments: Any) -> None:
        given = [_address(item) if isinstance(item, np.ndarray) else item for item in arguments]
        if function(byref(self._form), byref(self._shown(pool)), *given):
            raise MemoryError("no memory for the small LPs of a stage")

    def look_again(self) -> None:
        """Other cuts of a pool may be active now."""
        self._pool = None

    def _shown(self, pool: CutPool) -> _Pool:
        """The cuts of a pool as the kernel sees them; those that are not active are passed over."""
        if self._pool is None or self._pool[0] is not pool or self._pool[1] != pool.size:
            shown = np.where(pool.active, pool.intercepts, -np.inf)
            arrays = (*pool.tables(), shown)
            named = zip(("slopes", "by_state", "intercepts", "shown"), arrays, strict=True)
            table = _Pool(size=pool.size, room=arrays[2].size, **{name: _address(array) for name, array in named})
            self._pool = pool, pool.size, table, arrays
        return self._pool[2]
