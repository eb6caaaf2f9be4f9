"""The command that makes keys for ranks on several hosts."""

from __future__ import annotations

from pathlib import Path

from cobre.cli.failures import ExitCode
from cobre.cli.terminal import Terminal
from cobre.errors import IOError
from cobre.transport.curve import make_keys

__all__ = ["make"]


def make(terminal: Terminal, directory: Path) -> ExitCode:
    """Makes the directory and says what goes where. Raises IOError where something is there already."""
    try:
        paths = make_keys(directory)
    except FileExistsError as error:
        if error.filename != str(directory):  # a file where a directory above it should be
            raise _unwritable(directory, error) from None
        raise IOError(
            f"{directory} exists already; keys are never overwritten",
            kind="Exists",
            context={"path": str(directory)},
            suggestion="give a new directory, or remove that one if no run uses its keys any more",
        ) from None
    except OSError as error:
        raise _unwritable(directory, error) from None
    terminal.say(f"keys are in {directory}; whoever can read them can join the runs that use them")
    terminal.say("copy the directory, with its permissions, to every host (cp -p, scp -p, rsync -p), where")
    terminal.say("  the host of rank 0 does without rank.secret, unless other ranks run there too")
    terminal.say("  the other hosts do without coordinator.secret")
    terminal.say(
        "then give every rank COBRE_TCP_KEYS=<the directory there>, and rank 0 COBRE_TCP_BIND_ADDR=<its address>"
    )
    terminal.emit({"directory": str(directory), "files": [path.name for path in paths]})
    return ExitCode.DONE


def _unwritable(directory: Path, error: OSError) -> IOError:
    return IOError(
        f"the keys cannot be written to {directory}: {error.strerror or error}",
        kind="WriteFailed",
        context={"path": str(directory)},
        suggestion="give a directory that this user can make",
    )
