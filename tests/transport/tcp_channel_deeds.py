"""What writers and readers of tcp channels do in processes of their own."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from cobre.errors import ChannelError
from cobre.testing.ranks import tell
from cobre.transport.tcp_channel import TcpChannel


def write(channel: TcpChannel, place: int, seed: int, count: int, largest: int, then: str = "close") -> str:
    """Publishes ``count`` messages of random size, each with its checksum; tells when it has; how it ended."""
    draw = np.random.default_rng([seed, place])
    writer = channel.writer(place)
    try:
        for number in range(count):
            data = draw.integers(0, 256, int(draw.integers(0, largest + 1)), np.uint8)
            writer.publish(data, number=number, sum=int(data.sum()))
    except ChannelError as error:
        return error.kind
    finally:
        if then == "close":
            writer.close()
    tell("published")
    if then != "close":
        time.sleep(600.0)
    return "published"


def publish_for_ever(channel: TcpChannel, size: int, timeout: float | None = None) -> tuple[str, str]:
    """Publishes until that is refused; tells how often so far. The kind of the error and its words."""
    data = np.arange(size, dtype=np.uint8)
    with channel.writer() as writer:
        number = 0
        try:
            while True:
                writer.publish(data, timeout, number=number)
                number += 1
                tell(number)
        except ChannelError as error:
            return error.kind, str(error)


def read(channel: TcpChannel, place: int, pause: float = 0.0) -> tuple[list[tuple[int, int]], str]:
    """The writer and number of every message, each checked, until the end, and what that was; tells when it listens."""
    found = []
    with channel.reader(place) as reader:
        tell(getattr(reader, "address", None))
        while True:
            try:
                message = reader.receive()
            except ChannelError as error:
                return found, error.kind
            if message.kind != "mark":
                assert int(message.data.sum()) == message.metadata["sum"]
                found.append((message.writer, message.metadata["number"]))
            del message
            time.sleep(pause)


def hold(channel: TcpChannel, place: int = 0, received: int = 0) -> Any:
    """Reads so many messages, says so, and then does nothing."""
    with channel.reader(place) as reader:
        tell(getattr(reader, "address", None))
        for _ in range(received):
            reader.receive()
        if received:
            reader.try_receive()
            tell("received")
        time.sleep(600.0)


def state_of(process: int) -> str:
    """As the system shows it: T for one that was stopped."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


STOP, CONTINUE = signal.SIGSTOP, signal.SIGCONT
