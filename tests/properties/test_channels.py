"""Channels under random schedules, against a plain list of what was published: once, in order, whole.

Every port is used from here, without waiting; whatever is kept of a message must show the same to the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cobre.errors import ChannelError
from cobre.testing.channels_data import AnyChannel, Call, Make
from cobre.transport import Channel
from cobre.transport.channel_ports import ChannelReader, ChannelWriter
from cobre.transport.tcp_channel import TcpChannel

PATIENCE = 60.0
MANY, FEW = settings().max_examples * 2 // 5, settings().max_examples // 6  # in shared memory, over tcp
SIZES = (0, 1, 60, 700, 700, 3000, 9000)  # bytes of a message, where each writer may have 20,000
OFTEN = ("publish", "publish", "metadata", "loan", "receive", "receive", "keep", "keep", "forget")
SELDOM = ("drop a loan", "mark", "empty", "release", "close a writer", "give up", "close a reader", "leave")


@dataclass(frozen=True)
class Shape:
    """Of a channel."""

    writers: int
    readers: int
    capacity: int
    to: Literal["all", "one"]


@dataclass
class Kept:
    """A view that lives, and what it must show."""

    array: NDArray[Any]
    expected: bytes

    def check(self) -> None:
        assert self.array.tobytes() == self.expected, "a view that was kept shows something else"


@dataclass
class Reading:
    """One reader, and the numbers of all it has received from each writer."""

    port: ChannelReader
    got: dict[int, list[int]]
    kept: list[Kept] = field(default_factory=list)
    deaths: int = 0


class Play:
    """A channel, all its ports, and the plain truth about it: ``published``, for each writer, data and metadata."""

    def __init__(self, channel: AnyChannel, shape: Shape) -> None:
        self.shape = shape
        self.readers = [
            Reading(channel.reader(place), {writer: [] for writer in range(shape.writers)})
            for place in range(shape.readers)
        ]
        self.writers = [channel.writer(place) for place in range(shape.writers)]
        self.published: list[list[tuple[Any, dict[str, int]]]] = [[] for _ in self.writers]
        self.gone: set[int] = set()  # writers that gave up
        # One that hands out messages itself may wait, when it closes, for readers to whom nobody comes meanwhile.
        self.hands_out = shape.to == "one" and hasattr(self.writers[0], "connect")
        self.kept: list[Kept] = []  # of readers that have closed
        for writer in self.writers:
            if hasattr(writer, "connect"):
                writer.connect(PATIENCE)

    def step(self, what: str, which: int, size: int) -> None:
        """One thing that one port does, if it can now."""
        writer, reader = self.writers[which % len(self.writers)], self.readers[which % len(self.readers)]
        match what:
            case "publish" | "metadata" | "loan" | "mark" | "drop a loan":
                if not writer.closed:
                    self.send(what, writer, size)
            case "receive" | "keep" | "release":
                if not reader.port.closed:
                    self.receive(what, reader)
            case "forget" if reader.kept:
                reader.kept.pop(size % len(reader.kept)).check()
            case "empty":
                reader.kept.clear()
            case "close a writer" if not self.hands_out:
                writer.close()
            case "give up" if not writer.closed:
                self.gone.add(writer.place)
                writer.abandon("it gave up")
            case "close a reader" | "leave" if self.may_leave():
                self.kept += reader.kept
                reader.port.close() if what == "close a reader" else reader.port.abandon("it left")
        for kept in reader.kept[:1] + self.kept[:1]:
            kept.check()

    def may_leave(self) -> bool:
        """Somebody must be left, and one who gives to another what a reader that leaves has not got."""
        return sum(not each.port.closed for each in self.readers) > 1 and not (self.hands_out and self.gone)

    def content(self, writer: ChannelWriter, size: int) -> NDArray[Any]:
        number = len(self.published[writer.place])
        data = (np.arange(size) * (2 * number + 1) + 31 * writer.place + number).astype(np.uint8)
        return data.view(">i4").reshape(-1, 5) if size % 20 == 0 and number % 3 else data

    def send(self, what: str, writer: ChannelWriter, size: int) -> None:
        data: Any = self.content(writer, size)
        metadata = {"size": size} if what == "metadata" else {}
        if what == "mark":
            data = len(self.published[writer.place])
        sent = False
        with self.unless_full():
            if what in ("publish", "metadata"):
                sent = writer.try_publish(data, **metadata)
            elif what == "mark":
                if self.shape.to == "all":  # to one it may time out after some have got it
                    writer.mark(data, timeout=0.0)
                    sent = True
            else:
                with writer.loan(data.shape, data.dtype, timeout=0.0) as loan:
                    loan.array[...] = data
                    if what == "drop a loan":
                        loan.drop()
                sent = what == "loan"
        if sent:
            self.published[writer.place].append((data, metadata))

    @staticmethod
    @contextlib.contextmanager
    def unless_full() -> Iterator[None]:
        try:
            yield
        except ChannelError as error:
            if error.kind != "TimedOut":
                raise

    def receive(self, what: str, reader: Reading) -> None:
        try:
            message = reader.port.try_receive()
        except ChannelError as error:
            self.excuse(error, reader)
            return
        if message is not None:
            view = self.check(reader, message)
            if what == "keep" and message.kind == "array" and view is not None:
                reader.kept.append(Kept(view[len(view) // 3 :], view[len(view) // 3 :].tobytes()))
            elif what == "release":
                del view
                message.release()

    def excuse(self, error: ChannelError, reader: Reading) -> None:
        """Raises the error unless there was a reason for it."""
        if error.kind == "ViewAlive":
            assert reader.kept, "told of a view, where none is kept"
        elif error.kind == "PeerDied":
            reader.deaths += 1
            assert reader.deaths <= len(self.gone), "a death was told twice"
        elif error.kind != "EndOfChannel" or not all(writer.closed for writer in self.writers):
            raise error

    def check(self, reader: Reading, message: Any) -> NDArray[Any] | None:
        """That this is the next of its writer, and just as it was published. What there is to keep of it."""
        got, number = reader.got[message.writer], message.sequence
        data, metadata = self.published[message.writer][number]
        if self.shape.to == "all":
            assert number == len(got), f"message {number} of writer {message.writer} after {got[-1:]}"
        else:
            others = [each.got[message.writer] for each in self.readers]
            assert not any(number in each for each in others), f"message {number} went to two"
            assert not got or got[-1] < number, f"message {number} after {got[-1]}"
        got.append(number)
        assert message.metadata == metadata
        if isinstance(data, int):
            assert (message.kind, message.data) == ("mark", data)
            return None
        view: NDArray[Any] = message.data
        assert (view.dtype, view.shape) == (data.dtype, data.shape)
        assert view.tobytes() == data.tobytes(), f"message {number} is damaged"
        return view

    def finish(self) -> None:
        """Closes what is left, in good order, and reads everything to the end."""
        for reader in self.readers:
            self.kept += reader.kept
            reader.kept.clear()
        while self.kept:
            self.kept.pop().check()
        left = [reader for reader in self.readers if not reader.port.closed]
        for reader in left:
            with contextlib.suppress(ChannelError):
                self.receive("receive", reader)  # lets go of what it holds
        closing = [Call(writer.close) for writer in self.writers]
        for reader in left:
            while self.more(reader):
                pass
        for call in closing:
            call.result(PATIENCE)
        self.compare(left)
        for reader in left:
            reader.port.close()

    def more(self, reader: Reading) -> bool:
        try:
            self.check(reader, reader.port.receive(PATIENCE))
        except ChannelError as error:
            self.excuse(error, reader)
            return error.kind != "EndOfChannel"
        return True

    def compare(self, left: list[Reading]) -> None:
        """Everything has arrived, at every reader or at one of them."""
        for place, published in enumerate(self.published):
            whole = list(range(len(published)))
            if self.shape.to == "all":
                assert all(reader.got[place] == whole for reader in left), "messages are missing"
            else:
                received = sorted(number for reader in self.readers for number in reader.got[place])
                assert received == whole, "messages are missing"
            for reader in self.readers:
                assert all(one < other for one, other in pairwise(reader.got[place]))


shapes = st.builds(
    Shape,
    st.sampled_from((1, 1, 2, 3)),
    st.sampled_from((1, 1, 2, 3)),
    st.integers(1, 5),
    st.sampled_from(("all", "all", "one")),
)
steps = st.lists(
    st.tuples(st.sampled_from(OFTEN * 12 + SELDOM), st.integers(0, 2), st.sampled_from(SIZES)),
    min_size=30,
    max_size=120,
)


def play(make: Make, shape: Shape, script: list[tuple[str, int, int]]) -> None:
    settings = {"writers": shape.writers, "readers": shape.readers, "capacity": shape.capacity, "to": shape.to}
    with make("played", bytes=20_000, **settings) as channel:
        played = Play(channel, shape)
        try:
            for what, which, size in script:
                played.step(what, which, size)
            played.finish()
        except BaseException:
            channel.end("the play has failed")
            Call.let_all_return(PATIENCE)
            raise
        finally:
            for port in (*(reader.port for reader in played.readers), *played.writers):
                port.close()


@given(shape=shapes, script=steps)
@settings(max_examples=MANY)
def test_channels_in_shared_memory(shape: Shape, script: list[tuple[str, int, int]]) -> None:
    play(Channel, shape, script)


@given(shape=shapes, script=steps)
@settings(max_examples=FEW)
def test_channels_over_tcp(shape: Shape, script: list[tuple[str, int, int]]) -> None:
    play(TcpChannel, shape, script)
