"""The ring of a channel hands out no byte that a reader can still see: its arithmetic, and channels that use it."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from cobre.errors import ChannelError
from cobre.transport import Channel
from cobre.transport.channel_ring import Ring

Extent = tuple[int, int]


class Checked:
    """A ring, and beside it where every message that is not out stands."""

    def __init__(self, capacity: int, size: int) -> None:
        self.ring = Ring(capacity, size)
        self.there: dict[int, Extent] = {}

    def publish(self, need: int, used: int) -> bool:
        """Puts a message of ``used`` bytes where there is room for ``need``."""
        ring = self.ring
        start = ring.fit(need, ring.done)
        if start < 0:
            assert ring.tail > ring.done or need > ring.size, "an empty ring had no room"
            target = ring.target(need)
            assert target == ring.tail or ring.fit(need, target) >= 0
            return False
        assert len(self.there) < ring.capacity
        assert start + need <= ring.size
        for begin, end in self.there.values():
            assert start + need <= begin or end <= start or begin == end, (start, need, self.there)
        ring.put(ring.tail, start, start + used)
        self.there[ring.tail] = start, start + used
        ring.tail += 1
        return True

    def finish(self, count: int) -> None:
        for sequence in range(self.ring.done, self.ring.done + count):
            del self.there[sequence]
        self.ring.done += count

    def recover(self) -> None:
        """Goes on as the next holder of a writer's place does."""
        ring = Ring(self.ring.capacity, self.ring.size)
        ring.done = ring.tail = self.ring.done
        for sequence, (start, end) in self.there.items():
            ring.put(sequence, start, end)
            ring.tail += 1
        self.ring = ring


def test_no_byte_is_handed_out_twice() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        checked = Checked(rng.randint(1, 12), size := rng.randint(8, 60))
        largest = rng.choice([2, size // 3, size])
        for _ in range(1200):
            ring = checked.ring
            if rng.random() < 0.55:
                need = rng.choice([0, 1, rng.randint(0, largest), largest])
                checked.publish(need, rng.choice([need, rng.randint(0, need)]))
            else:
                waiting = ring.tail - ring.done
                checked.finish(rng.choice([min(1, waiting), rng.randint(0, waiting)]))
            if rng.random() < 0.01:
                checked.recover()


def test_messages_of_one_size_stand_in_the_same_few_places() -> None:
    checked, places = Checked(10, 1000), set()
    for number in range(100):
        assert checked.publish(60, 40)
        places.add(checked.there[number][0])
        checked.finish(1 if number else 0)  # one is read while the next is written
    assert len(places) <= 3


def test_a_slow_reader_leaves_the_rest_of_the_ring_to_the_writer() -> None:
    checked = Checked(10, 100)
    for _ in range(3):
        assert checked.publish(10, 10)
    checked.finish(2)  # the third is being read
    assert [checked.publish(10, 10) for _ in range(10)] == [True] * 9 + [False]


class Reading:
    """One reader of a channel, and what it has kept: arrays, and the byte that each must be full of."""

    def __init__(self, reader: Any) -> None:
        self.reader, self.next = reader, {0: 0, 1: 0}
        self.kept: list[tuple[Any, int]] = []

    def receive(self, rng: random.Random) -> None:
        message = self.reader.try_receive()
        if message is None:
            return
        number = message.metadata["number"]
        assert number >= self.next[message.writer]
        self.next[message.writer] = number + 1
        assert (message.data == number % 251).all()
        if rng.random() < 0.3 and message.size and len(self.kept) < 2:
            self.kept.append((message.data[rng.randrange(len(message.data)) :], number % 251))

    def check(self) -> None:
        for array, value in self.kept:
            assert (array == value).all()


def published(writer: Any, number: int, size: int, rng: random.Random) -> bool:
    """Publishes, one way or another, what is full of a byte of its number, where there is room."""
    value = number % 251
    if rng.random() < 0.5:
        return bool(writer.try_publish(np.full(size, value, np.uint8), number=number))
    try:
        loan = writer.loan(size, timeout=0.0)
    except ChannelError as error:
        assert error.kind == "TimedOut", error  # noqa: PT017
        return False
    loan.array[...] = value
    loan.metadata["number"] = number
    if rng.random() < 0.3:
        loan.drop()
        return False
    loan.publish()
    return True


@pytest.mark.parametrize("to", ["all", "one"])
@pytest.mark.parametrize("seed", range(2))
def test_what_a_reader_sees_is_not_written_to(seed: int, to: Any) -> None:
    rng = random.Random(seed)
    size = rng.choice([1000, 30_000])
    channel: Any = Channel(writers=2, readers=2, capacity=rng.randint(2, 9), bytes=40_000, to=to)
    with channel, ExitStack() as stack:
        writers = [stack.enter_context(channel.writer(place)) for place in range(2)]
        readings, counts = [Reading(stack.enter_context(channel.reader(place))) for place in range(2)], [0, 0]
        for _ in range(400):
            place = rng.randrange(2)
            lane, need = writers[place]._lane, rng.randint(0, size)
            assert lane.quick(need) == lane.fit(need, lane.done)
            counts[place] += published(writers[place], counts[place], rng.randint(0, size), rng)
            reading = rng.choice(readings)
            reading.receive(rng)
            if reading.kept and rng.random() < 0.4:
                reading.kept.pop(rng.randrange(len(reading.kept)))
            for each in readings:
                each.check()
        assert sum(counts) > 30
        for each in readings:
            each.kept.clear()
