"""Channels that pass everything on to one that is right: what mutants are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cobre.transport import Channel
from cobre.transport.channel_ports import ChannelReader, ChannelStatistics, ChannelWriter, Loan
from cobre.transport.message import Message

__all__ = ["Honest", "HonestReader", "HonestWriter"]


class HonestWriter(ChannelWriter):
    """Passes everything on."""

    def __init__(self, inner: ChannelWriter) -> None:
        self.inner, self.name, self.place = inner, inner.name, inner.place

    @property
    def closed(self) -> bool:
        return self.inner.closed

    def close(self) -> None:
        self.inner.close()

    def abandon(self, reason: str = "") -> None:
        self.inner.abandon(reason)

    def publish(self, data: Any, /, timeout: float | None = None, **metadata: Any) -> None:
        self.inner.publish(data, timeout, **metadata)

    def try_publish(self, data: Any, /, **metadata: Any) -> bool:
        return self.inner.try_publish(data, **metadata)

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
        return self.inner.loan(shape, dtype, kind=kind, rate=rate, format=format, timeout=timeout)

    def ready(self) -> bool:
        return self.inner.ready()

    def fileno(self) -> int:
        return self.inner.fileno()

    def mark(self, number: int, timeout: float | None = None) -> None:
        self.inner.mark(number, timeout)


class HonestReader(ChannelReader):
    """Passes everything on."""

    def __init__(self, inner: ChannelReader) -> None:
        self.inner, self.name, self.place = inner, inner.name, inner.place

    @property
    def closed(self) -> bool:
        return self.inner.closed

    def close(self) -> None:
        self.inner.close()

    def abandon(self, reason: str = "") -> None:
        self.inner.abandon(reason)

    def receive(self, timeout: float | None = None) -> Message:
        return self.inner.receive(timeout)

    def try_receive(self) -> Message | None:
        return self.inner.try_receive()

    def ready(self) -> bool:
        return self.inner.ready()

    def fileno(self) -> int:
        return self.inner.fileno()


class Honest:
    """Passes everything on."""

    writes: type[HonestWriter] = HonestWriter
    reads: type[HonestReader] = HonestReader

    def __init__(self, name: str, **settings: Any) -> None:
        self.inner = Channel(name, **self.changed(settings))

    def changed(self, settings: dict[str, Any]) -> dict[str, Any]:
        return settings

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def state(self) -> str:
        return self.inner.state

    def writer(self, place: int = 0) -> ChannelWriter:
        return self.writes(self.inner.writer(place))

    def reader(self, place: int = 0) -> ChannelReader:
        return self.reads(self.inner.reader(place))

    def end(self, reason: str = "") -> None:
        self.inner.end(reason)

    def statistics(self) -> ChannelStatistics:
        return self.inner.statistics()

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> Honest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
