"""What writers and readers of a channel do in processes of their own, for the checks that need such.

Each takes a channel that was pickled to where it runs, and says with ``tell`` how far it is.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from cobre.errors import ChannelError
from cobre.testing.channels_data import AnyChannel
from cobre.testing.ranks import tell

__all__ = ["hold", "publish_for_ever", "read", "write"]

_FOR_EVER = 600.0  # seconds; whoever asked for it ends the process before


def write(channel: AnyChannel, place: int, seed: int, count: int, largest: int, then: str = "close") -> str:
    """Publishes ``count`` messages of random size, each with its checksum; tells when it has; how it ended.

    largest: bytes of one. then: "close", or "stay" until the process is ended.
    """
    draw = np.random.default_rng([seed, place])
    writer = channel.writer(place)
    try:
        for number in range(count):
            data = draw.integers(0, 256, int(draw.integers(0, largest + 1)), np.uint8)
            writer.publish(data, number=number, sum=int(data.sum()))
    except ChannelError as error:
        return str(error.kind)
    finally:
        if then == "close":
            writer.close()
    tell("published")
    if then != "close":
        time.sleep(_FOR_EVER)
    return "published"


def publish_for_ever(channel: AnyChannel, size: int, timeout: float | None = None) -> tuple[str, str]:
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
            return str(error.kind), str(error)


def read(channel: AnyChannel, place: int, pause: float = 0.0) -> tuple[list[tuple[int, int]], str]:
    """The writer and number of every message, each checked, until the end, and what that was; tells when it is there.

    pause: seconds after each.
    """
    found: list[tuple[int, int]] = []
    with channel.reader(place) as reader:
        tell(getattr(reader, "address", None))
        while True:
            try:
                message = reader.receive()
            except ChannelError as error:
                return found, str(error.kind)
            if message.kind != "mark":
                assert int(message.data.sum()) == message.metadata["sum"], f"message {message.sequence} is damaged"
                found.append((message.writer, message.metadata["number"]))
            del message
            time.sleep(pause)


def hold(channel: AnyChannel, place: int = 0, received: int = 0) -> Any:
    """Reads so many messages, says so, and then does nothing until the process is ended; tells when it is there."""
    with channel.reader(place) as reader:
        tell(getattr(reader, "address", None))
        for _ in range(received):
            reader.receive()
        if received:
            reader.try_receive()
            tell("received")
        time.sleep(_FOR_EVER)
