"""Keys in files: who may read them, what is refused by name; the secret that a user has on one host."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cobre.errors import CommError
from cobre.transport.curve import make_keys, new_keys, read_keys
from cobre.transport.tcp_token import user_token


def test_keys_come_back_without_the_secret_that_a_rank_does_not_need(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    zero, other = read_keys(tmp_path / "keys", 0), read_keys(tmp_path / "keys", 5)
    assert zero.coordinator_secret
    assert not zero.rank_secret
    assert other.rank_secret
    assert not other.coordinator_secret
    assert (zero.rank_public, zero.coordinator_public, zero.token) == (
        other.rank_public,
        other.coordinator_public,
        other.token,
    )


def test_keys_differ_each_time_and_do_not_show(tmp_path: Path) -> None:
    first, second = new_keys(), new_keys()
    assert first.token != second.token
    assert first.rank_secret != second.rank_secret
    for secret in (first.token, first.rank_secret, first.coordinator_secret):
        assert secret not in repr(first)


def test_the_host_of_one_side_does_without_the_other_sides_secret(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    (tmp_path / "keys" / "rank.secret").unlink()
    read_keys(tmp_path / "keys", 0)
    with pytest.raises(CommError, match=r"rank\.secret is missing"):
        read_keys(tmp_path / "keys", 1)


@pytest.mark.parametrize("name", ["coordinator.public", "coordinator.secret", "rank.public", "token"])
@pytest.mark.parametrize("fault", ["missing", "readable", "link", "directory", "empty", "damaged"])
def test_a_file_that_is_not_as_it_was_made_is_refused_by_name(tmp_path: Path, name: str, fault: str) -> None:
    make_keys(tmp_path / "keys")
    path = tmp_path / "keys" / name
    text = path.read_text()
    if fault == "readable":
        path.chmod(0o640)
    elif fault in ("empty", "damaged"):
        path.write_text("" if fault == "empty" else "\x00" + text[1:])
    else:
        path.unlink()
    if fault == "link":
        (tmp_path / "elsewhere").write_text(text)
        path.symlink_to(tmp_path / "elsewhere")
    if fault == "directory":
        path.mkdir()
    with pytest.raises(CommError) as caught:
        read_keys(tmp_path / "keys", 0)
    assert caught.value.kind == "InvalidArgument"
    assert str(path) in caught.value.message
    assert caught.value.suggestion
    assert text.strip() not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    os.chown(tmp_path / "keys" / "token", 65534, 65534)
    with pytest.raises(CommError, match="belongs to user 65534"):
        read_keys(tmp_path / "keys", 0)


def test_a_user_has_one_token_whoever_comes_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(user_token, [tmp_path] * 32))
    assert len(tokens) == 1
    assert [path.name for path in (tmp_path / "cobre").iterdir()] == ["tcp-token"]
    assert stat.S_IMODE((tmp_path / "cobre").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "cobre" / "tcp-token").stat().st_mode) == 0o600
    assert user_token(tmp_path) in tokens


@pytest.mark.parametrize("fault", ["readable", "damaged", "no directory"])
def test_a_token_that_others_may_know_is_refused(tmp_path: Path, fault: str) -> None:
    user_token(tmp_path)
    path = tmp_path / "cobre" / "tcp-token"
    if fault == "readable":
        path.chmod(0o644)
    elif fault == "damaged":
        path.write_text("0" * 63 + "\n")
    else:
        path.unlink()
        path.parent.rmdir()
        path.parent.write_text("in the way")
    with pytest.raises(CommError) as caught:
        user_token(tmp_path)
    assert caught.value.kind == "InvalidArgument"
    assert str(path) in caught.value.message
    assert caught.value.suggestion
