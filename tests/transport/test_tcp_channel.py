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
from cobre.transport.channel_ports import ChannelWriter, wait
from cobre.transport.tcp_channel import TcpChannel
from cobre.transport.tcp_channel_door import Wish
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


def test_a_reader_that_does_not_answer_is_unreachable() -> None:
    """The system of its host takes the call; its process does not, and nothing happens that would wake a writer."""
    with TcpChannel("silent", connect_timeout=0.2) as channel, socket.socket() as silent:
        host, _, port = channel.addresses[0].partition(":")
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind((host, int(port)))
        silent.listen()
        writer = channel.writer()
        with pytest.raises(ChannelError) as caught:
            writer.publish("x")
        assert kind_of(caught) == "Unreachable"
        writer.abandon()


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


def test_a_reader_that_is_killed_in_the_middle_of_a_message_is_noticed(rank_host: RankHost) -> None:
    channel = TcpChannel("killed", capacity=8, bytes=1 << 28)
    with channel, RankGroup(None, 2, host=rank_host) as group:
        group.start(deeds.hold, channel, ranks=[0])
        group.hear(0)
        group.start(deeds.publish_for_ever, channel, 20 << 20, ranks=[1])
        group.hear(1)
        stop(group, 0)
        time.sleep(0.1)
        group.kill(0)
        assert group.wait(ranks=[1])[0].value[0] == "PeerDied"


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


def test_a_writer_that_sends_what_none_sends_is_told_so(channel: TcpChannel) -> None:
    """Both sides give it up, and neither waits for the other."""
    with channel.reader() as reader, channel.writer() as writer:
        writer.publish("hello", timeout=PATIENCE)
        (outlet,) = writer._sender._outlets  # type: ignore[attr-defined]
        outlet._met[Wish.DATA].sendall(b"\xff" * 500)
        assert reader.receive(PATIENCE).data == "hello"
        with pytest.raises(ChannelError, match="no writer sends") as caught:
            reader.receive(PATIENCE)
        assert kind_of(caught) == "PeerDied"
        with pytest.raises(ChannelError, match="no writer sends") as caught:
            publish_for_ever(writer)
        assert kind_of(caught) == "PeerDied"


def publish_for_ever(writer: ChannelWriter) -> None:
    while True:
        writer.publish(bytes(100_000))


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


def test_a_writer_is_waited_for_until_there_is_room() -> None:
    """Also where its thread has to hear of it, and not all readers ask."""
    with (
        TcpChannel("room", readers=2, to="one", capacity=1) as channel,
        channel.reader() as reader,
        channel.reader(1),
        channel.writer() as writer,
        ThreadPoolExecutor() as pool,
    ):
        writer.publish("a", timeout=PATIENCE)
        assert not writer.try_publish("b")
        assert wait([writer], 0.02) == []
        later = pool.submit(lambda: (reader.receive(PATIENCE), time.sleep(0.1), reader.try_receive()))
        assert wait([writer], PATIENCE) == [writer]
        assert writer.try_publish("b")
        later.result(PATIENCE)
