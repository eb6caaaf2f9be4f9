"""Pipelines drawn: every node and every connection is in the picture, whatever their names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from cobre.actors import Node, Pipeline
from cobre.actors.diagram import draw
from cobre.errors import PipelineError


class Split(Node):
    inputs = {"in": np.ndarray}
    outputs = {"left": np.ndarray, "right": str}

    def process(self, message: object) -> None:
        return None


class Join(Node):
    inputs = {"a": np.ndarray, "b": str}
    outputs = {"out": str}

    def process(self, message: object) -> None:
        return None


class Copy(Node):
    def process(self, message: Any) -> Any:
        return message


def diamond() -> Pipeline:
    pipeline = Pipeline("diamond", capacity=7).add_node("split", Split).add_node("join", Join)
    pipeline.add_node("one", Copy).add_node("two", Copy)
    pipeline.connect("split.left", "join.a", capacity=3)
    return pipeline.connect("split.right", ["one", "two"], to="one").connect("one", "join.b").connect("two", "join.b")


def test_text_lists_nodes_in_their_order_and_where_each_output_goes() -> None:
    assert draw(diamond().check(), "text").splitlines() == [
        "diamond: 4 nodes",
        "  (input) ---> split.in         array, 7 at most",
        "  split [Split]",
        "    .left ---> join.a           array, 3 at most",
        "    .right -1-> one.in, two.in  text, 7 at most",
        "  one [Copy]",
        "    .out ---> join.b            anything, 7 at most",
        "  two [Copy]",
        "    .out ---> join.b            anything, 7 at most",
        "  join [Join]",
        "    .out ---> (output)          text, 7 at most",
    ]


def test_mermaid_has_a_box_for_each_node_and_an_arrow_for_each_reader() -> None:
    lines = draw(diamond().check()).splitlines()
    assert lines[0] == "flowchart LR"
    assert [line.strip() for line in lines[1:5]] == [
        'n0["split<br/>Split"]',
        'n1["one<br/>Copy"]',
        'n2["two<br/>Copy"]',
        'n3["join<br/>Join"]',
    ]
    arrows = [re.sub(r'\|".*?"\|', "", line.strip()) for line in lines[5:]]
    assert sorted(arrows) == sorted(
        ['i0(["input"]) --> n0', "n0 --> n3", "n0 -.-> n1", "n0 -.-> n2", "n1 --> n3", "n2 --> n3",
         'n3 --> o5(["output"])']
    )  # fmt: skip
    assert '    n0 -->|"left, to a, array, 3 at most"| n3' in lines


def test_what_is_said_of_nodes_and_channels_stands_beside_them() -> None:
    graph = diamond().check()
    told = {"nodes": {"one": "processing, 12"}, "channels": {"split.left": "2 of 3"}}
    text = draw(graph, "text", **told).splitlines()
    assert next(line for line in text if line.startswith("  one")).endswith("  processing, 12")
    assert next(line for line in text if ".left" in line).endswith("  array, 2 of 3")
    mermaid = draw(graph, "mermaid", **told)
    assert '["one<br/>Copy<br/>processing, 12"]' in mermaid
    assert "array, 2 of 3" in mermaid


def test_a_session_is_drawn_as_it_is_now() -> None:
    session = Pipeline("copies").add_node("one", Copy).add_node("two", Copy).connect("one", "two").session()
    assert "one [Copy]" in session.diagram("text")
    with session:
        session.send("text")
        session.receive()
        lines = session.diagram("text").splitlines()
        assert next(line for line in lines if "one [" in line).endswith(", 1 in, 1 out")
        assert next(line for line in lines if ".out ---> two.in" in line).endswith(" of 10")
        assert "<br/>ready, 1 in, 1 out" in session.diagram() or "<br/>processing, 1 in, 1 out" in session.diagram()
    assert "<br/>stopped, 1 in, 1 out" in session.diagram()


def test_names_that_mermaid_would_misread_are_written_so_that_it_does_not() -> None:
    pipeline = Pipeline().add_node('say "end" #1 <b>', Copy)
    box = draw(pipeline.check()).splitlines()[1].strip()
    assert box == 'n0["say #34;end#34; #35;1 #60;b#62;<br/>Copy"]'


def test_a_format_that_is_none_is_refused() -> None:
    with pytest.raises(PipelineError, match="mermaid, text") as caught:
        draw(diamond().check(), "svg")
    assert caught.value.kind == "OutOfRange"
