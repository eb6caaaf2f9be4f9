"""Settings as values that JSON knows."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Settings as plain values for JSON, each dataclass with its name as ``type``."""
    if is_dataclass(value) and not isinstance(value, type):
        fields = {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
        return {"type": type(value).__name__} | fields
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
