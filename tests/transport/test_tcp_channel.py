"""Channels over tcp: what is particular to them, beside what every channel must do."""

from __future__ import annotations

import contextlib
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cobre.errors import ChannelError
from cobre.testing.ranks import RankGroup, RankHost
from cobre.transport.channel_ports import ChannelReader, wait
from cobre.transport.message import Message
from cobre.transport.tcp_channel import TcpChannel
from tests.transport import tcp_channel_deeds as deeds

PATIENCE = 60.0


@pytest.fixture
def channel() -> Iterator[TcpChannel]:
    with TcpChannel("frames", capacity=4, bytes=1 << 20) as channel:
        yield channel


def kind_of(caught: pytest.ExceptionInfo[ChannelError]) -> str:
    return caught.value.kind


def test_addresses_are_known_before_anybody_listens(channel: TcpChannel) -> None:
    (address,) = channel.addresses
    assert not address.endswith(":0")
    with channel.reader() as reader:
        assert reader.address == address
        with pytest.raises(ChannelError) as caught:
            channel.reader()
        assert kind_of(caught) == "PlaceTaken"


def test_a_description_is_pickled_and_shows_no_secret(channel: TcpChannel) -> None:
    other = pickle.loads(pickle.dumps(channel))
    token = channel._settings.token.decode()
    assert token not in repr(channel)
    assert token not in repr(channel._settings)
    with other.reader() as reader, channel.writer() as writer:
        writer.publish("hello")
        assert reader.receive(PATIENCE).data == "hello"


def test_processes_that_make_the_channel_each_for_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    first, second, stranger = (
        TcpChannel("apart", addresses=[address], token=token, connect_timeout=PATIENCE)
        for token in ("a" * 16, "a" * 16, "b" * 16)
    )
    with first.reader() as reader:
        with second.writer() as writer:
            writer.publish(b"one")
            assert reader.receive(PATIENCE).data == b"one"
        with stranger.writer() as writer, pytest.raises(ChannelError) as caught:
            writer.publish(b"two")
        assert kind_of(caught) == "Unreachable"
        assert "token" in caught.value.message
        with pytest.raises(ChannelError) as caught:
            reader.receive(PATIENCE)
        assert kind_of(caught) == "EndOfChannel"


def test_a_channel_with_other_settings_is_refused() -> None:
    with TcpChannel("one", token="a" * 16) as channel, channel.reader():
        other = TcpChannel("one", token="a" * 16, capacity=11, addresses=channel.addresses)
        with other.writer() as writer, pytest.raises(ChannelError) as caught:
            writer.connect()
        assert kind_of(caught) == "OutOfRange"


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"writers": 0}, "OutOfRange"),
        ({"readers": 0}, "OutOfRange"),
        ({"capacity": True}, "OutOfRange"),
        ({"bytes": -1}, "OutOfRange"),
        ({"to": "some"}, "OutOfRange"),
        ({"kinds": ["arrays"]}, "OutOfRange"),
        ({"session": "s" * 41}, "OutOfRange"),
        ({"token": "short"}, "OutOfRange"),
        ({"connect_timeout": 0}, "OutOfRange"),
        ({"addresses": ["127.0.0.1:1", "127.0.0.1:2"]}, "OutOfRange"),
        ({"addresses": ["127.0.0.1:x"]}, "OutOfRange"),
        ({"addresses": ["0.0.0.0:5000"]}, "NotSupported"),
        ({"addresses": ["192.0.2.7:5000"]}, "NotSupported"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], kind: str) -> None:
    with pytest.raises(ChannelError) as caught:
        TcpChannel("no", **{"token": "t" * 16, **settings})  # type: ignore[arg-type]
    assert kind_of(caught) == kind
    if kind == "NotSupported":
        assert "ssh" in (caught.value.suggestion or "")


def test_places_there_are_not(channel: TcpChannel) -> None:
    for make in (channel.writer, channel.reader):
        with pytest.raises(ChannelError) as caught:
            make(1)
        assert kind_of(caught) == "OutOfRange"


def test_a_second_writer_at_a_place_is_refused_and_harms_nobody(channel: TcpChannel) -> None:
    with channel.reader() as reader, channel.writer() as writer:
        with channel.writer() as second, pytest.raises(ChannelError) as caught:
            second.publish("two")
        assert kind_of(caught) == "PlaceTaken"
        writer.publish("one")
        assert reader.receive(PATIENCE).data == "one"


def test_a_reader_that_does_not_come_is_unreachable() -> None:
    with TcpChannel("alone", connect_timeout=0.2) as channel:
        writer = channel.writer()
        assert not writer.try_publish("x")
        with pytest.raises(ChannelError) as caught:
            writer.publish("x", timeout=0.05)
        assert kind_of(caught) == "TimedOut"
        with pytest.raises(ChannelError) as caught:
            writer.publish("x")
        assert kind_of(caught) == "Unreachable"
        assert channel.addresses[0] in caught.value.message
        writer.abandon()


def test_a_reader_that_comes_later_is_found(channel: TcpChannel) -> None:
    with ThreadPoolExecutor() as pool:
        writer = channel.writer()
        published = pool.submit(writer.publish, np.arange(10.0))
        time.sleep(0.1)
        with channel.reader() as reader:
            assert (reader.receive(PATIENCE).data == np.arange(10.0)).all()
            published.result(PATIENCE)
            writer.close()


def test_a_writer_goes_on_while_its_reader_computes(channel: TcpChannel) -> None:
    """All that there is room for is taken in, far more than a socket holds, though nobody receives."""
    big = TcpChannel("big", capacity=3, bytes=100 << 20)
    with big, big.reader() as reader, big.writer() as writer:
        for number in range(3):
            writer.publish(np.full(20 << 20, number, np.uint8), timeout=PATIENCE)
        assert not writer.try_publish(b"x")
        for number in range(3):
            data = reader.receive(PATIENCE).data
            assert data[0] == data[-1] == number
            del data


def test_the_timeout_ends_a_message_that_is_on_its_way_and_it_counts_nowhere(rank_host: RankHost) -> None:
    with TcpChannel("stopped", capacity=4, bytes=64 << 20) as channel, RankGroup(None, 1, host=rank_host) as group:
        group.start(deeds.read, channel, 0)
        group.hear(0)
        with channel.writer() as writer:
            writer.publish(np.ones(1, np.uint8), number=0, sum=1)
            stop(group, 0)
            began = time.monotonic()
            with pytest.raises(ChannelError) as caught:
                writer.publish(np.ones(60 << 20, np.uint8), timeout=0.1, number=1, sum=60 << 20)
            assert kind_of(caught) == "TimedOut"
            assert time.monotonic() - began < PATIENCE
            group.kill(0, deeds.CONTINUE)
            writer.publish(np.full(3, 2, np.uint8), number=2, sum=6)
        assert group.wait()[0].value == ([(0, 0), (0, 2)], "EndOfChannel")


def stop(group: RankGroup, rank: int) -> None:
    group.kill(rank, deeds.STOP)
    while deeds.state_of(group.pids[rank]) != "T":
        time.sleep(0.001)


def test_a_blocked_writer_hears_of_room_of_the_end_and_of_the_readers_death(rank_host: RankHost) -> None:
    with TcpChannel("full", capacity=2, bytes=1 << 20) as channel, RankGroup(None, 1, host=rank_host) as group:
        group.start(deeds.publish_for_ever, channel, 1000)
        with channel.reader() as reader:
            assert [group.hear(0), group.hear(0)] == [1, 2]
            reader.receive(PATIENCE)
            reader.try_receive()  # gives the first one back
            assert group.hear(0) == 3
            reader.abandon("enough")
        kind, words = group.wait()[0].value
        assert kind == "PeerDied"
        assert "enough" in words


def test_the_end_reaches_ports_in_other_processes(rank_host: RankHost) -> None:
    with TcpChannel("ends", capacity=2, bytes=1 << 20) as channel, RankGroup(None, 2, host=rank_host) as group:
        group.start(deeds.hold, channel, ranks=[0])
        group.hear(0)
        group.start(deeds.publish_for_ever, channel, 1000, ranks=[1])
        assert [group.hear(1), group.hear(1)] == [1, 2]
        channel.end("it is over")  # the writer is blocked, and the reader sleeps in something else
        kind, words = group.wait(ranks=[1])[0].value
        assert kind == "Closed"
        assert "it is over" in words
        assert channel.state == "destroyed"
        with pytest.raises(ChannelError) as caught:
            channel.writer()
        assert kind_of(caught) == "Closed"


@pytest.mark.parametrize("many", [1, 3])
def test_the_end_wakes_ports_of_this_process(many: int) -> None:
    for to in ("all", "one"):
        with TcpChannel("ends", readers=many, capacity=1, to=to) as channel, ThreadPoolExecutor() as pool:  # type: ignore[arg-type]
            readers = [channel.reader(place) for place in range(many)]
            writer = channel.writer()
            waiting = [pool.submit(reader.receive) for reader in readers]
            blocked = pool.submit(writer.publish, "x")
            blocked.result(PATIENCE)
            refused = pool.submit(lambda writer: [writer.publish("y") for _ in range(9)], writer)
            time.sleep(0.05)
            channel.end("now")
            results = [future.exception(PATIENCE) for future in waiting]
            assert {getattr(error, "kind", "received") for error in results} <= {"Closed", "received"}
            assert sum(error is None for error in results) >= 1
            error = refused.exception(PATIENCE)
            assert isinstance(error, ChannelError)
            assert error.kind == "Closed"
            assert "now" in error.message
            for port in (*readers, writer):
                port.close()


def test_many_writers_to_many_readers_with_random_sizes(rank_host: RankHost) -> None:
    for to in ("all", "one"):
        channel = TcpChannel("many", writers=2, readers=2, capacity=5, bytes=300_000, to=to)  # type: ignore[arg-type]
        with channel, RankGroup(None, 4, host=rank_host) as group:
            for place in range(2):
                group.start(deeds.read, channel, place, ranks=[2 + place])
                group.hear(2 + place)
                group.start(deeds.write, channel, place, 7, 60, 150_000, ranks=[place])
            outcomes = group.wait()
            assert [outcome.value for outcome in outcomes[:2]] == ["published"] * 2, outcomes
            found = [outcome.value[0] for outcome in outcomes[2:]]
            everything = [(writer, number) for writer in range(2) for number in range(60)]
            if to == "all":
                assert all(sorted(each) == everything for each in found)
            else:
                assert sorted(found[0] + found[1]) == everything
            for each in found:
                for writer in range(2):
                    numbers = [number for place, number in each if place == writer]
                    assert numbers == sorted(numbers)


def test_a_writer_that_is_killed_leaves_whole_messages(rank_host: RankHost) -> None:
    for attempt in range(4):
        channel = TcpChannel("killed", capacity=100, bytes=64 << 20)
        with channel, channel.reader() as reader, RankGroup(None, 1, host=rank_host) as group:
            group.start(deeds.write, channel, 0, attempt, 10_000, 2 << 20)
            for _ in range(1 + 4 * attempt):
                checked(reader.receive(PATIENCE))
            group.kill(0)
            with pytest.raises(ChannelError) as caught:
                receive_all(reader)
            assert kind_of(caught) == "PeerDied"
            assert caught.value.context["place"] == 0
            with channel.writer() as writer:  # another takes its place
                writer.publish(np.ones(5, np.uint8), timeout=PATIENCE, sum=5)
                checked(reader.receive(PATIENCE))
            with pytest.raises(ChannelError) as caught:
                receive_all(reader)
            assert kind_of(caught) == "EndOfChannel"


def checked(message: Message) -> None:
    assert int(message.data.sum()) == message.metadata["sum"]


def receive_all(reader: ChannelReader) -> None:
    while True:
        checked(reader.receive(PATIENCE))


@pytest.mark.parametrize("size", [1000, 20 << 20])
def test_a_reader_that_is_killed_is_noticed_by_a_writer(rank_host: RankHost, size: int) -> None:
    """The writer waits for room, or is in the middle of a message."""
    channel = TcpChannel("killed", capacity=8, bytes=1 << 28)
    with channel, RankGroup(None, 2, host=rank_host) as group:
        group.start(deeds.hold, channel, ranks=[0])
        group.hear(0)
        group.start(deeds.publish_for_ever, channel, size, ranks=[1])
        if size == 1000:
            assert [group.hear(1) for _ in range(8)] == list(range(1, 9))
        else:
            group.hear(1)
            stop(group, 0)
            time.sleep(0.1)
        group.kill(0)
        assert group.wait(ranks=[1])[0].value[0] == "PeerDied"


def test_to_all_the_others_go_on_when_a_reader_is_killed(rank_host: RankHost) -> None:
    channel = TcpChannel("two", readers=2, capacity=2, bytes=1 << 20)
    with channel, channel.reader(0) as reader, RankGroup(None, 1, host=rank_host) as group:
        group.start(deeds.hold, channel, 1)
        group.hear(0)
        with channel.writer() as writer:
            writer.publish("a")
            writer.publish("b")
            assert [reader.receive(PATIENCE).data for _ in range(2)] == ["a", "b"]
            assert reader.try_receive() is None
            assert not writer.try_publish("c")  # the other one holds it up
            group.kill(0)
            writer.publish("c", timeout=PATIENCE)
            assert reader.receive(PATIENCE).data == "c"


def test_to_one_nobody_waits_behind_a_slow_reader_and_what_it_had_not_got_goes_to_others(rank_host: RankHost) -> None:
    channel = TcpChannel("jobs", readers=2, capacity=6, to="one")
    with channel, RankGroup(None, 1, host=rank_host) as group, channel.writer() as writer:
        group.start(deeds.hold, channel, 1, 1)  # gets one, asks for another, and does nothing more
        group.hear(0)
        writer.publish("job", number=0, timeout=PATIENCE)
        assert group.hear(0) == "received"
        for number in range(1, 6):
            writer.publish("job", number=number, timeout=PATIENCE)
        with channel.reader(0) as reader:
            assert [reader.receive(PATIENCE).metadata["number"] for _ in range(4)] == [2, 3, 4, 5]
            assert reader.try_receive() is None
            group.kill(0)
            assert reader.receive(PATIENCE).metadata["number"] == 1


def test_marks_reach_every_reader_also_where_messages_go_to_one() -> None:
    for to in ("all", "one"):
        channel = TcpChannel("marks", readers=2, to=to)  # type: ignore[arg-type]
        with channel, channel.writer() as writer, channel.reader(0) as first, channel.reader(1) as second:
            writer.mark(7, timeout=PATIENCE)
            for reader in (first, second):
                message = reader.receive(PATIENCE)
                assert (message.kind, message.data) == ("mark", 7)


def test_a_view_that_lives_counts_until_it_dies(channel: TcpChannel) -> None:
    with channel.reader() as reader, channel.writer() as writer:
        kept = []
        for number in range(4):
            writer.publish(np.full(10, number), timeout=PATIENCE)
            kept.append(reader.receive(PATIENCE).data[2:5])
        assert not writer.try_publish("more")
        with pytest.raises(ChannelError) as caught:
            reader.receive(PATIENCE)
        assert kind_of(caught) == "ViewAlive"
        assert [view[0] for view in kept] == [0, 1, 2, 3]
        del kept[1:3]
        assert reader.try_receive() is None
        writer.publish("more", timeout=PATIENCE)
        assert reader.receive(PATIENCE).data == "more"


def test_strangers_are_not_heard(channel: TcpChannel) -> None:
    with channel.reader() as reader:
        host, port = reader.address.split(":")
        for words in (b"", b"GET / HTTP/1.0\r\n\r\n", bytes(100), b"\xff" * 5000, b"\x10\0\0\0cobretcp"):
            with socket.create_connection((host, int(port))) as stream:
                stream.sendall(words)
        held = [socket.create_connection((host, int(port))) for _ in range(100)]
        with channel.writer() as writer:
            writer.publish("hello", timeout=PATIENCE)
            assert reader.receive(PATIENCE).data == "hello"
        for stream in held:
            stream.close()


def test_a_squatter_gets_nothing(channel: TcpChannel) -> None:
    host, port = channel.addresses[0].split(":")
    heard = bytearray()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind((host, int(port)))
        squatter.listen()

        def squat() -> None:
            while True:
                try:
                    stream, _ = squatter.accept()
                except OSError:
                    return
                with stream, contextlib.suppress(OSError):
                    heard.extend(stream.recv(65536))
                    stream.sendall(b"\x10\0\0\0" + bytes(16))

        thread = threading.Thread(target=squat)
        thread.start()
        writer = channel.writer()
        with pytest.raises(ChannelError) as caught:
            writer.publish("secret words", timeout=PATIENCE)
        assert kind_of(caught) == "Unreachable"
        writer.close()
        squatter.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert b"secret" not in heard
    assert channel._settings.token not in heard


def test_statistics_are_asked_of_readers_in_other_processes(rank_host: RankHost) -> None:
    with TcpChannel("known", capacity=4, bytes=1 << 20) as channel, RankGroup(None, 1, host=rank_host) as group:
        assert channel.statistics().state == "created"
        group.start(deeds.hold, channel, 0, 1)
        group.hear(0)
        with channel.writer() as writer:
            for _ in range(3):
                writer.publish(np.zeros(100, np.uint8), timeout=PATIENCE)
            writer.mark(1)
            group.hear(0)
            found = channel.statistics()
            assert (found.state, found.messages, found.bytes, found.writers, found.readers) == ("active", 3, 300, 1, 1)
            assert found.occupancy in (2, 3)
        assert channel.state == "draining"
        group.kill(0)
        group.wait()
        assert channel.statistics().readers == 0
        assert channel.state == "destroyed"


def test_readers_of_different_channels_are_waited_for_together(channel: TcpChannel) -> None:
    with TcpChannel("other") as other, channel.reader() as first, other.reader() as second:
        assert wait([first, second], 0.01) == []
        with channel.writer(), other.writer() as writer:
            writer.publish("x")
            assert wait([first, second], PATIENCE) == [second]
            assert second.receive().data == "x"
            assert wait([first, second], 0.0) == []


def test_a_writer_is_waited_for_until_there_is_room(channel: TcpChannel) -> None:
    for to, readers in (("all", 1), ("one", 2)):
        made = TcpChannel("room", readers=readers, to=to, capacity=1)  # type: ignore[arg-type]
        with made, made.reader() as reader, made.writer() as writer, ThreadPoolExecutor() as pool:
            others = [made.reader(place) for place in range(1, readers)]
            writer.publish("a", timeout=PATIENCE)
            assert not writer.try_publish("b")
            assert wait([writer], 0.02) == []
            later = pool.submit(lambda reader=reader: (reader.receive(PATIENCE), time.sleep(0.1), reader.try_receive()))
            assert wait([writer], PATIENCE) == [writer]
            assert writer.try_publish("b")
            later.result(PATIENCE)
            for other in others:
                other.close()
