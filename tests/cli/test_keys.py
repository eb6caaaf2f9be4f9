"""``cobre keys``: what it makes, who can read it, and that it overwrites nothing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cobre.transport.curve import read_keys
from tests.cli.commands import Cli

FILES = {"coordinator.public", "coordinator.secret", "rank.public", "rank.secret", "token"}


def test_keys_are_made_for_this_user_alone(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("keys", tmp_path / "a" / "keys")
    assert (outcome.code, outcome.err) == (0, "")
    directory = tmp_path / "a" / "keys"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {path.name for path in directory.iterdir()} == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert read_keys(directory, 0).coordinator_secret
    assert read_keys(directory, 1).rank_secret
    for word in ("COBRE_TCP_KEYS", "COBRE_TCP_BIND_ADDR", "rank.secret", "coordinator.secret", str(directory)):
        assert word in outcome.out


def test_no_secret_is_printed(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("keys", tmp_path / "keys", "--verbose")
    for name in ("coordinator.secret", "rank.secret", "token"):
        assert (tmp_path / "keys" / name).read_text().strip() not in outcome.out + outcome.err


def test_the_document_lists_the_files(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("keys", tmp_path / "keys", "--json")
    assert outcome.document == {"directory": str(tmp_path / "keys"), "files": sorted(FILES)}


@pytest.mark.parametrize("what", ["directory", "file", "dangling link"])
def test_nothing_is_overwritten(cli: Cli, tmp_path: Path, what: str) -> None:
    place = tmp_path / "keys"
    if what == "directory":
        place.mkdir()
    elif what == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    outcome = cli("keys", place, "--json")
    assert outcome.code == 5
    assert outcome.document["error"]["kind"] == "Exists"
    assert str(place) in outcome.err
    assert not place.is_dir() or not list(place.iterdir())


def test_a_place_that_cannot_be_made_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = cli("keys", tmp_path / "file" / "keys", "--json")
    assert outcome.code == 5
    assert outcome.document["error"]["kind"] == "WriteFailed"
    assert str(tmp_path / "file" / "keys") in outcome.err
