"""Channels that are wrong in one respect each, around one that is right."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Any

import numpy as np

from cobre.errors import ChannelError
from cobre.testing.channels import check_channel
from cobre.testing.ranks import RankHost
from cobre.transport.channel_ports import ChannelReader, ChannelStatistics, ChannelWriter, Loan
from cobre.transport.message import Message
from tests.testing.channel_honest import Honest, HonestReader, HonestWriter

_PATIENCE = 0.3  # seconds that a check has for a call of a mutant that does not come back
_WAIT = 0.005  # seconds between looks of a mutant that waits in a way of its own


class Loses(Honest):
    class writes(HonestWriter):
        published = 0

        def publish(self, data: Any, /, timeout: float | None = None, **metadata: Any) -> None:
            self.published += 1
            if self.published % 9:
                super().publish(data, timeout, **metadata)


class Doubles(Honest):
    class writes(HonestWriter):
        published = 0

        def publish(self, data: Any, /, timeout: float | None = None, **metadata: Any) -> None:
            self.published += 1
            super().publish(data, timeout, **metadata)
            if self.published == 15:
                super().publish(data, timeout, **metadata)


class Reorders(Honest):
    """A small message overtakes a large one."""

    class writes(HonestWriter):
        held: tuple[Any, ...] = ()

        def publish(self, data: Any, /, timeout: float | None = None, **metadata: Any) -> None:
            held, self.held = self.held, ()
            if held or getattr(data, "size", 0) < 5000:
                super().publish(data, timeout, **metadata)
                if held:
                    super().publish(held[0], timeout, **held[1])
            else:
                self.held = data, metadata

        def loan(self, *args: Any, **keywords: Any) -> Loan:
            self._release()
            return super().loan(*args, **keywords)

        def close(self) -> None:
            if not self.closed:
                self._release()
            super().close()

        def _release(self) -> None:
            held, self.held = self.held, ()
            if held:
                super().publish(held[0], **held[1])


class Tears(Honest):
    """The end of a large message is that of another."""

    class writes(HonestWriter):
        def publish(self, data: Any, /, timeout: float | None = None, **metadata: Any) -> None:
            if isinstance(data, np.ndarray) and data.nbytes > 50_000 and data.dtype == np.int64:
                data = data.copy()
                data[-500:] += 1
            super().publish(data, timeout, **metadata)


class Spoils(Honest):
    """Something happens to each message that is received."""

    class reads(HonestReader):
        def receive(self, timeout: float | None = None) -> Message:
            return self.spoiled(super().receive(timeout))

        def try_receive(self) -> Message | None:
            message = super().try_receive()
            return None if message is None else self.spoiled(message)

        def spoiled(self, message: Message) -> Message:
            raise NotImplementedError


class ForgetsMetadata(Spoils):
    class reads(Spoils.reads):
        def spoiled(self, message: Message) -> Message:
            if len(message.metadata) > 50:
                message._metadata = {}
            return message


class LeftoverMetadata(Honest):
    """That of the message before, where there is none."""

    class writes(HonestWriter):
        last: dict[str, Any] = {}

        def publish(self, data: Any, /, timeout: float | None = None, **metadata: Any) -> None:
            self.last = metadata or self.last
            super().publish(data, timeout, **self.last)


class WriteableViews(Spoils):
    class reads(Spoils.reads):
        def spoiled(self, message: Message) -> Message:
            if message.kind == "array":
                message.data = message.data.copy()
            return message


class NativeBytes(Spoils):
    """Byte order and names of fields are lost."""

    class reads(Spoils.reads):
        def spoiled(self, message: Message) -> Message:
            if message.kind == "array" and message.dtype.byteorder == ">":
                message.data = message.data.astype(message.dtype.newbyteorder("="))
                message.data.flags.writeable = False
            return message


class ReusesViews(Spoils):
    """What a reader has been given shows the next message as soon as there is one."""

    class reads(Spoils.reads):
        room = np.zeros(1 << 20, np.uint8)

        def spoiled(self, message: Message) -> Message:
            if message.kind == "array" and message.data.flags.c_contiguous:
                data = message.data
                same = self.room[: data.nbytes].view(data.dtype).reshape(data.shape)
                same[...] = data
                same.flags.writeable = False
                message.data = same
            return message


class NeverBlocks(Honest):
    """There is always room, in a queue of its own."""

    class writes(HonestWriter):
        def __init__(self, inner: ChannelWriter) -> None:
            super().__init__(inner)
            self.queue: deque[tuple[Any, dict[str, Any]]] = deque()

        def publish(self, data: Any, /, timeout: float | None = None, **metadata: Any) -> None:
            self.try_publish(data, **metadata)

        def try_publish(self, data: Any, /, **metadata: Any) -> bool:
            self.queue.append((data, metadata))
            while self.queue and self.inner.try_publish(self.queue[0][0], **self.queue[0][1]):
                self.queue.popleft()
            return True


class Drops(Honest):
    """Where there is no room, nothing is published, and nothing said."""

    class writes(HonestWriter):
        def publish(self, data: Any, /, timeout: float | None = None, **metadata: Any) -> None:
            self.inner.try_publish(data, **metadata)


class IgnoresTimeouts(Honest):
    class reads(HonestReader):
        def receive(self, timeout: float | None = None) -> Message:
            return super().receive(None if timeout == 0.0 else timeout)


class OneMore(Honest):
    """The capacity is not what was asked for."""

    def changed(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {**settings, "capacity": settings.get("capacity", 10) + 1}


class Endless(Honest):
    """Bytes are not counted."""

    def changed(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {**settings, "bytes": 1 << 22}


class AllInsteadOfOne(Honest):
    def changed(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {**settings, "to": "all"}


class MarksOfOne(Honest):
    """A mark goes where messages go."""

    class reads(Spoils.reads):
        def spoiled(self, message: Message) -> Message:
            return super().receive(0.05) if message.kind == "mark" and self.place else message


class DeafToTheEnd(Honest):
    """A writer that waits does not hear of it."""

    class writes(HonestWriter):
        def publish(self, data: Any, /, timeout: float | None = None, **metadata: Any) -> None:
            for _ in range(100):
                try:
                    super().publish(data, timeout, **metadata)
                    return
                except ChannelError as error:
                    if "reactor" not in error.message:
                        raise
                    time.sleep(_WAIT)


class NoReason(Honest):
    def end(self, reason: str = "") -> None:
        self.inner.end("")


class EndsAtOnce(Honest):
    """What was published before the end is not read."""

    class reads(HonestReader):
        def receive(self, timeout: float | None = None) -> Message:
            message = super().receive(timeout)
            if self.ended():
                message.release()
                return super().receive(timeout)
            return message

        def ended(self) -> bool:
            return bool(self.inner._attachment.memory.ended)  # type: ignore[attr-defined]


class DiesQuietly(Honest):
    """A port that is abandoned is taken for one that was closed."""

    class writes(HonestWriter):
        def abandon(self, reason: str = "") -> None:
            self.inner.close()


class PublishesDroppedLoans(Honest):
    class writes(HonestWriter):
        def loan(self, *args: Any, **keywords: Any) -> Loan:
            loan = super().loan(*args, **keywords)
            loan.drop = loan.publish  # type: ignore[method-assign]
            return loan


class ClosesTwice(Honest):
    """Closing a port again is an error."""

    class reads(HonestReader):
        def close(self) -> None:
            if self.closed:
                raise ChannelError("closed before", operation="close", channel=self.name, kind="Closed")
            super().close()


class Miscounts(Honest):
    def statistics(self) -> ChannelStatistics:
        found = self.inner.statistics()
        return ChannelStatistics(**{**{n: getattr(found, n) for n in found.__slots__}, "high_water": found.occupancy})


class WithoutAdvice(Honest):
    """Refuses nothing: what it does not know is text."""

    class writes(HonestWriter):
        def publish(self, data: Any, /, timeout: float | None = None, **metadata: Any) -> None:
            super().publish(str(data) if data is None else data, timeout, **metadata)


class NoDeath(Honest):
    """A writer that was killed has closed, as far as readers are told."""

    class reads(HonestReader):
        def receive(self, timeout: float | None = None) -> Message:
            try:
                return super().receive(timeout)
            except ChannelError as error:
                if error.kind == "PeerDied":
                    error.kind = "EndOfChannel"
                raise


class OnlyHere(Honest):
    """Works in the process that made it alone."""

    def reader(self, place: int = 0) -> ChannelReader:
        if self.inner._address.process != os.getpid():
            raise ChannelError("not here", operation="reader", channel=self.name, kind="Unreachable")
        return super().reader(place)


def is_found(mutant: type[Honest], name: str, host: RankHost | None = None) -> bool:
    """Whether the check of this name finds what is wrong with it."""
    try:
        check_channel(mutant, [name], host=host, patience=_PATIENCE)
    except AssertionError as error:
        return str(error).startswith(f"{name}:")
    return False
