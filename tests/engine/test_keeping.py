"""Ranks that have come to different iterations agree on where to go on."""

from __future__ import annotations

import pytest

from cobre.testing.ranks import RankGroup, RankHost
from tests.engine import deeds


@pytest.mark.parametrize(
    ("reached", "giver"),
    [([0, 0, 0], None), ([2, 2, 2], None), ([0, 3, 0], 1), ([4, 0, 5], 2), ([5, 5, 0], 0)],
)
def test_the_furthest_state_is_everybodys(reached: list[int], giver: int | None, rank_host: RankHost) -> None:
    with RankGroup("shm", 3, host=rank_host) as group:
        found = group.values(deeds.agreed, reached)
    if giver is not None:
        assert found == [(max(reached), giver)] * 3
    else:
        assert found == [(reached[0], rank) if reached[0] else None for rank in range(3)]
