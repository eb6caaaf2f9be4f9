"""Files and folders appear whole or not at all, also when the disk is full or the run is cut off."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cobre.errors import IOError
from cobre.files import new_directory, new_file


def test_a_file_appears_when_it_is_done(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with new_file(target) as part:
        part.write_text("half")
        assert not target.exists()
        assert part.parent == target.parent
    assert target.read_text() == "half"
    assert os.listdir(target.parent) == ["file.txt"]
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_file_that_fails_half_way_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file.txt"
    target.write_text("before")

    def fail() -> None:
        with new_file(target) as part:
            part.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_folder_appears_when_it_is_done_and_never_over_another(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with new_directory(target) as part:
        (part / "a").write_text("a")
        assert os.listdir(target) == []
    assert os.listdir(target) == ["a"]
    with pytest.raises(IOError, match="not empty") as caught, new_directory(target):
        pytest.fail("the block must not be entered")
    assert caught.value.kind == "OutputExists"

    def fail() -> None:
        with new_directory(tmp_path / "other") as part:
            (part / "a").write_text("a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert os.listdir(tmp_path) == ["folder"]


def test_a_place_that_cannot_be_written_is_our_error_with_the_system_s_reason(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(IOError, match=str(blocked / "x")) as caught, new_file(blocked / "x"):
        pytest.fail("the block must not be entered")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.context["errno"]


FULL_DISK = """
import subprocess, sys
mount = sys.argv[1]
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount]).returncode:
    sys.exit(77)
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from cobre.errors import IOError
from cobre.files import new_directory, new_file
target = Path(mount, "out", "file")
with new_file(target) as part:
    part.write_text("before")
for attempt in (1, 2):
    try:
        with new_file(target) as part:
            part.write_bytes(bytes(10**6))
    except IOError as error:
        assert "space" in str(error), error
    else:
        sys.exit("a full disk went unnoticed")
    try:
        with new_directory(Path(mount, "policy")) as part:
            (part / "a").write_bytes(bytes(10**6))
    except IOError as error:
        assert error.kind == "WriteFailed", error
    else:
        sys.exit("a full disk went unnoticed")
assert target.read_text() == "before"
assert [p.name for p in Path(mount).rglob("*")] == ["out", "file"], list(Path(mount).rglob("*"))
"""


def test_a_full_disk_is_a_clear_error_and_nothing_is_lost(tmp_path: Path) -> None:
    """On a small file system of its own, in a mount namespace that ends with the process."""
    script = tmp_path / "full.py"
    script.write_text(textwrap.dedent(FULL_DISK))
    mount = tmp_path / "mount"
    mount.mkdir()
    command = ["unshare", "--mount", sys.executable, str(script), str(mount), *sys.path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounting needs rights that this user does not have")
    assert done.returncode == 0, done.stderr
