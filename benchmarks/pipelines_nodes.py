"""The nodes that ``benchmarks/pipelines.py`` measures with; their processes import this, and little else."""

from __future__ import annotations

import mmap
import os
import random
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from cobre.actors import Node

__all__ = ["Burn", "Checked", "Doomed", "Mortal", "Produce", "Stamp", "Wait"]

SHAPE = (960, 1000)  # of float32: 3.84 MB


class Produce(Node):
    """Lends itself a slot of 3.84 MB every few milliseconds, and fills it."""

    inputs = {}
    outputs = {"out": np.ndarray, "stamps": np.ndarray}

    def __init__(self, count: int, pause: float) -> None:
        self.count, self.pause = count, pause

    def produce(self) -> Iterator[Any]:
        stamps = np.zeros((self.count, 2), np.int64)
        for number in range(self.count):
            time.sleep(self.pause)
            with self.loan(SHAPE, np.float32, "out") as loan:
                stamps[number, 0] = time.monotonic_ns()
                loan.array[...] = number
                stamps[number, 1] = time.monotonic_ns()
            yield None
        yield {"stamps": stamps}


class Stamp(Node):
    """Adds one, from the slot it reads to the one it is lent, and notes when it began and ended."""

    outputs = {"out": np.ndarray, "stamps": np.ndarray}

    def __init__(self, last: bool = False) -> None:
        self.last = last
        self.stamps: list[tuple[int, int]] = []

    def process(self, message: Any) -> None:
        if self.last:
            began = time.monotonic_ns()
            float(message.data[-1, -1])
            self.stamps.append((began, time.monotonic_ns()))
            return
        with self.loan(message.shape, message.dtype, "out") as loan:
            began = time.monotonic_ns()
            np.add(message.data, 1, out=loan.array)
            self.stamps.append((began, time.monotonic_ns()))

    def finish(self) -> Any:
        return {"stamps": np.array(self.stamps, np.int64).reshape(-1, 2)}


class Burn(Node):
    """Computes for so many seconds of processor time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def process(self, message: Any) -> Any:
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        return message


class Wait(Node):
    """Waits in ``initialize``."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def initialize(self, progress: Any) -> None:
        time.sleep(self.seconds)

    def process(self, message: Any) -> Any:
        return message


class Checked(Node):
    """Refuses what is not what its sender sent, and hands it on."""

    def process(self, message: Any) -> Any:
        if zlib.crc32(message.view) != message.metadata["checksum"]:
            raise AssertionError(f"message {message.sequence} is corrupt")
        return message


class Mortal(Checked):
    """Is killed at any moment, some milliseconds after it began to live."""

    def __init__(self, most: float) -> None:
        self.most = most

    def initialize(self, progress: Any) -> None:
        threading.Thread(target=self._die, daemon=True).start()

    def _die(self) -> None:
        while self._outlet is None:
            time.sleep(0.001)
        time.sleep(random.uniform(0.0, self.most))
        os.kill(os.getpid(), signal.SIGKILL)


class Doomed(Checked):
    """Notes in a file when a fault happens to it."""

    def __init__(self, path: str) -> None:
        from cobre.testing.faults_deeds import DEEDS

        descriptor = os.open(path, os.O_RDWR)
        self.moment = memoryview(mmap.mmap(descriptor, 8)).cast("q")
        os.close(descriptor)
        for how, deed in list(DEEDS.items()):
            DEEDS[how] = lambda deed=deed: self._note(deed)  # type: ignore[misc]

    def _note(self, deed: Any) -> None:
        self.moment[0] = time.monotonic_ns()
        deed()
