"""What ranks do in the tests of rank groups."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from typing import Any, NoReturn

import numpy as np

from cobre.errors import CommError
from cobre.testing.ranks import tell
from cobre.transport import Communicator


def add(communicator: Communicator, number: int) -> list[int]:
    found = communicator.allgatherv(np.array([communicator.rank + number]), [1] * communicator.size)
    return [int(each) for each in found]


def count(start: list[int]) -> int:
    _counts.extend(start)
    return len(_counts)


_counts: list[int] = []


def fail_on(communicator: Communicator, rank: int) -> int:
    if communicator.rank == rank:
        raise CommError("no luck", operation="fail_on", kind="Odd", context={"number": 7})
    return communicator.rank


class _Stubborn(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")  # cannot be unpickled: two arguments are missing


def fail_stubbornly() -> NoReturn:
    raise _Stubborn(1, 2)


def unpicklable() -> Any:
    return threading.Lock()


def hang(name: str) -> None:
    def wait_for_ever_and_a_day() -> None:
        while True:
            time.sleep(1.0)

    tell(name)
    wait_for_ever_and_a_day()


def crash() -> None:
    ctypes.string_at(0)


def leave(code: int) -> None:
    os._exit(code)


def modules(names: list[str]) -> list[bool]:
    return [name in sys.modules for name in names]


def threads() -> int:
    return threading.active_count()


def make_local(rank: int, size: int, **settings: Any) -> Communicator:
    """A factory: a group of one on each rank, whatever the rank."""
    from cobre.transport.local import LocalCommunicator

    assert 0 <= rank < size
    return LocalCommunicator(**settings)


def parent() -> int:
    return os.getppid()


def say_twice(first: Any, second: Any) -> str:
    tell(first)
    tell(second)
    return "done"
