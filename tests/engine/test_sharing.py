"""What many processes read stands in memory once."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest

from cobre.engine.sharing import Packed, share
from cobre.errors import CommError
from cobre.sddp.policy import Policy
from cobre.sddp.training import train
from cobre.testing.ranks import RankGroup, RankHost
from cobre.transport.local import LocalCommunicator
from tests.engine import deeds


def test_a_packed_problem_is_one_buffer_and_read_only() -> None:
    problem = deeds.plain_problem()
    buffers: list[pickle.PickleBuffer] = []
    told = pickle.dumps(Packed.of(problem), protocol=5, buffer_callback=buffers.append)
    sizes = [buffer.raw().nbytes for buffer in buffers]
    assert len(sizes) <= 2, "the block, and where things lie in it"
    opened = pickle.loads(told, buffers=[bytearray(buffer.raw()) for buffer in buffers]).open()
    assert opened.fingerprint() == problem.fingerprint()
    for stage in opened.stages:
        with pytest.raises(ValueError, match="read-only"):
            stage.cost[0] = 1.0
    arrays = sum(a.nbytes for s in problem.stages for a in (s.cost, s.lower, s.upper, s.rhs, s.matrix.value))
    assert len(told) < arrays + 20_000, "the numbers are not in the structure"


def test_training_and_simulation_write_into_nothing_they_are_given() -> None:
    for name, (_, training, simulation) in deeds.CASES.items():
        problem = Packed.of(deeds.problem(name)).open()  # every array read-only: a write would raise
        policy = Packed.of(Policy.of(train(problem, training))).open()
        assert np.isfinite(deeds.simulate(problem, policy, simulation).mean)


@pytest.mark.parametrize("value", [None, {}, np.zeros(0), [np.zeros((0, 3)), np.arange(5), "text"]])
def test_anything_can_be_packed(value: object) -> None:
    assert repr(Packed.of(value).open()) == repr(value)


@pytest.mark.parametrize(("kind", "size"), [("shm", 3), ("tcp", 2)])
def test_ranks_train_on_one_problem(kind: str, size: int, rank_host: RankHost) -> None:
    expected = (False, deeds.plain_problem().fingerprint(), deeds.reference_bits())
    with RankGroup(kind, size, host=rank_host) as group:
        assert group.values(deeds.shared_problem, deeds.plain_problem) == [expected] * size


def test_one_rank_shares_with_itself() -> None:
    with LocalCommunicator() as communicator:
        assert share(communicator, partial(list, "ab")) == ["a", "b"]
        communicator.close()
        with pytest.raises(CommError):
            share(communicator, list)


@pytest.mark.parametrize("kind", ["shm", "tcp"])
@pytest.mark.parametrize(
    ("readable", "expected"),
    [(True, ("ValidationError", "no such case")), (False, ("CobreError", "Unspeakable: a secret"))],
)
def test_what_the_maker_raises_is_raised_everywhere(
    kind: str, readable: bool, expected: tuple[str, str], rank_host: RankHost
) -> None:
    with RankGroup(kind, 3, host=rank_host) as group:
        first, *others = group.values(deeds.failing_to_share, readable)
    assert others == [expected] * 2
    assert first == (expected if readable else ("Unspeakable", "a secret"))
