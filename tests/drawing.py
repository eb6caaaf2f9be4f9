"""matplotlib, readied for tests that look for open files: it keeps those of its fonts."""

from __future__ import annotations

import io

import pytest

__all__ = ["ready_to_draw"]


def ready_to_draw() -> None:
    """Draw something with text once; skip the test where matplotlib is not installed."""
    figures = pytest.importorskip("matplotlib.figure")
    figure = figures.Figure()
    figure.add_subplot().set_title("text")
    figure.savefig(io.BytesIO(), format="png")
