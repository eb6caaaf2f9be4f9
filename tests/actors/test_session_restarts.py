"""Nodes that are started again: their places are taken over, and only what they had begun with is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cobre.actors import Pipeline, RestartPolicy
from cobre.errors import NodeError, PipelineError
from tests.actors.pipeline_nodes import Count, Dies, Fails, Join, Pass, Slow

SOON = 20.0  # seconds; a guard against hanging
AGAIN = RestartPolicy("failure", limit=3, period=60.0)


def chain(path: Path, at: dict[str, str], restart: RestartPolicy = AGAIN, **more: Any) -> Pipeline:
    made = Pipeline("again", capacity=3).add_node("first", Pass)
    made.add_node("bad", Dies, {"path": str(path), "at": at, **more}, restart=restart)
    return made.connect("first", "bad")


def alone(path: Path, at: dict[str, str], restart: RestartPolicy = AGAIN, **more: Any) -> Pipeline:
    return Pipeline().add_node("bad", Dies, {"path": str(path), "at": at, **more}, restart=restart)


def test_what_it_worked_at_is_lost_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "done"
    with chain(path, {"3": "SIGKILL", "9": "raise"}).session() as session:
        first = session.status()["bad"].pid
        seen = [message.data for message in session.run(f"{number}" for number in range(20))]
        assert seen == [f"{number}" for number in range(20) if number not in (3, 9)]
        status = session.status()["bad"]
        assert (status.restarts, status.dropped, status.state) == (2, 2, "ready")
        assert (status.processed, status.sent) == (20, 18)
        assert status.pid != first
        assert [message.data for message in session.run(["once", "more"])] == ["once", "more"]
        assert session.status()["first"].restarts == 0
        assert session.metrics().processes == 2
    assert session.status()["bad"].exit == "normal"
    assert path.read_text().count("start") == 3
    assert "it is started again" in caplog.text


def test_too_often(tmp_path: Path) -> None:
    """The second time it is not even ready."""
    made = alone(tmp_path / "done", {"1": "exit"}, RestartPolicy("failure", limit=1), starts=1)
    with pytest.raises(NodeError) as caught, made.session() as session:  # noqa: PT012
        for message in session.run(f"{number}" for number in range(1000)):
            assert message.data != "1"
    error = caught.value
    assert (error.node, error.kind) == ("bad", "InitFailed")
    assert isinstance(error.inner, OverflowError)
    assert "as often as its policy allows, 1 within 30 s, after:" in error.message
    (before,) = error.context["restarts"]
    assert "exit code 3 while processing" in before


def test_one_that_stops_is_not_started_again() -> None:
    made = Pipeline().add_node("bad", Fails, where="finish", restart=AGAIN)
    with pytest.raises(NodeError) as caught, made.session():
        pass
    assert caught.value.context["state"] == "stopping"


def test_one_that_is_late_the_second_time(tmp_path: Path) -> None:
    class Late(Dies):
        def initialize(self, progress: Any) -> None:
            super().initialize(progress)
            if len(self._done()) > 1:
                Slow(60.0).initialize(progress)

    made = Pipeline().add_node("bad", Late, path=str(tmp_path / "done"), at={"1": "exit"}, restart=AGAIN)
    with pytest.raises(NodeError) as caught, made.session(initialize_timeout=1.0) as session:  # noqa: PT012
        session.send("1")
        session.receive(timeout=SOON)
    assert caught.value.kind == "InitTimedOut"


def test_marks_that_came_before_the_end_of_one(tmp_path: Path) -> None:
    """It reads from two, of which one has said that the run is over when it dies of what the other one says."""
    made = Pipeline().add_node("a", Pass).add_node("b", Slow, work=0.3).add_node("bad", Both, restart=AGAIN,
        path=str(tmp_path / "done"), at={"b": "SIGKILL"})  # fmt: skip
    made.connect("a", "bad.left").connect("b", "bad.right")
    with made.session() as session:
        assert [message.data for message in session.run([{"a.in": "a"}, {"b.in": "b"}])] == ["a"]
        assert session.status()["bad"].dropped == 1
        assert sorted(message.data for message in session.run([{"a.in": "c"}, {"b.in": "d"}])) == ["c", "d"]


class Both(Dies):
    """Two inputs."""

    inputs = Join.inputs


def test_one_of_several_readers(tmp_path: Path) -> None:
    made = Pipeline(capacity=3).add_node("a", Pass).add_node("b", Slow, work=0.001)
    made.add_node("bad", Dies, path=str(tmp_path / "done"), at={"7": "SIGKILL"}, restart=AGAIN)
    made.connect("a", ["b", "bad"], to="one")
    with made.session() as session:
        for _ in range(2):
            seen = [message.data for message in session.run(f"{number}" for number in range(40))]
            lost = {f"{number}" for number in range(40)} - {*seen}
            assert len(seen) == 40 - len(lost)
            assert lost <= {"7"}
        assert session.status()["bad"].dropped == session.status()["bad"].restarts


def test_a_source_begins_anew(tmp_path: Path) -> None:
    made = Pipeline().add_node("source", Killed, path=str(tmp_path / "done"), restart=AGAIN)
    with made.session() as session:
        seen = [message.metadata["number"] for message in session.run()]
        assert seen == [*range(5), *range(10)]
        assert session.status()["source"].restarts == 1


class Killed(Count):
    """Dies after the first five of ten, once."""

    def __init__(self, path: str) -> None:
        super().__init__(10)
        self.path = path

    def produce(self) -> Any:
        for number, item in enumerate(super().produce()):
            if number == 5 and not Path(self.path).exists():
                Path(self.path).touch()
                raise OverflowError("the first time")
            yield item


def test_not_over_tcp(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        chain(tmp_path / "done", {}).session(transport="tcp")
    assert caught.value.kind == "NotSupported"
    assert caught.value.node == "bad"
