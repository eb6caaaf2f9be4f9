"""What is shown of a session as it starts and runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cobre.actors.node_states import NodeState
from cobre.actors.session_records import NodeStatus
from cobre.cli.pipeline_display import View, _Lines, _Live
from cobre.cli.terminal import Terminal
from cobre.transport.channel_ports import ChannelStatistics


class Session:
    """As far as displays look at it."""

    def __init__(self) -> None:
        self.looks = 0

    def status(self) -> dict[str, NodeStatus]:
        self.looks += 1
        return {
            "source": NodeStatus("source", "Camera", NodeState.PROCESSING, "s", sent=1200, memory_bytes=91_000_000),
            "asr": NodeStatus("asr", "Spotter", NodeState.READY, "s", processed=1190, sent=7, busy_seconds=2.25),
        }

    def channels(self) -> dict[str, ChannelStatistics]:
        return {
            "source.out": ChannelStatistics(
                name="source.out", state="active", messages=1200, bytes=7_500_000, occupancy=3, occupancy_bytes=18_000,
                capacity=10, capacity_bytes=1 << 20, high_water=10, blocked_seconds=1.5, writers=1, readers=1,
            )
        }  # fmt: skip


def drawn(live: _Live, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(live)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_terminal_sees_how_the_nodes_prepare_themselves() -> None:
    live = _Live(Terminal(), View("running speech"))
    live.starting("asr", "loading", 0.5, "weights loaded")
    live.starting("source", "ready", 1.0, "")
    lines = drawn(live)
    assert lines[0].startswith("running speech")
    assert [line.split() for line in lines[1:3]] == [
        ["asr", "loading", "50", "%,", "weights", "loaded"],
        ["source", "ready"],
    ]


def test_a_terminal_sees_states_counts_and_how_full_channels_are() -> None:
    live = _Live(Terminal(), View("running speech"))
    live.look(Session())
    live.tell("stopping")
    lines = [line.split() for line in drawn(live)]
    assert lines[1] == ["node", "state", "in", "out", "busy", "memory"]
    assert lines[2] == ["source", "processing", "0", "1,200", "0.0", "s", "91", "MB"]
    assert lines[3] == ["asr", "ready", "1,190", "7", "2.2", "s", "-"]
    assert lines[5] == ["source.out", "███░░░░░░░", "3/10", "1,200", "7.5", "1.5", "s"]
    assert lines[-1] == ["stopping"]


def test_narrow_terminals_are_not_overrun() -> None:
    live = _Live(Terminal(), View("running speech"))
    live.look(Session())
    assert max(len(line) for line in drawn(live, width=40)) <= 40


def test_lines_say_each_word_of_a_node_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _Lines(Terminal(), View("running speech"))
    for fraction in (0.25, 0.5):
        lines.starting("asr", "loading", fraction, "weights")
    lines.starting("asr", "ready", 1.0, "")
    assert capsys.readouterr().err.splitlines() == ["running speech", "  asr: loading 25 %, weights", "  asr: ready"]


def test_lines_come_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    lines, session = _Lines(Terminal(), View("running speech")), Session()
    for _ in range(3):
        lines.look(session)
    assert session.looks == 0
    lines.look(session, last=True)
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == [
        "  0:00  source: processing, 0 in, 1,200 out, 91 MB  asr: ready, 1,190 in, 7 out  source.out: 3/10"
    ]
