"""The build backend: setuptools, and where the machine has no C compiler, one from the package index."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

_COMPILER = ["ziglang>=0.13"]


def _wanted() -> list[str]:
    named = os.environ.get("CC", "").split()
    there = any(shutil.which(name) for name in (*named[:1], "cc", "gcc", "clang"))
    return [] if there or sys.platform == "win32" else _COMPILER


def _use() -> None:
    if _wanted() and importlib.util.find_spec("ziglang"):
        compiler = f"{sys.executable} -m ziglang cc -mcpu=baseline"  # else what it makes runs on this processor only
        os.environ.update(CC=compiler, LDSHARED=f"{compiler} -shared")


def get_requires_for_build_wheel(settings: Any = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(settings), *_wanted()]


def get_requires_for_build_editable(settings: Any = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(settings), *_wanted()]


def build_wheel(directory: str, settings: Any = None, metadata: str | None = None) -> str:
    _use()
    return build_meta.build_wheel(directory, settings, metadata)


def build_editable(directory: str, settings: Any = None, metadata: str | None = None) -> str:
    _use()
    return build_meta.build_editable(directory, settings, metadata)
