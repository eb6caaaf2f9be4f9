"""Collecting what is wrong with a case, so that one reading finds everything."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from cobre.errors import Diagnostic, DiagnosticKind

__all__ = ["Findings", "brief", "closest", "did_you_mean"]


def closest(name: object, choices: Iterable[object], cutoff: float = 0.6) -> str | None:
    """The choice that ``name`` is most likely a misspelling of, or None where nothing is near.

    cutoff: how near, from 0 to 1, as ``difflib`` measures it; the more choices, the nearer it must be.
    """
    # difflib is quadratic: a name of a megabyte is no misspelling of anything.
    text = str(name)[:80].lower()
    known = {str(choice).lower(): str(choice) for choice in choices}
    found = difflib.get_close_matches(text, list(known), n=1, cutoff=cutoff)
    return known[found[0]] if found else None


def did_you_mean(name: object, choices: Iterable[object]) -> str | None:
    """A suggestion naming the closest of ``choices``, else listing them (the first ten)."""
    options = [str(choice) for choice in choices]
    guess = None if isinstance(name, int) else closest(name, options)
    if guess is not None:
        return f"did you mean {guess!r}?"
    if not options:
        return None
    return f"known: {', '.join(options[:10])}{', ...' if len(options) > 10 else ''}"


class Findings:
    """The errors and warnings met so far, in the order in which they were met."""

    def __init__(self) -> None:
        self.errors: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []

    def error(
        self,
        kind: DiagnosticKind,
        file: str,
        message: str,
        *,
        entity: str | None = None,
        field: str | None = None,
        value: Any = None,
        suggestion: str | None = None,
    ) -> None:
        self.errors.append(Diagnostic(kind, file, message, entity, field, brief(value), suggestion))

    def warn(
        self,
        kind: DiagnosticKind,
        file: str,
        message: str,
        *,
        entity: str | None = None,
        field: str | None = None,
        value: Any = None,
        suggestion: str | None = None,
    ) -> None:
        self.warnings.append(Diagnostic(kind, file, message, entity, field, brief(value), suggestion))


def brief(value: Any) -> Any:
    """``value`` as a diagnostic may hold it, plain and short: diagnostics are pickled, compared and printed."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        # An integer of thousands of digits cannot even be turned into text.
        return value if -(2**63) <= value < 2**64 else f"an integer of {value.bit_length()} bits"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
