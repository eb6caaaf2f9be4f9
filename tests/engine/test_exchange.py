"""The exchange itself: who computes what, what travels, who is told, and what comes of a rank that fails."""

from __future__ import annotations

import numpy as np
import pytest

from cobre.engine.exchange import CommExchange
from cobre.sddp.contracts import Serial, Shuffled
from cobre.sddp.kernel import kernel_is_there
from cobre.sddp.training import train
from cobre.testing.ranks import RankGroup, RankHost
from cobre.transport.local import LocalCommunicator
from cobre.transport.meet import is_there
from tests.engine import deeds


@pytest.mark.parametrize(("kind", "size"), [("shm", 1), ("shm", 3), ("tcp", 3), ("shm", 7)])
def test_parts_stand_in_the_order_of_the_units(kind: str, size: int, rank_host: RankHost) -> None:
    with RankGroup(kind, size, host=rank_host) as group:
        for units in (0, 1, 5, 20):
            first = np.array([[unit, k] for unit in range(units) for k in range(unit % 3)], np.float64)
            second = np.arange(units, dtype=np.float64)
            assert group.values(deeds.gathered, units) == [[first.tobytes(), second.tobytes(), first.tobytes()]] * size


@pytest.mark.parametrize("units", [0, 1, 4, 9])
def test_every_order_of_units_gathers_the_same(units: int) -> None:
    with LocalCommunicator() as communicator:
        for exchange in (Serial(), Shuffled(1), CommExchange(communicator)):
            mine = list(exchange.assigned(units))
            assert sorted(mine) == list(range(units))
            rows = np.array([[unit, k] for unit in mine for k in range(unit % 2 + 1)], np.float64).reshape(-1, 2)
            found = exchange.gather((rows, np.arange(units) % 2 + 1))[0]
            assert found[:, 0].tolist() == [unit for unit in range(units) for _ in range(unit % 2 + 1)]
            assert (exchange.most(units), exchange.agree(2.5)) == (units, 2.5)
            assert exchange.total(np.array([1.5])).tolist() == [1.5]
            assert exchange.leads


def test_a_gathering_outlives_the_next_one(rank_host: RankHost) -> None:
    with LocalCommunicator() as communicator:
        exchange = CommExchange(communicator)
        first = exchange.gather((np.array([[1.0]]), np.ones(1, np.int64)))[0]
        exchange.gather((np.array([[2.0]]), np.ones(1, np.int64)))
        assert first.tolist() == [[1.0]]


def test_a_watcher_sees_every_stage_and_every_wait(rank_host: RankHost) -> None:
    with RankGroup("shm", 2, host=rank_host) as group:
        (seen, seconds), (other, _) = group.values(deeds.watched)
    assert seen == other
    stages = [entry for entry in seen if not isinstance(entry, bool)]
    assert stages == [
        *(("forward", 1, t) for t in (1, 2, 3, 4)),
        *(("backward", 1, t) for t in (4, 3, 2)),
        ("bound", 1, 1),
    ]
    waits = [entry for entry in seen if isinstance(entry, bool)]
    assert waits == [True, False] * (len(waits) // 2)
    # the passes; a stage and its new vertices; the bound, with its own; then the counts and the decision
    assert len(waits) // 2 == 1 + 2 * 3 + 2 + 2
    assert seconds > 0.0


@pytest.mark.skipif(not kernel_is_there(), reason="without the kernel every stage is told")
def test_a_compiled_loop_writes_where_it_is(rank_host: RankHost) -> None:
    expected = deeds.trained_bits(train(deeds.problem("three passes"), deeds.CASES["three passes"][1]))
    iterations = len(train(deeds.problem("three passes"), deeds.CASES["three passes"][1]).records)
    with RankGroup("shm", 2, host=rank_host) as group:
        for told, written, stage, beats in group.values(deeds.followed, "three passes"):
            assert told == written == expected
            assert (stage, beats) == (1, 8 * iterations)  # four stages forward and four back; the first is the last


def test_a_rank_that_is_told_every_stage_meets_ranks_that_are_not(rank_host: RankHost) -> None:
    expected = deeds.trained_bits(train(deeds.problem("three passes"), deeds.CASES["three passes"][1]))
    for kind in ("shm", "tcp"):
        with RankGroup(kind, 3, host=rank_host) as group:
            assert group.values(deeds.followed_by_one, "three passes") == [expected] * 3


@pytest.mark.skipif(not (kernel_is_there() and is_there()), reason="units are shared in compiled loops only")
def test_who_is_slow_leaves_units_to_the_other(rank_host: RankHost) -> None:
    name = "many points"
    expected = deeds.trained_bits(train(deeds.problem(name), deeds.CASES[name][1]))
    with RankGroup("shm", 3, host=rank_host) as group:
        (slow, little), (other, much), (left_over, _) = group.values(deeds.slowed, name)
    assert slow == other == left_over == expected
    assert much > 1.2 * little


@pytest.mark.skipif(not kernel_is_there(), reason="there is nobody to lose a pair")
@pytest.mark.parametrize("kind", ["shm", "tcp"])
@pytest.mark.parametrize("name", ["many points", "one pass"])
def test_what_a_rank_s_kernel_loses_is_solved_by_that_rank(kind: str, name: str, rank_host: RankHost) -> None:
    expected = deeds.losing(None, name)
    with RankGroup(kind, 3, host=rank_host) as group:
        assert group.values(deeds.losing, name) == [expected] * 3


def test_rank_0_decides_when_to_stop(rank_host: RankHost) -> None:
    with RankGroup("shm", 3, host=rank_host) as group:
        assert group.values(deeds.stopping) == [("shutdown", 2)] * 3


def test_a_rank_that_gives_up_wakes_the_others(rank_host: RankHost) -> None:
    with RankGroup("shm", 3, host=rank_host) as group:
        assert group.values(deeds.failing) == ["Aborted", "raised", "Aborted"]
