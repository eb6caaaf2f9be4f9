"""What the conformance suite for channels works with: a bench to open channels on, and what is sent through them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from cobre.errors import ChannelError
from cobre.testing.ranks import RankHost
from cobre.transport.channel_ports import ChannelReader, ChannelStatistics, ChannelWriter
from cobre.transport.media import Audio, Video
from cobre.transport.message import Message

__all__ = ["AnyChannel", "Bench", "Call", "Make", "Opened", "arrays", "pattern", "refusal", "require_same"]

Array = NDArray[Any]
_Result = TypeVar("_Result")
_NAME = "a check's call"  # of its thread


class AnyChannel(Protocol):
    """A channel, whatever it runs over."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    def writer(self, place: int = 0) -> ChannelWriter: ...
    def reader(self, place: int = 0) -> ChannelReader: ...
    def end(self, reason: str = "") -> None: ...
    def statistics(self) -> ChannelStatistics: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


Make = Callable[..., AnyChannel]
"""``make(name, **settings)`` with the keywords of ``cobre.transport.Channel``."""


class Call(Generic[_Result]):
    """A call in a thread of its own, which may wait; nobody waits for it at the end of the process."""

    def __init__(self, function: Callable[..., _Result], *args: Any, **keywords: Any) -> None:
        self._function = function
        self._result: list[_Result] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(args, keywords), name=_NAME, daemon=True)
        self._thread.start()

    def _run(self, args: Any, keywords: Any) -> None:
        try:
            self._result.append(self._function(*args, **keywords))
        except BaseException as error:
            self.error = error.with_traceback(None)  # its frames would hold views
        finally:
            del self._function

    def waits(self, seconds: float = 0.03) -> bool:
        """Whether it still does after so many seconds."""
        self._thread.join(seconds)
        return self._thread.is_alive()

    @staticmethod
    def let_all_return(patience: float) -> None:
        """Waits, so many seconds, for calls that are about to come back."""
        for thread in threading.enumerate():
            if thread.name == _NAME:
                thread.join(patience)

    def result(self, patience: float) -> _Result:
        """What it returned. Raises what it raised, AssertionError where it does not come back."""
        assert not self.waits(patience), f"a call that should have come back still waits after {patience} s"
        if self.error is not None:
            raise self.error
        return self._result[0]


@dataclass
class Opened:
    """A channel with all of its ports, in this process."""

    channel: AnyChannel
    writers: list[ChannelWriter]
    readers: list[ChannelReader]
    patience: float

    @property
    def writer(self) -> ChannelWriter:
        return self.writers[0]

    @property
    def reader(self) -> ChannelReader:
        return self.readers[0]

    def receive(self, reader: int = 0) -> Message:
        return self.readers[reader].receive(self.patience)

    def publish(self, data: Any, /, writer: int = 0, **metadata: Any) -> None:
        self.writers[writer].publish(data, self.patience, **metadata)


@dataclass(frozen=True)
class Bench:
    """Where checks are made. patience: seconds after which a call that should have come back counts as hanging."""

    make: Make
    host: RankHost | None = None
    patience: float = 60.0
    settings: dict[str, Any] = field(default_factory=dict)

    @contextlib.contextmanager
    def open(self, name: str, **settings: Any) -> Iterator[Opened]:
        """A channel with a port at every place. Whatever happens, all that waits in it is woken."""
        with self.make(name, **{**self.settings, **settings}) as channel:
            ports: list[ChannelReader | ChannelWriter] = []
            try:
                readers = [channel.reader(place) for place in range(settings.get("readers", 1))]
                ports += readers
                writers = [channel.writer(place) for place in range(settings.get("writers", 1))]
                ports += writers
                yield Opened(channel, writers, readers, self.patience)
            except BaseException:
                channel.end("a check has failed")
                Call.let_all_return(self.patience)  # a port is closed when nobody is in it
                raise
            finally:
                for port in ports:
                    port.close()

    def processes(self) -> RankHost:
        """Where processes for a check come from."""
        if self.host is None:
            raise ValueError("this check needs processes of its own: give it a RankHost")
        return self.host


def refusal(call: Callable[[], Any], *kinds: str, channel: str = "") -> ChannelError:
    """The error of a call that must be refused, with what every such error must say.

    kinds: those it may have. channel: the name it must give.
    """
    try:
        call()
    except ChannelError as error:
        raised = error.with_traceback(None)  # its frames hold what the call was given
    else:
        raise AssertionError(f"a call that must be refused ({' or '.join(kinds)}) was not")
    assert raised.kind in kinds, f"refused as {raised.kind}, not as {' or '.join(kinds)}: {raised}"
    assert raised.operation, f"the operation is not named: {raised}"
    assert channel in str(raised.channel), f"channel {channel} is not named: {raised}"
    return raised


def pattern(number: int, count: int = 100, writer: int = 0) -> Array:
    """Values that tell the messages of all writers apart, and the places in them."""
    return np.arange(count, dtype=np.int64) * 7 + (number * 1_000_003 + writer)


def arrays() -> list[Array]:
    """Arrays of all sorts that can be sent."""
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    record = np.dtype([("name", "U3"), ("values", "f8", (2,)), ("inner", [("a", "i1"), ("b", ">i4")])])
    records = np.zeros(3, record)
    records["values"] = [[1.5, -0.0], [np.nan, np.inf], [3.0, 4.0]]
    records["name"], records["inner"]["b"] = ["ä", "bb", ""], [1, 2, 3]
    plain = ("?", "i1", "u2", "<i4", ">i4", "u8", "f2", "<f8", ">f8", "c16", "S3", "U2", "M8[ns]", "m8[s]", "V5")
    return [
        *(np.frombuffer(bytes(range(7, 7 + 3 * np.dtype(kind).itemsize)), kind) for kind in plain if kind != "U2"),
        np.array(["aé", "", "z"], "U2"),
        grid,
        grid.T,
        grid[:, ::2, ::-1],
        np.asfortranarray(grid),
        np.array(7.5),
        np.zeros((0, 5), np.int16),
        np.ones((1,) * 9 + (2,), np.uint8),
        np.broadcast_to(np.int16(3), (4, 5)),
        np.arange(60_000, dtype=np.int32),
        records,
        records[::2],
    ]


def require_same(found: Any, data: Any, what: str) -> None:
    """Raises AssertionError unless that is what was sent: to the bit, of the same shape and type, and read-only."""
    if isinstance(data, Audio | Video):
        assert type(found) is type(data), f"{what}: {type(found).__name__}, not {type(data).__name__}"
    if isinstance(data, Audio):
        assert found.rate == data.rate, f"{what}: rate {found.rate}, not {data.rate}"
        require_same(found.samples, data.samples, what)
    elif isinstance(data, Video):
        same = (found.fps, found.format) == (data.fps, data.format)
        assert same, f"{what}: {found.fps} {found.format}, not {data.fps} {data.format}"
        require_same(found.frame, data.frame, what)
    elif isinstance(data, np.ndarray):
        assert isinstance(found, np.ndarray), f"{what}: {type(found).__name__}, not an array"
        assert found.dtype == data.dtype, f"{what}: dtype {found.dtype}, not {data.dtype}"
        assert found.shape == data.shape, f"{what}: shape {found.shape}, not {data.shape}"
        assert found.tobytes() == data.tobytes(), f"{what}: other values than were sent"
        assert not found.flags.writeable, f"{what}: what was received can be written to"
    else:
        assert type(found) is type(data), f"{what}: {type(found).__name__}, not {type(data).__name__}"
        assert found == data, f"{what}: {found!r:.60}, not {data!r:.60}"
