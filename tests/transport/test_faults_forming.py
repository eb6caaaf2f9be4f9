"""Groups that cannot be formed: every rank that came is told why, within its time, and nothing is left behind."""

from __future__ import annotations

import secrets
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from cobre.errors import CommError
from cobre.testing.ranks import Outcome, RankGroup, RankHost
from tests.transport import fault_deeds as deeds

KINDS = ("shm", "tcp")
SHORT, LONG = 1.5, 60.0  # seconds for a group to form in
SOON = 10.0


class Meeting:
    """Processes that join a group one by one, each with settings of its own."""

    def __init__(self, kind: str, group: RankGroup) -> None:
        self.kind, self.group = kind, group
        self.place: dict[str, Any] = {"kind": kind}
        if kind == "shm":
            self.place["name"] = f"test-{secrets.token_hex(6)}"
        else:
            self.place["token"] = secrets.token_hex(16)

    def join(self, process: int, rank: int, size: int, timeout: float = LONG, **settings: Any) -> None:
        chosen = {**self.place, "rank": rank, "size": size, "connect_timeout": timeout, **settings}
        if self.kind == "tcp" and rank == 0 and "coordinator" not in self.place:
            self.group.start(deeds.form_and_tell, {"port": 0, **chosen}, ranks=[process])
            self.place["coordinator"] = self.group.hear(process)
        else:
            self.group.start(deeds.form, chosen, ranks=[process])


def failure(outcome: Outcome) -> CommError:
    assert isinstance(outcome.error, CommError), outcome.describe()
    assert outcome.error.operation == "connect", outcome.error
    return outcome.error


@pytest.mark.parametrize("missing", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_is_missing(rank_host: RankHost, kind: str, missing: int) -> None:
    with RankGroup(None, 2, host=rank_host) as group:
        meeting = Meeting(kind, group)
        if kind == "tcp" and missing == 0:
            meeting.place["coordinator"] = f"127.0.0.1:{_closed_port()}"
        present = [rank for rank in range(3) if rank != missing]
        for process, rank in enumerate(present):
            meeting.join(process, rank, 3, SHORT)
        for outcome in group.wait():
            error = failure(outcome)
            assert error.kind in {"Timeout", "Aborted", "RankLost"}, error
            assert error.context["ranks"] == [missing], error
            assert outcome.seconds < SHORT + SOON


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("double", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_comes_twice(rank_host: RankHost, kind: str, double: int) -> None:
    """One of the two is refused; the group forms with the other, and works, or nobody's does."""
    with RankGroup(None, 4, host=rank_host) as group:
        meeting = Meeting(kind, group)
        meeting.join(0, 0, 3, SHORT)
        if double == 0 and kind == "tcp":
            address = meeting.place["coordinator"]
            meeting.join(3, 0, 3, SHORT, coordinator=address, port=int(address.rpartition(":")[2]))
        else:
            meeting.join(3, double, 3, SHORT)
        time.sleep(0.2)
        meeting.join(1, 1, 3, SHORT)
        meeting.join(2, 2, 3, SHORT)
        outcomes = group.wait()
        rivals = [outcomes[double], outcomes[3]]
        refused = [outcome for outcome in rivals if outcome.error]
        assert refused, "both ranks of the same number were let in"
        for outcome in outcomes:
            if outcome.error:
                failure(outcome)
                assert outcome.seconds < SHORT + SOON
            else:
                assert outcome.value[1] == 3
        if len(refused) == 1:
            assert sum(outcome.error is None for outcome in outcomes) == 3, [o.describe() for o in outcomes]


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_come_with_two_sizes(rank_host: RankHost, kind: str) -> None:
    with RankGroup(None, 3, host=rank_host) as group:
        meeting = Meeting(kind, group)
        meeting.join(0, 0, 3)
        meeting.join(1, 1, 3)
        time.sleep(0.3)  # who comes after the quarrel finds nobody
        meeting.join(2, 2, 4)
        outcomes = group.wait()
        errors = [failure(outcome) for outcome in outcomes]
        assert errors[2].kind == "Mismatch", errors[2]
        assert all(error.kind in {"Mismatch", "Aborted", "RankLost"} for error in errors), errors
        assert errors[0].kind == "Mismatch", errors[0]
        assert all(outcome.seconds < SOON for outcome in outcomes), "they waited for what could not come"


@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_dies_while_the_group_forms(rank_host: RankHost, kind: str) -> None:
    with RankGroup(None, 3, host=rank_host) as group:
        meeting = Meeting(kind, group)
        meeting.join(0, 0, 4)
        meeting.join(1, 1, 4)
        meeting.join(2, 2, 4)
        time.sleep(0.3)
        group.kill(1)
        outcomes = group.wait()
        for outcome in (outcomes[0], outcomes[2]):
            error = failure(outcome)
            assert error.kind in {"RankLost", "Aborted"}, error
            assert error.context["ranks"] == [1], error
            assert outcome.seconds < SOON


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_come_in_any_order_and_late(rank_host: RankHost, kind: str) -> None:
    with RankGroup(None, 4, host=rank_host) as group:
        meeting = Meeting(kind, group)
        order = (3, 1, 0, 2) if kind == "shm" else (0, 3, 1, 2)
        for process, rank in enumerate(order):
            meeting.join(process, rank, 4)
            time.sleep(0.05)
        assert [outcome.value for outcome in group.wait()] == [(rank, 4) for rank in order]


def test_a_segment_that_a_killed_run_left(rank_host: RankHost) -> None:
    """The only window in which one can stay: rank 0 is killed while it waits for the others."""
    with RankGroup(None, 3, host=rank_host) as group:
        meeting = Meeting("shm", group)
        meeting.join(2, 0, 2)
        deadline = time.monotonic() + SOON
        while not (left := _segments_of(meeting)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert left, "rank 0 made no segment"
        group.kill(2)
        assert group.wait(ranks=[2])[0].returncode == -signal.SIGKILL
        assert _segments_of(meeting) == left
        meeting.join(1, 1, 2)  # finds what was left, and waits for better
        time.sleep(0.1)
        meeting.join(0, 0, 2)
        assert [outcome.value for outcome in group.wait(ranks=[0, 1])] == [(0, 2), (1, 2)]
        assert not _segments_of(meeting)


def test_segments_of_killed_runs_are_swept_by_the_next(rank_host: RankHost) -> None:
    """Also one of another name; a living group's, in the same moment, is let be."""
    with RankGroup(None, 3, host=rank_host) as group:
        dead, alive, later = (Meeting("shm", group) for _ in range(3))
        dead.join(0, 0, 2)
        alive.join(1, 0, 2)
        deadline = time.monotonic() + SOON
        while not (_segments_of(dead) and _segments_of(alive)) and time.monotonic() < deadline:
            time.sleep(0.01)
        group.kill(0)
        group.wait(ranks=[0])
        later.join(2, 0, 1)
        assert group.wait(ranks=[2])[0].value == (0, 1)
        assert not _segments_of(dead)
        assert _segments_of(alive)
        alive.join(2, 1, 2)
        assert [outcome.value for outcome in group.wait(ranks=[1, 2])] == [(0, 2), (1, 2)]


def _segments_of(meeting: Meeting) -> list[Path]:
    return sorted(Path("/dev/shm").glob(f"*{meeting.place['name']}*"))


def _share_memory_of(group: RankGroup, size: int) -> None:
    """All ranks of the group see a /dev/shm of ``size`` bytes, and nobody else does."""
    group.start(deeds.own_shared_memory, size, ranks=[0])
    (first,) = group.wait(ranks=[0])
    if isinstance(first.error, OSError):
        pytest.skip(f"a mount namespace of its own is not permitted here: {first.error}")
    assert first.returned, first.describe()
    others = list(range(1, group.size))
    group.start(deeds.join_shared_memory, first.value, ranks=others)
    assert all(outcome.returned for outcome in group.wait(ranks=others))


def test_shared_memory_is_full_at_the_start(rank_host: RankHost) -> None:
    with RankGroup(None, 2, host=rank_host) as group:
        _share_memory_of(group, 8192)
        meeting = Meeting("shm", group)
        meeting.join(1, 1, 2, SHORT)
        meeting.join(0, 0, 2, SHORT)
        outcomes = group.wait()
        errors = [failure(outcome) for outcome in outcomes]
        assert errors[0].kind == "OutOfMemory", errors[0]
        assert errors[1].kind in {"OutOfMemory", "Timeout", "Aborted", "RankLost"}, errors[1]
        assert all(outcome.seconds < SHORT + SOON for outcome in outcomes)
        assert group.values(deeds.names_in_shared_memory) == [[], []]


def test_shared_memory_is_full_when_more_is_needed(rank_host: RankHost) -> None:
    """OutOfMemory on every rank, never a signal; what fits goes on working."""
    with RankGroup(None, 3, host=rank_host) as group:
        _share_memory_of(group, 4 << 20)
        settings = {"kind": "shm", "name": f"test-{secrets.token_hex(6)}", "size": 3}
        for rank in range(3):
            group.start(deeds.run_out_of_memory, {**settings, "rank": rank}, ranks=[rank])
        outcomes = group.wait()
        assert all(outcome.returned for outcome in outcomes), [outcome.describe() for outcome in outcomes]
        names = ["allgatherv", "allgatherv", "allreduce", "broadcast", "create_shared_region"]
        expected = [("OutOfMemory", name) for name in names]
        assert [outcome.value for outcome in outcomes] == [expected] * 3
        assert group.values(deeds.names_in_shared_memory) == [[]] * 3


def test_a_port_is_in_use(rank_host: RankHost) -> None:
    with RankGroup(None, 1, host=rank_host) as group, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = {"kind": "tcp", "rank": 0, "size": 2, "port": port, "token": "0" * 32, "connect_timeout": LONG}
        (outcome,) = group.run(deeds.form, settings)
        error = failure(outcome)
        assert str(port) in str(error), error
        assert error.suggestion, error
        assert outcome.seconds < SOON


def test_a_coordinator_that_cannot_be_reached(rank_host: RankHost) -> None:
    with RankGroup(None, 1, host=rank_host) as group:
        address = f"127.0.0.1:{_closed_port()}"
        settings = {"kind": "tcp", "rank": 1, "size": 2, "coordinator": address, "token": "0" * 32}
        (outcome,) = group.run(deeds.form, {**settings, "connect_timeout": SHORT})
        error = failure(outcome)
        assert error.kind in {"Timeout", "RankLost"}, error
        assert error.context["ranks"] == [0], error
        assert address in str(error), error
        assert outcome.seconds < SHORT + SOON
