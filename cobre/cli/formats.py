"""Numbers and durations as people read them."""

from __future__ import annotations

import math

__all__ = ["amount", "count", "duration", "percent", "seconds"]


def amount(value: float | None, beside: float | None = None) -> str:
    """A cost or a bound: thousands apart, cents where there is room for them, in it or in the number ``beside`` it."""
    if value is None or math.isnan(value):
        return "-"
    size = max(abs(value), abs(beside or 0.0))
    if size >= 1e15:
        return f"{value:.9e}"
    return f"{value:,.0f}" if size >= 1e7 else f"{value:,.2f}"


def percent(share: float | None) -> str:
    """A share as a percentage with three figures that say something."""
    if share is None or not math.isfinite(share):
        return "-"
    value = 100.0 * share
    return f"{value:,.0f} %" if abs(value) >= 100.0 else f"{value:.3g} %" if abs(value) >= 1e-4 else "0 %"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 cut``, ``1,200 cuts``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(value: float) -> str:
    """Seconds as ``0:07``, ``12:30`` or ``3:02:00``."""
    whole = max(0, round(value))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def seconds(value: float) -> str:
    """A measured time with its unit: ``4.1 ms``, ``0.52 s``, ``41.3 s``, else as ``duration``."""
    if value < 0.1:
        return f"{1000.0 * value:.3g} ms"
    return f"{value:.3g} s" if value < 100.0 else duration(value)
