"""Running the command line: in this process where that is enough, else as users do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cobre.cli import main

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds, for machines that do other things at the same time


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one document that stdout must be."""
        return json.loads(self.out)


class Cli:
    """Calls of the command line within this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Outcome:
        self._capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *self._capsys.readouterr())


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "cobre", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    """This process's, without what would turn a pipe into a terminal or take a terminal's colours."""
    odd = {"FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
    own = {name: value for name, value in os.environ.items() if name not in odd and not name.startswith("COBRE_")}
    return own | {"PYTHONPATH": str(ROOT)} | changes


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """The command line in a process of its own, whose stderr can be waited on."""
    usual: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()}
    return subprocess.Popen(command(*arguments), **(usual | options))


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read stderr up to a line that holds ``text``; what was read."""
    assert process.stderr is not None
    read = ""
    for line in process.stderr:
        read += line
        if text in line:
            return read
    raise AssertionError(f"{text!r} never came; instead: {read}")


def finish(process: subprocess.Popen[str], read: str = "") -> Outcome:
    """Wait for the end; ``read`` is what was read of stderr already."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Outcome(process.returncode, out, read + err)
