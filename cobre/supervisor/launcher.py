"""Starting a process: the contract, and local processes by a fresh interpreter.

The new interpreter runs no script of the user's: what it needs (``sys.path``, its entry) comes over its control
connection, so that scripts without a ``__main__`` guard, notebooks, ``-c`` and stdin are all the same to it.
"""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cobre.supervisor.local_process import LocalProcess
from cobre.supervisor.records import HealthSample, ProcessSpec

__all__ = [
    "LaunchedProcess",
    "Launcher",
    "Order",
    "SpawnLauncher",
    "boot_command",
    "boot_order",
    "whole_environment",
]

_BOOT = """
def boot():
    import marshal, os, sys
    control, *others = map(int, sys.argv[1:])
    if os.getppid() != others[-1]:
        os._exit(70)
    def take(count):
        data = b""
        while len(data) < count:
            more = os.read(control, count - len(data))
            if not more:
                os._exit(70)
            data += more
        return data
    order = marshal.loads(take(int.from_bytes(take(4), "little")))
    sys.path[:] = order["path"]
    del sys.argv[1:]
    from cobre.supervisor.MODULE import run
    return run, (order, control, *others)
run, arguments = boot()
del boot
run(*arguments)
"""


@dataclass(frozen=True)
class Order:
    """A process to be made. control, calls, board, stderr: descriptors of its ends, which stay the caller's."""

    spec: ProcessSpec
    control: int
    calls: int
    board: int
    stderr: int


class LaunchedProcess(Protocol):
    """A process that a launcher made. All is called in the supervisor's thread, and nothing of it blocks or raises."""

    pid: int
    descriptor: int
    """Readable when the process has ended, for as long as it is open."""

    def outcome(self) -> tuple[int | None, str | None] | None:
        """Its exit code or its signal's name, or (None, None) where nobody can tell; None while it lives."""

    def show(self) -> None:
        """Has it write to stderr where its threads stand, if it can."""

    def terminate(self) -> None:
        """Asks the system to end it: SIGTERM."""

    def kill(self) -> None:
        """Kills it and its descendants."""

    def sample(self) -> HealthSample | None:
        """How it is; None where that cannot be seen."""

    def close(self) -> None:
        """Gives back what was needed to watch it; may be called twice."""


class Launcher(Protocol):
    """How processes are made. Nothing above it assumes that one is a child of this process or lives on this host."""

    def prepare(self, spec: ProcessSpec) -> bytes:
        """What the process will read first from its control connection. Called in the thread that asks for it."""

    def launch(self, order: Order) -> LaunchedProcess:
        """Makes a process. Called in the supervisor's thread, with all signals blocked. Raises OSError."""

    def close(self) -> None:
        """Ends what the launcher itself needed; every process that it made has ended. May be called twice."""


class SpawnLauncher:
    """Each process is a fresh interpreter, a child of this one."""

    def prepare(self, spec: ProcessSpec) -> bytes:
        return boot_order(spec)

    def launch(self, order: Order) -> LocalProcess:
        handed = (order.control, order.calls, order.board)
        child = subprocess.Popen(
            boot_command("child", *handed, os.getpid()),
            pass_fds=handed,
            stdin=subprocess.DEVNULL,
            stderr=order.stderr,
            env=whole_environment(order.spec.environment) if order.spec.environment else None,
        )
        return LocalProcess.child(child)

    def close(self) -> None:
        """Nothing is held between launches."""


def boot_command(module: str, control: int, *others: int) -> list[str]:
    """The command of a new interpreter, with this one's flags, that calls ``run`` of one of our modules.

    That is given what ``boot_order`` sent over ``control``, that descriptor, and the other numbers, of which the last
    is this process's: one that finds another parent ends at once. Raises OSError where the interpreter is not known:
    Python embedded in another program.
    """
    if not sys.executable:
        raise FileNotFoundError("sys.executable is not set: this Python does not know its own interpreter")
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags, "-c", _BOOT.replace("MODULE", module), *map(str, (control, *others))]


def boot_order(spec: ProcessSpec, **more: object) -> bytes:
    """What the boot of a local process reads: a length and a dictionary."""
    path = [place for place in sys.path if isinstance(place, str)]
    order = {"name": spec.name, "entry": spec.entry, "marks": tuple(spec.marks), "path": path, **more}
    data = marshal.dumps(order)
    return len(data).to_bytes(4, "little") + data


def whole_environment(added: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process, with these variables."""
    return {**os.environ, **added}
