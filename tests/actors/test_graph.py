"""Which pipelines are refused, before any process starts, and in which order the nodes of the others stand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cobre.actors import Node, Pipeline, RestartPolicy, register_node
from cobre.actors.graph import order_of
from cobre.actors.ports import Port
from cobre.errors import PipelineError


class Pass(Node):
    def process(self, message: Any) -> Any:
        return message.data


class Texts(Node):
    inputs = {"in": str}
    outputs = {"out": str}

    def process(self, message: Any) -> Any:
        return message.data


class Arrays(Node):
    inputs = {"in": np.ndarray}
    outputs = {"out": np.ndarray}

    def process(self, message: Any) -> Any:
        return message.data


class Split(Node):
    inputs = {"left": str | bytes, "right": (str, np.ndarray)}
    outputs = {"odd": str, "even": str}

    def process(self, message: Any) -> Any:
        return None


class Source(Node):
    inputs = {}

    def produce(self) -> Any:
        return []


class Sink(Node):
    outputs = {}

    def process(self, message: Any) -> Any:
        return None


class Configured(Node):
    def __init__(self, rate: int, *, path: Path = Path(), weights: list[float] | None = None, free: Any = 1) -> None:
        self.rate, self.path, self.weights, self.free = rate, path, weights, free

    def process(self, message: Any) -> Any:
        return None


def refused(kind: str, pipeline: Any, *words: str) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        pipeline()
    assert caught.value.kind == kind, caught.value
    assert caught.value.suggestion
    for word in words:
        assert word in str(caught.value)
    return caught.value


def chain(*names: str) -> Pipeline:
    made = Pipeline()
    for name in names:
        made.add_node(name, Pass)
    for source, target in pairwise(names):
        made.connect(source, target)
    return made


def test_a_chain() -> None:
    graph = chain("a", "b", "c").check()
    assert graph.order == ("a", "b", "c")
    assert graph.entries == (Port("a", "in"),)
    assert graph.exits == (Port("c", "out"),)
    assert [each.name for each in graph.channels] == ["> a.in", "a.out", "b.out", "c.out"]
    assert graph.after("a") == ("b",)
    assert graph.fed == frozenset()


def test_the_order_is_of_edges_not_of_additions() -> None:
    made = Pipeline().add_node("c", Pass).add_node("b", Pass).add_node("a", Source)
    assert made.connect("a", "b").connect("b", "c").check().order == ("a", "b", "c")
    assert made.check().fed == {"a", "b", "c"}


def test_cycles_are_refused_when_made() -> None:
    made = chain("a", "b", "c")
    error = refused("Cycle", lambda: made.connect("c", "a"))
    assert set(error.context["cycle"]) == {"a", "b", "c"}
    refused("Cycle", lambda: made.connect("b", "b"), "b -> b")
    assert made.check().order == ("a", "b", "c")


@given(st.integers(1, 7), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14))
def test_an_order_or_a_cycle(count: int, pairs: list[tuple[int, int]]) -> None:
    names = [str(number) for number in range(count)]
    edges = [(str(a), str(b)) for a, b in pairs if a < count and b < count]
    try:
        order = order_of(names, edges)
    except PipelineError as error:
        cycle = error.context["cycle"]
        assert cycle[0] == cycle[-1]
        assert all(edge in edges for edge in pairwise(cycle))
    else:
        assert sorted(order) == names
        assert all(order.index(a) < order.index(b) for a, b in edges)


def test_types_that_do_not_meet() -> None:
    made = Pipeline().add_node("texts", Texts).add_node("arrays", Arrays).add_node("any", Pass).add_node("split", Split)
    refused("TypeMismatch", lambda: made.connect("texts", "arrays"), "texts.out gives text", "arrays.in takes array")
    refused("TypeMismatch", lambda: made.connect("arrays", "split.left"), "text or bytes")
    made.connect("arrays", "split.right").connect("texts", "any")


def test_dangling_ports() -> None:
    made = Pipeline().add_node("a", Texts).add_node("b", Split)
    made.connect("a", "b.left")
    refused("DanglingPort", made.check, "b.right", '.entry("b.right")')
    made.entry("b.right")
    graph = made.check()
    assert {str(port) for port in graph.entries} == {"a.in", "b.right"}
    assert {str(port) for port in graph.exits} == {"b.odd", "b.even"}
    made.add_node("c", Sink).connect("b.odd", "c")
    refused("DanglingPort", made.check, "b.even")
    made.exit("b.even").exit("b.odd")
    assert {str(port) for port in made.check().exits} == {"b.odd", "b.even"}
    assert made.check().channels[-1].name == "b.even"
    assert [each.targets for each in made.check().channels if each.name == "b.odd"] == [(Port("c", "in"), None)]


def test_names_that_are_not_there() -> None:
    made = chain("first", "second")
    refused("UnknownNode", lambda: made.connect("frist", "second"), "did you mean 'first'?")
    refused("UnknownPort", lambda: made.connect("first.ot", "second"), "did you mean 'out'?")
    refused("UnknownPort", lambda: made.add_node("sink", Sink).exit("sink"), "0 outputs")
    refused("UnknownNode", lambda: made.add_node("x", "no such type"))
    refused("UnknownPort", lambda: made.add_node("split", Split).connect("first", "split"), "2 inputs")


def test_names_that_are_there_already() -> None:
    made = chain("a", "b")
    refused("DuplicateName", lambda: made.add_node("a", Pass))
    refused("DuplicateName", lambda: made.connect("a", "b"))
    refused("DuplicateName", lambda: made.add_node("c", Pass).connect("a", ["c", "c"]))
    for name in ("", " a", "a.b", "a\n", 3):
        refused("BadConfig", lambda name=name: made.add_node(name, Pass))
    refused("BadConfig", Pipeline().check, "no nodes")


def test_an_output_has_one_channel() -> None:
    made = Pipeline().add_node("a", Pass).add_node("b", Pass).add_node("c", Pass).add_node("d", Pass)
    made.connect("a", "b", capacity=3, to="one").connect("a", ["c"])
    assert [(each.name, each.capacity, each.to, len(each.targets)) for each in made.connections] == [
        ("a.out", 3, "one", 2)
    ]
    refused("BadConfig", lambda: made.connect("a", "d", to="all"), "to='one'")
    refused("BadConfig", made.exit("a").check, "one reader")
    for wrong in ({"capacity": 0}, {"bytes": -1}, {"capacity": True}, {"to": "some"}):
        refused("OutOfRange", lambda wrong=wrong: made.connect("b", "d", **wrong))
    refused("OutOfRange", lambda: Pipeline(capacity=0))


def test_a_configuration_is_read_before_anything_starts() -> None:
    made = Pipeline()
    made.add_node("good", Configured, rate=3, path="a/b", weights=[1, 2.5])
    assert made.nodes["good"].config == {"rate": 3, "path": Path("a/b"), "weights": [1.0, 2.5]}
    error = refused("BadConfig", lambda: made.add_node("bad", Configured, rat=3, path=5), "did you mean 'rate'?")
    assert error.node == "bad"
    assert len(error.context["wrong"]) == 3
    refused("BadConfig", lambda: made.add_node("text", Configured, rate="3"), "rate = '3'")
    refused("BadConfig", lambda: made.add_node("flag", Configured, rate=True))
    made.add_node("given", Configured, {"rate": 1, "free": object()})


def test_classes_that_are_no_nodes() -> None:
    class Lazy(Node):
        pass

    class Nothing(Node):
        inputs = {}
        outputs = {}

        def produce(self) -> Any:
            return []

    class Typed(Pass):
        inputs = {"in": dict}

    class Listed(Pass):
        inputs: Any = ["in"]

    for made in (int, 3, Lazy, Nothing, Typed, Listed):
        refused("BadConfig", lambda made=made: Pipeline().add_node("x", made))


def test_types_by_name() -> None:
    made = register_node("tests: pass")(Pass)
    assert made is Pass
    assert register_node("tests: pass")(Pass) is Pass
    assert Pipeline().add_node("a", "tests: pass").nodes["a"].made is Pass
    refused("DuplicateName", lambda: register_node("tests: pass")(Sink))
    refused("UnknownNode", lambda: Pipeline().add_node("a", "tests: pas"), "did you mean 'tests: pass'?")
    refused("BadConfig", lambda: register_node("tests: number")(int))


def test_which_nodes_may_be_started_again() -> None:
    made = Pipeline().add_node("a", Pass, restart=RestartPolicy("failure")).add_node("b", Pass, restart=RestartPolicy())
    made.add_node("c", Pass)
    assert [spec.restarts for spec in made.check().nodes.values()] == [True, False, False]


def test_nothing_goes_out_of_a_node_that_no_session_runs() -> None:
    refused("NotStarted", lambda: Pass().emit("x"))
    refused("NotStarted", lambda: Pass().loan((2,), float))
