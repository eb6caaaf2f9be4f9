"""Forming groups over tcp: addresses, secrets, keys, and what a rank is told when it does not come in."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cobre.errors import CommError
from cobre.transport import Communicator, create_communicator
from cobre.transport.curve import CurveKeys, make_keys, new_keys
from cobre.transport.tcp_address import meeting_place

PATIENCE = 60.0
TOKEN = "c" * 32
SHORT = {"connect_timeout": 1.5}


def form(work: Callable[[Communicator], Any], *others: dict[str, Any], **zero: Any) -> list[Any]:
    """The result, or the error, of ``work`` on rank 0 and on those that join it, each in a thread of its own."""
    met: list[str] = []
    known = threading.Event()
    common = {"size": len(others) + 1, "token": TOKEN, "timeout": PATIENCE, "connect_timeout": PATIENCE}

    def announce(address: str) -> None:
        met.append(address)
        known.set()

    def part(rank: int, settings: dict[str, Any]) -> Any:
        own = {"rank": rank, **common, **settings}
        if rank == 0:
            own |= {"port": 0, "announce": announce}
        elif known.wait(PATIENCE):
            own.setdefault("coordinator", met[0])
        try:
            with create_communicator("tcp", **own) as group:
                return work(group)
        except CommError as error:
            return error

    with ThreadPoolExecutor(len(others) + 1) as pool:
        return list(pool.map(part, range(len(others) + 1), [zero, *others]))


def gathered(group: Communicator) -> list[float]:
    group.barrier()
    large = group.allgatherv(np.full(100_000, float(group.rank)), [100_000] * group.size)
    assert (large.reshape(group.size, -1) == np.arange(group.size)[:, None]).all()
    return group.allgatherv(np.full(1, float(group.rank)), [1] * group.size).tolist()


@pytest.mark.parametrize("coordinator", ["localhost", "127.0.0.1", "127.0.0.7", "[::1]"])
def test_ranks_meet_at_any_address_of_their_host(coordinator: str) -> None:
    assert form(gathered, {}, {}, coordinator=coordinator) == [[0.0, 1.0, 2.0]] * 3


def test_a_user_needs_no_token_on_one_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert form(gathered, {"token": None}, token=None) == [[0.0, 1.0]] * 2
    assert (tmp_path / "cobre" / "tcp-token").exists()


def test_keys_in_a_directory_and_in_memory(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    settings: list[str | CurveKeys] = [str(tmp_path / "keys"), new_keys()]
    for keys in settings:
        assert form(gathered, {"keys": keys}, {"keys": keys}, keys=keys) == [[0.0, 1.0, 2.0]] * 3


def test_a_rank_with_other_keys_is_refused() -> None:
    def wait(group: Communicator) -> None:
        raise AssertionError("the group must not form")

    keys = new_keys()
    outcomes = form(wait, {"keys": new_keys()}, keys=keys, connect_timeout=2.0)
    assert [outcome.kind for outcome in outcomes] == ["Timeout", "Refused"]
    assert outcomes[0].context["ranks"] == [1]


def test_a_stolen_token_without_the_ranks_key_is_never_heard() -> None:
    keys, other = new_keys(), new_keys()
    thief = CurveKeys(keys.coordinator_public, "", other.rank_public, other.rank_secret, keys.token)
    outcomes = form(gathered, {"keys": thief, "connect_timeout": 3.0}, keys=keys, connect_timeout=3.0)
    assert all(isinstance(outcome, CommError) for outcome in outcomes)


@pytest.mark.parametrize("setting", [{"coordinator": "192.0.2.1"}, {"bind_address": "0.0.0.0"}])
@pytest.mark.parametrize("rank", [0, 1])
def test_what_other_hosts_can_reach_needs_keys(rank: int, setting: dict[str, str]) -> None:
    with pytest.raises(CommError) as caught:
        create_communicator("tcp", rank=rank, size=2, token=TOKEN, **setting)
    assert caught.value.kind == "InvalidArgument"
    assert "keys" in caught.value.message
    assert "COBRE_TCP_KEYS" in str(caught.value)


def test_rank_0_listens_inside_its_host_unless_told() -> None:
    with pytest.raises(CommError, match="COBRE_TCP_BIND_ADDR"):
        create_communicator("tcp", rank=0, size=2, coordinator="192.0.2.1", keys=new_keys())


@pytest.mark.parametrize(
    ("other", "kinds"),
    [
        ({"run_id": "b"}, ["Timeout", "Refused"]),
        ({"generation": 6}, ["Timeout", "Refused"]),
        ({"generation": 8}, ["Timeout", "Timeout"]),  # it waits for a coordinator of its own generation
        ({"token": "d" * 32}, ["Timeout", "Refused"]),
        ({"size": 3}, ["Mismatch", "Mismatch"]),
    ],
)
def test_who_does_not_belong_is_told_why(other: dict[str, Any], kinds: list[str]) -> None:
    outcomes = form(gathered, {"generation": 7} | other | SHORT, generation=7, **SHORT)
    assert [outcome.kind for outcome in outcomes] == kinds
    assert all(outcome.operation == "connect" for outcome in outcomes)


def test_nothing_listens_once_the_group_has_formed() -> None:
    met: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        known = threading.Event()
        zero = pool.submit(
            lambda: create_communicator(
                "tcp", rank=0, size=2, port=0, token=TOKEN, announce=lambda at: (met.append(at), known.set())
            )
        )
        assert known.wait(PATIENCE)
        with create_communicator("tcp", rank=1, size=2, coordinator=met[0], token=TOKEN), zero.result():
            host, port = met[0].split(":")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, int(port)), timeout=PATIENCE)


@pytest.mark.parametrize("text", ["", "a:b:c]", "host:", ":1", "host:x", "[::1", "[::1]x", "tcp://h", "h:70000"])
def test_texts_that_are_no_address(text: str) -> None:
    with pytest.raises(CommError) as caught:
        meeting_place("coordinator", text, 1)
    assert caught.value.kind == "InvalidArgument"


def test_tokens_do_not_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        form(gathered, {})
    assert TOKEN not in caplog.text
