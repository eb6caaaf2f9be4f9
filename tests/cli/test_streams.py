"""Terminals, pipes, full disks and closed streams, as real processes meet them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from cobre.sddp.policy import Policy
from tests.cli.commands import PATIENCE, command, environment, finish, start

MANY = ("--set", 'training.stopping_rules=[{"type": "iteration_limit", "limit": 300}]')
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(columns: int, *arguments: object, **variables: str) -> tuple[int, str]:
    """The exit code, and all that a terminal of that width received."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            command(*arguments),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(TERM="xterm-256color") | variables,
        )
        os.close(theirs)
        received = b""
        while chunk := _read(ours):
            received += chunk
        return process.wait(PATIENCE), received.decode()
    finally:
        os.close(ours)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux's way of saying that the other side has closed
        return b""


def shown_lines(screen: str) -> list[str]:
    return [line.rstrip() for line in re.split(r"[\r\n]+", ESCAPES.sub("", screen))]


@pytest.mark.parametrize("columns", [60])
def test_a_terminal_shows_live_progress_and_gets_its_cursor_back(case: Path, tmp_path: Path, columns: int) -> None:
    code, screen = on_a_terminal(columns, "train", case, "-o", tmp_path / "out", *MANY)
    assert code == 0
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h") == 1
    assert any(line.startswith("iteration") and line.endswith("of 300") for line in shown_lines(screen))
    drawn = screen.split("\x1b[?25h")[0]
    assert max(len(line) for line in shown_lines(drawn)) <= columns
    assert shown_lines(screen)[-2].endswith("policy")  # the summary comes after, and stays


def test_colours_are_left_out_where_they_are_not_wanted(case: Path, tmp_path: Path) -> None:
    code, screen = on_a_terminal(80, "train", case, "-o", tmp_path / "out", *MANY, NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;5;\d+)m", screen)


def test_a_dumb_terminal_gets_plain_lines(case: Path, tmp_path: Path) -> None:
    code, screen = on_a_terminal(80, "train", case, "-o", tmp_path / "out", *MANY, TERM="dumb")
    assert code == 0
    assert "\x1b" not in screen
    assert "iteration 300 of 300" in " ".join(screen.split())


def test_a_pipe_gets_plain_lines_that_are_not_broken(case: Path, tmp_path: Path) -> None:
    outcome = finish(start("train", case, "-o", tmp_path / "out", *MANY))
    assert "\x1b" not in outcome.out + outcome.err
    first, last = outcome.err.splitlines()[1], outcome.err.splitlines()[-1]
    assert "iteration 1 of 300  bound" in first
    assert "iteration 300 of 300  bound" in last
    assert "left" not in last


def test_json_is_alone_on_stdout(case: Path, tmp_path: Path) -> None:
    outcome = finish(start("run", case, "-o", tmp_path / "out", "--json", "--verbose"))
    assert outcome.document["training"]["iterations"] == 6
    assert "training brook: 3 stages" in outcome.err


def test_a_reader_who_leaves_is_no_error(output: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        outcome = finish(start("report", output, "--no-pictures", stdout=closed))
    assert (outcome.code, outcome.err) == (141, "")


def test_progress_that_nobody_reads_ends_no_run(case: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        process = start("train", case, "-o", tmp_path / "out", "--verbose", "--json", stderr=closed)
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert '"iterations": 6' in out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [("--json",), (), ("--help",)])
def test_a_full_stdout_is_an_error(case: Path, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        outcome = finish(start("validate", case, *arguments, stdout=full))
    assert outcome.code == 5
    assert "No space left" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(("closed", "code"), [(">&-", 5), ("2>&-", 0)])
def test_closed_streams(case: Path, closed: str, code: int) -> None:
    line = " ".join(command("validate", case))
    done = subprocess.run(["sh", "-c", f"{line} {closed}"], env=environment(), capture_output=True, text=True)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def small_disk_works() -> bool:
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    mount = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not small_disk_works(), reason="no mount namespace of our own can be made here")
@pytest.mark.parametrize(("size", "parts"), [("16k", ()), ("96k", ("--simulate",))])
def test_a_full_disk(case: Path, tmp_path: Path, size: str, parts: tuple[str, ...]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    run = " ".join(command("run", case, "-o", disk / "out", *parts))
    after = f"ls -A {disk}/out"
    line = f"mount -t tmpfs -o size={size} none {disk} && {run}; code=$?; {after}; exit $code"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    around = environment() | {"TMPDIR": str(elsewhere)}
    done = subprocess.run(["unshare", "-m", "sh", "-c", line], env=around, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert ".part" not in done.stdout  # of what could not be written whole nothing stays
    if not parts:  # it was the training that found no room: its policy is saved where there is some
        rescued = next(elsewhere.glob("cobre-rescued-*/policy"))
        assert str(rescued) in " ".join(done.stderr.split())
        assert Policy.load(rescued).iterations > 0
