"""What the compiled kernel is handed, field for field as its C headers declare it."""

from __future__ import annotations

from ctypes import Array, Structure, addressof, c_char, c_double, c_int64, c_void_p, sizeof
from typing import Any

from numpy.typing import NDArray

__all__ = [
    "BROUGHT",
    "SIZES",
    "SOLVED",
    "WALKED",
    "Ahead",
    "Conclusion",
    "Form",
    "Kept",
    "Leg",
    "ProofsAt",
    "ShownPool",
    "Spent",
    "SweepAt",
    "Trade",
    "Visit",
    "WalkedAt",
    "address",
    "where",
]


class Form(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("m", "n", "s", "k", "wide", "vars")),
        *(
            (name, c_void_p)
            for name in ("by_column", "by_column_row", "by_column_value", "lower", "upper", "cost", "rhs")
        ),
        *((name, c_void_p) for name in ("moving", "watched", "cut_scale", "watched_scale")),
        *((name, c_double) for name in ("intercept_scale", "cost_scale")),
        *((name, c_int64) for name in ("openings", "r")),
        *((name, c_void_p) for name in ("openings_sides", "noise", "noise_rows", "dual_scale", "incoming_cost")),
        *((name, c_void_p) for name in ("by_side", "by_side_state", "by_side_value")),
        *((name, c_void_p) for name in ("by_state", "by_state_row", "by_state_value", "probability", "least", "most")),
        ("discount", c_double),
    ]


class ShownPool(Structure):
    """Cuts as the kernel sees them (``pool_t``)."""

    ARRAYS = ("slopes", "by_state", "intercepts", "shown", "times_active", "last_active", "iterations", "active")
    _fields_ = [("size", c_int64), ("room", c_int64), *((name, c_void_p) for name in ARRAYS)]


class Kept(Structure):
    """Kept vertices as the kernel sees them (``kept_t``)."""

    ARRAYS = ("levels", "slopes", "status", "tight", "last_used", "record", "spares", "bucket")
    _fields_ = [
        *((name, c_int64) for name in ("size", "room", "records", "spare", "buckets")),
        *((name, c_void_p) for name in ARRAYS),
    ]


class Visit(Structure):
    """A stage's pairs (``visit_t``)."""

    _fields_ = [
        *((name, c_void_p) for name in ("form", "pool", "kept", "start_status", "start_tight")),
        *((name, c_int64) for name in ("points", "count", "most")),
        *((name, c_void_p) for name in ("states", "openings", "point", "units", "first", "second")),
        ("totals", c_int64 * 4),
        ("next", c_void_p),
        ("deal", c_void_p),
    ]


class Conclusion(Structure):
    """What they came to (``conclusion_t``)."""

    _fields_ = [
        ("visit", c_void_p), ("told", c_void_p), ("stride", c_int64), ("new", c_int64), ("packed", c_void_p),
        ("rows", c_void_p), ("turn", c_void_p), ("iteration", c_int64), ("mean", c_void_p), ("into", c_void_p),
    ]  # fmt: skip


_PROOFS = ("sides", "vertices", "values", "known", "proved", "outgoing")


class ProofsAt(Structure):
    _fields_ = [(name, c_void_p) for name in _PROOFS]


WALKED = ("outcome", "pivots", "same", "objective", "outgoing", "duals", "status", "tight", "records", "totals")
SOLVED = ("same", "objective", "duals", "status", "tight")


class WalkedAt(Structure):
    _fields_ = [(name, c_void_p) for name in WALKED]


class Spent(Structure):
    """What visits took (``spent_t``)."""

    _fields_ = [("totals", c_int64 * 4), ("seconds", c_double)]


class Leg(Structure):
    """One stage of a sweep (``leg_t``)."""

    _fields_ = [
        ("visit", c_void_p), ("into", c_void_p), ("trial", c_void_p),
        ("scenarios", c_int64), ("units", c_int64), ("per_unit", c_int64),
        ("order", c_void_p), ("turn", c_void_p), ("cap", c_int64),
    ]  # fmt: skip


class Trade(Structure):
    """A rank's exchanges (``trade_t``)."""

    _fields_ = [
        ("rank", c_int64), ("ranks", c_int64), ("shares", c_int64), ("send", c_void_p), ("room", c_int64),
        ("received", c_void_p), ("slot", c_int64),
        ("swap", c_void_p), ("claim", c_void_p), ("state", c_void_p), ("swaps", c_int64),
    ]  # fmt: skip


class SweepAt(Structure):
    """A backward pass (``sweep_t``)."""

    _fields_ = [
        ("legs", c_void_p), ("count", c_int64), ("trials", c_void_p), ("scenarios", c_int64), ("every", c_int64),
        ("kept_sizes", c_void_p), ("pool_sizes", c_void_p),
        *((name, c_int64) for name in ("at", "until", "step", "iteration")),
        *((name, c_int64) for name in ("points", "pairs", "fresh", "most_fresh")),
        *((name, c_int64) for name in ("blocks", "begin", "end", "first", "taken", "low")),
        ("states", c_void_p), ("rows", c_void_p), ("bucket", c_void_p), ("buckets", c_int64), ("fresh_of", c_void_p),
        *((name, c_void_p) for name in ("openings", "point", "units", "told", "packed", "all_told", "row_of")),
        ("mean", c_void_p), ("added", c_int64), ("spent", c_void_p), ("stage", c_void_p), ("beats", c_void_p),
        ("trade", Trade),
    ]  # fmt: skip


class Ahead(Structure):
    """Forward passes (``ahead_t``)."""

    _fields_ = [
        ("legs", c_void_p), *((name, c_int64) for name in ("at", "until", "last", "step", "count", "total")),
        *((name, c_void_p) for name in ("openings", "rows", "states", "costs", "all_states", "all_costs")),
        *((name, c_void_p) for name in ("spent", "stage", "beats")), ("trade", Trade),
    ]  # fmt: skip


BROUGHT = 256
"""Numbers in the largest record that comes with its vertex: how wide a vertex's row is hangs on it on both sides."""

_STRUCTURES = (Form, ShownPool, Kept, Visit, Conclusion, ProofsAt, WalkedAt, Spent, Leg, SweepAt, Ahead)
SIZES = (*map(sizeof, _STRUCTURES), BROUGHT)
"""In the order of ``cobre_sizes``."""


def address(array: NDArray[Any]) -> int:
    """Of its first number, which others must follow in order; in a quarter of the time of ``array.ctypes.data``."""
    assert array.flags.c_contiguous
    if array.size and array.flags.writeable:
        return addressof(c_char.from_buffer(array))  # type: ignore[arg-type]  # arrays are buffers
    return int(array.ctypes.data)


def where(structure: Structure | Array[Any]) -> int:
    """Its address."""
    return addressof(structure)
