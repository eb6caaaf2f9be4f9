"""Every backend keeps the contract: the conformance suite, over groups of several sizes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cobre.testing.communicators import BREAKING, CHECKS, check_group, check_random_collectives
from cobre.testing.communicators_random import STEPS
from cobre.testing.ranks import RankGroup, RankHost
from tests.transport import deeds

GROUPS = [("local", 1), *(("shm", size) for size in (1, 2, 4, 7)), *(("tcp", size) for size in (1, 2, 4))]
IDS = [f"{kind}-{size}" for kind, size in GROUPS]
LARGER = [(kind, size) for kind, size in GROUPS if size > 1]
TIMEOUT = 60.0
EXAMPLES = 10
LENGTHS = {1: 1000, 2: STEPS, 4: 2000, 7: 700}  # of the random sequences: the whole of it once a backend


@pytest.fixture
def group(request: pytest.FixtureRequest, rank_host: RankHost) -> Iterator[RankGroup]:
    kind, size = request.param
    with RankGroup(kind, size, host=rank_host, timeout=TIMEOUT) as formed:
        yield formed


@pytest.mark.parametrize("group", GROUPS, indirect=True, ids=IDS)
def test_checks_that_leave_the_group_as_it_was(group: RankGroup) -> None:
    check_group(group, [name for name in CHECKS if name != "random_collectives"])


@pytest.mark.parametrize("group", GROUPS, indirect=True, ids=IDS)
def test_checks_that_break_the_group(group: RankGroup) -> None:
    check_group(group, list(BREAKING))
    generations = {generation for _, _, generation in group.values(deeds.place)}
    assert generations == {len(BREAKING)}


@pytest.mark.parametrize("group", GROUPS, indirect=True, ids=IDS)
def test_random_collectives(group: RankGroup) -> None:
    """Hypothesis chooses the seeds; a failure shows the one that repeats it."""

    @given(seed=st.integers(0, 2**32 - 1))
    @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
    def run(seed: int) -> None:
        nonlocal steps
        steps += LENGTHS[group.size] // EXAMPLES
        group.values(check_random_collectives, seed, LENGTHS[group.size] // EXAMPLES)

    steps = 0
    run()
    assert steps >= LENGTHS[group.size]


@pytest.mark.parametrize("group", [("local", 1), ("shm", 1), ("tcp", 1)], indirect=True)
def test_a_group_of_one_has_the_same_bits_over_every_backend(group: RankGroup) -> None:
    assert group.values(deeds.fixed_script, 11) == [deeds.expected_digest(11, 1)]


@pytest.mark.parametrize("group", LARGER, indirect=True, ids=[f"{kind}-{size}" for kind, size in LARGER])
def test_the_same_bits_on_all_ranks_over_every_backend(group: RankGroup) -> None:
    expected = deeds.expected_digest(11, group.size)
    assert group.values(deeds.fixed_script, 11) == [expected] * group.size


@pytest.mark.parametrize("size", [1, 2, 4])
def test_shared_memory_is_viewed_and_shared(rank_host: RankHost, size: int) -> None:
    """What the contract permits, shm does: views are not copies, and regions are one piece of memory."""
    with RankGroup("shm", size, host=rank_host, timeout=TIMEOUT) as group:
        assert group.values(deeds.views_and_regions) == [(True, True)] * size


@pytest.mark.parametrize("kind", ["shm", "tcp"])
def test_nothing_of_the_old_generation_is_heard_in_the_new(rank_host: RankHost, kind: str) -> None:
    """The old group, aborted and still open on every rank, goes on making noise while the new one works."""
    with RankGroup(kind, 3, host=rank_host, timeout=TIMEOUT) as group:
        for generation in range(1, 6):
            group.values(deeds.leave_unfinished, generation)
            group.connect(generation=generation, keep=True)
            assert group.values(deeds.place) == [(rank, 3, generation) for rank in range(3)]
            group.values(deeds.work_beside_the_old, generation)


def test_what_is_expected_is_what_numpy_says() -> None:
    """The reference that all backends are compared with is itself a chain of numpy calls."""
    parts = [np.array([1e16, 1.0, np.nan]), np.array([1.0, -0.0, 1.0]), np.array([-1e16, 0.0, 2.0])]
    assert deeds.reduced_by_hand(parts).tobytes() == np.array([0.0, 1.0, np.nan]).tobytes()
