"""The command line: ``cobre validate``, ``train``, ``simulate``, ``run`` and ``report``."""

from __future__ import annotations

from cobre.cli.app import main

__all__ = ["main"]
