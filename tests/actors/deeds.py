"""Classes that the tests make actors of."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

from cobre.actors import context


class Worker:
    """Does what it is told."""

    def __init__(self, start: int = 0, *, fail: bool = False) -> None:
        if fail:
            raise ValueError("not made")
        self.value = start
        self.seen: list[int] = []
        self.kept: Any = None

    def add(self, number: int) -> int:
        self.value += number
        return self.value

    def start(self) -> Any:
        return self.value

    def echo(self, value: Any) -> Any:
        return value

    def both(self, first: Any, *, second: Any = None) -> tuple[Any, Any]:
        return first, second

    def note(self, number: int) -> None:
        self.seen.append(number)

    def noted(self) -> list[int]:
        return self.seen

    def pid(self) -> int:
        return os.getpid()

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def wait_for_interruption(self, seconds: float) -> bool:
        return context().interrupted.wait(seconds)

    def interrupted(self) -> bool:
        return context().interrupted.is_set()

    def fail(self, message: str) -> None:
        raise KeyError(message)

    def refuse(self) -> None:
        raise Refusal(3, "no")

    def raise_strange(self) -> None:
        raise Strange(lambda: 1, "strange")

    def raise_unreadable(self) -> None:
        raise Unreadable("one", "two")

    def leave(self, code: int) -> None:
        sys.exit(code)

    def drop_dead(self, code: int) -> None:
        os._exit(code)

    def kill_itself(self, number: int = signal.SIGKILL) -> None:
        os.kill(os.getpid(), number)
        time.sleep(30)

    def complain_and_die(self) -> None:
        print("something is rotten", file=sys.stderr, flush=True)
        os.abort()

    def lock(self) -> Any:
        return threading.Lock()

    async def later(self) -> int:
        return 1

    def emit(self, count: int) -> int:
        for number in range(count):
            context().emit(number)
        return count

    def emit_lock(self) -> None:
        context().emit(threading.Lock())

    def mark(self, value: int) -> None:
        context().board.mark("place", value)

    def keep(self, value: Any) -> None:
        self.kept = value

    def total(self) -> float:
        return float(self.kept.sum())

    def write(self, array: Any) -> str:
        try:
            array[0] = 1
        except ValueError as refusal:
            return str(refusal)
        return "written"

    def zeros(self, size: int) -> Any:
        import numpy as np

        return np.zeros(size)

    def modules(self) -> list[str]:
        return sorted(sys.modules)

    def environment(self, name: str) -> str | None:
        return os.environ.get(name)

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def name(self) -> str:
        return context().name

    def stop(self) -> str:
        return "a method, not the handle's"

    def ignore_stopping(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)


class Refusal(Exception):
    """Has fields, and pickles."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code


class Strange(Exception):
    """Cannot be pickled."""

    def __init__(self, function: Any, message: str) -> None:
        super().__init__(message)
        self.function, self.lock = function, threading.Lock()


class Unreadable(Exception):
    """Can be pickled, and cannot be unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


class Thing:
    """A value that refuses to be made again."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("not twice")


class Fragile:
    """Dies in its constructor."""

    def __init__(self) -> None:
        os._exit(7)


class Stubborn:
    """Counts in a file how often it was made."""

    def __init__(self, path: str) -> None:
        with open(path, "a") as file:
            file.write("x")
        with open(path) as file:
            self.count = len(file.read())

    def which(self) -> int:
        return self.count

    def die(self, once: str | None = None) -> None:
        """once: when there is a file of that name."""
        while once is not None and not os.path.exists(once):
            time.sleep(0.001)
        os._exit(9)

    def leave(self) -> None:
        sys.exit(0)
