"""The conformance suite's checks of how a channel and its ports begin and end, and of what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from cobre.testing.channels_data import Bench, Call, Opened, pattern, refusal, require_same

__all__ = ["END_CHECKS"]

Check = Callable[[Bench], None]


def check_what_is_no_data_is_refused(bench: Bench) -> None:
    """With advice, and nothing of it arrives."""
    with bench.open("refused") as at:
        nothing: list[Any] = [
            None,
            1.5,
            {"a": 1},
            [1, 2],
            object(),
            np.array([object()]),
            np.ma.masked_array([1], [True]),
        ]
        for data in nothing:
            for call in (at.writer.publish, at.writer.try_publish):
                error = refusal(partial(call, data), "WrongType", channel="refused")
                assert error.suggestion, f"no advice: {error}"
        at.publish("after")
        assert (at.receive().data, at.reader.try_receive()) == ("after", None), "what was refused arrived"


def check_only_the_kinds_that_it_carries(bench: Bench) -> None:
    """Where ``kinds`` are given, others are refused; marks never are."""
    with bench.open("kinds", kinds=["array", "text"]) as at:
        for call in (lambda: at.writer.publish(b"x"), lambda: at.writer.loan(3, kind="bytes")):
            error = refusal(call, "WrongType", channel="kinds")
            assert "array" in error.message, f"what it carries is not told: {error}"
        at.publish("x")
        at.publish(pattern(0))
        at.writer.mark(1, bench.patience)
        assert [at.receive().kind for _ in range(3)] == ["text", "array", "mark"]


def check_settings_that_cannot_be(bench: Bench) -> None:
    """Are refused when the channel is made."""
    odd: list[tuple[str, Any]] = [("to", "some"), ("kinds", ["arrays"]), ("kinds", ["mark"]), ("session", "s" * 41)]
    odd += [(name, value) for name in ("writers", "readers", "capacity", "bytes") for value in (0, -1, True, 1.5)]
    for name, value in odd:
        refusal(partial(bench.make, "odd", **{name: value}), "OutOfRange")


def check_places(bench: Bench) -> None:
    """There are as many as were asked for, each for one: a second at the same place is refused and harms nobody."""
    with bench.open("places", writers=2, capacity=4) as at:
        for make, beyond in ((at.channel.writer, 2), (at.channel.reader, 1)):
            odd: list[Any] = [beyond, -1, True, 0.0]
            for place in odd:
                refusal(partial(make, place), "OutOfRange", channel="places")
        assert [port.place for port in (*at.writers, *at.readers)] == [0, 1, 0]
        at.publish("one")
        refusal(at.channel.reader, "PlaceTaken", channel="places")

        def publish() -> None:
            with at.channel.writer() as second:
                second.publish("two", bench.patience)

        refusal(publish, "PlaceTaken", channel="places")
        at.publish("three", 1)
        assert [at.receive().data for _ in range(2)] == ["one", "three"]
        at.writer.close()
        refusal(publish, "Closed", channel="places")


def check_ports_that_were_closed(bench: Bench) -> None:
    """Refuse everything, and closing them again is nothing."""
    with bench.open("closed") as at:
        at.publish("x")
        assert not at.writer.closed
        assert not at.reader.closed
        for _ in range(2):
            at.reader.close()
        calls: list[Callable[[], Any]] = [at.reader.receive, at.reader.try_receive, lambda: next(iter(at.reader))]
        for _ in range(2):
            at.writer.close()
        calls += [lambda: at.writer.publish("y"), lambda: at.writer.try_publish("y"), lambda: at.writer.loan(1)]
        calls += [lambda: at.writer.mark(1), at.reader.ready]
        for call in calls:
            refusal(call, "Closed", channel="closed")
        assert at.writer.closed
        assert at.reader.closed
        at.writer.abandon("too late")
        at.reader.abandon("too late")


def check_the_end_of_the_writers(bench: Bench) -> None:
    """Is the end of the messages, when all were read: iteration stops, and every further receive says so."""
    for to in ("all", "one"):
        with bench.open("drained", writers=2, to=to) as at:
            at.publish(pattern(0))
            at.publish("b", 1)
            at.writer.close()
            at.publish("c", 1)
            at.writers[1].close()
            kinds = [(message.writer, message.sequence) for message in at.reader]
            assert sorted(kinds) == [(0, 0), (1, 0), (1, 1)], f"to {to}: {kinds}"
            for call in (at.reader.receive, at.reader.try_receive):
                refusal(call, "EndOfChannel", channel="drained")
        with bench.open("waits", to=to) as at:
            at.publish("x")
            assert at.receive().data == "x"
            waiting = Call(at.reader.receive)
            assert waiting.waits()
            at.writer.close()
            refusal(partial(waiting.result, bench.patience), "EndOfChannel", channel="waits")


def check_the_end_of_the_readers(bench: Bench) -> None:
    """To a writer it is the end of the channel, also while it waits for room."""
    for to in ("all", "one"):
        with bench.open("unheard", readers=2, capacity=1, to=to) as at:
            at.publish("x")
            blocked = Call(at.writer.publish, "y")
            assert blocked.waits()
            at.readers[0].close()
            assert blocked.waits(0.02), f"to {to}: one of the readers is there, and has not received"
            at.readers[1].close()
            refusal(partial(blocked.result, bench.patience), "Closed", channel="unheard")
            refusal(partial(at.writer.publish, "z"), "Closed", channel="unheard")
            refusal(partial(at.writer.try_publish, "z"), "Closed", channel="unheard")


def check_the_end_wakes_who_waits(bench: Bench) -> None:
    """With its reason; readers first get what was published before it."""
    for to in ("all", "one"):
        with bench.open("ended", capacity=1, to=to) as at, bench.open("idle", to=to) as idle:
            at.publish("x")
            blocked, waiting = Call(at.writer.publish, "y"), Call(idle.reader.receive)
            assert blocked.waits()
            assert waiting.waits(0.0)
            for each in (at, idle):
                each.channel.end("the reactor is on fire")
                each.channel.end("again")
            for call, name in ((blocked, "ended"), (waiting, "idle")):
                error = refusal(partial(call.result, bench.patience), "Closed", channel=name)
                assert "the reactor is on fire" in error.message, f"the reason is not given: {error}"
            assert at.receive().data == "x", "what was published before the end is lost"
            for refused in (at.reader.receive, at.reader.try_receive, partial(at.writer.try_publish, "z")):
                refusal(refused, "Closed", channel="ended")
            assert at.channel.state == "destroyed", f"ended, and {at.channel.state}"


def check_a_writer_that_gives_up(bench: Bench) -> None:
    """Is told once to each reader as a death, with the reason, after what it had published; the others go on."""
    for to in ("all", "one"):
        with bench.open("deserted", writers=2, to=to) as at:
            at.publish("a")
            try:
                with at.writer:
                    raise ZeroDivisionError("the reason")
            except ZeroDivisionError:
                pass
            assert at.receive().data == "a", "what was published before the writer gave up is lost"
            error = refusal(at.receive, "PeerDied", channel="deserted")
            assert "the reason" in str(error), f"the reason is not given: {error}"
            at.publish("b", 1)
            assert at.receive().data == "b"
            at.writers[1].close()
            refusal(at.receive, "EndOfChannel", channel="deserted")


def check_a_reader_that_gives_up(bench: Bench) -> None:
    """Holds up nobody; a writer that has no other is told, with the reason."""
    with bench.open("left", readers=2, capacity=1) as at:
        at.publish("a")
        blocked = Call(at.publish, "b")
        assert at.receive().data == "a"
        assert at.reader.try_receive() is None
        assert blocked.waits()
        at.readers[1].abandon("the reason")
        blocked.result(bench.patience)
        assert at.receive().data == "b"
        assert at.reader.try_receive() is None
        blocked = Call(_publish_twice, at)
        assert blocked.waits()
        at.reader.abandon("another reason")
        error = refusal(lambda: blocked.result(bench.patience), "PeerDied", channel="left")
        assert "another reason" in str(error), f"the reason is not given: {error}"


def check_states_and_statistics(bench: Bench) -> None:
    """From created to destroyed, and what went through meanwhile."""
    with bench.make("counted", capacity=5, bytes=1 << 20) as channel:
        assert (channel.name, channel.state) == ("counted", "created")
        reader, writer = channel.reader(), channel.writer()
        try:
            for number in range(4):
                writer.publish(np.zeros(1000 * number, np.uint8), bench.patience)
            for _ in range(2):
                reader.receive(bench.patience)
            seen = channel.statistics()
            assert (seen.name, seen.state, seen.messages, seen.bytes) == ("counted", "active", 4, 6000), seen
            assert (seen.writers, seen.readers, seen.capacity, seen.capacity_bytes) == (1, 1, 5, 1 << 20), seen
            assert seen.occupancy in (2, 3), seen
            assert seen.occupancy_bytes in (5000, 6000), seen
            assert seen.high_water == 4, seen
            writer.close()
            assert channel.state == "draining", f"all writers have closed, and it is {channel.state}"
            assert len(list(reader)) == 2
            reader.close()
            assert channel.state == "destroyed", f"all readers have closed, and it is {channel.state}"
            assert channel.statistics().messages == 4
        finally:
            reader.close()
            writer.close()


def check_it_can_be_pickled(bench: Bench) -> None:
    """To where its ports are used; the copy is as good, and need not be closed for the other to work."""
    with bench.make("pickled", capacity=3, session="s") as channel:
        copy = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(channel))))
        with copy.reader() as reader, channel.writer() as writer:
            writer.publish(pattern(1), bench.patience, number=1)
            message = reader.receive(bench.patience)
            require_same(message.data, pattern(1), "through a copy")
            assert (message.metadata, message.session) == ({"number": 1}, "s")
            del message
            copy.close()
            writer.publish("after", bench.patience)
            assert reader.receive(bench.patience).data == "after"


def check_a_reader_that_comes_late(bench: Bench) -> None:
    """To all: what was published before it came is kept for it."""
    with bench.make("late", readers=2, capacity=4) as channel, channel.reader() as first, channel.writer() as writer:
        publishing = Call(lambda: [writer.publish(str(number), bench.patience) for number in range(3)])
        publishing.waits()
        with channel.reader(1) as second:
            for reader in (second, first):
                assert [reader.receive(bench.patience).data for _ in range(3)] == ["0", "1", "2"]
            publishing.result(bench.patience)
            second.close()
        first.close()


def _publish_twice(at: Opened) -> None:
    for _ in range(2):
        at.publish("c")


END_CHECKS: list[Check] = [
    check_what_is_no_data_is_refused,
    check_only_the_kinds_that_it_carries,
    check_settings_that_cannot_be,
    check_places,
    check_ports_that_were_closed,
    check_the_end_of_the_writers,
    check_the_end_of_the_readers,
    check_the_end_wakes_who_waits,
    check_a_writer_that_gives_up,
    check_a_reader_that_gives_up,
    check_states_and_statistics,
    check_it_can_be_pickled,
    check_a_reader_that_comes_late,
]
