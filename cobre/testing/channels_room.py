"""The conformance suite's checks of room and of waiting: capacity, timeouts, what goes to whom, in which order."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from cobre.errors import ChannelError
from cobre.testing.channels_data import Bench, Call, Opened, pattern, refusal, require_same
from cobre.transport.channel_ports import ChannelReader, wait
from cobre.transport.message import Message

__all__ = ["ROOM_CHECKS"]

Check = Callable[[Bench], None]

_STREAM = 40  # messages of each writer


def check_capacity_in_messages(bench: Bench) -> None:
    """So many, and none more, whatever their size, until the reader is done with one."""
    for to in ("all", "one"):
        with bench.open("messages", capacity=3, to=to) as at:
            for number in range(3):
                at.publish(str(number))
            assert not at.writer.try_publish("more"), "more messages than the capacity"
            assert not at.writer.try_publish(np.zeros(0)), "more messages than the capacity, one of them empty"
            assert at.receive().data == "0"
            assert not at.writer.try_publish("more"), "room was found where a message is still in use"
            assert at.receive().data == "1"
            at.publish("3")
            assert not at.writer.try_publish("more"), "more messages than the capacity"
            assert [at.receive().data for _ in range(2)] == ["2", "3"], "what was refused was published"


def check_capacity_in_bytes(bench: Bench) -> None:
    """Large messages fill it before the capacity does, and one that never fits is refused at once."""
    with bench.open("bytes", capacity=100, bytes=300_000) as at:
        for number in range(3):
            at.publish(pattern(number, 12_000))
        assert not at.writer.try_publish(pattern(3, 12_000)), "more bytes than the capacity"
        error = refusal(lambda: at.writer.publish(pattern(3, 12_000), 0.02), "TimedOut", channel="bytes")
        assert error.context["timeout"] == 0.02, f"the timeout is not told: {error}"
        for number in range(3):
            require_same(at.receive().data, pattern(number, 12_000), f"message {number}")
        for number in range(3, 8):
            at.publish(pattern(number, 12_000))
            require_same(at.receive().data, pattern(number, 12_000), f"message {number}")
        huge = np.zeros(400_000, np.uint8)
        refusal(lambda: at.writer.publish(huge), "TooLarge", channel="bytes")
        refusal(lambda: at.writer.try_publish(huge), "TooLarge", channel="bytes")
        refusal(lambda: at.writer.loan(400_000), "TooLarge", channel="bytes")
        at.publish("small")
        assert at.receive().data == "small", "what was refused arrived"


def check_timeouts_are_kept(bench: Bench) -> None:
    """Of whoever waits for a message and of whoever waits for room; what timed out never arrives."""
    with bench.open("timeouts", capacity=1) as at:

        def times_out(timeout: float, function: Callable[..., Any], *args: Any) -> None:
            call = Call(function, *args, timeout=timeout)
            error = refusal(partial(call.result, bench.patience), "TimedOut", channel="timeouts")
            assert error.context["timeout"] == timeout, f"the timeout is not told: {error}"

        for timeout in (0.0, 0.02):
            times_out(timeout, at.reader.receive)
        assert at.reader.try_receive() is None
        at.publish("first")
        for timeout in (0.0, 0.02):
            times_out(timeout, at.writer.publish, "no")
            times_out(timeout, at.writer.loan, 3)
        assert at.receive().data == "first"
        times_out(0.02, at.reader.receive)
        at.publish("second")
        assert at.receive().data == "second", "what timed out arrived"


def check_a_blocked_writer_goes_on_when_room_comes(bench: Bench) -> None:
    """As soon as the reader is done with a message, and what it waited is told."""
    for to in ("all", "one"):
        with bench.open("blocked", capacity=2, to=to) as at:
            at.publish("a")
            at.publish("b")
            blocked = Call(at.publish, "c")
            assert blocked.waits(), "a writer went on without room"
            assert at.receive().data == "a"
            assert at.receive().data == "b"
            blocked.result(bench.patience)
            assert at.receive().data == "c"
            at.publish("d")
            assert at.receive().data == "d"
            assert at.channel.statistics().blocked_seconds > 0.0, "the writer has waited, and that is not told"


def check_a_waiting_reader_gets_what_comes(bench: Bench) -> None:
    """Whether it waits when it comes, or comes later; each time that it waits."""
    for to in ("all", "one"):
        with bench.open("waiting", capacity=4, to=to) as at:
            for number in range(20):
                waiting = Call(lambda at: at.receive().data.copy(), at)
                if number % 4 == 0:
                    assert waiting.waits(), "a reader got a message that nobody published"
                at.publish(pattern(number))
                assert (waiting.result(bench.patience) == pattern(number)).all()


def _stream(at: Opened, writer: int, count: int) -> None:
    """Messages of random size, by all ways of publishing there are."""
    draw = np.random.default_rng([9, writer])
    for number in range(count):
        data = pattern(number, int(draw.choice([1, 10, 10, 2000, 9000])), writer)
        way = draw.integers(3)
        if way == 0:
            at.publish(data, writer)
        elif way == 1:
            at.publish(data, writer, number=number)
        else:
            with at.writers[writer].loan(data.shape, data.dtype, timeout=at.patience) as loan:
                loan.array[...] = data
    at.writers[writer].close()


def _drain(reader: ChannelReader, patience: float) -> list[tuple[int, int]]:
    """Writer and number of all messages until the end, each checked."""
    found: list[tuple[int, int]] = []
    while True:
        message = _next(reader, patience)
        if message is None:
            return found
        require_same(message.data, pattern(message.sequence, len(message.data), message.writer), "a message")
        found.append((message.writer, message.sequence))
        del message


def _next(reader: ChannelReader, patience: float) -> Message | None:
    ready = wait([reader], patience)
    assert ready, "nothing came, and no end"
    try:
        return reader.receive(patience)
    except ChannelError as error:
        if error.kind == "EndOfChannel":
            return None
        raise


def check_every_message_once_and_in_order(bench: Bench) -> None:
    """One writer and one reader, then two of each, to all and to one, through little room."""
    for writers, readers, to in ((1, 1, "all"), (2, 2, "all"), (2, 2, "one")):
        with bench.open("stream", writers=writers, readers=readers, to=to, capacity=3, bytes=160_000) as at:
            draining = [Call(_drain, reader, bench.patience) for reader in at.readers]
            streams = [Call(_stream, at, writer, _STREAM) for writer in range(writers)]
            for stream in streams:
                stream.result(bench.patience)
            found = [call.result(bench.patience) for call in draining]
            everything = [(writer, number) for writer in range(writers) for number in range(_STREAM)]
            received = found if to == "all" else [[each for part in found for each in part]]
            for each in received:
                assert sorted(each) == everything, f"{writers} to {readers}, to {to}: lost or doubled"
            for each in found:
                rising = all(one[1] < other[1] for w in range(writers) for one, other in pairwise(_of(w, each)))
                assert rising, f"{writers} to {readers}, to {to}: out of order"


def _of(writer: int, found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [each for each in found if each[0] == writer]


def check_the_slowest_reader_counts(bench: Bench) -> None:
    """To all: room comes when every reader is done, or has closed."""
    with bench.open("slowest", readers=2, capacity=2) as at:
        for text in ("a", "b"):
            at.publish(text)
            assert at.receive().data == text
        assert at.reader.try_receive() is None
        assert not at.writer.try_publish("c"), "a reader that has got nothing yet was passed"
        blocked = Call(at.publish, "c")
        assert blocked.waits(), "a reader that has got nothing yet was passed"
        at.readers[1].close()
        blocked.result(bench.patience)
        assert at.receive().data == "c"


def check_to_one_nobody_waits_for_an_idle_reader(bench: Bench) -> None:
    """Whoever asks gets the next message; one that has more to do than others holds up nobody."""
    with bench.open("jobs", readers=3, to="one", capacity=3) as at:
        for number in range(9):
            at.publish(number.to_bytes())
            assert at.receive(1).data == number.to_bytes(), "a reader that does not ask has got it"
        assert at.readers[1].try_receive() is None
        for number in range(3):
            at.publish(number.to_bytes())
        found = sorted(at.receive(reader).data for reader in (2, 0, 1))
        assert found == [number.to_bytes() for number in range(3)], f"each of three asks once, and gets {found}"
        for reader in at.readers:
            assert reader.try_receive() is None, "a message went to two"


def check_marks(bench: Bench) -> None:
    """To every reader, also where each message goes to one, in their place among the messages."""
    for to in ("all", "one"):
        with bench.open("marks", readers=2, to=to, capacity=8) as at:
            for number in (0, 7, 2**63 - 1):
                at.publish("before")
                at.writer.mark(number, bench.patience)
                if to == "one":
                    assert at.receive().data == "before"
                for reader in range(2):
                    if to == "all":
                        assert at.receive(reader).data == "before"
                    message = at.receive(reader)
                    assert (message.kind, message.data) == ("mark", number), f"not the mark {number}: {message}"
            assert at.channel.statistics().messages == 3, "marks are no messages"
            refusal(partial(at.writer.mark, -1), "OutOfRange", channel="marks")
            refusal(partial(at.writer.mark, 2**63), "OutOfRange", channel="marks")


def check_several_are_waited_for_at_once(bench: Bench) -> None:
    """``wait`` finds the readers that have something, and the writers that may have room."""
    with bench.open("first") as one, bench.open("second", capacity=1) as two:
        readers = [one.reader, two.reader]
        assert wait(readers, 0.01) == []
        waiting = Call(wait, readers, bench.patience)
        assert waiting.waits(0.02), "nothing has come, and it does not wait"
        two.publish("x")
        assert waiting.result(bench.patience) == [two.reader]
        assert wait(readers, 0.0) == [two.reader], "what was not received is no longer there"
        assert not two.writer.try_publish("y")
        assert wait([two.writer], 0.01) == []
        blocked = Call(wait, [two.writer], bench.patience)
        assert two.receive().data == "x"
        assert two.reader.try_receive() is None
        assert blocked.result(bench.patience) == [two.writer]
        two.publish("y")
        assert two.receive().data == "y"
        one.writer.close()
        assert wait(readers, bench.patience) == [one.reader], "the end is something, too"


def check_a_descriptor_says_when_to_look(bench: Bench) -> None:
    """After ``ready()`` was False, ``fileno()`` becomes readable when something has come."""
    with bench.open("descriptor") as at:
        poll = select.poll()
        for number in range(5):
            assert not at.reader.ready()
            poll.register(at.reader.fileno(), select.POLLIN)
            assert not poll.poll(0) or not at.reader.ready()
            at.publish(str(number))
            while not at.reader.ready():
                assert poll.poll(bench.patience * 1000.0), "something has come, and the descriptor is silent"
            message = at.reader.try_receive()
            assert message is not None, "ready, but nothing there"
            assert message.data == str(number)
        poll.unregister(at.reader.fileno())


def check_an_event_loop_can_wait(bench: Bench) -> None:
    """``receive_async`` and ``async for``, with other tasks going on meanwhile."""

    async def play(at: Opened) -> list[Any]:
        waiting = asyncio.ensure_future(at.reader.receive_async(bench.patience))
        ticks = 0
        for _ in range(5):
            await asyncio.sleep(0.002)
            ticks += not waiting.done()
        assert ticks == 5, "an event loop was held up, or got what nobody published"
        at.publish("first")
        found = [(await waiting).data]
        in_vain = await asyncio.gather(at.reader.receive_async(0.01), return_exceptions=True)
        assert getattr(in_vain[0], "kind", "") == "TimedOut", f"received what nobody published: {in_vain}"
        at.publish("second")
        at.publish("third")
        at.writer.close()
        found += [message.data async for message in at.reader]
        return found

    with bench.open("loop") as at:
        assert asyncio.run(play(at)) == ["first", "second", "third"]


ROOM_CHECKS: list[Check] = [
    check_capacity_in_messages,
    check_capacity_in_bytes,
    check_timeouts_are_kept,
    check_a_blocked_writer_goes_on_when_room_comes,
    check_a_waiting_reader_gets_what_comes,
    check_every_message_once_and_in_order,
    check_the_slowest_reader_counts,
    check_to_one_nobody_waits_for_an_idle_reader,
    check_marks,
    check_several_are_waited_for_at_once,
    check_a_descriptor_says_when_to_look,
    check_an_event_loop_can_wait,
]
