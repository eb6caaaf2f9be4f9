"""SDDP on many processes: workers that each run the whole algorithm, and the parent that starts and watches them."""

from __future__ import annotations

__all__: list[str] = []
