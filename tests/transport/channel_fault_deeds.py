"""What processes do in the tests of faults of channels: stop in the middle of something, run out of something."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import resource
import time
from collections.abc import Callable
from typing import Any

from cobre.errors import ChannelError
from cobre.testing.channels_data import AnyChannel, Make
from cobre.testing.ranks import tell
from cobre.transport import Channel
from cobre.transport.channel_ports import ChannelReader, ChannelWriter
from cobre.transport.tcp_channel import TcpChannel

FOR_EVER = 600.0


def make_and_hold(settings: dict[str, Any]) -> None:
    """Makes a channel, tells it, and holds it until this process is ended."""
    with Channel("made elsewhere", **settings) as channel:
        tell(channel)
        time.sleep(FOR_EVER)


def stop_while_claiming(channel: Channel, moment: str) -> None:
    """Takes a message of those that go to one reader, and stops with the lock on claims held; tells when it does."""
    reader: Any = channel.reader(1)
    memory, lock = reader._attachment.memory, reader._attachment.memory.lock_claims

    def stop(*_: object) -> None:
        tell(moment)
        time.sleep(FOR_EVER)

    def lock_and_stop() -> bool:
        if lock():
            stop()
        return False

    if moment == "locked":
        memory.lock_claims = lock_and_stop
    else:
        reader._raise_low = stop
    reader.receive()


def descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd")) - 1


def attempt(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """What it returned, or the kind of its error."""
    try:
        return function(*args, **keywords)
    except ChannelError as error:
        return str(error.kind) if error.suggestion else f"no advice: {error}"


def without_memory(channel: Channel, limit: int) -> dict[str, Any]:
    """What can be made of channels of 64 MiB by a process that may have 16 MiB more."""
    before = descriptors()
    kept = resource.getrlimit(limit)
    if limit == resource.RLIMIT_AS:
        with open("/proc/self/statm") as sizes:
            most = int(sizes.read().split()[0]) * resource.getpagesize() + (16 << 20)
    else:
        most = 16 << 20
    resource.setrlimit(limit, (most, kept[1]))
    try:
        found = {
            "make": attempt(_use, Channel, 64 << 20),
            "reader": attempt(_attach, channel.reader),
            "writer": attempt(_attach, channel.writer),
            "small": attempt(_use, Channel, 1 << 16),
        }
    finally:
        resource.setrlimit(limit, kept)
    return {**found, "left": descriptors() - before}


def _attach(make: Callable[[], ChannelReader | ChannelWriter]) -> str:
    make().abandon()
    return "attached"


def _use(make: Make, size: int = 1 << 16) -> str:
    with make("used", bytes=size, capacity=2) as channel:
        return _pass_through(channel)


def _pass_through(channel: AnyChannel) -> str:
    with channel.reader() as reader, channel.writer() as writer:
        writer.publish("x", 30.0)
        if channel.statistics().messages != 1:
            return "miscounted"
        found = str(reader.receive(30.0).data)
        try:
            reader.receive(0.0)
        except ChannelError as error:
            if error.kind != "TimedOut":
                raise
        return found


def with_few_descriptors(kind: str, most: int) -> list[Any]:
    """What comes of using a channel with 0, 1, ... ``most`` descriptors to spare, and how many were left open."""
    make = Channel if kind == "shm" else functools.partial(TcpChannel, connect_timeout=0.1)
    return [_attempt_with(spare, _use, make) for spare in range(most)]


def read_with_few_descriptors(channel: AnyChannel, most: int) -> list[Any]:
    """The same of receiving from a writer in another process, who is watched meanwhile."""
    return [_attempt_with(spare, _receive, channel) for spare in range(most)]


def end_with_few_descriptors(channel: AnyChannel) -> None:
    """Ends a channel of this process with no descriptor to spare, while others wait."""
    channel.statistics()
    _attempt_with(0, channel.end, "there are no more")


def _receive(channel: AnyChannel) -> str:
    with channel.reader() as reader:  # which is abandoned: another may have its place
        return str(reader.receive(0.01).data)


def _attempt_with(spare: int, function: Callable[..., Any], *args: Any) -> tuple[Any, int]:
    kept, before = resource.getrlimit(resource.RLIMIT_NOFILE), descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (_limit(spare), kept[1]))
    try:
        result = attempt(function, *args)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, kept)
    return result, descriptors() - before


def _limit(spare: int) -> int:
    """The limit under which so many more can be had."""
    used = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            os.fstat(int(name))
            used.add(int(name))
    return next(itertools.islice((number for number in itertools.count() if number not in used), spare, None))
