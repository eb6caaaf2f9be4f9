"""Nodes that the tests make pipelines of."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np

from cobre.actors import Item, Node
from cobre.testing.faults_deeds import DEEDS


class Pass(Node):
    """Hands on what it gets, with its metadata."""

    def process(self, message: Any) -> Any:
        return message


class Add(Node):
    """Adds to arrays; what came before the end, at the end."""

    inputs = {"in": np.ndarray}
    outputs = {"out": np.ndarray}

    def __init__(self, number: float = 1.0, *, total: bool = False, seconds: float = 0.0) -> None:
        self.number, self.total, self.seconds = number, total, seconds
        self.sum = 0.0

    def process(self, message: Any) -> Any:
        time.sleep(self.seconds)
        self.sum += float(message.data.sum())
        return message.data + self.number

    def finish(self) -> Any:
        return [np.array([self.sum])] if self.total else None


class Texts(Node):
    """What its method returns depends on the text that it gets."""

    inputs = {"in": str}
    outputs = {"out": (str, bytes), "other": str}

    def process(self, message: Any) -> Any:
        text = message.data
        match text.split():
            case ["one"]:
                return {"out": "one"}
            case ["many", count]:
                return {"out": [f"{number}" for number in range(int(count))], "other": "many"}
            case ["generate", count]:
                return ({"out": f"{number}", "other": None} for number in range(int(count)))
            case ["later"]:
                return self.later()
            case ["slowly", count]:
                return self.slowly(int(count))
            case ["emit"]:
                self.emit(b"emitted", "out", why="because")
                return None
            case ["item"]:
                return {"other": Item("item", number=3)}
            case ["none"]:
                return None
            case ["port"]:
                return {"nowhere": "x"}
            case ["unnamed"]:
                return "to which port?"
            case ["tuple"]:
                return {"out": ("a", "b")}
            case ["number"]:
                return {"out": 5}
        raise LookupError(text)

    async def later(self) -> Any:
        import asyncio

        await asyncio.sleep(0)
        return {"out": "later"}

    async def slowly(self, count: int) -> AsyncIterator[Any]:
        for number in range(count):
            yield {"out": f"{number}"}


class Join(Node):
    """Says where each message came from."""

    inputs = {"left": str, "right": str}
    outputs = {"out": str}

    def process(self, message: Any) -> Any:
        return f"{message.port} {message.data}"


class Asynchronous(Node):
    """All of its methods are coroutines."""

    inputs = {"in": str}
    outputs = {"out": str}

    async def initialize(self, progress: Any) -> None:
        progress(0.5, "half")

    async def process(self, message: Any) -> Any:
        return message.data.upper()

    async def finish(self) -> Any:
        return "END"

    async def cleanup(self) -> None:
        pass


class Count(Node):
    """A source."""

    inputs = {}
    outputs = {"out": np.ndarray}

    def __init__(self, count: int | None = None, *, size: int = 1) -> None:
        self.count, self.size = count, size

    def produce(self) -> Iterator[Any]:
        number = 0
        while self.count is None or number < self.count:
            yield Item(np.full(self.size, float(number)), number=number)
            number += 1


class Sink(Node):
    """Writes to a file how much it got, and that it was cleaned up."""

    outputs = {}

    def __init__(self, path: str | None = None, *, seconds: float = 0.0) -> None:
        self.path, self.seconds, self.count = path, seconds, 0

    def process(self, message: Any) -> None:
        time.sleep(self.seconds)
        self.count += 1

    def cleanup(self) -> None:
        if self.path is not None:
            with open(self.path, "a") as file:
                file.write(f"{self.count}\n")


class Lend(Node):
    """Fills what it is lent, and says in the metadata what is in it."""

    inputs = {"in": np.ndarray}
    outputs = {"out": np.ndarray}

    def process(self, message: Any) -> None:
        with self.loan(message.shape, message.dtype) as loan:
            loan.array[...] = message.data
            loan.array += 1
            loan.metadata["checksum"] = zlib.crc32(loan.array)


class Slow(Pass):
    """Takes its time to be ready, and to work."""

    def __init__(self, seconds: float = 0.0, *, work: float = 0.0, words: bool = False) -> None:
        self.seconds, self.work, self.words = seconds, work, words

    def initialize(self, progress: Any) -> None:
        if self.words:
            progress(0.25, "a quarter", state="connecting")
        time.sleep(self.seconds)

    def process(self, message: Any) -> Any:
        time.sleep(self.work)
        return message


class Fails(Node):
    """Raises, in the method that it is told."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._fail("init")

    def _fail(self, where: str) -> None:
        if where == self.where:
            raise OverflowError(f"failed in {where}")

    def initialize(self, progress: Any) -> None:
        self._fail("initialize")

    def process(self, message: Any) -> Any:
        self._fail("process")
        return message

    def finish(self) -> Any:
        self._fail("finish")

    def cleanup(self) -> None:
        self._fail("cleanup")


class Dies(Pass):
    """Dies at each of the messages in ``at``, in the way that is named there; at each once, by what a file says."""

    def __init__(self, path: str, at: dict[str, str], *, starts: int = 1 << 30) -> None:
        self.path, self.at, self.starts = path, at, starts

    def initialize(self, progress: Any) -> None:
        with open(self.path, "a") as file:
            file.write("start\n")
        if self._done().count("start") > self.starts:
            raise OverflowError("started too often")

    def _done(self) -> list[str]:
        with open(self.path) as file:
            return file.read().split()

    def process(self, message: Any) -> Any:
        text = message.data
        how = self.at.get(text)
        if how is not None and text not in self._done():
            with open(self.path, "a") as file:
                file.write(f"{text}\n")
            DEEDS[how]()
        return message


class Keeps(Pass):
    """Keeps views that it should have copied."""

    kept: list[Any] = []

    def process(self, message: Any) -> Any:
        self.kept.append(message.data[::2])


class Who(Node):
    """Says which process it is."""

    def process(self, message: Any) -> Any:
        return str(os.getpid())
