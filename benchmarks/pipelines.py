"""Pipelines: what a hop costs, how well cores are used, how sessions start, live side by side, fail and go.

    python benchmarks/pipelines.py [chain|compute|ready|sessions|side|crashes|restarts|loop ...] [--count N]

chain      5 nodes, 3.84 MB a message, one at a time: microseconds from the end of one node's work to the beginning of
           the next one's (publishing, wake-up, receiving and the loan of the next slot included)
compute    5 nodes of 100 ms of computing each, 20 messages: messages a second against what the cores allow, and the
           whole against one process doing it in sequence
ready      3 nodes that each wait 2 s in initialize: seconds until the session is ready
sessions   100 sessions of 5 nodes, started, used and ended
side       12 sessions of 3 nodes at once, each computing: seconds of each
crashes    100 faults at random moments: how long until the session knew, whether anything was left or corrupt
restarts   one of three nodes is killed at any moment and started again, 50 times: what is lost, what comes twice
loop       2,000 sessions one after the other: memory, descriptors and /dev/shm after the first ten and at the end

Without a name, all but the last three run. --count: of messages, sessions, crashes or restarts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import statistics
import struct
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
from pipelines_nodes import Burn, Checked, Doomed, Mortal, Produce, Stamp, Wait

from cobre.actors import Item, Pipeline, RestartPolicy
from cobre.errors import NodeError
from cobre.testing import faults
from cobre.testing.leaks import assert_no_leaks, snapshot

CORES = len(os.sched_getaffinity(0))


def chain(count: int = 300) -> None:
    """Microseconds a hop."""
    made = Pipeline(channel_bytes=16 << 20).add_node("n1", Produce, count=count, pause=0.005)
    for number in range(2, 6):
        made.add_node(f"n{number}", Stamp, last=number == 5)
        made.connect(f"n{number - 1}.out", f"n{number}.in")
        made.exit(f"n{number - 1}.stamps")
    made.exit("n5.stamps").exit("n5.out")
    with made.session() as session:
        stamps = {message.port: message.data.copy() for message in session.run() if message.port.endswith("stamps")}
    times = np.stack([stamps[f"n{number}.stamps"] for number in range(1, 6)])
    hops = (times[1:, 10:, 0] - times[:-1, 10:, 1]) / 1e3
    work = (times[1:-1, 10:, 1] - times[1:-1, 10:, 0]) / 1e3
    print(f"chain of 5 nodes, 3.84 MB, {count} messages: own work {np.median(work):.0f} us (median);")
    print(f"  a hop beyond it: median {np.median(hops):.0f} us, mean {hops.mean():.0f} us, p90 {np.quantile(hops, 0.9):.0f} us,"  # noqa: E501
          f" p99 {np.quantile(hops, 0.99):.0f} us")  # fmt: skip


def compute(count: int = 20) -> None:
    """Throughput and time of a chain that computes."""
    made = Pipeline().add_node("n1", Burn, seconds=0.1)
    for number in range(2, 6):
        made.add_node(f"n{number}", Burn, seconds=0.1).connect(f"n{number - 1}", f"n{number}")
    with made.session() as session:
        began, came = time.monotonic(), []
        for _ in session.run(f"{number}" for number in range(count)):
            came.append(time.monotonic())
    seconds = came[-1] - began
    steady = (count - 1) / (came[-1] - came[0])
    print(f"5 nodes of 100 ms on {CORES} cores, {count} messages: {seconds:.2f} s from the first send to the last receive,"  # noqa: E501
          f" {seconds / (0.5 * count):.2f} of one process in sequence;")  # fmt: skip
    print(f"  {steady:.2f} messages a second between the first and the last, {steady / (2 * CORES):.0%} of what {CORES} cores allow;"  # noqa: E501
          f" all together {count / seconds / (2 * CORES):.0%}")  # fmt: skip


def ready(count: int = 3) -> None:
    """Seconds until nodes are ready that wait in initialize."""
    for method in ("spawn", "forkserver"):
        found = []
        for _ in range(count):
            made = Pipeline()
            for number in range(3):
                made.add_node(f"n{number}", Wait, seconds=2.0)
            made.connect("n0", "n1").connect("n1", "n2")
            began = time.monotonic()
            with made.session(start_method=method):
                found.append(time.monotonic() - began)
        print(f"3 nodes that wait 2 s in initialize, {method}: ready after {', '.join(f'{s:.2f}' for s in found)} s")


def _passing(nodes: int, **options: Any) -> Pipeline:
    made = Pipeline(channel_bytes=1 << 20, **options).add_node("n1", Wait)
    for number in range(2, nodes + 1):
        made.add_node(f"n{number}", Wait).connect(f"n{number - 1}", f"n{number}")
    return made


def sessions(count: int = 100) -> None:
    """Sessions one after the other."""
    before, times, made = snapshot(), [], _passing(5)
    for _ in range(count):
        began = time.monotonic()
        with made.session() as session:
            assert [message.data for message in session.run(["a", "b", "c"])] == ["a", "b", "c"]
        times.append(time.monotonic() - began)
    assert_no_leaks(before)
    print(f"{count} of {count} sessions of 5 nodes started, used and ended: {statistics.median(times):.2f} s each"
          f" (median), at most {max(times):.2f} s")  # fmt: skip


def side(count: int = 12) -> None:
    """Sessions at once."""
    before = snapshot()
    gate = threading.Barrier(count)
    times: dict[int, tuple[float, float, float]] = {}

    def one(number: int) -> None:
        made = Pipeline(channel_bytes=1 << 20)
        for node in range(3):
            made.add_node(f"s{number} n{node}", Burn, seconds=0.01)
            if node:
                made.connect(f"s{number} n{node - 1}", f"s{number} n{node}")
        gate.wait()
        began = time.monotonic()
        with made.session(initialize_timeout=120.0) as session:
            started = time.monotonic()
            gate.wait()
            begun = time.monotonic()
            assert len(list(session.run(str(item) for item in range(20)))) == 20
            done = time.monotonic()
        times[number] = started - began, done - begun, time.monotonic() - done

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == count
    assert_no_leaks(before)
    share = count * 20 * 3 * 0.01 / CORES
    runs = [run for _, run, _ in times.values()]
    print(
        f"{count} sessions of 3 nodes at once: ready after at most {max(start for start, _, _ in times.values()):.1f} s;"  # noqa: E501
    )
    print(f"  20 messages through 3 nodes of 10 ms each: {min(runs):.2f} to {max(runs):.2f} s; all that on {CORES} cores"  # noqa: E501
          f" takes {share:.2f} s, so that is the share of each")  # fmt: skip


STATES = ("initializing", "processing", "publishing", "waiting", "stopping")
HOWS = ("exit", "SIGKILL", "SIGSEGV", "abort", "raise", "raise-cobre")


def crashes(count: int = 100, seed: int = 1) -> None:
    """Faults at random moments."""
    rng, found, kinds, checked = random.Random(seed), [], Counter[str](), 0
    before = snapshot()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            path = os.path.join(folder, str(number))
            with open(path, "wb") as file:
                file.write(bytes(8))
            when, how = STATES[number % len(STATES)], rng.choice(HOWS)
            seconds, intact = _crash(rng, path, when, how)
            found.append(1e3 * seconds)
            kinds[when] += 1
            checked += intact
            assert_no_leaks(before)
    states = ", ".join(f"{state} {number}" for state, number in kinds.items())
    print(f"{count} of {count} crashes noticed ({states}):")
    print(
        f"  median {statistics.median(found):.1f} ms, p90 {np.quantile(found, 0.9):.1f} ms, most {max(found):.1f} ms;"
    )
    print(f"  {checked} messages came out whole, none corrupt, nothing left behind")


def _crash(rng: random.Random, path: str, when: str, how: str) -> tuple[float, int]:
    """Seconds from the fault until the session knew, and how many messages came out."""
    known: list[int] = []
    node = rng.choice(["n1", "n2", "n3"])
    made = Pipeline(capacity=4, channel_bytes=4 << 20)
    for number in (1, 2, 3):
        name = f"n{number}"
        if name == node:
            made.add_node(name, Doomed, path=path)
        else:
            made.add_node(name, Checked)
        if number > 1:
            made.connect(f"n{number - 1}", name)
    intact, message = 0, rng.randrange(1, 20) if when == "processing" else None
    try:
        with (
            faults.inject(node=node, how=how, when=when, message=message),
            made.session(on_failure=lambda _: known.append(time.monotonic_ns())) as session,
        ):
            if when == "publishing":
                for item in _items(rng, 1000):
                    session.send(item.data, timeout=30.0, **item.metadata)
            elif when == "waiting":
                session.receive(timeout=30.0)
            for received in session.run(_items(rng, 10 if when == "stopping" else 1000)):
                assert zlib.crc32(received.view) == received.metadata["checksum"]
                intact += 1
    except NodeError as error:
        assert error.node == node, error  # noqa: PT017
        with open(path, "rb") as file:
            (moment,) = struct.unpack("<q", file.read())
        assert moment > 0, error  # noqa: PT017
        assert known, error  # noqa: PT017
        return (known[0] - moment) / 1e9, intact
    raise AssertionError(f"{how} while {when} was not noticed")


def _items(rng: random.Random, count: int) -> Iterator[Item]:
    for _ in range(count):
        data = rng.randbytes(rng.randrange(0, 200_000))
        yield Item(data, checksum=zlib.crc32(data))


def restarts(count: int = 50, seed: int = 1) -> None:
    """Nodes that die at any moment and are started again: what is lost, what comes twice, and how long it takes."""
    rng, before, times = random.Random(seed), snapshot(), []
    policy = RestartPolicy("failure", limit=count, period=1e9)
    made = Pipeline(capacity=4, channel_bytes=4 << 20).add_node("n1", Checked)
    made.add_node("n2", Mortal, most=0.05, restart=policy).add_node("n3", Checked)
    made.connect("n1", "n2").connect("n2", "n3")
    last, got, sent = -1, 0, 0

    def items() -> Iterator[Item]:
        nonlocal sent
        while session.status()["n2"].restarts < count:
            item = next(_items(rng, 1))
            yield Item(item.data, **item.metadata, number=sent)
            sent += 1

    with contextlib.suppress(NodeError), made.session() as session:
        then = time.monotonic()
        for message in session.run(items()):
            assert zlib.crc32(message.view) == message.metadata["checksum"]
            number = message.metadata["number"]
            assert number > last, f"{number} after {last}"
            last, got = number, got + 1
            now = time.monotonic()
            if now - then > 0.1:
                times.append(now - then)
            then = now
            del message
    status = session.status()["n2"]
    assert_no_leaks(before)
    print(f"{status.restarts} restarts of a node that was killed at random moments: {sent} messages sent, {got} came")
    print(
        f"  out, in order and none twice; {status.dropped} counted as dropped, {last + 1 - got} missing before the last"
    )
    print(f"  that came; {statistics.median(times):.2f} s without a message at each restart (median)")


def loop(count: int = 2000) -> None:
    """Memory, descriptors and segments over many sessions."""
    made, process = _passing(2), psutil.Process()
    first: tuple[float, int, int] | None = None
    began = time.monotonic()
    for number in range(1, count + 1):
        with made.session() as session:
            session.send("x")
            assert session.receive(timeout=30.0).data == "x"
        if number in (10, count // 4, count // 2, count):
            held = process.memory_info().rss / 2**20, process.num_fds(), len(os.listdir("/dev/shm"))
            first = first or held
            print(f"after {number} sessions of 2 nodes ({time.monotonic() - began:.0f} s): {held[0]:.1f} MiB resident,"
                  f" {held[1]} descriptors, {held[2]} entries of /dev/shm", flush=True)  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"  at most {peak:.1f} MiB; {len(psutil.Process().children(recursive=True))} processes, {threading.active_count()} threads left"  # noqa: E501
    )


PARTS: dict[str, Callable[..., None]] = {
    "chain": chain, "compute": compute, "ready": ready, "sessions": sessions, "side": side, "crashes": crashes,
    "restarts": restarts, "loop": loop,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure")
    parser.add_argument("--count", type=int, help="messages, sessions, crashes or restarts")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    options = parser.parse_args()
    for part in options.parts or [*PARTS][:-3]:
        given: dict[str, Any] = {} if options.count is None else {"count": options.count}
        if part in ("crashes", "restarts"):
            given["seed"] = options.seed
        PARTS[part](**given)


if __name__ == "__main__":
    main()
