"""Channels when something goes wrong beside them: processes killed and stopped, Ctrl-C, nothing left to be had."""

from __future__ import annotations

import dataclasses
import pickle
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from cobre.errors import ChannelError
from cobre.testing.channels import Make
from cobre.testing.channels_data import Call, refusal
from cobre.testing.ranks import RankGroup, RankHost
from cobre.transport import Channel
from cobre.transport.channel_ports import wait
from cobre.transport.tcp_channel import TcpChannel
from tests.transport import channel_fault_deeds as faults
from tests.transport import tcp_channel_deeds as deeds

PATIENCE = 60.0
KINDS = pytest.mark.parametrize("make", [Channel, TcpChannel], ids=["shm", "tcp"])


@pytest.fixture
def group(rank_host: RankHost) -> Iterator[RankGroup]:
    with RankGroup(None, 2, host=rank_host) as formed:
        yield formed


def stop(group: RankGroup, rank: int) -> None:
    group.kill(rank, deeds.STOP)
    while deeds.state_of(group.pids[rank]) != "T":
        time.sleep(0.001)


@pytest.mark.parametrize("moment", ["locked", "claimed"])
def test_a_reader_killed_while_it_claims_holds_up_nobody(group: RankGroup, moment: str) -> None:
    """Nor one that was stopped: others have their timeouts, and go on when it is gone. What it had claimed is lost."""
    with (
        Channel("claims", readers=2, to="one", capacity=3) as channel,
        channel.reader() as reader,
        channel.writer() as writer,
    ):
        group.start(faults.stop_while_claiming, channel, moment, ranks=[0])
        for number in range(3):
            writer.publish(str(number), PATIENCE)
        assert group.hear(0) == moment
        writer_gone = ("Closed", "EndOfChannel", "PeerDied")
        error = refusal(lambda: reader.receive(0.05), "TimedOut", *writer_gone)
        assert error.kind == "TimedOut", "there are messages, and it is told that none will come"
        assert reader.try_receive() is None
        group.kill(0)
        first = 0 if moment == "locked" else 1
        assert [reader.receive(PATIENCE).data for _ in range(first, 3)] == [str(n) for n in range(first, 3)]
        for number in range(3, 9):
            writer.publish(str(number), PATIENCE)
            assert reader.receive(PATIENCE).data == str(number)


def test_a_channel_whose_maker_has_died(group: RankGroup) -> None:
    """Those that are there go on; nobody can come any more, and who waits for such is told."""
    group.start(faults.make_and_hold, {}, ranks=[0])
    group.start(faults.make_and_hold, {"capacity": 1, "readers": 2}, ranks=[1])
    whole, half = group.hear(0), group.hear(1)
    with whole.reader() as reader, whole.writer() as writer, half.reader() as other, half.writer() as blocked:
        blocked.publish("x", PATIENCE)
        waiting = Call(blocked.publish, "y")
        assert other.receive(PATIENCE).data == "x"
        assert other.try_receive() is None
        assert waiting.waits(), "a reader that may still come was passed"
        group.kill(0)
        group.kill(1)
        group.wait(PATIENCE)
        waiting.result(PATIENCE)  # that reader cannot come any more, and there is another
        assert other.receive(PATIENCE).data == "y"
        for call in (whole.reader, whole.writer, half.reader, pickle.loads(pickle.dumps(whole)).statistics):
            refusal(call, "Unreachable", channel="made elsewhere")
        for number in range(30):
            writer.publish(np.full(10, number), PATIENCE)
            assert int(reader.receive(PATIENCE).data[0]) == number
    whole.close()
    half.close()


def test_ports_that_wait_for_somebody_who_can_never_come(group: RankGroup) -> None:
    group.start(faults.make_and_hold, {}, ranks=[0, 1])
    without_writer, without_reader = group.hear(0), group.hear(1)
    with without_writer.reader() as reader, without_reader.writer() as writer:
        receiving = Call(reader.receive)
        publishing = Call(lambda: [writer.publish("x") for _ in range(20)])
        assert receiving.waits()
        assert publishing.waits()
        group.kill(0)
        group.kill(1)
        for call in (receiving, publishing):
            error = refusal(partial(call.result, PATIENCE), "PeerDied")
            assert "never attached" in str(error)
    without_writer.close()
    without_reader.close()


@KINDS
def test_a_reader_that_was_stopped_is_waited_for(group: RankGroup, make: Make) -> None:
    with make("stopped", capacity=2) as channel:
        group.start(deeds.read, channel, 0, ranks=[0])
        group.hear(0)
        with channel.writer() as writer:
            data = np.arange(5)
            writer.publish(data, PATIENCE, number=0, sum=10)
            stop(group, 0)
            sent = 1
            while writer.try_publish(data, number=sent, sum=10):
                sent += 1
            refusal(lambda: writer.publish(data, 0.05, number=-1, sum=10), "TimedOut")
            group.kill(0, deeds.CONTINUE)
            for number in range(sent, sent + 5):
                writer.publish(data, PATIENCE, number=number, sum=10)
        found, end = group.wait(PATIENCE, ranks=[0])[0].value
        assert found == [(0, number) for number in range(sent + 5)]
        assert end == "EndOfChannel"


@KINDS
def test_a_writer_that_was_stopped_is_waited_for(group: RankGroup, make: Make) -> None:
    with make("stopped", capacity=4, bytes=1 << 20) as channel, channel.reader() as reader:
        group.start(deeds.write, channel, 0, 3, 200, 200_000, ranks=[0])
        first = reader.receive(PATIENCE).metadata["number"]
        stop(group, 0)
        numbers = [first]
        while (message := _received(reader, 0.05)) is not None:
            numbers.append(message)
        group.kill(0, deeds.CONTINUE)
        while len(numbers) < 200:
            found = _received(reader, PATIENCE)
            assert found is not None
            numbers.append(found)
        assert numbers == list(range(200))


def _received(reader: Any, timeout: float) -> int | None:
    try:
        message = reader.receive(timeout)
    except ChannelError as error:
        if error.kind != "TimedOut":
            raise
        return None
    assert int(message.data.sum()) == message.metadata["sum"]
    return int(message.metadata["number"])


@pytest.mark.parametrize("to", ["all", "one"])
@KINDS
def test_an_interruption_comes_through_and_harms_nothing(make: Make, to: str) -> None:
    """Of whoever waits for a message, for room or for several, at whatever moment Ctrl-C comes."""
    interrupted = CtrlC()
    before = signal.signal(signal.SIGINT, interrupted.handle)
    try:
        with (
            make("interrupted", capacity=2, readers=2, to=to) as channel,
            channel.reader() as reader,
            channel.reader(1) as other,
            channel.writer() as writer,
        ):
            receivers = [reader] if to == "one" else [reader, other]
            for pause in (0.0, 0.002, 0.004):
                interrupted(pause, reader.receive)
                interrupted(pause, wait, [reader])
                for number in range(2):
                    writer.publish(np.full(1000, number), PATIENCE)
                interrupted(pause, writer.publish, np.full(1000, 2))
                interrupted(pause, writer.loan, 3)
                for each in receivers:
                    assert [int(each.receive(PATIENCE).data[-1]) for _ in range(2)] == [0, 1]
                assert [each.try_receive() for each in receivers] == [None] * len(receivers)
    finally:
        signal.signal(signal.SIGINT, before)


class CtrlC:
    """Calls that are interrupted, once each; a signal that comes too early or too late is none."""

    def __init__(self) -> None:
        self._inside = False

    def handle(self, *_: object) -> None:
        if self._inside:
            self._inside = False
            raise KeyboardInterrupt

    def __call__(self, pause: float, function: Callable[..., Any], *args: Any) -> None:
        """Presses it so many seconds after the call may have begun to wait, and again until it has come through."""
        over, main = threading.Event(), threading.main_thread()
        assert threading.current_thread() is main

        def press() -> None:
            while not over.wait(0.01 + pause):
                signal.pthread_kill(main.ident or 0, signal.SIGINT)

        presser = threading.Thread(target=press)
        presser.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                self._call(function, *args)
        finally:
            over.set()
            presser.join()

    def _call(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            self._inside = True
            function(*args)
        finally:
            self._inside = False


def test_a_process_that_may_have_no_more_memory(group: RankGroup) -> None:
    """What does not fit is refused by name, and what fits works."""
    with Channel("large", bytes=64 << 20) as channel:
        for rank, limit in enumerate((resource.RLIMIT_AS, resource.RLIMIT_FSIZE)):
            group.start(faults.without_memory, channel, limit, ranks=[rank])
            outcome = group.wait(PATIENCE, ranks=[rank])[0]
            assert outcome.returned, outcome.describe()
            found = outcome.value
            assert (found["make"], found["small"], found["left"]) == ("OutOfMemory", "x", 0)
            if limit == resource.RLIMIT_AS:
                assert (found["reader"], found["writer"]) == ("OutOfMemory", "OutOfMemory")
        with channel.reader() as reader, channel.writer() as writer:  # those places are not lost
            writer.publish("x", PATIENCE)
            assert reader.receive(PATIENCE).data == "x"


@pytest.mark.parametrize("kind", ["shm", "tcp"])
def test_a_process_that_may_open_no_more_files(group: RankGroup, kind: str) -> None:
    """Every step that needs a descriptor is refused by name where there is none, and leaves none open."""
    group.start(faults.with_few_descriptors, kind, 20, ranks=[0])
    outcome = group.wait(PATIENCE, ranks=[0])[0]
    assert outcome.returned, outcome.describe()
    results = [result for result, _ in outcome.value]
    assert {left for _, left in outcome.value} == {0}, outcome.value
    # A reader over tcp that cannot take in who calls is not there, as far as callers can see.
    assert set(results) == {"TooManyFiles", "x"} | ({"Unreachable"} if kind == "tcp" else set()), results
    assert results == sorted(results, key=["TooManyFiles", "Unreachable", "x"].index), results


def test_a_reader_that_can_watch_nobody(group: RankGroup) -> None:
    """It does not wait for somebody of whose death it would not hear."""
    with Channel("watched") as channel, channel.writer():
        group.start(faults.read_with_few_descriptors, channel, 12, ranks=[0])
        outcome = group.wait(PATIENCE, ranks=[0])[0]
        assert outcome.returned, outcome.describe()
        assert {left for _, left in outcome.value} == {0}, outcome.value
        results = [result for result, _ in outcome.value]
        assert set(results) == {"TooManyFiles", "TimedOut"}, results


def test_the_end_needs_no_descriptor() -> None:
    with Channel("ended", capacity=1) as channel, channel.reader() as reader, channel.writer():
        waiting = Call(reader.receive)
        assert waiting.waits()
        faults.end_with_few_descriptors(channel)
        assert "there are no more" in str(refusal(lambda: waiting.result(PATIENCE), "Closed"))


def test_a_channel_is_known_by_its_token() -> None:
    """A description of another channel, or of one whose memory has gone since, opens nothing."""
    with Channel("mine", session="one") as channel, Channel("other") as other:
        address = channel.__getstate__()
        wrong = [
            dataclasses.replace(address, token=bytes(16)),
            dataclasses.replace(address, inode=address.inode + 1),
            dataclasses.replace(address, descriptor=other.__getstate__().descriptor),
            dataclasses.replace(address, descriptor=1 << 20),
            dataclasses.replace(address, process=1 << 22),
        ]
        for each in wrong:
            forged = Channel.__new__(Channel)
            forged.__setstate__(each)
            for call in (forged.reader, forged.writer, forged.end, forged.statistics):
                refusal(call, "Unreachable", channel="mine")
        with channel.reader() as reader, channel.writer() as writer:
            writer.publish("still there", PATIENCE)
            assert reader.receive(PATIENCE).data == "still there"
