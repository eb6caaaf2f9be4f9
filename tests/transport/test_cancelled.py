"""A rank that is told to give up while the group forms does so, and the others do not go on waiting for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cobre.errors import CommError
from cobre.transport import create_communicator

LONG = {"connect_timeout": 60.0}


def places(backend: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of rank 0 and of another rank of a group whose third rank never comes."""
    if backend == "shm":
        return LONG | {"name": "test-cancelled"}, LONG | {"name": "test-cancelled"}
    token = {"token": "x" * 32}
    return LONG | token | {"port": 0}, LONG | token


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("backend", ["shm", "tcp"])
def test_a_rank_gives_up_alone(backend: str, rank: int) -> None:
    given = places(backend)[rank] | ({"coordinator": "127.0.0.1:9"} if (backend, rank) == ("tcp", 1) else {})
    with pytest.raises(CommError) as caught:
        create_communicator(backend, rank=rank, size=3, cancelled=lambda: True, **given)
    assert (caught.value.kind, caught.value.operation) == ("Aborted", "connect")
    assert "told to give up" in caught.value.message


@pytest.mark.parametrize("gives_up", [0, 1])
@pytest.mark.parametrize("backend", ["shm", "tcp"])
def test_the_other_hears_of_it(backend: str, gives_up: int) -> None:
    first, other = places(backend)
    together, announced, address = threading.Event(), threading.Event(), list[str]()

    def announce(place: str) -> None:
        address.append(place)
        announced.set()

    if backend == "tcp":
        first["announce"] = announce

    def be(rank: int) -> CommError:
        given = dict(first if rank == 0 else other)
        if backend == "tcp" and rank == 1:
            announced.wait()
            given["coordinator"] = address[0]
        if rank == gives_up:
            given["cancelled"] = together.is_set
        with pytest.raises(CommError) as caught:
            create_communicator(backend, rank=rank, size=3, **given)
        return caught.value

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(be, rank) for rank in (0, 1)]
        threading.Timer(0.2, together.set).start()
        errors = [future.result() for future in waiting]
    assert errors[gives_up].kind == "Aborted"
    assert errors[1 - gives_up].kind in ("Aborted", "RankLost")
