"""``--set dotted.key=value``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer

__all__ = ["parse_overrides"]


def parse_overrides(settings: Sequence[str]) -> dict[str, Any]:
    """Dotted keys to values; a value that is no JSON is a string. Of two equal keys the last counts.

    Raises typer.BadParameter for what is no ``key=value``.
    """
    found: dict[str, Any] = {}
    for text in settings:
        key, sign, value = text.partition("=")
        key = key.strip()
        if not sign or not all(key.split(".")):
            raise typer.BadParameter(
                f"{text!r} is not of the form dotted.key=value, such as training.tree_seed=7", param_hint="--set"
            )
        found[key] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
