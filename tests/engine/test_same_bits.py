"""However many ranks there are, and whatever they pass data through: the same bits, in the same files."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import pytest

from cobre.engine.sharing import Packed
from cobre.sddp.contracts import SERIAL, Shuffled
from cobre.sddp.policy import Policy
from cobre.sddp.simulation import SimulatedBlock, simulate
from cobre.sddp.training import train
from cobre.testing.ranks import RankGroup, RankHost
from tests.engine import deeds

SIZES = (1, 2, 3, 4, 7)
SOME = ["one pass", "enumerated", "lazy and capped"]  # what asks most of the exchange
EVERYTHING = [("shm", 2), ("tcp", 7)]  # the other groups compute only some of the cases


@cache
def reference(name: str) -> str:
    return deeds.bits(name, SERIAL)


@pytest.mark.parametrize(("kind", "size"), list(itertools.product(("shm", "tcp"), SIZES)))
def test_ranks_give_the_bits_of_one_process(kind: str, size: int, rank_host: RankHost) -> None:
    names = list(deeds.CASES) if (kind, size) in EVERYTHING else SOME
    expected = {name: reference(name) for name in names}
    with RankGroup(kind, size, host=rank_host) as group:
        for found in group.values(deeds.bits_of, names):
            assert found == expected


@pytest.mark.parametrize("name", deeds.CASES)
def test_the_order_of_the_units_changes_no_bit(name: str) -> None:
    assert deeds.bits(name, Shuffled(1)) == reference(name)


def test_the_cases_differ() -> None:
    """A digest that said nothing would agree with itself."""
    assert len({reference(name) for name in deeds.CASES}) >= len(deeds.CASES) - 2


@pytest.mark.parametrize(("name", "size"), [("three passes", 3), ("one pass", 7), ("enumerated", 2)])
def test_blocks_of_scenarios_are_those_of_one_process(name: str, size: int, rank_host: RankHost) -> None:
    problem, training, simulation = deeds.problem(name), *deeds.CASES[name][1:]
    expected: dict[int, bytes] = {}

    def consume(block: SimulatedBlock, number: int) -> None:
        expected[number] = deeds.block_bits(block)

    simulate(problem, Policy.of(train(problem, training)), simulation, consume=consume)
    with RankGroup("shm", size, host=rank_host) as group:
        found = group.values(deeds.blocks_of, name)
    for one, other in itertools.pairwise(found):
        assert not other or max((number for number, _ in one), default=-1) < other[0][0], "runs are contiguous"
    assert [number for part in found for number, _ in part] == list(range(len(expected)))
    assert dict(itertools.chain.from_iterable(found)) == expected


def test_a_saved_policy_is_the_same_file_for_file(rank_host: RankHost, tmp_path: Path) -> None:
    problem, settings = deeds.problem("level 1"), deeds.CASES["level 1"][1]
    Policy.of(train(problem, settings)).save(tmp_path / "one")
    with RankGroup("shm", 3, host=rank_host) as group:
        (_, trained), _ = group.values(deeds.worked, Packed.of(problem), settings, 99)[0]
    Policy.of(trained.on(problem)).save(tmp_path / "three")
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 1 + len(problem.stages)
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "three" / file).read_bytes()
