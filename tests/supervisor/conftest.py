"""Supervisors for tests, with both start methods, and the means to wait for what must come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cobre.supervisor import Grace, Process, ProcessSpec, Supervisor

HANG = 60.0  # seconds after which a test gives up; nothing here takes a second


@pytest.fixture(params=["spawn", "forkserver"])
def start_method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def supervisor(start_method: str) -> Iterator[Supervisor]:
    with Supervisor(start_method=start_method, grace=Grace(ask=30.0, terminate=30.0), sample_every=0.1) as made:
        yield made


def spec(entry: str, name: str = "worker", **settings: Any) -> ProcessSpec:
    return ProcessSpec(name, f"tests.supervisor.entries:{entry}", **settings)


def started(supervisor: Supervisor, entry: str, name: str = "worker", **settings: Any) -> Process:
    """A process that has said that it is ready."""
    process = supervisor.spawn(spec(entry, name, **settings))
    assert process.ready.wait(HANG)
    return process


def until(condition: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < limit, f"never: {what}"
        time.sleep(0.002)
