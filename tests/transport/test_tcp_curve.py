"""tcp with keys, as between hosts: the contract, deaths, silence, and an end that comes every time."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

from cobre.errors import CommError
from cobre.testing.communicators import CHECKS, check_group
from cobre.testing.ranks import Outcome, RankGroup, RankHost
from cobre.transport import Communicator
from cobre.transport.curve import CurveKeys, new_keys


@pytest.fixture(scope="module")
def keys() -> CurveKeys:
    return new_keys()


def exchange(communicator: Communicator, size: int) -> float:
    send = np.full(size, float(communicator.rank))
    whole = communicator.allgatherv(send, (size,) * communicator.size)
    return float(whole.sum())


def leave(communicator: Communicator) -> bool:
    """Some exchanges, then everybody leaves at once."""
    for _ in range(5):
        communicator.barrier()
    communicator.close()
    return communicator.closed


def go_on(communicator: Communicator) -> None:
    while True:
        communicator.barrier()


def failure(outcome: Outcome) -> CommError:
    assert isinstance(outcome.error, CommError), outcome.describe()
    return outcome.error


def test_the_contract_holds_with_keys(rank_host: RankHost, keys: CurveKeys) -> None:
    chosen = [name for name in CHECKS if "random" not in name]
    with RankGroup("tcp", 3, host=rank_host, keys=keys, timeout=60.0) as group:
        check_group(group, chosen)


def test_long_payloads_arrive_whole(rank_host: RankHost, keys: CurveKeys) -> None:
    size = 1_500_000
    with RankGroup("tcp", 3, host=rank_host, keys=keys) as group:
        assert group.values(exchange, size) == [3.0 * size] * 3


def test_every_group_ends(rank_host: RankHost, keys: CurveKeys) -> None:
    for _ in range(8):
        with RankGroup("tcp", 2, host=rank_host, keys=keys) as group:
            assert group.values(leave, timeout=30.0) == [True, True]


@pytest.mark.parametrize("victim", [0, 2])
def test_a_death_is_seen_at_once(rank_host: RankHost, keys: CurveKeys, victim: int) -> None:
    with RankGroup("tcp", 3, host=rank_host, keys=keys, timeout=120.0) as group:
        group.start(go_on)
        time.sleep(0.2)
        group.kill(victim)
        outcomes = group.wait(timeout=30.0)
    for outcome in outcomes[:victim] + outcomes[victim + 1 :]:
        assert failure(outcome).kind == "RankLost"
        assert failure(outcome).context["ranks"] == [victim]


def test_silence_counts_as_a_loss_after_the_heartbeat(rank_host: RankHost, keys: CurveKeys) -> None:
    """A rank that is stopped answers no heartbeat: to the others it looks like a cable that was cut."""
    with RankGroup("tcp", 2, host=rank_host, keys=keys, timeout=120.0, heartbeat=1.0) as group:
        group.start(go_on)
        time.sleep(0.2)
        group.kill(1, signal.SIGSTOP)
        outcome = group.wait(timeout=30.0, ranks=[0])[0]
        group.kill(1, signal.SIGCONT)
        assert failure(outcome).kind == "RankLost"
        assert failure(outcome).context["ranks"] == [1]
        assert failure(group.wait(timeout=30.0, ranks=[1])[0]).kind in {"RankLost", "Aborted"}
