"""Where workers meet, and what the machine has no room for: said before anything starts."""

from __future__ import annotations

import os
from collections import namedtuple

import pytest

from cobre.engine import placement
from cobre.engine.placement import check_machine, check_shared_memory, choose_place, shared_bytes
from cobre.errors import CommError, ValidationError
from cobre.sddp.settings import Enumerated, Sampled, TrainingSettings
from tests.sddp.small import cascade


def test_a_place_in_shared_memory_is_new_each_time() -> None:
    first, second = choose_place("shm"), choose_place("shm")
    assert first.first == first.others != second.first
    assert not first.announced


def test_on_any_free_port_rank_0_announces_where() -> None:
    place = choose_place("tcp", {})
    assert place.announced
    assert place.first["port"] == 0
    assert len(place.first["token"]) >= 16
    assert place.others["token"] == place.first["token"]
    assert "keys" not in place.first


def test_a_coordinator_inside_this_host_needs_no_keys() -> None:
    place = choose_place("tcp", {"COBRE_TCP_COORDINATOR": "127.0.0.1:29511"})
    assert not place.announced
    assert (place.first["coordinator"], place.first["port"]) == ("127.0.0.1:29511", 29511)
    assert "keys" not in place.others


def test_a_coordinator_that_others_reach_has_keys_that_nobody_had_to_make() -> None:
    place = choose_place("tcp", {"COBRE_TCP_COORDINATOR": "192.0.2.7", "COBRE_TCP_PORT": "29600"})
    assert place.first["keys"] is place.others["keys"]
    assert place.first["bind_address"] == "192.0.2.7"


def test_an_address_that_is_none_is_refused_here() -> None:
    with pytest.raises(CommError, match="COBRE_TCP_COORDINATOR"):
        choose_place("tcp", {"COBRE_TCP_COORDINATOR": "127.0.0.1:many"})


def test_more_workers_than_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = namedtuple("memory", "available")(100 << 20)
    monkeypatch.setattr(placement.psutil, "virtual_memory", lambda: memory)
    check_machine(2)
    with pytest.raises(ValidationError, match="use at most 2") as caught:
        check_machine(50)
    assert caught.value.diagnostics[0].field == "num_workers"


def test_more_workers_than_this_process_may_open_files_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement.resource, "getrlimit", lambda which: (200, 200))
    with pytest.raises(ValidationError, match=r"ulimit -n \d+"):
        check_machine(40)


def test_shared_memory_that_is_too_small_is_refused_with_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = shared_bytes(cascade(), TrainingSettings(passes=Sampled(10)), 2)
    assert needed < shared_bytes(cascade(), TrainingSettings(passes=Enumerated()), 2)
    check_shared_memory(needed)
    real = os.statvfs("/dev/shm")
    small = namedtuple("small", "f_bavail f_frsize")(10, real.f_frsize)
    monkeypatch.setattr(placement.os, "statvfs", lambda path: small)
    with pytest.raises(ValidationError, match=r"may need [\d.]+ MB"):
        check_shared_memory(needed)
