"""Where output goes: results to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import os
import sys
from collections.abc import Mapping
from io import StringIO
from typing import IO, Any

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

__all__ = ["Terminal"]


class _Patient:
    """A stream that nobody has to read: what cannot be written to it is dropped, and ends no run."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Closed(StringIO):
    """Stands for a stream that the caller closed: writing to it fails, as it does to a closed descriptor."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # the error under way; rich itself would exit with code 1


class Terminal:
    """The two streams of a command, and how much is said on them.

    json: one document on stdout, nothing else there. quiet: no progress, no summary. verbose: the library's log and
    tracebacks, on stderr.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.json, self.quiet, self.verbose = json, quiet, verbose
        self._stdout = sys.stdout or _Closed()  # Python's is None where the descriptor is closed
        self.out = _console(self._stdout)
        self.err = _console(_Patient(sys.stderr or _Closed()))
        if verbose:
            self._log_to_stderr()

    def say(self, line: str | Text = "") -> None:
        """A line of a result, on stdout; nothing under ``--json`` and ``--quiet``."""
        if not (self.json or self.quiet):
            self.out.print(line, soft_wrap=True)

    def note(self, line: str | Text, style: str = "") -> None:
        """A line about the run, on stderr."""
        self.err.print(line, style=style, soft_wrap=True)

    def emit(self, document: Mapping[str, Any]) -> None:
        """The JSON document, under ``--json`` only. Numbers that JSON has no word for become null."""
        if self.json:
            self._stdout.write(json.dumps(_plain(document), indent=1, allow_nan=False) + "\n")

    def flush(self) -> None:
        """Raise OSError now where stdout cannot take what was written, not when Python ends."""
        self._stdout.flush()

    def abandon_stdout(self) -> None:
        """Let what stdout could not take go nowhere, or Python would try again at its end and complain."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stdout.fileno())
            os.close(nowhere)

    def alert(self, line: str) -> None:
        """A line on stderr from inside a signal handler, where buffered streams may be in the middle of a write."""
        with contextlib.suppress(OSError, ValueError):
            os.write(self.err.file.fileno(), f"{line}\n".encode())

    def _log_to_stderr(self) -> None:
        handler = RichHandler(console=self.err, show_path=False, rich_tracebacks=False, markup=False)
        logger = logging.getLogger("cobre")
        logger.handlers = [handler]
        logger.setLevel(logging.DEBUG)


def _console(stream: Any) -> Console:
    # Off a terminal rich would break lines at 80 columns, in the middle of paths that scripts look for.
    width = None if stream.isatty() else 10_000
    return _Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
