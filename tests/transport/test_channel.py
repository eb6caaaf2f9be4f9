"""Channels in shared memory: what goes in comes out, once, in order and whole, whoever dies."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from cobre.errors import ChannelError
from cobre.transport import Channel

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


def checked(message: Any) -> None:
    assert int(message.data.sum()) == message.metadata["sum"]


def receive_all(reader: Any) -> None:
    while True:
        checked(reader.receive(PATIENCE))


def test_a_channel_goes_where_it_is_pickled_to_and_not_beyond_its_maker() -> None:
    channel = Channel("gone")
    text = pickle.dumps(channel)
    with pickle.loads(text) as other, other.reader() as reader, channel.writer() as writer:
        writer.publish("here")
        assert reader.receive(PATIENCE).data == "here"
    channel.close()
    with pytest.raises(ChannelError):
        pickle.loads(text).reader()
