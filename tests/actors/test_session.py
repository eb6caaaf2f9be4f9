"""Sessions that do what they are for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cobre.actors import Item, Pipeline, SessionLimits
from cobre.actors.session import Session
from cobre.errors import ChannelError, CobreError, PipelineError
from cobre.transport import Audio, Video
from tests.actors.pipeline_nodes import Add, Asynchronous, Count, Join, Lend, Pass, Sink, Slow, Texts, Who

SOON = 20.0  # seconds; a guard against hanging


def refused(kind: str, act: Any, *words: str) -> CobreError:
    with pytest.raises(CobreError) as caught:
        act()
    assert caught.value.kind == kind, caught.value
    for word in words:
        assert word in str(caught.value)
    return caught.value


def chain(*kinds: type, **options: Any) -> Pipeline:
    made = Pipeline(**options)
    for number, kind in enumerate(kinds):
        made.add_node(f"n{number}", kind)
        if number:
            made.connect(f"n{number - 1}", f"n{number}")
    return made


@pytest.fixture(scope="module", params=["shm", "tcp"])
def passing(request: pytest.FixtureRequest) -> Iterator[Session]:
    """Two nodes that hand on everything; the session has waited at both its ends, and holds what it needs for that."""
    with chain(Pass, Pass).session(transport=request.param) as session:
        with pytest.raises(ChannelError):
            session.receive(timeout=0.01)
        with pytest.raises(ChannelError):  # noqa: PT012
            while True:
                session.send("x", timeout=0.01)
        list(session.run("x"))
        yield session


@pytest.mark.parametrize(
    "data",
    [
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
        np.random.default_rng(1).random(500_000),
        np.zeros((0, 4)),
        "text, with ümlauts",
        "",
        b"\x00bytes",
    ],
    ids=lambda data: f"{type(data).__name__} {getattr(data, 'shape', len(data))}",
)
def test_what_goes_in_comes_out(passing: Session, data: Any) -> None:
    passing.send(data, timeout=SOON, number=3, nested={"a": [1, None]})
    message = passing.receive(timeout=SOON)
    assert type(message.data) is type(data)
    np.testing.assert_array_equal(message.data, data)
    assert getattr(message.data, "dtype", None) == getattr(data, "dtype", None)
    assert message.metadata == {"number": 3, "nested": {"a": [1, None]}}
    assert message.port == "n1.out"
    assert message.session == passing.id


def test_sound_and_pictures(passing: Session) -> None:
    passing.send(Audio(np.ones((160, 2), np.float32), 16_000), timeout=SOON)
    sound = passing.receive(timeout=SOON).data
    assert (sound.rate, sound.channels, sound.samples.dtype) == (16_000, 2, np.float32)
    passing.send(Video(np.full((4, 6, 3), 7, np.uint8), 25.0, "rgb24"), timeout=SOON)
    picture = passing.receive(timeout=SOON).data
    assert (picture.fps, picture.format, int(picture.frame.sum())) == (25.0, "rgb24", 7 * 72)


def test_a_run_and_another_one(passing: Session) -> None:
    for count in (0, 1, 50):
        items = (Item(np.full(3, float(number)), number=number) for number in range(count))
        seen = [(message.metadata["number"], float(message.data[0])) for message in passing.run(items)]
        assert seen == [(number, float(number)) for number in range(count)]


def test_a_run_that_is_left_early(passing: Session) -> None:
    run = passing.run(f"first {number}" for number in range(40))
    assert [message.data for message in islice(run, 2)] == ["first 0", "first 1"]
    assert [message.data for message in passing.run(["second"])] == ["second"]


def test_a_run_whose_items_fail(passing: Session) -> None:
    def items() -> Iterator[str]:
        yield "one"
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(passing.run(items()))
    assert [message.data for message in passing.run(["after"])] == ["after"]


def test_waiting_in_vain(passing: Session) -> None:
    refused("TimedOut", lambda: passing.receive(timeout=0.01))
    refused("WrongType", lambda: passing.send({"a": 1}))
    refused("UnknownPort", lambda: passing.send("x", "n0.inn"), "n0.in")
    refused("UnknownPort", lambda: passing.receive("n7"))
    refused("NotSupported", lambda: passing.run(), "give run() the items")
    refused("NotStarted", passing.start)


def test_a_session_is_looked_at(passing: Session) -> None:
    before = passing.status()["n1"].processed
    list(passing.run(["x"] * 5))
    status = passing.status()
    assert {name: (each.state, each.type_name) for name, each in status.items()} == {
        "n0": ("ready", "Pass"),
        "n1": ("ready", "Pass"),
    }
    n1 = status["n1"]
    assert n1.processed == n1.sent == before + 5
    assert (n1.inputs, n1.outputs, n1.exit, n1.failure) == (("n0.out",), ("n1.out",), None, None)
    assert n1.session == passing.id
    assert n1.busy_seconds > 0 < n1.waiting_seconds
    channels = passing.channels()
    assert list(channels) == ["> n0.in", "n0.out", "n1.out"]
    assert channels["n0.out"].messages >= 5
    metrics = passing.metrics()
    assert (metrics.processes, metrics.state) == (2, "running")
    assert metrics.ready_seconds is not None
    assert metrics.messages >= 15


def test_two_at_a_time(passing: Session) -> None:
    """One thread sends while another receives, and blocks until there is something."""
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(passing.receive(timeout=SOON).data for _ in range(200)))
    reader.start()
    for number in range(200):
        passing.send(f"{number}", timeout=SOON)
    reader.join()
    assert got == [f"{number}" for number in range(200)]


def test_what_a_node_may_return() -> None:
    with Pipeline().add_node("t", Texts).session() as session:
        wanted = {
            "one": [("t.out", "one")],
            "many 3": [("t.out", "0"), ("t.out", "1"), ("t.out", "2"), ("t.other", "many")],
            "generate 2": [("t.out", "0"), ("t.out", "1")],
            "later": [("t.out", "later")],
            "slowly 3": [("t.out", "0"), ("t.out", "1"), ("t.out", "2")],
            "emit": [("t.out", b"emitted")],
            "item": [("t.other", "item")],
            "none": [],
        }
        for text, results in wanted.items():
            assert sorted((m.port, m.data) for m in session.run([text])) == sorted(results), text
        session.send("item")
        assert session.receive("t.other", timeout=SOON).metadata == {"number": 3}
        session.send("emit")
        assert session.receive("t.out", timeout=SOON).metadata == {"why": "because"}
        refused("UnknownPort", lambda: session.receive("t.oter"), "did you mean")


@pytest.mark.parametrize(("text", "kind"), [("port", "UnknownPort"), ("tuple", "WrongType"), ("number", "WrongType")])
def test_what_a_node_may_not_return(text: str, kind: str) -> None:
    with pytest.raises(PipelineError) as caught, Pipeline().add_node("t", Texts).session() as session:  # noqa: PT012
        session.send(text)
        session.receive(timeout=SOON)
    assert caught.value.kind == "Failed"
    assert caught.value.inner.kind == kind


def test_many_ways_to_many_nodes() -> None:
    """a goes to all of b and c, both of which lead to the two ports of d; who: to one of e and f."""
    made = Pipeline().add_node("a", Asynchronous).add_node("b", Pass).add_node("c", Pass).add_node("d", Join)
    made.connect("a", ["b", "c"]).connect("b", "d.left").connect("c", "d.right")
    with made.session() as session:
        seen = [message.data for message in session.run(["x", "y", "z"])]
        assert sorted(seen) == sorted(f"{side} {text}" for side in ("left", "right") for text in "XYZ")
        assert [text for text in seen if text.startswith("left")] == ["left X", "left Y", "left Z"]
        ended = sorted(message.data for message in session.finish())
        assert ended == ["left END", "right END"]


def test_to_one_of_several() -> None:
    made = Pipeline().add_node("a", Pass).add_node("b", Slow, work=0.01).add_node("c", Slow, work=0.01)
    made.add_node("d", Who)
    made.connect("a", ["b", "c"], to="one").connect("b", "d").connect("c", "d")
    with made.session() as session:
        assert len(list(session.run([f"{number}" for number in range(20)]))) == 20
        status = session.status()
        assert status["b"].processed + status["c"].processed == 20
        assert min(status["b"].processed, status["c"].processed) > 0


def test_sources_and_sinks(tmp_path: Path) -> None:
    path = tmp_path / "count"
    made = (
        Pipeline()
        .add_node("count", Count, count=30)
        .add_node("add", Add, total=True)
        .add_node("sink", Sink, path=str(path))
    )
    made.connect("count", ["add", "sink"])
    with made.session() as session:
        refused("NotSupported", lambda: session.run(["x"]), "count")
        results = [float(message.data[0]) for message in session.run()]
        assert results == [*(number + 1.0 for number in range(30)), float(sum(range(30)))]
        assert session.wait(SOON)
        assert path.read_text() == "30\n"
    assert {each.exit for each in session.status().values()} == {"normal"}
    assert {each.state for each in session.status().values()} == {"stopped"}


def test_a_source_without_an_end_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "count"
    made = Pipeline(capacity=3).add_node("count", Count).add_node("sink", Sink, path=str(path), seconds=0.001)
    with made.connect("count", "sink").session() as session:
        assert not session.wait(0.05)
    assert int(path.read_text()) > 0
    assert session.status()["count"].exit == "normal"


def test_a_run_into_sinks_ends_when_they_are_done(tmp_path: Path) -> None:
    made = Pipeline().add_node("sink", Sink, seconds=0.002)
    with made.session() as session:
        assert list(session.run(["x"] * 8)) == []
        assert session.status()["sink"].processed == 8


def test_slots_that_are_lent() -> None:
    import zlib

    with chain(Lend, Lend).session() as session:
        for message in session.run([np.full(100_000, number, np.uint8) for number in range(5)]):
            assert message.metadata["checksum"] == zlib.crc32(message.data)
            assert int(message.data[0]) == message.sequence + 2


def test_progress_and_times() -> None:
    heard: list[tuple[str, str, float, str]] = []
    threads = set()

    def listen(*word: Any) -> None:
        heard.append(word)
        threads.add(threading.current_thread())

    made = Pipeline().add_node("quick", Slow).add_node("slow", Slow, seconds=2.2, words=True).connect("quick", "slow")
    with made.session(on_progress=listen) as session:
        assert session.state == "ready"
    assert threads == {threading.current_thread()}
    stages = [word[1] for word in heard if word[0] == "slow"]
    assert list(dict.fromkeys(stages))[:2] == ["starting", "loading"]  # said again where that takes long
    assert stages.count("connecting") >= 3  # its own word, that again after 1.5 s, and ours
    assert stages[-1] == "ready"
    assert ("slow", "connecting", 0.25, "a quarter") in heard
    assert session.state == "stopped"


def test_places_over_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    made = Pipeline().add_node("a", Pass).add_node("b", Pass).connect("a", "b")
    with made.session(transport="tcp", addresses={"b.in": f"127.0.0.1:{port}"}) as session:
        with pytest.raises(OSError, match="in use"), socket.socket() as stranger:
            stranger.bind(("127.0.0.1", port))
        assert [message.data for message in session.run(["x", "y"])] == ["x", "y"]
        assert session.channels()["a.out"].messages == 2
    assert session.channels()["a.out"].messages == 2
    made.add_node("c", Join).connect("a", "c.left").connect("b", "c.left").entry("c.right")
    for wrong, kind in (
        ({"b.inn": "127.0.0.1:1"}, "UnknownPort"),
        ({"c.left": "127.0.0.1:1"}, "BadConfig"),
        ({"b.in": "192.0.2.1:1"}, "NotSupported"),
        ({"b.in": "127.0.0.1:x"}, "OutOfRange"),
    ):
        refused(kind, lambda wrong=wrong: made.session(transport="tcp", addresses=wrong).start())


def test_limits() -> None:
    made = chain(Pass, Pass)
    refused("TooManyProcesses", made.session(limits=SessionLimits(processes=1)).start, "2 nodes")
    with made.session(limits=SessionLimits(processes=2, message_bytes=1000)) as session:
        refused("TooLarge", lambda: session.send(np.zeros(1001, np.uint8)), "1,001 bytes")
        refused("TooLarge", lambda: list(session.run([b"x" * 1001])))
    for wrong in ({"processes": 0}, {"memory_bytes": -1}, {"message_bytes": 1.5}):
        refused("OutOfRange", lambda wrong=wrong: SessionLimits(**wrong))
    for options in ({"grace": -1}, {"initialize_timeout": 0}, {"transport": "rdma"}):
        refused("OutOfRange", lambda options=options: made.session(**options))
    refused("BadConfig", lambda: made.session(addresses={"n0.in": "127.0.0.1:1"}))


def test_backpressure_and_stopping_with_messages_under_way(tmp_path: Path) -> None:
    path = tmp_path / "count"
    made = Pipeline(capacity=2).add_node("a", Pass).add_node("b", Sink, path=str(path), seconds=0.02).connect("a", "b")
    with made.session() as session:
        with pytest.raises(ChannelError) as caught:  # noqa: PT012
            for _ in range(100):
                session.send("x", timeout=0.005)
        assert caught.value.kind == "TimedOut"
        sent = session.channels()["> a.in"].messages
    assert path.read_text() == f"{sent}\n"  # what was under way was finished
    refused("Closed", lambda: session.send("x"))
    refused("Closed", lambda: session.receive())
    assert session.channels()["> a.in"].messages == sent
    session.stop()
    session.kill()


def test_a_node_that_does_not_stop_in_time(caplog: pytest.LogCaptureFixture) -> None:
    made = Pipeline().add_node("a", Slow, work=60.0)
    began = time.monotonic()
    with made.session(grace=0.1) as session:
        session.send("x")
    assert time.monotonic() - began < SOON
    assert session.status()["a"].exit == "timeout"
    assert "killed after 0.1 s" in caplog.text


def test_views_that_are_kept_at_the_end() -> None:
    made = chain(Pass, capacity=2)
    with made.session() as session:
        kept = []
        with pytest.raises(ChannelError) as caught:  # noqa: PT012
            for _ in range(5):
                session.send(np.ones(10), timeout=1.0)
                kept.append(session.receive(timeout=1.0).data)
        assert caught.value.kind in ("ViewAlive", "TimedOut")
    assert [float(each.sum()) for each in kept] == [10.0] * len(kept)
