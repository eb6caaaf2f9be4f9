"""The command line: ``cobre validate``, ``train``, ``simulate``, ``run``, ``report`` and others."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

_ABORTED = 130  # spelled out: the table of codes is loaded with everything else


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on ``arguments`` (the process's own if None) and return the exit code.

    Codes are those of ``cobre --help``; nothing leaves as an exception but SystemExit.
    """
    try:
        # Loading takes long enough for a Ctrl-C to fall into it; no handler stands yet.
        from cobre.cli.app import call

        code = int(call(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        sys.stderr.write("error: stopped before anything had begun\n")
        code = _ABORTED
    if code == _ABORTED:
        # CPython remembers a KeyboardInterrupt that passed through the execution of a text, as where a dataclass is
        # made, even if it was caught, and ends 'python -m' by the signal instead of the code. The next text forgets.
        exec("")
    return code
