"""Ranks that die, stop or never come: the others are told which, in time, and are never given wrong data."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

import numpy as np
import pytest

from cobre.testing.ranks import Outcome, RankGroup, RankHost
from tests.transport import fault_deeds as deeds

KINDS = ("shm", "tcp")
SIZE = 3
TIMEOUT = 60.0  # of collectives, where a death is to be seen long before
SOON = 10.0  # seconds: far more than it takes, far less than TIMEOUT
PATIENCE = 12.0  # seconds for a group to form in
SHORT = 1.0  # of collectives that are to end in Timeout
WHEN = ("before", 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, "after")

# What an error may call the operation that a deed consists of.
OPERATIONS = {name: {name.removeprefix("large ").removesuffix(" as a view")} for name in deeds.DEEDS}


def expect_loss(outcome: Outcome, name: str, victim: int, kinds: set[str], within: float) -> None:
    loss = outcome.value
    assert outcome.returned, outcome.describe()
    assert loss.kind in kinds, loss
    assert loss.operation in OPERATIONS[name], loss
    assert loss.ranks == [victim], loss
    assert loss.seconds < within, loss


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_that_dies_is_named_at_once(rank_host: RankHost, kind: str, when: str | float) -> None:
    """Before, during (after a given part of the lines that it runs) and after each of the collectives."""
    for turn, name in enumerate(deeds.DEEDS):
        victim = (turn + WHEN.index(when)) % SIZE
        with RankGroup(kind, SIZE, host=rank_host, timeout=TIMEOUT, connect_timeout=PATIENCE) as group:
            outcomes = group.run(deeds.die_there, name, victim, when)
            assert outcomes[victim].returncode == -signal.SIGKILL, outcomes[victim].describe()
            for outcome in outcomes[:victim] + outcomes[victim + 1 :]:
                expect_loss(outcome, name, victim, {"RankLost", "Aborted"}, SOON)
        sweep(rank_host)


@pytest.mark.parametrize("name", ["create_shared_region", "split_local"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_maker_of_memory_dies(rank_host: RankHost, kind: str, name: str) -> None:
    """Where memory gets a name and loses it, rank 0 is killed at many more points."""
    for when in np.linspace(0.0, 1.0, 11 if kind == "shm" else 4):
        with RankGroup(kind, SIZE, host=rank_host, timeout=TIMEOUT, connect_timeout=PATIENCE) as group:
            outcomes = group.run(deeds.die_there, name, 0, float(when))
            for outcome in outcomes[1:]:
                expect_loss(outcome, name, 0, {"RankLost", "Aborted"}, SOON)
        sweep(rank_host)


def sweep(host: RankHost) -> None:
    """A kill amid the making of a segment may leave its name, which the next group on the host removes."""
    with RankGroup("shm", 1, host=host):
        pass


@pytest.mark.parametrize("name", deeds.HUGE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_killed_amid_large_payloads(rank_host: RankHost, kind: str, name: str) -> None:
    draw = np.random.default_rng(list(name.encode()))
    for turn in range(3):
        victim = turn % SIZE
        with RankGroup(kind, SIZE, host=rank_host, timeout=TIMEOUT, connect_timeout=PATIENCE) as group:
            group.start(deeds.repeat, name, True)
            for rank in range(SIZE):
                group.hear(rank)
            time.sleep(draw.uniform(0.0, 0.3))
            group.kill(victim)
            for outcome in group.wait():
                if outcome.rank == victim:
                    assert outcome.returncode == -signal.SIGKILL, outcome.describe()
                else:
                    expect_loss(outcome, name, victim, {"RankLost", "Aborted"}, SOON)
        sweep(rank_host)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_that_never_arrives(rank_host: RankHost, kind: str) -> None:
    """Of each collective: the others time out; the rank, when it comes at last, finds the group broken."""
    with ExitStack() as stack:
        groups = {
            name: stack.enter_context(RankGroup(kind, SIZE, host=rank_host, timeout=TIMEOUT, connect_timeout=PATIENCE))
            for name in deeds.DEEDS
        }
        for turn, (name, group) in enumerate(groups.items()):
            if name == "fence":  # its region takes all ranks to make
                continue
            absent = turn % SIZE
            group.start(deeds.repeat, name, False, SHORT, ranks=[rank for rank in range(SIZE) if rank != absent])
        for turn, (name, group) in enumerate(groups.items()):
            if name == "fence":
                continue
            absent = turn % SIZE
            for outcome in group.wait(ranks=[rank for rank in range(SIZE) if rank != absent]):
                expect_loss(outcome, name, absent, {"Timeout", "Aborted"}, SHORT + SOON)
                assert outcome.value.turns <= (name == "broadcast"), "a result without all contributions"
            group.start(deeds.repeat, name, False, SHORT, ranks=[absent])
            (late,) = group.wait(ranks=[absent])
            assert late.returned, late.describe()
            assert late.value.kind in {"Timeout", "Aborted", "RankLost"}, late.value
            assert late.value.turns <= 1, late.value


@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_stopped_for_longer_than_the_timeout(rank_host: RankHost, kind: str) -> None:
    """Amid each collective: the others time out; the rank, continued, never takes wrong data for right."""
    with ExitStack() as stack:
        groups = {
            name: stack.enter_context(RankGroup(kind, SIZE, host=rank_host, timeout=TIMEOUT, connect_timeout=PATIENCE))
            for name in deeds.DEEDS
        }
        for turn, (name, group) in enumerate(groups.items()):
            stopped = turn % SIZE
            group.start(deeds.repeat, name, False, 2 * SHORT)
            for rank in range(SIZE):
                group.hear(rank)
            time.sleep(0.02)
            group.kill(stopped, signal.SIGSTOP)
        for turn, (name, group) in enumerate(groups.items()):
            stopped = turn % SIZE
            for outcome in group.wait(ranks=[rank for rank in range(SIZE) if rank != stopped]):
                expect_loss(outcome, name, stopped, {"Timeout", "Aborted"}, 2 * SHORT + SOON)
            group.kill(stopped, signal.SIGCONT)
        for turn, group in enumerate(groups.values()):
            (late,) = group.wait(ranks=[turn % SIZE])
            assert late.returned, late.describe()
            assert late.value.kind in {"Timeout", "Aborted", "RankLost"}, late.value


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_stopped_for_less_than_the_timeout(rank_host: RankHost, kind: str) -> None:
    """Stopped and continued again and again, the ranks only lose time."""
    draw = np.random.default_rng(5)
    for name in deeds.DEEDS:
        with RankGroup(kind, SIZE, host=rank_host, timeout=TIMEOUT, connect_timeout=PATIENCE) as group:
            group.start(deeds.for_a_while, name, 0.3)
            for rank in range(SIZE):
                group.hear(rank)
            for _ in range(4):
                rank = int(draw.integers(SIZE))
                group.kill(rank, signal.SIGSTOP)
                time.sleep(draw.uniform(0.0, 0.08))
                group.kill(rank, signal.SIGCONT)
                time.sleep(draw.uniform(0.0, 0.02))
            outcomes = group.wait()
            assert all(outcome.returned for outcome in outcomes), [outcome.describe() for outcome in outcomes]
            assert len({outcome.value for outcome in outcomes}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_all_but_one_die(rank_host: RankHost, kind: str) -> None:
    with RankGroup(kind, 4, host=rank_host, timeout=TIMEOUT, connect_timeout=PATIENCE) as group:
        group.start(deeds.repeat, "allreduce")
        for rank in range(4):
            group.hear(rank)
        for rank in (0, 1, 3):
            group.kill(rank)
        loss = group.wait()[2].value
        assert loss.kind in {"RankLost", "Aborted"}, loss
        assert set(loss.ranks) <= {0, 1, 3}, loss
        assert loss.ranks, loss
        assert loss.seconds < SOON, loss
