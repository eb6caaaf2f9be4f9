"""What a worker does to itself when a fault is injected; see ``cobre.testing.faults``."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from cobre.errors import CobreError

if TYPE_CHECKING:
    from cobre.transport.communicator import Communicator

__all__ = ["DEEDS", "Unpicklable"]

_PIECE = 16 << 20  # bytes
_GROWTH = 400_000_000
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Unpicklable(Exception):
    """An exception that holds what cannot be sent to another process."""

    def __init__(self, text: str) -> None:
        super().__init__(text, threading.Lock())


def _raise_cobre() -> NoReturn:
    raise CobreError(
        "a fault was injected", kind="Injected", context={"injected": True}, suggestion="leave COBRE_FAULTS unset"
    )


def _raise() -> NoReturn:
    raise ValueError("a fault was injected")


def _raise_unpicklable() -> NoReturn:
    raise Unpicklable("a fault was injected")


def _spoil_result() -> None:
    """Every call returns a Summary with what else it returns."""
    from cobre.engine.worker import Summary  # a node of a pipeline has none, and does not import it for nothing

    def refuse(self: Summary, protocol: Any) -> Any:
        raise TypeError("a fault was injected")

    Summary.__reduce_ex__ = refuse  # type: ignore[method-assign, assignment]


def _system_exit() -> NoReturn:
    raise SystemExit(4)


def _exit() -> NoReturn:
    os._exit(3)


def _kill() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    _hang()


def _read_nothing() -> NoReturn:
    _leave_no_core()
    ctypes.string_at(0)
    _hang()


def _abort() -> NoReturn:
    _leave_no_core()
    os.abort()


def _leave_no_core() -> None:
    """A crash on purpose leaves no file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _run_out_of_memory() -> NoReturn:
    with open("/proc/self/statm") as sizes:
        used = int(sizes.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * _PIECE, hard))
    held: list[bytearray] = []
    while True:
        held.append(bytearray(_PIECE))


def _grow() -> NoReturn:
    held: list[bytes] = []
    while len(held) * _PIECE < _GROWTH:
        held.append(b"\1" * _PIECE)
        time.sleep(0.02)
    _hang()


def _hang() -> NoReturn:
    while True:
        time.sleep(1.0)


def _hang_natively() -> NoReturn:
    sleep = ctypes.PyDLL(None).sleep  # unlike CDLL, it keeps the interpreter's lock
    while True:
        sleep(1_000_000)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _break_transport() -> None:
    for communicator in _communicators():
        if communicator.backend == "tcp":
            _shut_connections()
        else:
            communicator.abort("a fault was injected")


def _communicators() -> Iterator[Communicator]:
    """Those of this process; a worker's is in nobody's reach but its own."""
    from cobre.transport.communicator import Communicator

    return (thing for thing in gc.get_objects() if Communicator in type(thing).__mro__)


def _shut_connections() -> None:
    for name in os.listdir("/dev/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                if connection.family in _FAMILIES:
                    connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the listing's own descriptor; a socket that is not connected
            continue


DEEDS: dict[str, Callable[[], None]] = {
    "raise-cobre": _raise_cobre,
    "raise": _raise,
    "unpicklable-error": _raise_unpicklable,
    "unpicklable-result": _spoil_result,
    "system-exit": _system_exit,
    "exit": _exit,
    "SIGKILL": _kill,
    "SIGSEGV": _read_nothing,
    "abort": _abort,
    "out-of-memory": _run_out_of_memory,
    "memory-limit": _grow,
    "hang": _hang,
    "hang-native": _hang_natively,
    "stop": _stop,
    "broken-transport": _break_transport,
}
