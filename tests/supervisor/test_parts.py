"""The parts of the supervisor that need no process: the board, frames, stderr, the count of memory kills."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cobre.errors import CobreError
from cobre.supervisor import Board, Grace, Supervisor, health
from cobre.supervisor.board import new_page
from cobre.supervisor.stderr import Forward, Tail
from cobre.supervisor.wiring import Frames, frame
from tests.supervisor.conftest import HANG, spec, started


@pytest.mark.parametrize("anonymous", [True, False])
def test_what_one_side_of_a_board_writes_the_other_reads(anonymous: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not anonymous:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    page = new_page()
    ours, theirs = Board(page, ("a", "b")), Board(page, ("a", "b"))
    os.close(page)
    assert (ours.beats, ours.busy, ours.waiting, ours.marks()) == (0, False, False, {"a": 0, "b": 0})
    theirs.beat()
    theirs.beat()
    theirs.busy = theirs.waiting = True
    theirs.mark("b", -(2**63))
    assert (ours.beats, ours.busy, ours.waiting, ours.marks()) == (2, True, True, {"a": 0, "b": -(2**63)})
    theirs.waiting = False
    assert (ours.busy, ours.waiting) == (True, False)
    with pytest.raises(KeyError):
        theirs.mark("c", 1)
    for board in (ours, theirs):
        board.close()
        board.close()
    with pytest.raises(ValueError, match="released"):
        ours.marks()


def test_a_board_has_room_for_so_many_marks() -> None:
    page = new_page()
    try:
        Board(page, [str(number) for number in range(509)]).close()
        with pytest.raises(ValueError, match="509 marks, not for 510"):
            Board(page, [str(number) for number in range(510)])
    finally:
        os.close(page)


def test_a_spec_that_cannot_be_met_is_refused_and_holds_nothing() -> None:
    with Supervisor(start_method="spawn") as supervisor:
        with pytest.raises(ValueError, match="marks"):
            supervisor.spawn(spec("echo", marks=tuple(str(number) for number in range(510))))
        started(supervisor, "echo")
        assert len(supervisor.stop()) == 1


@given(st.lists(st.tuples(st.sampled_from([b"A", b"M"]), st.binary(max_size=20))), st.lists(st.integers(1, 9)))
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame(kind, payload) for kind, payload in sent)
    frames, heard, sizes = Frames(), list[tuple[bytes, bytes]](), [*cuts, len(data) or 1]
    for size in sizes:
        heard += frames.feed(data[:size])
        data = data[size:]
    assert heard == sent


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_a_tail_is_the_end_of_it_and_no_more_than_its_size(pieces: list[bytes]) -> None:
    tail, whole = Tail(32), b"".join(pieces)
    for piece in pieces:
        tail.add(piece)
    told = tail.text()
    assert whole.decode(errors="replace").endswith(told) or whole[-32:].decode(errors="replace").endswith(told)
    assert len(told) <= 32
    if len(whole) <= 32:
        assert told == whole.decode(errors="replace")


def test_stderr_that_nobody_reads_is_not_waited_for_and_what_is_lost_is_counted() -> None:
    heard, said = os.pipe()
    forward = Forward(said, room=1000)
    try:
        while not forward.blocked:
            forward.add(b"x" * 1000)
        forward.add(b"y" * 2000)
        forward.flush(patience=0.01)
        os.set_blocking(heard, False)
        while forward.blocked:
            os.read(heard, 1 << 20)
            forward.flush()
        forward.add(b"z")
        assert os.read(heard, 1 << 20).endswith(b"x\n[2000 bytes of stderr dropped]\nz")
    finally:
        os.close(heard)
        os.close(said)


@pytest.mark.parametrize("way", ["no reader", "closed"])
def test_stderr_that_is_gone_is_no_fault(way: str) -> None:
    heard, said = os.pipe()
    os.close(heard)
    if way == "closed":
        os.close(said)
    forward = Forward(said)
    forward.add(b"x")
    assert not forward.blocked
    if way != "closed":
        os.close(said)


@pytest.mark.parametrize(
    ("membership", "file", "content"),
    [
        ("0::/run/one\n", "run/one/memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 7\noom_group_kill 0\n"),
        ("0::/run/one\n", "memory.events", "oom_kill 7\n"),  # a container sees its own group as the root
        ("0::/\n4:memory:/run/one\n", "memory/run/one/memory.oom_control", "under_oom 0\noom_kill 7\n"),
        ("4:memory:/run/one\n", "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"),
    ],
)
def test_where_the_system_counts_memory_kills(
    membership: str, file: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self").write_text(membership)
    (tmp_path / "root" / file).parent.mkdir(parents=True)
    (tmp_path / "root" / file).write_text(content)
    found = health.find_counter(tmp_path / "self", tmp_path / "root")
    assert found == tmp_path / "root" / file
    monkeypatch.setattr(health, "find_counter", lambda *_: found)
    assert health.memory_kills() == 7
    (tmp_path / "root" / file).unlink()
    assert health.memory_kills() is None


def test_where_nothing_counts_them(tmp_path: Path) -> None:
    assert health.find_counter(tmp_path / "none", tmp_path) is None
    (tmp_path / "self").write_text("0::/run\n")
    assert health.find_counter(tmp_path / "self", tmp_path) is None


@pytest.mark.parametrize("lists", [True, False])
def test_descendants(lists: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not lists:
        monkeypatch.setattr(health, "_has_lists", lambda: False)
    program = "import subprocess, sys\nsubprocess.run(['sh', '-c', 'echo $$; read line; exit'])"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    with child, child.stdin, child.stdout:
        grandchild = int(child.stdout.readline())
        assert child.pid in health.descendants(os.getpid())
        assert health.descendants(child.pid) == [grandchild]
    assert health.descendants(child.pid) == []


def test_a_pulse_of_what_is_gone_is_none() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        pulse = health.Pulse(child.pid)
        sample = pulse.sample()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert sample is not None
        assert sample.memory_bytes > 0
        assert pulse.sample() is None, "a zombie has no memory to look at"
    assert pulse.sample() is None


@pytest.mark.parametrize("wrong", [{"sample_every": 0.0}, {"history": 0}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(CobreError) as caught:
        Supervisor(**wrong)  # type: ignore[arg-type]
    assert caught.value.kind == "OutOfRange"
    with pytest.raises(CobreError):
        Grace(ask=-1.0)


def test_times_of_any_length_are_taken() -> None:
    ages = 1e12
    with Supervisor(start_method="spawn", sample_every=ages, grace=Grace(ages, ages)) as supervisor:
        process = started(supervisor, "echo")
        assert process.alive
        assert supervisor.stop()[0].cause == "stopped"
        assert process.wait(ages) is process.report
        assert supervisor.spawn(spec("exit_at_once")).wait(HANG) is not None
