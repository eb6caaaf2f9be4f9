"""Channels in shared memory: what goes in comes out, once, in order and whole, whoever dies."""

from __future__ import annotations

import asyncio
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from cobre.errors import ChannelError
from cobre.testing.ranks import RankGroup, RankHost
from cobre.transport import Audio, Channel, Video
from tests.transport import tcp_channel_deeds as deeds

PATIENCE = 60.0


def _waits(reader: Any) -> bool:
    """Whether it is told that it keeps what the writer, who waits for room, would use again."""
    with pytest.raises(ChannelError) as caught:
        reader.receive(0.2)
    if caught.value.kind == "ViewAlive":
        assert "kept" in str(caught.value)
        return True
    assert caught.value.kind == "TimedOut"
    return False


def kind_of(caught: pytest.ExceptionInfo[ChannelError]) -> str:
    return caught.value.kind


@pytest.mark.parametrize(
    "data",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.zeros((0, 5), np.int16),
        np.array(7.5),
        "grüße",
        "",
        b"\x00\xff",
    ],
    ids=lambda data: type(data).__name__,
)
def test_what_goes_in_comes_out(data: Any) -> None:
    with Channel("plain", session="one") as channel, channel.writer() as writer, channel.reader() as reader:
        writer.publish(data, note="kept", number=3)
        with reader.receive(PATIENCE) as message:
            assert message.metadata == {"note": "kept", "number": 3}
            assert message.session == "one"
            if isinstance(data, np.ndarray):
                assert message.shape == data.shape
                assert message.dtype == data.dtype
                assert np.array_equal(message.data, data)
                assert not message.data.flags.writeable
            else:
                assert message.data == data


def test_sound_and_pictures_keep_what_they_are() -> None:
    sound = Audio(np.linspace(-1.0, 1.0, 320, dtype=np.float32), rate=16_000)
    picture = Video(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3), fps=25.0)
    with Channel("media") as channel, channel.writer() as writer, channel.reader() as reader:
        writer.publish(sound)
        writer.publish(picture)
        heard = reader.receive(PATIENCE).data
        assert heard.rate == 16_000
        assert np.array_equal(heard.samples.ravel(), sound.samples.ravel())
        seen = reader.receive(PATIENCE).data
        assert seen.fps == 25.0
        assert np.array_equal(seen.frame, picture.frame)


@pytest.mark.parametrize(
    "data", [None, {"a": 1}, object(), np.array([object()])], ids=["None", "dict", "object", "objects"]
)
def test_what_cannot_be_sent_is_refused(data: Any) -> None:
    with Channel() as channel, channel.writer() as writer, pytest.raises(ChannelError) as caught:
        writer.publish(data)
    assert kind_of(caught) == "WrongType"


@pytest.mark.parametrize("settings", [{"writers": 0}, {"readers": -1}, {"capacity": 0}, {"bytes": 0}, {"to": "some"}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ChannelError) as caught:
        Channel("odd", **settings)
    assert kind_of(caught) == "OutOfRange"


def test_a_message_that_can_never_fit_is_refused_and_one_that_fits_later_waits() -> None:
    with Channel(capacity=3, bytes=1 << 16) as channel, channel.writer() as writer, channel.reader() as reader:
        with pytest.raises(ChannelError) as caught:
            writer.publish(np.zeros(1 << 20, np.uint8))
        assert kind_of(caught) == "TooLarge"
        assert [writer.try_publish("x") for _ in range(4)] == [True, True, True, False]
        with pytest.raises(ChannelError) as caught:
            writer.publish("x", timeout=0.05)
        assert kind_of(caught) == "TimedOut"
        reader.receive(PATIENCE)
        reader.receive(PATIENCE)
        assert writer.try_publish("x")


def test_a_loan_is_filled_in_place_and_dropped_by_an_exception() -> None:
    with Channel() as channel, channel.writer() as writer, channel.reader() as reader:
        with writer.loan((3, 4), np.int32) as loan:
            loan.array[...] = 7
        with pytest.raises(ZeroDivisionError), writer.loan((3, 4), np.int32):
            raise ZeroDivisionError
        writer.publish("after")
        assert (reader.receive(PATIENCE).data == 7).all()
        assert reader.receive(PATIENCE).data == "after"


def test_a_view_that_lives_is_named_and_its_memory_not_used_again() -> None:
    with Channel(capacity=2) as channel, channel.writer() as writer, channel.reader() as reader:
        writer.publish(np.full(100, 1))
        first = reader.receive(PATIENCE)
        part = first.data[10:20]
        with pytest.raises(ChannelError, match="0") as caught:
            first.release()
        assert kind_of(caught) == "ViewAlive"
        for value in (2, 3, 4):
            if not writer.try_publish(np.full(100, value)):
                break
            reader.try_receive()
        assert (part == 1).all()
        del part
        first.release()


@pytest.mark.parametrize("to", ["all", "one"])
def test_a_slice_of_any_message_keeps_its_memory(to: Any) -> None:
    with Channel(capacity=3, to=to) as channel, channel.writer() as writer, channel.reader() as reader:
        for value in range(1, 8):
            writer.publish(np.full(100, value))
            part = reader.receive(PATIENCE).data[10:20].reshape(2, 5)
            for other in (100, 101):
                writer.publish(np.full(100, other), timeout=PATIENCE)
                assert reader.receive(PATIENCE).data[0] == other
            assert (part == value).all()
            del part
            assert reader.try_receive() is None


def test_messages_released_beside_a_kept_one_are_free() -> None:
    with Channel(capacity=3, to="one") as channel, channel.writer() as writer, channel.reader() as reader:
        writer.publish(np.zeros(10))
        kept = reader.receive(PATIENCE).data
        writer.publish(np.ones(10))
        reader.receive(PATIENCE)
        assert reader.try_receive() is None
        del kept
        assert reader.try_receive() is None
        assert channel.statistics().occupancy == 0


def test_a_reader_that_keeps_every_view_is_told_so_instead_of_waiting_for_ever() -> None:
    pool, channel = ThreadPoolExecutor(), Channel("kept", capacity=2)
    with pool, channel, channel.writer() as writer, channel.reader() as reader:
        views = []
        for value in range(2):
            writer.publish(np.full(10, value))
            views.append(reader.receive(PATIENCE).data)
        blocked = pool.submit(writer.publish, "more")
        while channel.statistics().messages < 3 and not _waits(reader):
            time.sleep(0.01)
        assert [int(view[0]) for view in views] == [0, 1]
        del views
        assert reader.receive(PATIENCE).data == "more"
        blocked.result(PATIENCE)


def test_the_end_of_the_writers_is_the_end_of_the_messages() -> None:
    with Channel(writers=2) as channel, channel.reader() as reader:
        assert channel.state == "active"
        with channel.writer(0) as one, channel.writer(1) as two:
            one.publish("a")
            two.publish("b")
        assert channel.state == "draining"
        assert sorted(message.data for message in reader) == ["a", "b"]


def test_statistics_count() -> None:
    with Channel(capacity=5) as channel, channel.writer() as writer, channel.reader() as reader:
        for _ in range(3):
            writer.publish(np.zeros(1000, np.uint8))
        reader.receive(PATIENCE)
        seen = channel.statistics()
        assert (seen.messages, seen.bytes, seen.capacity, seen.high_water) == (3, 3000, 5, 3)
        assert seen.occupancy in (2, 3)
        assert seen.state == "active"


def test_an_event_loop_can_wait() -> None:
    async def both(channel: Channel) -> list[str]:
        with channel.reader() as reader, channel.writer() as writer:
            waiting = asyncio.ensure_future(reader.receive_async(PATIENCE))
            await asyncio.sleep(0.05)
            writer.publish("first")
            first = (await waiting).data
            writer.publish("second")
            writer.close()
            return [first, *[message.data async for message in reader]]

    with Channel() as channel:
        assert asyncio.run(both(channel)) == ["first", "second"]


def test_marks_reach_every_reader_also_where_messages_go_to_one() -> None:
    for to in ("all", "one"):
        channel = Channel("marks", readers=2, to=to)  # type: ignore[arg-type]
        with channel, channel.writer() as writer, channel.reader(0) as first, channel.reader(1) as second:
            writer.mark(7, timeout=PATIENCE)
            for reader in (first, second):
                message = reader.receive(PATIENCE)
                assert (message.kind, message.data) == ("mark", 7)


def test_the_end_wakes_who_waits() -> None:
    pool, channel = ThreadPoolExecutor(), Channel("ends", capacity=1)
    with pool, channel, channel.writer() as writer, channel.reader() as reader:
        writer.publish("x")
        blocked = pool.submit(writer.publish, "y")
        time.sleep(0.05)
        channel.end("it is over")
        error = blocked.exception(PATIENCE)
        assert isinstance(error, ChannelError)
        assert error.kind == "Closed"
        assert "it is over" in str(error)
        assert reader.receive(PATIENCE).data == "x"
        with pytest.raises(ChannelError):
            reader.receive(PATIENCE)


def test_many_writers_to_many_readers_with_random_sizes(rank_host: RankHost) -> None:
    everything = [(writer, number) for writer in range(2) for number in range(60)]
    for to in ("all", "one"):
        channel: Any = Channel("many", writers=2, readers=2, capacity=5, bytes=300_000, to=to)  # type: ignore[arg-type]
        with channel, RankGroup(None, 4, host=rank_host) as group:
            for place in range(2):
                group.start(deeds.read, channel, place, ranks=[2 + place])
                group.hear(2 + place)
                group.start(deeds.write, channel, place, 7, 60, 150_000, ranks=[place])
            outcomes = group.wait()
            assert [outcome.value for outcome in outcomes[:2]] == ["published"] * 2, outcomes
            found = [outcome.value[0] for outcome in outcomes[2:]]
            if to == "all":
                assert all(sorted(each) == everything for each in found)
            else:
                assert sorted(found[0] + found[1]) == everything
            for each in found:
                for writer in range(2):
                    numbers = [number for place, number in each if place == writer]
                    assert numbers == sorted(numbers)


def checked(message: Any) -> None:
    assert int(message.data.sum()) == message.metadata["sum"]


def receive_all(reader: Any) -> None:
    while True:
        checked(reader.receive(PATIENCE))


def test_a_writer_that_is_killed_leaves_whole_messages(rank_host: RankHost) -> None:
    for attempt in range(3):
        channel: Any = Channel("killed", capacity=20, bytes=8 << 20)
        with channel, channel.reader() as reader, RankGroup(None, 1, host=rank_host) as group:
            group.start(deeds.write, channel, 0, attempt, 10_000, 1 << 20)
            for _ in range(1 + 4 * attempt):
                checked(reader.receive(PATIENCE))
            group.kill(0)
            with pytest.raises(ChannelError) as caught:
                receive_all(reader)
            assert kind_of(caught) == "PeerDied"


def test_a_reader_that_is_killed_wakes_a_blocked_writer(rank_host: RankHost) -> None:
    channel: Any = Channel("killed", capacity=8)
    with channel, RankGroup(None, 2, host=rank_host) as group:
        group.start(deeds.hold, channel, ranks=[0])
        group.hear(0)
        group.start(deeds.publish_for_ever, channel, 1000, ranks=[1])
        assert [group.hear(1) for _ in range(8)] == list(range(1, 9))
        group.kill(0)
        assert group.wait(ranks=[1])[0].value[0] == "PeerDied"


def test_what_a_killed_reader_had_not_got_goes_to_another(rank_host: RankHost) -> None:
    channel: Any = Channel("jobs", readers=2, capacity=6, to="one")
    with channel, RankGroup(None, 1, host=rank_host) as group, channel.writer() as writer:
        group.start(deeds.hold, channel, 1)
        group.hear(0)
        for number in range(3):
            writer.publish("job", number=number, timeout=PATIENCE)
        group.kill(0)
        with channel.reader(0) as reader:
            assert [reader.receive(PATIENCE).metadata["number"] for _ in range(3)] == [0, 1, 2]


def test_a_channel_goes_where_it_is_pickled_to_and_not_beyond_its_maker() -> None:
    channel = Channel("gone")
    text = pickle.dumps(channel)
    with pickle.loads(text) as other, other.reader() as reader, channel.writer() as writer:
        writer.publish("here")
        assert reader.receive(PATIENCE).data == "here"
    channel.close()
    with pytest.raises(ChannelError):
        pickle.loads(text).reader()
