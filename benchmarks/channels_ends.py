"""The two processes between which benchmarks/channels.py measures: one publishes, and starts the one that reads.

    python channels_ends.py PLAN      (JSON: system, sizes, pauses, count, seconds)

Prints one line of JSON: the microseconds of every message, by size and by pause. A message takes from the moment before
the writer asks for room to the moment after the reader has seen the first and the last byte where they stand; both
clocks are the system's monotonic one. The reader answers each over a pipe, and only then comes the next, after the
pause. Whatever is measured needs only its own package: this file runs in any interpreter that has numpy.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

Send = Callable[[int, int], None]
Take = Callable[[], tuple[int, int]]

clock = time.perf_counter_ns
_ROOM, _CAPACITY = 32 << 20, 8
_AWAKE = 0.001  # seconds up to which a pause is spent computing


def main() -> None:
    plan = json.loads(sys.argv[1])
    if plan["system"] == "ray":
        from channels_ray import measure

        found = measure(plan, measured)
    elif "read" in plan:
        read(plan)
        return
    else:
        found = {str(size): write(plan, size) for size in plan["sizes"]}
    print(json.dumps(found))


def write(plan: dict[str, Any], size: int) -> dict[str, list[float]]:
    """Microseconds of all messages of one size, by pause."""
    heard, said = os.pipe()
    with SYSTEMS[plan["system"]][0](size) as (send, given, descriptors):
        wish = {**plan, "read": pickle.dumps(given).hex(), "size": size, "said": said}
        command = [sys.executable, __file__, json.dumps(wish)]
        reader = subprocess.Popen(command, pass_fds=(said, *descriptors), stdout=subprocess.PIPE)
        os.close(said)
        try:
            os.read(heard, 1)  # it is there
            sent = measured(plan, send, lambda: os.read(heard, 1))
            came = json.loads(reader.communicate(timeout=60.0)[0])
        finally:
            os.close(heard)
            reader.kill()
            reader.wait()
    return {
        pause: [(after - before) / 1e3 for before, after in zip(times, came[len(WARM) :][first:last], strict=True)]
        for pause, times, first, last in spans(sent)
    }


WARM = range(64)  # messages before those that count


def spans(sent: dict[str, list[int]]) -> Iterator[tuple[str, list[int], int, int]]:
    at = 0
    for pause, times in sent.items():
        yield pause, times, at, at + len(times)
        at += len(times)


def measured(plan: dict[str, Any], send: Send, answer: Callable[[], Any]) -> dict[str, list[int]]:
    """The moments before each message, by pause."""
    number = 0
    for _ in WARM:
        send(number & 255, number & 255)
        answer()
        number += 1
    sent: dict[str, list[int]] = {}
    for pause in plan["pauses"]:
        times = sent[str(pause)] = []
        end = clock() + plan["seconds"] * 1e9
        while len(times) < plan["count"] and (clock() < end or len(times) < 20):
            rest(pause)
            byte = number & 255
            before = clock()
            send(byte, byte)
            times.append(before)
            answer()
            number += 1
    send(0, 1)  # the end
    return sent


def rest(pause: float) -> None:
    if pause > _AWAKE:
        time.sleep(pause)
    elif pause:
        until = clock() + pause * 1e9
        while clock() < until:
            pass


def read(plan: dict[str, Any]) -> None:
    """Takes every message, answers it, and says when each came."""
    said, came = plan["said"], []
    with SYSTEMS[plan["system"]][1](plan["size"], pickle.loads(bytes.fromhex(plan["read"]))) as take:
        os.write(said, b"!")
        number = 0
        while True:
            first, last = take()
            now = clock()
            os.write(said, b"!")
            if first != last:  # only the end has them different
                break
            assert first == number & 255, (first, number)
            came.append(now)
            number += 1
    print(json.dumps(came))


@contextmanager
def loan_writer(size: int) -> Iterator[Any]:
    from cobre.transport import Channel

    with Channel("measured", capacity=_CAPACITY, bytes=_ROOM) as channel, channel.writer() as writer:

        def send(first: int, last: int) -> None:
            with writer.loan(size) as loan:
                loan.array[0], loan.array[-1] = first, last

        yield send, channel, ()


@contextmanager
def publishing(channel: Any, size: int) -> Iterator[Any]:
    source = np.zeros(size, np.uint8)
    with channel, channel.writer() as writer:

        def send(first: int, last: int) -> None:
            source[0], source[-1] = first, last
            writer.publish(source)

        yield send, channel, ()


def publish_writer(size: int) -> Any:
    from cobre.transport import Channel

    return publishing(Channel("measured", capacity=_CAPACITY, bytes=_ROOM), size)


def tcp_writer(size: int) -> Any:
    from cobre.transport.tcp_channel import TcpChannel

    return publishing(TcpChannel("measured", capacity=_CAPACITY, bytes=_ROOM), size)


@contextmanager
def channel_reader(size: int, channel: Any) -> Iterator[Take]:
    with channel.reader() as reader:

        def take() -> tuple[int, int]:
            data = reader.receive().data
            return int(data[0]), int(data[-1])

        yield take


@contextmanager
def pipe_writer(size: int) -> Iterator[Any]:
    from multiprocessing import Pipe

    mine, other = Pipe()
    source = np.zeros(size, np.uint8)

    def send(first: int, last: int) -> None:
        source[0], source[-1] = first, last
        mine.send(source)

    yield send, other.fileno(), (other.fileno(),)
    mine.close()
    other.close()


@contextmanager
def pipe_reader(size: int, descriptor: int) -> Iterator[Take]:
    from multiprocessing.connection import Connection

    connection = Connection(descriptor)

    def take() -> tuple[int, int]:
        data = connection.recv()
        return int(data[0]), int(data[-1])

    yield take


@contextmanager
def bare_writer(size: int) -> Iterator[Any]:
    """One byte through a pipe: what a message is told by, and what every system that sleeps has to pay."""
    heard, said = os.pipe()
    yield lambda first, last: os.write(said, bytes((first, last))), heard, (heard,)
    os.close(heard)
    os.close(said)


@contextmanager
def bare_reader(size: int, descriptor: int) -> Iterator[Take]:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)

    def take() -> tuple[int, int]:
        poll.poll()
        first, last = os.read(descriptor, 2)
        return first, last

    yield take


@contextmanager
def copy_writer(size: int) -> Iterator[Any]:
    """A copy by numpy into memory that is warm, and the same byte through a pipe."""
    source, rooms = np.zeros(size, np.uint8), np.zeros((2, size), np.uint8)
    with bare_writer(size) as (tell, given, descriptors):

        def send(first: int, last: int) -> None:
            rooms[0][...] = source
            tell(first, last)

        yield send, given, descriptors


@contextmanager
def iceoryx_writer(size: int) -> Iterator[Any]:
    import ctypes

    import iceoryx2

    iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
    name = f"measured-{os.getpid()}-{size}"
    data, event, node = _services(name)
    publisher = data.publisher_builder().initial_max_slice_len(size).create()
    notifier = event.notifier_builder().create()
    kept = []

    def send(first: int, last: int) -> None:
        loan = publisher.loan_slice_uninit(size)
        room = (ctypes.c_uint8 * size).from_address(loan.payload_ptr)
        room[0], room[size - 1] = first, last
        loan.assume_init().send()
        notifier.notify()

    kept.append(node)
    yield send, name, ()


@contextmanager
def iceoryx_reader(size: int, name: str) -> Iterator[Take]:
    import ctypes

    data, event, _node = _services(name)
    subscriber = data.subscriber_builder().create()
    listener = event.listener_builder().create()

    def take() -> tuple[int, int]:
        while True:
            sample = subscriber.receive()
            if sample is not None:
                view = (ctypes.c_uint8 * size).from_address(sample.payload_ptr)
                found = view[0], view[size - 1]
                sample.delete()
                return found
            listener.blocking_wait()

    yield take


def _services(name: str) -> tuple[Any, Any, Any]:
    import ctypes

    import iceoryx2

    node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
    data = (
        node.service_builder(iceoryx2.ServiceName.new(name))
        .publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
        .open_or_create()
    )
    event = node.service_builder(iceoryx2.ServiceName.new(name)).event().open_or_create()
    return data, event, node


SYSTEMS: dict[str, tuple[Any, Any]] = {
    "loan": (loan_writer, channel_reader),
    "publish": (publish_writer, channel_reader),
    "tcp": (tcp_writer, channel_reader),
    "pipe": (pipe_writer, pipe_reader),
    "iceoryx2": (iceoryx_writer, iceoryx_reader),
    "bare": (bare_writer, bare_reader),
    "copy": (copy_writer, bare_reader),
}


if __name__ == "__main__":
    main()
