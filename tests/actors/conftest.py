"""One system with one worker for the tests that leave it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cobre.actors import ActorHandle, ActorSystem
from tests.actors.deeds import Worker


@pytest.fixture
def system() -> Iterator[ActorSystem]:
    with ActorSystem() as found:
        yield found


@pytest.fixture
def worker(system: ActorSystem) -> ActorHandle:
    return system.spawn(Worker, 10)
