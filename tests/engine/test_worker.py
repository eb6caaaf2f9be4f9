"""A worker: what it tells, what it gives back, how it stops, and what it brings into its process."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cobre.engine.marks import PHASES, POINTS, Position, where
from cobre.engine.sharing import Packed
from cobre.engine.worker import Worker
from cobre.errors import ActorError
from cobre.sddp.policy import Policy
from cobre.sddp.simulation import simulate
from cobre.sddp.training import train
from cobre.testing.ranks import RankGroup, RankHost
from tests.engine import deeds

NAME = "three passes"


def test_workers_tell_every_iteration_and_rank_0_has_the_outcome(rank_host: RankHost) -> None:
    problem, settings = deeds.problem(NAME), deeds.CASES[NAME][1]
    with RankGroup("shm", 3, host=rank_host) as group:
        found = group.values(deeds.worked, Packed.of(problem), settings, 99)
    expected = train(problem, settings)
    trained = [trained for (_, trained), _ in found]
    assert trained[1:] == [None, None]
    assert deeds.trained_bits(trained[0].on(problem)) == deeds.trained_bits(expected)
    for rank, ((summary, _), told) in enumerate(found):
        assert [progress.record.iteration for progress in told] == [1, 2, 3, 4]
        assert [progress.record.lower_bound for progress in told] == expected.lower_bounds
        assert summary.rank == rank
        assert 0.0 < summary.collective_seconds < summary.seconds
        assert summary.memory_bytes > 10_000_000
    assert sum(summary.solves for (summary, _), _ in found) == expected.statistics.solves


def test_only_rank_0_is_asked_whether_to_stop(rank_host: RankHost) -> None:
    """The last rank is interrupted after its first iteration, rank 0 after its second."""
    with RankGroup("shm", 3, host=rank_host) as group:
        found = group.values(deeds.worked, Packed.of(deeds.problem(NAME)), deeds.CASES[NAME][1], 2)
    assert found[0][0][1].reason == "shutdown"
    assert [len(told) for _, told in found] == [2, 2, 2]


@pytest.mark.parametrize("stop_at", [None, 2])
def test_workers_simulate(stop_at: int | None, rank_host: RankHost) -> None:
    problem, training, settings = deeds.problem(NAME), *deeds.CASES[NAME][1:]
    policy = Policy.of(train(problem, training))
    expected = simulate(problem, policy, settings)
    with RankGroup("shm", 2, host=rank_host) as group:
        found = group.values(deeds.simulated, Packed.of((problem, policy, settings)), stop_at)
    (_, outcome), told = found[0]
    counts = [progress.scenarios_complete for progress in told]
    assert found[1][0][1] is None
    assert [progress.scenarios_complete for progress in found[1][1]] == counts
    assert {progress.scenarios_total for progress in told} == {37}
    if stop_at is None:
        assert counts == [8, 16, 24, 32, 37]  # 10 blocks of 4, the last of 1: five for each rank
        assert outcome.costs.tobytes() == expected.costs.tobytes()
        assert not outcome.stopped
    else:
        assert counts == [8, 16]
        assert outcome.stopped
        mine, others = expected.costs[:8], expected.costs[20:28]  # the first two blocks of each rank
        assert outcome.costs.tolist() == [*mine.tolist(), *others.tolist()]
        assert outcome.probability.tolist() == [1.0 / 37] * 16


class Words:
    """A board that keeps what is written."""

    def __init__(self) -> None:
        self.waiting, self.beats, self.words = False, 0, dict[str, int]()

    def beat(self) -> None:
        self.beats += 1

    def mark(self, name: str, value: int) -> None:
        self.words[name] = value


def test_a_position_is_written_down_and_told() -> None:
    words, told = Words(), list[Any]()
    position = Position(words, lambda point, **place: told.append((point, *place.values())))
    position.reach("starting")
    assert where(words.words) == {"phase": "starting", "iteration": None, "stage": None}
    position.reached("backward", 3, 12)
    position.waiting(True)
    assert where(words.words) == {"phase": "backward", "iteration": 3, "stage": 12}
    assert words.waiting
    position.waiting(False)
    assert (words.waiting, words.beats) == (False, 4)
    assert told == [("starting", 0, 0), ("backward", 3, 12), ("collective", 3, 12)]
    assert where({}) == {"phase": None, "iteration": None, "stage": None}
    assert set(PHASES) == {None, *POINTS} - {"collective"}


def test_a_worker_goes_through_all_points() -> None:
    tape, points = deeds.Tape(), list[str]()
    global _heard
    _heard = points
    worker = Worker(0, 1, "local", faults="tests.engine.test_worker:listen to all", surroundings=tape)
    worker.meet()
    problem, training, settings = deeds.problem(NAME), *deeds.CASES[NAME][1:]
    _, trained = worker.train(problem, training)
    assert trained is not None
    worker.simulate(problem, Policy.of(trained.on(problem)), settings, consume=lambda block, number: None)
    worker.close()
    worker.close()
    assert list(dict.fromkeys(points)) == [
        "starting", "connecting", "forward", "backward", "bound", "collective", "stopping", "simulation", "writing",
    ]  # fmt: skip
    assert points[-1] == "stopping"


_heard: list[str] = []


def listen(rank: int, text: str, life: int) -> Any:
    assert (rank, text, life) == (0, "to all", 1)
    return lambda point, **place: _heard.append(point)


def test_a_worker_outside_of_an_actor_needs_surroundings() -> None:
    with pytest.raises(ActorError, match="inside an actor"):
        Worker(0, 1, "local")


@pytest.fixture
def cobre_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("cobre")
    before = logger.handlers[:], logger.level, logger.propagate
    yield logger
    logger.handlers[:], logger.level, logger.propagate = before


def test_messages_carry_the_rank(cobre_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    for rank in (1, 2):  # the second takes the place of the first
        Worker(rank, 3, "shm", log_level=logging.INFO, surroundings=deeds.Tape())
    logging.getLogger("cobre.sddp").info("hello %d", 5)
    logging.getLogger("cobre.sddp").debug("not this")
    assert capsys.readouterr().err == "[rank 2] INFO cobre.sddp: hello 5\n"


def test_training_brings_no_reader_of_cases_or_files_into_a_worker() -> None:
    code = (
        "import sys; from tests.engine import deeds; from cobre.engine.worker import Worker\n"
        "worker = Worker(0, 1, 'shm', surroundings=deeds.Tape()); worker.meet(name='test-of-imports')\n"
        "worker.train(deeds.problem('three passes'), deeds.CASES['three passes'][1]); worker.close()\n"
        "print(*[name for name in sys.modules if name.split('.')[0] in "
        "('pyarrow', 'pydantic', 'highspy', 'typer', 'rich', 'asyncio', 'zmq') or name.startswith('cobre.hydro')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
