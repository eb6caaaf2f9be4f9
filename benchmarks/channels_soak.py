"""Random traffic for minutes: whether every message arrives once, in order for each writer, and whole.

    python benchmarks/channels.py soak [--seconds 600] [--seed 1] [--transport shm|tcp]

Rounds of half a minute, each with a channel of its own: two writers and two readers in processes of their own, each
message to all readers or to one, in turn. Sizes are from 0 to 20 MB, half of them below 64 KB; writers publish, lend,
drop what they were lent, and rest; readers rest, and keep views that they look at again later.
"""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
import time
import zlib
from typing import Any

import numpy as np

from cobre.errors import ChannelError

__all__ = ["soak"]

_LARGEST, _SMALL = 20_000_000, 1 << 16
_ROUND = 30.0  # seconds
_HANG = 120.0  # seconds after its end that a round may take


def soak(seconds: float, seed: int, transport: str) -> int:
    """Prints a line for each round; the exit code."""
    end, number, total = time.monotonic() + seconds, 0, [0, 0]
    began = time.monotonic()
    while time.monotonic() < end:
        to = ("all", "one")[number % 2]
        left = min(_ROUND, end - time.monotonic())
        messages, size = one_round(transport, to, seed * 1000 + number, left)
        total = [total[0] + messages, total[1] + size]
        number += 1
        print(f"round {number}, to {to}: {messages} messages, {size / 1e9:.2f} GB: once, in order, whole", flush=True)
    print(
        f"{transport}: {total[0]:,} messages of 2 writers, {total[1] / 1e9:.1f} GB, in {number} rounds and"
        f" {time.monotonic() - began:.0f} s: every one arrived once, in order for each writer, whole"
    )
    return 0


def one_round(transport: str, to: str, seed: int, seconds: float) -> tuple[int, int]:
    """How many messages were published, and bytes. Raises AssertionError where not every one arrived as it should."""
    from cobre.transport import Channel
    from cobre.transport.tcp_channel import TcpChannel

    kind: Any = Channel if transport == "shm" else TcpChannel
    with kind("soak", writers=2, readers=2, capacity=8, bytes=64 << 20, to=to) as channel:
        given = pickle.dumps(channel).hex()
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, json.dumps([role, place, seed, seconds])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for role in ("read", "write")
            for place in range(2)
        ]
        try:
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(given)
                process.stdin.close()
                process.stdin = None
            found = [json.loads(process.communicate(timeout=seconds + _HANG)[0]) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
    read, written = found[:2], found[2:]
    for writer, (count, _) in enumerate(written):
        numbers = [each[str(writer)] for each in read]
        assert all(one == sorted(one) for one in numbers), f"out of order: writer {writer}, seed {seed}"
        if to == "all":
            assert all(one == list(range(count)) for one in numbers), f"not every one once: seed {seed}"
        else:
            assert sorted(numbers[0] + numbers[1]) == list(range(count)), f"not every one once: seed {seed}"
    return sum(count for count, _ in written), sum(size for _, size in written)


def write(channel: Any, place: int, seed: int, seconds: float) -> tuple[int, int]:
    rng, end = random.Random(seed * 10 + place), time.monotonic() + seconds
    pool = np.frombuffer(rng.randbytes(_LARGEST * 5 // 4), np.uint8)
    count = total = 0
    with channel.writer(place) as writer:
        while time.monotonic() < end:
            size = rng.randint(0, _SMALL if rng.random() < 0.5 else _LARGEST)
            begin = rng.randrange(len(pool) - size)
            data = pool[begin : begin + size]
            about = {"number": count, "checksum": zlib.crc32(data)}
            if rng.random() < 0.5:
                writer.publish(data, **about)
            else:
                if rng.random() < 0.1:
                    writer.loan(size).drop()
                with writer.loan(size) as loan:
                    loan.array[...] = data
                    loan.metadata.update(about)
            count += 1
            total += size
            if rng.random() < 0.2:
                time.sleep(rng.choice([0.0, 0.001, 0.02]))
    return count, total


def read(channel: Any, place: int, seed: int) -> dict[int, list[int]]:
    rng = random.Random(seed * 10 + 5 + place)
    found: dict[int, list[int]] = {0: [], 1: []}
    kept: list[tuple[Any, int]] = []
    with channel.reader(place) as reader:
        while True:
            try:
                message = reader.receive()
            except ChannelError as error:
                check(kept)
                if error.kind == "EndOfChannel":
                    return found
                if error.kind != "ViewAlive":  # a writer needs the memory
                    raise
                continue
            number, checksum = message.metadata["number"], message.metadata["checksum"]
            assert zlib.crc32(message.data) == checksum, (message, "arrived otherwise than it left")
            found[message.writer].append(number)
            if message.size and rng.random() < 0.1:
                part = message.data[rng.randrange(message.size) :]
                kept.append((part, zlib.crc32(part)))
                del part
            del message
            if rng.random() < 0.3:
                check(kept)
            if rng.random() < 0.1:
                time.sleep(rng.choice([0.0, 0.001, 0.02]))


def check(kept: list[tuple[Any, int]]) -> None:
    """Whether views that were kept are as they were; they are given up."""
    for part, checksum in kept:
        assert zlib.crc32(part) == checksum, "a view that was kept has changed"
    kept.clear()


def main() -> None:
    role, place, seed, seconds = json.loads(sys.argv[1])
    channel = pickle.loads(bytes.fromhex(sys.stdin.read()))
    print(json.dumps(write(channel, place, seed, seconds) if role == "write" else read(channel, place, seed)))


if __name__ == "__main__":
    main()
