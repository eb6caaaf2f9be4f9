"""One process forks the ranks of the tests here; a group is made for a test and gone after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cobre.testing.ranks import RankHost

PRELOADED = ("cobre.engine.worker", "cobre.sddp.simulation", "tests.engine.deeds")


@pytest.fixture(scope="session")
def rank_host() -> Iterator[RankHost]:
    with RankHost(PRELOADED) as host:
        yield host
