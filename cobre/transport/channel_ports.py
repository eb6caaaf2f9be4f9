"""The two ends of a channel, whatever it runs over, and what is known of its traffic."""

from __future__ import annotations

import select
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cobre.errors import ChannelError
from cobre.transport.message import Message
from cobre.transport.message_header import Data

__all__ = ["ChannelReader", "ChannelStatistics", "ChannelWriter", "Loan", "Port", "wait"]


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """What went through a channel and what is in it.

    state: created, active (a port has attached), draining (all writers have closed or died) or destroyed (all readers
    have, or the channel was ended). messages, bytes: published so far, all writers together. occupancy,
    occupancy_bytes: published and not yet released by every reader that counts. capacity, capacity_bytes: of each
    writer. high_water: the most messages of one writer that were in the channel at once. blocked_seconds: that writers
    waited for room. writers, readers: attached and alive.
    """

    name: str
    state: str
    messages: int
    bytes: int
    occupancy: int
    occupancy_bytes: int
    capacity: int
    capacity_bytes: int
    high_water: int
    blocked_seconds: float
    writers: int
    readers: int


class Port(ABC):
    """One end of a channel, for one thread at a time. What wakes a thread that waits in it is the end of the channel.

    Leaving a ``with`` block closes the port; leaving it with an exception abandons it.
    """

    name: str
    """Of the channel."""
    place: int
    """0, 1, ... among the writers or among the readers."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether this port was closed or abandoned."""

    @abstractmethod
    def close(self) -> None:
        """Leaves in good order: to readers, a closed writer has said all that it had to say. May be called twice."""

    @abstractmethod
    def abandon(self, reason: str = "") -> None:
        """Leaves as a process does that dies: the others get ChannelError PeerDied, with the reason."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon(f"{type(error).__name__}: {error}")


class Loan(ABC):
    """Room in a channel, to be filled in place. Leaving its ``with`` block publishes it, unless by an exception.

    array: the room, writable until it is published. What was sliced from it must not be written to after that.
    metadata: what goes with the message; fill it like any dictionary.
    """

    array: NDArray[Any]
    metadata: dict[str, Any]

    @abstractmethod
    def publish(self) -> None:
        """Publishes what is in ``array``, which is read-only from then on. Raises ChannelError Closed."""

    @abstractmethod
    def drop(self) -> None:
        """Gives the room back: nothing was published. May be called twice, and after ``publish``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.publish()
        else:
            self.drop()


_Either = TypeVar("_Either", bound="ChannelWriter | ChannelReader")


class ChannelWriter(Port):
    """Where messages are published."""

    @abstractmethod
    def publish(self, data: Data, /, timeout: float | None = None, **metadata: Any) -> None:
        """Copies ``data`` into the channel, once there is room. timeout: seconds to wait for it; None: for ever.

        metadata: JSON values that go with it. Raises ChannelError: TimedOut; PeerDied (no reader is left that could
        take it, and one died); Closed (the channel was ended, all readers have closed, or this port has); TooLarge;
        WrongType; LoanOpen.
        """

    @abstractmethod
    def try_publish(self, data: Data, /, **metadata: Any) -> bool:
        """The same without waiting: False where there is no room."""

    @abstractmethod
    def loan(
        self,
        shape: int | Sequence[int],
        dtype: DTypeLike = np.uint8,
        *,
        kind: str = "array",
        rate: float = 0.0,
        format: str = "",
        timeout: float | None = None,
    ) -> Loan:
        """Room for an array of this shape and dtype, once there is some; nothing is copied. One loan at a time.

        kind: array, bytes, audio or video; rate: samples or frames a second; format: of frames. Errors as ``publish``.
        """

    @abstractmethod
    def ready(self) -> bool:
        """Whether what was last refused for want of room is to be tried again. Where not, ``fileno()`` becomes
        readable when it may have changed."""

    @abstractmethod
    def fileno(self) -> int:
        """A descriptor to wait on, with ``ready()`` before each wait."""

    @abstractmethod
    def mark(self, number: int, timeout: float | None = None) -> None:
        """Publishes a mark, which every reader gets, also where each message goes to one. number: 0 to 2**63 - 1."""


class ChannelReader(Port):
    """Where messages are received: those of each writer in the order in which it published them."""

    @abstractmethod
    def receive(self, timeout: float | None = None) -> Message:
        """The next message; the one before is released first. timeout: seconds to wait for it; None: for ever.

        Raises ChannelError: TimedOut; EndOfChannel (all writers have closed, and all was read); PeerDied (a writer
        died: once for each, after all that was published has been read); Closed (the channel was ended, or this port
        closed); ViewAlive (a writer cannot go on while a view of an earlier message is alive).
        """

    @abstractmethod
    def try_receive(self) -> Message | None:
        """The same without waiting: None where there is none."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether ``try_receive`` would return a message or raise. Where not, ``fileno()`` becomes readable when it
        may have changed."""

    @abstractmethod
    def fileno(self) -> int:
        """A descriptor to wait on, with ``ready()`` before each wait."""

    async def receive_async(self, timeout: float | None = None) -> Message:
        """``receive`` for an event loop, which goes on meanwhile."""
        import asyncio  # here: most processes that have channels have no event loop

        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while not self.ready():
            changed = asyncio.Event()
            loop.add_reader(self.fileno(), changed.set)
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                raise self.timed_out("receive_async", timeout or 0.0) from None
            finally:
                loop.remove_reader(self.fileno())
        message = self.try_receive()
        return await self.receive_async(timeout) if message is None else message

    def timed_out(self, operation: str, timeout: float) -> ChannelError:
        """The error of a wait that was in vain."""
        return ChannelError(
            f"{operation} on channel {self.name}: no message came within {timeout:g} s",
            operation=operation,
            channel=self.name,
            kind="TimedOut",
            context={"timeout": timeout},
            suggestion="see what the writers are doing, or give a larger timeout if they only need longer",
        )

    def __iter__(self) -> Iterator[Message]:
        """Every message, until all writers have closed."""
        while True:
            try:
                message = self.receive()
            except ChannelError as error:
                if error.kind == "EndOfChannel":
                    return
                raise
            yield message
            del message  # or it would refer to what the next receive releases

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            try:
                message = await self.receive_async()
            except ChannelError as error:
                if error.kind == "EndOfChannel":
                    return
                raise
            yield message
            del message


def wait(readers: Sequence[_Either], timeout: float | None = None) -> list[_Either]:
    """The readers whose ``try_receive`` would return a message or raise, as soon as there are any; of writers, those
    for whose last message that was refused there may be room now.

    Empty where ``timeout`` seconds have passed. They may be of different kinds of channels.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        found = [reader for reader in readers if reader.ready()]
        if found:
            return found
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0.0:
            return []
        poll = select.poll()
        for reader in readers:
            poll.register(reader.fileno(), select.POLLIN)
        poll.poll(None if left is None else left * 1000.0)
