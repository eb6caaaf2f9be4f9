"""``cobre pipeline``: files shown, checked and run, what comes out, and how it ends when it is stopped or fails."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Cli, finish, start, wait_for
from tests.cli.test_streams import on_a_terminal, shown_lines

NODES = """
import time
from cobre.actors import Item, Node

class Upper(Node):
    inputs = {"in": str}
    outputs = {"out": str}
    def process(self, message):
        if message.data == "fail":
            raise ValueError("this word is not wanted")
        return message.data.upper()

class Count(Node):
    inputs = {"in": str}
    outputs = {"out": str}
    def initialize(self, progress):
        progress(0.5, "learning to count")
        self.count = 0
    def process(self, message):
        self.count += 1
        return Item(f"{self.count} {message.data}", length=len(message.data))
    def finish(self):
        return f"{self.count} in all"

class Ticks(Node):
    inputs = {}
    outputs = {"out": str}
    def __init__(self, limit: int | None = None):
        self.limit = limit
    def produce(self):
        number = 0
        while number != self.limit:
            number += 1
            yield f"tick {number}"
            time.sleep(0.01)
"""
WORDS = """
[pipeline]
name = "words"
[[node]]
name = "upper"
type = "nodes_of_words:Upper"
[[node]]
name = "count"
type = "nodes_of_words:Count"
[[connect]]
from = "upper"
to = "count"
"""
CLOCK = """
[pipeline]
name = "clock"
[[node]]
name = "ticks"
type = "nodes_of_words:Ticks"
config = { limit = LIMIT }
"""


@pytest.fixture
def words(tmp_path: Path) -> Iterator[Path]:
    """A pipeline of two nodes; in its folder also the lines that it is fed with."""
    (tmp_path / "nodes_of_words.py").write_text(NODES)
    (tmp_path / "words.toml").write_text(WORDS)
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    path = list(sys.path)
    yield tmp_path / "words.toml"
    sys.path[:] = path
    sys.modules.pop("nodes_of_words", None)


def clock(folder: Path, limit: int = 0) -> Path:
    """A pipeline of one source, which ticks so many times; for ever with 0."""
    (folder / "clock.toml").write_text(CLOCK.replace("LIMIT", str(limit or -1)))
    return folder / "clock.toml"


def test_show_draws(cli: Cli, words: Path) -> None:
    outcome = cli("pipeline", "show", words)
    assert (outcome.code, outcome.err) == (0, "")
    assert "  upper [Upper]" in outcome.out
    assert cli("pipeline", "show", words, "--format", "mermaid").out.startswith("flowchart LR\n")
    document = cli("pipeline", "show", words, "--json").document
    assert document["nodes"] == {"upper": "Upper", "count": "Count"}
    assert (document["inputs"], document["outputs"]) == (["upper.in"], ["count.out"])
    assert document["diagram"].startswith("words: 2 nodes")


def test_check_starts_nothing(cli: Cli, words: Path) -> None:
    outcome = cli("pipeline", "run", words, "--check")
    assert outcome.code == 0
    assert outcome.out == "words: valid, 2 nodes, 3 channels\n"


def test_what_is_wrong_is_listed_with_its_place(cli: Cli, words: Path) -> None:
    words.write_text(WORDS.replace(":Count", ":Coun").replace('"count"\n', '"count"\nconfig = { x = 1 }\n', 1))
    (words.parent / "runtime.toml").write_text("[limit]\n")
    outcome = cli("pipeline", "run", words, "--check", "--json")
    assert outcome.code == 3
    assert [found["entity"] for found in outcome.document["error"]["diagnostics"]] == ["node 'count'"]
    assert "did you mean 'Count'?" in outcome.err
    words.write_text(WORDS)
    outcome = cli("pipeline", "run", words, "--check")
    assert outcome.code == 3
    assert "did you mean 'limits'?" in outcome.err


def test_a_run_prints_what_comes_out(cli: Cli, words: Path) -> None:
    outcome = cli("pipeline", "run", words, "--input", words.parent / "lines.txt")
    assert outcome.code == 0
    assert outcome.out.splitlines() == ["1 ONE", "2 TWO", "3 THREE", "3 in all"]
    said = outcome.err.splitlines()
    assert said[0] == "running words"
    assert "  count: loading 50 %, learning to count" in said
    assert "upper: stopped, 3 in, 3 out" in said[-2]
    assert said[-1].startswith("words ended after")
    assert said[-1].endswith("messages that came out: 4 from count.out")


def test_a_run_writes_what_comes_out(cli: Cli, words: Path) -> None:
    out = words.parent / "out"
    outcome = cli("pipeline", "run", words, "-i", f"upper.in={words.parent}/lines.txt", "-o", out, "--json")
    assert outcome.code == 0
    assert outcome.document["received"] == {"count.out": 4}
    assert outcome.document["processed"] == {"upper": {"in": 3, "out": 3}, "count": {"in": 3, "out": 4}}
    assert (outcome.document["messages"], outcome.document["stopped_early"]) == ([], False)
    index = [json.loads(line) for line in (out / "messages.jsonl").read_text().splitlines()]
    assert [record["text"] for record in index] == ["1 ONE", "2 TWO", "3 THREE", "3 in all"]
    assert [record.get("metadata") for record in index] == [{"length": 3}, {"length": 3}, {"length": 5}, None]


def test_a_node_that_fails_is_named(cli: Cli, words: Path) -> None:
    (words.parent / "lines.txt").write_text("one\nfail\n" + "three\n" * 1000)
    outcome = cli("pipeline", "run", words, "--input", words.parent / "lines.txt", "--json")
    assert outcome.code == 6
    error = outcome.document["error"]
    assert (error["kind"], error["context"]["node"]) == ("Failed", "upper")
    assert "this word is not wanted" in error["message"]
    assert "Traceback" not in outcome.err


def test_what_was_lost_with_a_node_that_was_started_again_is_told(cli: Cli, words: Path) -> None:
    words.write_text(WORDS.replace(':Upper"\n', ':Upper"\nrestart = { limit = 1 }\n'))
    (words.parent / "lines.txt").write_text("one\nfail\nthree\n")
    outcome = cli("pipeline", "run", words, "--input", words.parent / "lines.txt")
    assert (outcome.code, outcome.out.splitlines()) == (0, ["1 ONE", "2 THREE", "2 in all"])
    assert "upper: stopped, start 2, 3 in, 2 out" in outcome.err
    assert outcome.err.splitlines()[-1] == "upper failed and was started again: 1 time; 1 message dropped"


@pytest.mark.parametrize(
    ("runtime", "inputs", "code", "words_"),
    [
        ("[limits]\nprocesses = 1\n", ("lines.txt",), 3, "2 nodes"),
        ("", (), 3, "--input upper.in=FILE"),
        ("", ("none.txt",), 5, "none.txt"),
        ("[session\n", ("lines.txt",), 3, "not TOML"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(
    cli: Cli, words: Path, runtime: str, inputs: tuple[str, ...], code: int, words_: str
) -> None:
    (words.parent / "other.toml").write_text(runtime)
    given = [argument for name in inputs for argument in ("--input", words.parent / name)]
    outcome = cli("pipeline", "run", words, "--runtime", words.parent / "other.toml", *given)
    assert outcome.code == code
    assert words_ in outcome.err
    assert outcome.out == ""


def test_an_interrupt_ends_the_sources_and_loses_nothing(words: Path) -> None:
    process = start("pipeline", "run", clock(words.parent))
    assert process.stdout is not None
    read = "".join(process.stdout.readline() for _ in range(5))
    process.send_signal(signal.SIGINT)
    outcome = finish(process)
    assert outcome.code == 7
    ticks = (read + outcome.out).splitlines()
    assert ticks == [f"tick {number}" for number in range(1, len(ticks) + 1)]
    assert f"ticks: stopped, 0 in, {len(ticks):,} out" in outcome.err
    assert "stopping after" in outcome.err


def test_an_interrupt_while_nodes_start_ends_at_once(words: Path) -> None:
    (words.parent / "nodes_of_words.py").write_text(
        NODES.replace("self.count = 0\n", "self.count = 0\n        time.sleep(60)\n", 1)
    )
    process = start("pipeline", "run", words, "--input", words.parent / "lines.txt")
    read = wait_for(process, "learning to count")
    process.send_signal(signal.SIGINT)
    read += wait_for(process, "stopping after")
    process.send_signal(signal.SIGINT)
    outcome = finish(process, read)
    assert outcome.code == 130
    assert "Traceback" not in outcome.err


def test_a_terminal_shows_nodes_and_channels(words: Path) -> None:
    code, screen = on_a_terminal(100, "pipeline", "run", clock(words.parent, 60))
    assert code == 0
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h") == 1
    lines = shown_lines(screen)
    assert [line for line in lines if line.startswith("tick ")] == [f"tick {number}" for number in range(1, 61)]
    assert any(line.split()[:2] == ["ticks", "processing"] for line in lines)
    assert any(line.split()[:1] == ["ticks.out"] and "░" in line for line in lines)
