"""A node that fails ends its session, and no other; the error says which node, how, and with what."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from itertools import count
from typing import Any

import numpy as np
import pytest

from cobre.actors import Limits, Pipeline, RemoteTraceback, SessionLimits
from cobre.errors import ChannelError, NodeError, PipelineError, ValidationError
from cobre.testing import faults
from tests.actors.pipeline_nodes import Count, Fails, Keeps, Pass, Sink, Slow

SOON = 20.0  # seconds; a guard against hanging


def chain(middle: type = Pass, *arguments: Any, **options: Any) -> Pipeline:
    made = Pipeline(capacity=2).add_node("first", Pass).add_node("bad", middle, *arguments, **options)
    return made.connect("first", "bad")


def failure(act: Any) -> NodeError:
    with pytest.raises(NodeError) as caught:
        act()
    error = caught.value
    assert error.node == "bad", error
    return error


def use(made: Pipeline, **options: Any) -> None:
    with made.session(**options) as session:
        for message in session.run(f"{number}" for number in count()):
            assert message.data


@pytest.mark.parametrize("where", ["init", "initialize"])
def test_a_node_that_cannot_be_made(where: str) -> None:
    heard: list[Any] = []
    session = chain(Fails, where=where).session(on_progress=lambda *word: heard.append(word))
    error = failure(session.start)
    assert (error.kind, error.exit_code, error.signal) == ("InitFailed", None, None)
    assert isinstance(error.inner, OverflowError)
    assert error.__cause__ is error.inner
    assert isinstance(error.inner.__cause__, RemoteTraceback)
    assert 'raise OverflowError(f"failed in {where}")' in str(error.inner.__cause__)
    assert f"OverflowError: failed in {where}" in str(error)
    assert heard[-1][:2] == ("bad", "failed")
    assert session.state == "stopped"
    assert session.status()["bad"].state == "error"
    assert session.status()["first"].state == "stopped"
    assert session.error is error


@pytest.mark.parametrize("where", ["process", "finish", "cleanup"])
def test_a_node_that_raises(where: str) -> None:
    told: list[NodeError] = []
    done = threading.Event()

    def listen(error: NodeError) -> None:
        told.append(error)
        done.set()

    def run() -> None:
        with chain(Fails, where=where).session(on_failure=listen) as session:
            if where == "process":
                list(session.run(["x"]))

    error = failure(run)
    assert error.kind == "Failed"
    assert isinstance(error.inner, OverflowError)
    assert error.context["state"] == ("processing" if where == "process" else "stopping")
    assert done.wait(SOON)
    assert told == [error]


def test_one_that_nobody_waits_for() -> None:
    """The end of the block raises what no call did."""

    def run() -> None:
        with Pipeline().add_node("bad", Fails, where="process").session() as session:
            session.send("x")
            while session.error is None:
                time.sleep(0.001)
            assert session.status()["bad"].failure
            assert session.state in ("terminating", "running")

    assert failure(run).kind == "Failed"


def test_callers_that_are_blocked_are_woken() -> None:
    made = Pipeline(capacity=1).add_node("bad", Slow, work=60.0)
    with pytest.raises(NodeError) as outer, made.session() as session:  # noqa: PT012
        raised: list[BaseException] = []

        def wait_for(act: Any) -> None:
            try:
                act()
            except BaseException as error:
                raised.append(error)

        def fill() -> None:
            while True:
                session.send(b"x")

        threads = [threading.Thread(target=wait_for, args=(act,)) for act in (fill, session.receive)]
        for thread in threads:
            thread.start()
        while not session.status()["bad"].processed:  # it keeps the only slot meanwhile
            time.sleep(0.001)
        time.sleep(0.05)
        pid = session.status()["bad"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join(SOON)
        assert [type(error) for error in raised] == [NodeError, NodeError]
        error = raised[0]
        assert isinstance(error, NodeError)
        assert (error.kind, error.signal, error.exit_code, error.node) == ("Died", "SIGKILL", None, "bad")
        assert str(pid) in error.message
        assert "while processing" in error.message
        session.send("x")
    assert outer.value.node == "bad"


@pytest.mark.parametrize(
    ("how", "when", "kind", "exit_code", "signal_name", "transport"),
    [
        ("SIGKILL", "initializing", "Died", None, "SIGKILL", "shm"),
        ("raise-cobre", "initializing", "InitFailed", None, None, "tcp"),
        ("exit", "processing", "Died", 3, None, "tcp"),
        ("SIGSEGV", "waiting", "Died", None, "SIGSEGV", "shm"),
        ("raise", "publishing", "Failed", None, None, "shm"),
        ("SIGKILL", "publishing", "Died", None, "SIGKILL", "tcp"),
        ("system-exit", "stopping", "Died", 4, None, "shm"),
        ("unpicklable-error", "processing", "Failed", None, None, "shm"),
    ],
)
def test_faults(how: str, when: str, kind: str, exit_code: int | None, signal_name: str | None, transport: str) -> None:
    made = chain()
    with faults.inject(node="bad", how=how, when=when):
        session = made.session(transport=transport)

        def run() -> None:
            with session:
                match when:
                    case "waiting":
                        session.receive(timeout=SOON)
                    case "publishing":  # nobody receives
                        while True:
                            session.send("x", timeout=SOON)
                    case "processing":
                        list(session.run("abcd"))

        error = failure(run)
    assert (error.kind, error.exit_code, error.signal) == (kind, exit_code, signal_name), error
    status = session.status()
    assert status["bad"].state == "error"
    assert status["first"].exit in ("killed(SIGKILL)", "normal")


def test_a_fault_at_a_certain_message() -> None:
    with faults.inject(node="bad", how="exit", when="processing", message=3), pytest.raises(NodeError):  # noqa: PT012, SIM117
        with chain().session() as session:
            got = []
            for message in session.run(f"{number}" for number in count()):
                got.append(message.data)
    assert got == ["0", "1"][: len(got)]
    for wrong in ({"when": "forward"}, {"how": "broken-transport"}, {"message": 0}, {"rank": 1}):
        with (
            pytest.raises(ValidationError),
            faults.inject(**{"node": "bad", "how": "exit", "when": "waiting", **wrong}),
        ):
            pass


def test_a_node_that_is_late() -> None:
    heard: list[Any] = []
    made = chain(Slow, seconds=60.0, words=True)
    error = failure(made.session(initialize_timeout=4.0, on_progress=lambda *word: heard.append(word)).start)
    assert error.kind == "InitTimedOut"
    assert error.context["late"] == ["bad"]
    assert "connecting, 25%: a quarter" in error.message
    assert heard[-1][:2] == ("bad", "failed")


def test_limits_of_a_node_and_of_a_session() -> None:
    made = chain(Slow, work=60.0, limits=Limits(hang_seconds=1.5))
    error = failure(lambda: use(made))
    assert error.kind == "Hung"
    assert "time.sleep(self.work)" in error.context["stderr"] or "in process" in error.context["stderr"]

    def run() -> None:
        with Pipeline().add_node("bad", Pass).session(limits=SessionLimits(memory_bytes=1 << 20)) as session:
            session.receive(timeout=SOON)

    error = failure(run)
    assert error.kind == "MemoryLimit"
    assert error.context["limit"] == 1 << 20


def test_views_that_a_node_keeps() -> None:
    def run() -> None:
        with Pipeline(capacity=3).add_node("bad", Keeps).session() as session:
            for _ in session.run(np.arange(10.0) for _ in range(50)):
                pass

    error = failure(run)
    assert error.kind == "Failed"
    assert isinstance(error.inner, ChannelError)
    assert error.inner.kind == "ViewAlive"


def test_other_sessions_do_not_notice() -> None:
    made = Pipeline().add_node("a", Pass)
    with made.session() as healthy:
        healthy.send("before")
        with pytest.raises(NodeError):
            use(Pipeline().add_node("bad", Fails, where="process"))
        assert healthy.receive(timeout=SOON).data == "before"
        assert [message.data for message in healthy.run(["after"])] == ["after"]


def test_a_block_that_is_left_by_an_exception() -> None:
    began = time.monotonic()
    with pytest.raises(KeyError), Pipeline().add_node("bad", Slow, work=60.0).session() as session:  # noqa: PT012
        session.send("x")
        raise KeyError("mine")
    assert time.monotonic() - began < SOON
    assert session.state == "stopped"


def test_a_callback_that_raises() -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("not interested")

    with pytest.raises(RuntimeError, match="not interested"):
        Pipeline().add_node("a", Pass).session(on_progress=refuse).start()


def test_what_cannot_be_sent_to_a_process() -> None:
    class Holding(Pass):
        def __init__(self, thing: Any) -> None:
            self.thing = thing

    with pytest.raises(PipelineError) as caught:
        Pipeline().add_node("a", Holding, thing=threading.Lock()).session().start()
    assert caught.value.kind == "BadConfig"
    assert caught.value.node == "a"


def test_memory_for_channels_that_is_not_there() -> None:
    made = Pipeline(channel_bytes=1 << 47).add_node("a", Pass)
    with pytest.raises(PipelineError) as caught:
        made.session().start()
    assert caught.value.kind == "MemoryExhausted"


def test_a_source_that_is_killed_while_it_produces() -> None:
    made = Pipeline(capacity=2).add_node("bad", Count, size=1000).add_node("sink", Sink).connect("bad", "sink")

    def run() -> None:
        with made.session() as session:
            while not session.status()["sink"].processed:
                time.sleep(0.001)
            pid = session.status()["bad"].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            session.wait(SOON)

    assert failure(run).signal == "SIGKILL"


def test_arrays_are_whole_up_to_the_last_and_the_error_holds_no_memory() -> None:
    before = memories()
    gc.disable()  # what hangs on the error alone is to go, and nothing is to wait for a collection
    try:
        error = whole_arrays()
        assert memories() == before
        assert error.node == "bad"
    finally:
        gc.enable()


def memories() -> int:
    """Descriptors of shared memory that this process has open."""
    found = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sum("memfd" in os.readlink(each) for each in found if os.path.lexists(each))


def whole_arrays() -> NodeError:
    with faults.inject(node="bad", how="SIGKILL", when="processing", message=20), pytest.raises(NodeError) as caught:  # noqa: PT012, SIM117
        with chain().session() as session:
            for message in session.run(np.full(10_000, number) for number in count()):
                assert (message.data == message.sequence).all()
                del message  # whose view would be held by the traceback
    return caught.value
