"""Exchanges of equal parts for compiled loops: what they bring is what collectives bring, and so are their errors."""

from __future__ import annotations

import pytest

from cobre.testing.ranks import RankGroup, RankHost
from cobre.transport.meet import is_there
from tests.transport import meet_deeds as deeds

pytestmark = pytest.mark.skipif(not is_there(), reason="meet.c is not compiled")


@pytest.mark.parametrize("size", [2, 3, 5])
def test_everybody_gets_every_part(size: int, rank_host: RankHost) -> None:
    with RankGroup("shm", size, host=rank_host) as group:
        group.values(deeds.takes_turns, 200, False)


def test_who_is_late_is_waited_for(rank_host: RankHost) -> None:
    with RankGroup("shm", 3, host=rank_host) as group:
        assert sum(group.values(deeds.takes_turns, 100, True)) > 0, "nobody ever was"


def test_who_calls_from_python_meets_the_others(rank_host: RankHost) -> None:
    with RankGroup("shm", 3, host=rank_host) as group:
        assert len(set(group.values(deeds.some_in_python))) == 1


@pytest.mark.parametrize("size", [2, 3, 4])
def test_two_ranks_take_all_units_once(size: int, rank_host: RankHost) -> None:
    with RankGroup("shm", size, host=rank_host) as group:
        found = group.values(deeds.claims, 200)
    took_part = [rounds for rounds, _ in found]
    assert took_part == [200] * (size - size % 2) + [0] * (size % 2), "who is left over shares with nobody"
    assert sum(unequal for _, unequal in found) > 0, "whoever is late leaves more to the other"


def test_what_does_not_fit_goes_another_way(rank_host: RankHost) -> None:
    with RankGroup("shm", 2, host=rank_host) as group:
        assert group.values(deeds.brings_too_much) == [[8, deeds.LARGE, 2 << 20, 2 << 20]] * 2


def test_parts_of_different_sizes_are_a_mismatch(rank_host: RankHost) -> None:
    with RankGroup("shm", 2, host=rank_host) as group:
        assert group.values(deeds.brings_another_size) == ["Mismatch"] * 2


@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_that_dies_is_named(rank: int, rank_host: RankHost) -> None:
    with RankGroup("shm", 3, host=rank_host) as group:
        outcomes = group.run(deeds.dies, rank)
    left = [outcome for outcome in outcomes if outcome.rank != rank]
    assert [outcome.value for outcome in left] == [f"RankLost [{rank}]"] * 2


def test_a_group_that_is_not_ready_says_so(rank_host: RankHost) -> None:
    with RankGroup("shm", 2, host=rank_host) as group:
        assert group.values(deeds.begins_unfit) == [["ViewAlive", "Closed"]] * 2


def test_a_group_of_one_and_one_over_tcp_have_none(rank_host: RankHost) -> None:
    for kind, size in (("shm", 1), ("tcp", 2)):
        with RankGroup(kind, size, host=rank_host) as group:
            assert group.values(deeds.has_none) == [True] * size
