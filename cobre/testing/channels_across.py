"""The conformance suite's checks that need processes: traffic between them, and what is left when one is killed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from cobre.testing import channels_deeds as deeds
from cobre.testing.channels_data import Bench, refusal
from cobre.testing.ranks import RankGroup
from cobre.transport.channel_ports import ChannelReader

__all__ = ["ACROSS_CHECKS"]

Check = Callable[[Bench], None]

_MESSAGES = 40


def check_messages_between_processes(bench: Bench) -> None:
    """Two writers and two readers, each a process, random sizes: everything once, in order, whole."""
    everything = [(writer, number) for writer in range(2) for number in range(_MESSAGES)]
    with RankGroup(None, 4, host=bench.processes()) as group:
        for to in ("all", "one"):
            with bench.make("between", writers=2, readers=2, capacity=5, bytes=300_000, to=to) as channel:
                for place in range(2):
                    group.start(deeds.read, channel, place, ranks=[2 + place])
                    group.hear(2 + place, bench.patience)
                    group.start(deeds.write, channel, place, 7, _MESSAGES, 100_000, ranks=[place])
                outcomes = group.wait(bench.patience)
                assert [outcome.value for outcome in outcomes[:2]] == ["published"] * 2, outcomes
                assert all(outcome.returned for outcome in outcomes), outcomes
                found: list[list[tuple[int, int]]] = [outcome.value[0] for outcome in outcomes[2:]]
                received = found if to == "all" else [found[0] + found[1]]
                assert all(sorted(each) == everything for each in received), f"to {to}: lost or doubled"
                for each in found:
                    for place in range(2):
                        numbers = [number for writer, number in each if writer == place]
                        assert all(a < b for a, b in pairwise(numbers)), f"to {to}: out of order"


def _receive_all(reader: ChannelReader, patience: float) -> Any:
    while True:
        message = reader.receive(patience)
        assert int(message.data.sum()) == message.metadata["sum"], f"message {message.sequence} is damaged"


def check_a_killed_writer_leaves_whole_messages(bench: Bench) -> None:
    """Killed at any moment: what it had published is read, then its death is told. Another can take its place."""
    with RankGroup(None, 2, host=bench.processes()) as group:
        for attempt in range(2):
            with bench.make("killed", capacity=20, bytes=8 << 20) as channel, channel.reader() as reader:
                group.start(deeds.write, channel, 0, attempt, 10_000, 1 << 20, ranks=[attempt])
                for _ in range(1 + 6 * attempt):
                    message = reader.receive(bench.patience)
                    assert int(message.data.sum()) == message.metadata["sum"]
                    del message
                group.kill(attempt)
                error = refusal(partial(_receive_all, reader, bench.patience), "PeerDied", channel="killed")
                assert error.context["place"] == 0, f"it does not say which writer: {error}"
                with channel.writer() as writer:
                    writer.publish("heir", bench.patience)
                    assert reader.receive(bench.patience).data == "heir"
                refusal(partial(reader.receive, bench.patience), "EndOfChannel", channel="killed")


def check_a_killed_reader_wakes_a_blocked_writer(bench: Bench) -> None:
    """With PeerDied, where there is no other reader."""
    with (
        bench.make("killed", capacity=8) as channel,
        RankGroup(None, 2, host=bench.processes()) as group,
    ):
        group.start(deeds.hold, channel, ranks=[0])
        group.hear(0, bench.patience)
        group.start(deeds.publish_for_ever, channel, 1000, ranks=[1])
        published = [group.hear(1, bench.patience) for _ in range(8)]
        assert published == list(range(1, 9)), f"a capacity of 8, and {published}"
        group.kill(0)
        kind, words = group.wait(bench.patience, ranks=[1])[0].value
        assert kind == "PeerDied", f"the reader was killed, and the writer got {kind}: {words}"


def check_others_go_on_when_a_reader_is_killed(bench: Bench) -> None:
    """To all: what the dead one had not read holds up nobody."""
    with (
        bench.make("two", readers=2, capacity=2) as channel,
        channel.reader(0) as reader,
        RankGroup(None, 1, host=bench.processes()) as group,
    ):
        group.start(deeds.hold, channel, 1)
        group.hear(0, bench.patience)
        with channel.writer() as writer:
            for text in ("a", "b"):
                writer.publish(text, bench.patience)
                assert reader.receive(bench.patience).data == text
            assert reader.try_receive() is None
            assert not writer.try_publish("c"), "a reader that has got nothing yet was passed"
            group.kill(0)
            writer.publish("c", bench.patience)
            assert reader.receive(bench.patience).data == "c"


def check_what_a_killed_reader_had_not_got_goes_to_another(bench: Bench) -> None:
    """To one: it had received one message and asked for more, which are lost to nobody."""
    with (
        bench.make("jobs", readers=2, capacity=6, to="one") as channel,
        RankGroup(None, 1, host=bench.processes()) as group,
        channel.writer() as writer,
    ):
        group.start(deeds.hold, channel, 1, 1)
        group.hear(0, bench.patience)
        writer.publish("job", bench.patience, number=0)
        assert group.hear(0, bench.patience) == "received"
        for number in range(1, 6):
            writer.publish("job", bench.patience, number=number)
        group.kill(0)
        with channel.reader(0) as reader:
            found = sorted(reader.receive(bench.patience).metadata["number"] for _ in range(5))
            assert found == [1, 2, 3, 4, 5], f"of five that the dead one had not got, {found} came"
            assert reader.try_receive() is None
            writer.publish("job", bench.patience, number=6)
            assert reader.receive(bench.patience).metadata["number"] == 6


def check_the_end_reaches_other_processes(bench: Bench) -> None:
    """A blocked writer and a waiting reader elsewhere get Closed, with the reason; statistics know of them."""
    with (
        bench.make("full", capacity=2) as full,
        bench.make("empty") as empty,
        RankGroup(None, 3, host=bench.processes()) as group,
    ):
        group.start(deeds.hold, full, ranks=[0])
        group.start(deeds.read, empty, 0, ranks=[2])
        for rank in (0, 2):
            group.hear(rank, bench.patience)
        with empty.writer():
            group.start(deeds.publish_for_ever, full, 1000, ranks=[1])
            assert [group.hear(1, bench.patience) for _ in range(2)] == [1, 2]
            seen = full.statistics()
            assert (seen.state, seen.messages, seen.bytes) == ("active", 2, 2000), seen
            assert (seen.occupancy, seen.writers, seen.readers) == (2, 1, 1), seen
            for channel in (full, empty):
                channel.end("the reactor is on fire")
            kind, words = group.wait(bench.patience, ranks=[1])[0].value
            assert kind == "Closed", f"the channel has ended, and the writer got {kind}: {words}"
            assert "the reactor is on fire" in words, f"the reason is not given: {words}"
            found = group.wait(bench.patience, ranks=[2])[0].value
            assert found == ([], "Closed"), f"the channel has ended, and the reader got {found}"
        group.kill(0)
        group.wait(bench.patience, ranks=[0])
        seen = full.statistics()
        assert (seen.state, seen.readers) == ("destroyed", 0), seen


ACROSS_CHECKS: list[Check] = [
    check_messages_between_processes,
    check_a_killed_writer_leaves_whole_messages,
    check_a_killed_reader_wakes_a_blocked_writer,
    check_others_go_on_when_a_reader_is_killed,
    check_what_a_killed_reader_had_not_got_goes_to_another,
    check_the_end_reaches_other_processes,
]
