"""Named memory: who may have it, when it has a name, and what becomes of it when its maker is killed."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cobre.transport.segment import DIRECTORY, Segment, page_rounded, sweep

MAKER = """
import sys
from cobre.transport.segment import Segment
held = Segment.make(sys.argv[1], 8192)
print("made", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def name() -> str:
    return f"cobre-test-{secrets.token_hex(6)}"


def maker(name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKER, name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "made\n"
    return process


def end(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.communicate()


def test_a_segment_is_private_reserved_zero_and_nameless_after_release(name: str) -> None:
    segment = Segment.make(name, 100_000)
    found = (DIRECTORY / name).stat()
    assert found.st_mode & 0o777 == 0o600
    assert found.st_size == page_rounded(100_000) == len(segment.memory)
    assert found.st_blocks * 512 >= found.st_size, "a hole would be a SIGBUS later"
    assert not any(bytes(segment.memory))
    attached = Segment.attach(name)
    assert attached is not None
    segment.release_name()
    segment.release_name()
    attached.release_name()
    assert not (DIRECTORY / name).exists()
    segment.memory[7] = 9
    assert attached.memory[7] == 9


def test_a_living_makers_name_is_neither_taken_nor_swept(name: str) -> None:
    process = maker(name)
    try:
        with pytest.raises(FileExistsError):
            Segment.make(name, 4096)
        sweep()
        attached = Segment.attach(name)
        assert attached is not None
        attached.release_name()
        assert (DIRECTORY / name).exists(), "whoever attached does not remove a name"
    finally:
        end(process)
    sweep()


def test_what_a_killed_maker_left_is_never_attached_to_and_is_swept(name: str) -> None:
    end(maker(name))
    assert (DIRECTORY / name).exists(), "the kill came while the segment had a name"
    assert Segment.attach(name) is None
    sweep()
    assert not (DIRECTORY / name).exists()


def test_a_stale_name_is_made_anew(name: str) -> None:
    end(maker(name))
    before = (DIRECTORY / name).stat().st_ino
    segment = Segment.make(name, 4096)
    assert (DIRECTORY / name).stat().st_ino != before
    segment.release_name()


def test_a_place_is_taken_once_and_freed_with_its_holder(name: str) -> None:
    first = Segment.make(name, 4096)
    second = Segment.attach(name)
    assert second is not None
    assert first.claim(3)
    assert not second.claim(3)
    assert second.claim(4)
    assert second.is_claimed(3)
    first.release_name()
    assert not second.is_claimed(3)
    second.release_name()


def test_a_segment_that_others_may_write_is_refused(name: str) -> None:
    segment = Segment.make(name, 4096)
    os.chmod(DIRECTORY / name, 0o666)
    with pytest.raises(PermissionError):
        Segment.attach(name)
    segment.release_name()


@pytest.mark.parametrize("bad", ["x", "cobre-", "cobre-a/b", "cobre-a b", "cobre-" + "x" * 201, "cobre-\0"])
def test_a_name_is_checked(bad: str) -> None:
    with pytest.raises(ValueError, match="name of a segment"):
        Segment.make(bad, 4096)


def test_no_room_leaves_nothing(name: str) -> None:
    with pytest.raises(OSError, match=r"o space left|too large|annot allocate"):
        Segment.make(name, 2**60)
    assert not (DIRECTORY / name).exists()


def test_a_link_is_not_followed(name: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(bytes(4096))
    os.symlink(tmp_path / "elsewhere", DIRECTORY / name)
    try:
        with pytest.raises(OSError, match="symbolic links"):
            Segment.attach(name)
        sweep()
        assert (DIRECTORY / name).is_symlink(), "what is not a segment is none of ours"
    finally:
        os.unlink(DIRECTORY / name)
