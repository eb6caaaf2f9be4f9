"""Small LPs that differ in their right-hand sides only, in compiled loops: ``kernel.c``, called through ctypes.

    kept vertices, openings and states -> right-hand sides, the best vertex of each, whether its basis is optimal
    bases, right-hand sides            -> the optimal bases, by a dual simplex method, cuts found as they are violated

For LPs of some tens of rows a solve takes a twentieth of what a call of HiGHS costs
(docs/decisions/0016-a-kernel-for-small-lps.md). The kernel is compiled when the package is installed; where that was
not possible, HiGHS does all the work.
"""

from __future__ import annotations

import ctypes
import logging
from ctypes import Structure, byref, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.cuts import CutPool
from cobre.sddp.found import Found
from cobre.sddp.highs import BASIC, LOWER, UPPER, ZERO
from cobre.sddp.kernel_structures import (
    SIZES,
    SOLVED,
    WALKED,
    Form,
    Kept,
    ProofsAt,
    ShownPool,
    WalkedAt,
    address,
    where,
)
from cobre.sddp.lp import StageLP
from cobre.sddp.risk import FloatArray
from cobre.sddp.template import Template

__all__ = [
    "LOST",
    "OPTIMAL",
    "SAME",
    "Bases",
    "KernelLP",
    "Proofs",
    "Walked",
    "Walks",
    "kernel_is_there",
]

log = logging.getLogger(__name__)

IntArray = NDArray[np.int64]
StatusArray = NDArray[np.int8]
BoolArray = NDArray[np.bool_]
Bases = tuple[StatusArray, IntArray]
OPTIMAL, BOUND, LOST, SAME = 0, 1, 2, 3  # outcomes of a walk
_NO_MEMORY = "no memory for the small LPs of a stage"
NOTHING = -2  # instead of what was found, where a pair was lost


@cache
def _library() -> ctypes.CDLL | None:
    found = sorted(Path(__file__).parent.glob("_kernel*.so"))
    if not found:
        return None
    library = ctypes.CDLL(str(found[0]))
    if not fits(library):
        log.warning(
            "%s was compiled from other sources than are here, so HiGHS solves everything; install cobre again",
            found[0],
        )
        return None
    at, number = c_void_p, c_int64
    arguments = {
        "prove": [at, at, at, at, number, at, at, at],
        "walk": [at, at, at, at, number, at, at, at, at, at, number, at],
        "answer": [at],
        "follow": [at],
        "conclude": [at],
        "forward": [at],
        "backward": [at],
        "name": [at, at, number, *[at] * 6, number, at],
        "keep": [at, at, number, at, number, number, at, at, number, at],
        "outcomes": [at, at, at, number, at, at, number, at],
        "best": [at, at, at, number, at, at, at, at],
        "average": [at, at, number, at, at, at, number, at, at],
        "index": [at, at],
        "evict": [at, at, number],
    }
    for name, types in arguments.items():
        function = getattr(library, f"cobre_{name}")
        function.restype, function.argtypes = c_int64, types
    return library


def fits(library: ctypes.CDLL) -> bool:
    """Whether a library has the structures that are declared here."""
    try:
        return tuple((c_int64 * len(SIZES)).in_dll(library, "cobre_sizes")) == SIZES
    except ValueError:  # it has none to tell
        return False


def kernel_is_there() -> bool:
    """Whether the compiled kernel was installed with the package."""
    return _library() is not None


@dataclass(frozen=True, eq=False)
class Proofs:
    """Of r pairs: scaled right-hand sides (r, K), the best vertex (r,), -1 where none is kept, its value, the same
    scaled and without what the incoming state costs (``known``), whether it is proved optimal, and the outgoing states
    and cost-to-go (r, S + 1), scaled, of those that are; count: how many are."""

    sides: FloatArray
    vertices: IntArray
    values: FloatArray
    known: FloatArray
    proved: BoolArray
    outgoing: FloatArray
    count: int = 0


@dataclass(frozen=True, eq=False)
class Walks:
    """Pairs to be solved. rows: (v,) which ones of r, rising. units: (r,) of work, those of one unit together.

    places: (r,) the starts, of those that ``KernelLP.walk`` is given, and known: (r,) what they give, scaled, -inf
    where that is not known: a pair begins at a basis that its unit has come to before, where that gives more.
    """

    rows: IntArray
    units: IntArray
    places: IntArray
    known: FloatArray


@dataclass(frozen=True, eq=False)
class Walked:
    """Of v pairs: outcome (v,) OPTIMAL, BOUND (a dual feasible basis, for pivots ran out), LOST (the rest says nothing)
    or SAME (the basis of the ``same``-th, which is of the same unit and before it, is optimal: neither duals nor basis
    are given again); objective (v,), outgoing (v, S + 1), duals (v, m), all scaled; status (v, n + m) and tight
    (v, S + 1). totals: how many of each outcome, and pivots."""

    outcome: NDArray[np.uint8]
    pivots: IntArray
    same: IntArray
    objective: FloatArray
    outgoing: FloatArray
    duals: FloatArray
    status: StatusArray
    tight: IntArray
    totals: IntArray


def _columns_of(matrix: FloatArray) -> dict[str, NDArray[Any]]:
    """The entries that are not zero, column after column."""
    columns, rows = np.nonzero(matrix.T)
    starts = np.searchsorted(columns, np.arange(matrix.shape[1] + 1))
    return {"by_column": starts, "by_column_row": rows, "by_column_value": matrix[rows, columns]}


class KernelLP:
    """One stage's LP as the kernel sees it. Needs ``kernel_is_there()``. Methods raise MemoryError."""

    def __init__(self, lp: StageLP) -> None:
        library = _library()
        assert library is not None, "the kernel is not installed"
        self._library, template, noise = library, lp.template(), lp.stage.openings
        m, n = template.matrix.shape
        self.rows, self.columns, self.states = m, n, template.watched.size - 1
        self.moving, self.openings, self.noise = template.moving.size, len(noise), noise.rhs_rows.size
        slots = self.states + 2
        self.wide = m + slots
        lower = np.where(template.sense < 0, -np.inf, 0.0), np.where(template.sense > 0, np.inf, 0.0)
        arrays: dict[str, NDArray[Any]] = {
            **_columns_of(template.matrix),
            "lower": np.concatenate([template.lower, lower[0], np.zeros(slots)]),
            "upper": np.concatenate([template.upper, lower[1], np.full(slots, np.inf)]),
            **{name: getattr(template, name) for name in ("cost", "rhs", "moving", "watched")},
            **{name: getattr(template, name) for name in ("cut_scale", "watched_scale")},
            "noise": noise.rhs,
            "noise_rows": noise.rhs_rows.astype(np.int64),
            "dual_scale": lp.dual_scale,
            "probability": noise.probability,
            "least": lp.stage.lower[lp.stage.outgoing],
            "most": lp.stage.upper[lp.stage.outgoing],
            **lp.sides.tables(),
        }
        self._arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._form = Form(
            m=m, n=n, s=self.states, k=self.moving, wide=self.wide, vars=n + self.wide,
            intercept_scale=template.intercept_scale, cost_scale=lp.scaling.cost,
            openings=self.openings, r=self.noise, discount=lp.stage.discount,
            **{name: address(array) for name, array in self._arrays.items()},
        )  # fmt: skip
        self._by_reference = byref(self._form)
        self.at = where(self._form)
        self._pool: tuple[CutPool, tuple[NDArray[Any], ...], FloatArray, ShownPool] | None = None
        self._choices = 0  # of the pool's active cuts, when it was last looked at
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

    def prove(self, pool: CutPool, kept: Kept, states: FloatArray, openings: IntArray, points: IntArray) -> Proofs:
        """The best vertex of each of r pairs of an opening (r,) and a row (r,) of ``states`` (P, S)."""
        count = openings.size
        arrays = (
            np.empty((count, self.moving)),
            np.empty(count, np.int64),
            np.empty(count),
            np.empty(count),
            np.empty(count, bool),
            np.empty((count, self.states + 1)),
        )
        out = ProofsAt(*map(address, arrays))
        given = np.ascontiguousarray(openings), np.ascontiguousarray(points)
        states = np.ascontiguousarray(states)
        proved = self.call("prove", self.shown(pool), kept, states, count, *given, out)
        return Proofs(*arrays, proved)

    def walk(self, pool: CutPool, starts: Bases, walks: Walks, sides: FloatArray, most: int) -> Walked:
        """Solve those pairs of right-hand sides (r, K) from bases, status (u, n + m) and tight (u, S + 1), which must
        be dual feasible. most: pivots."""
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
            totals=np.empty(5, np.int64),
        )
        addresses = WalkedAt(**{name: address(getattr(found, name)) for name in WALKED if name != "records"})
        self.call(
            "walk", self.shown(pool), *starts, count,
            walks.places, walks.known, walks.units, walks.rows, sides, most, addresses,
        )  # fmt: skip
        return found

    def solved(self, found: Found) -> Structure:
        """What was solved as the kernel sees it."""
        return WalkedAt(**{name: address(getattr(found, name)) for name in SOLVED})

    def visit(self, name: str, visit: Structure) -> int:
        """A function of the kernel that takes a visit or its conclusion. May be NOTHING. Raises MemoryError."""
        found: int = getattr(self._library, name)(byref(visit))
        if found == -1:
            raise MemoryError(_NO_MEMORY)
        return found

    def call(self, name: str, *arguments: Any) -> int:
        """Another function of the kernel; arrays and structures are given by their addresses. Raises MemoryError."""
        given = [
            item if isinstance(item, int) else address(item) if isinstance(item, np.ndarray) else byref(item)
            for item in arguments
        ]
        found: int = getattr(self._library, f"cobre_{name}")(self._by_reference, *given)
        if found == -1:
            raise MemoryError(_NO_MEMORY)
        return found

    def shown(self, pool: CutPool) -> ShownPool:
        """The cuts of a pool as the kernel sees them; those that are not active are passed over."""
        known = self._pool
        if known is None or known[0] is not pool or known[-1].room != pool.room:
            arrays = pool.tables()
            shown = np.empty(arrays[2].size)
            named = zip(ShownPool.ARRAYS, (*arrays[:3], shown, *arrays[3:]), strict=True)
            table = ShownPool(room=shown.size, **{name: address(array) for name, array in named})
            known = self._pool = pool, arrays, shown, table
        *_, shown, table = known
        if self._choices != pool.choices:
            table.size, self._choices = 0, pool.choices
        if table.size != pool.size:  # what is added is active
            at = slice(table.size, pool.size)
            shown[at] = pool.intercepts[at]
            shown[at][~pool.active[at]] = -np.inf
            table.size = pool.size
        return table
