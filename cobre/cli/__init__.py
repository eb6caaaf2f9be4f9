"""The command line: ``cobre validate``, ``train``, ``simulate``, ``run``, ``report`` and others."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on ``arguments`` (the process's own if None) and return the exit code.

    Codes are those of ``cobre --help``; nothing leaves as an exception but SystemExit.
    """
    try:
        # Loading takes long enough for a Ctrl-C to fall into it; no handler stands yet.
        from cobre.cli.app import call

        return call(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        sys.stderr.write("error: stopped before anything had begun\n")
        return 130
