"""Where a run runs: arguments win over the environment, and what cannot be is refused by name."""

from __future__ import annotations

import multiprocessing

import pytest

from cobre.errors import ValidationError
from cobre.settings import Placement, resolve_placement


@pytest.mark.parametrize(
    ("backend", "environment"),
    [("auto", {}), ("local", {}), ("local", {"COBRE_COMM_BACKEND": "tcp"}), ("auto", {"COBRE_COMM_BACKEND": "local"})],
)
def test_one_process(backend: str, environment: dict[str, str]) -> None:
    assert resolve_placement(backend, 1, environment) == Placement("local", 1)


def test_local_ignores_the_number_of_workers() -> None:
    assert resolve_placement("local", 4, {}) == Placement("local", 1)


@pytest.mark.parametrize(
    ("backend", "workers", "environment", "chosen"),
    [
        ("auto", 4, {}, "shm"),
        ("auto", 2, {"COBRE_TCP_COORDINATOR": "127.0.0.1:29511"}, "tcp"),
        ("auto", 2, {"COBRE_TCP_COORDINATOR": "127.0.0.1:29511", "COBRE_COMM_BACKEND": "shm"}, "shm"),
        ("auto", 2, {"COBRE_COMM_BACKEND": "tcp"}, "tcp"),
        ("auto", 1, {"COBRE_COMM_BACKEND": "shm"}, "shm"),
        ("auto", 2, {"COBRE_COMM_BACKEND": "auto"}, "shm"),
        ("shm", 2, {"COBRE_COMM_BACKEND": "tcp", "COBRE_TCP_COORDINATOR": "127.0.0.1"}, "shm"),
        ("shm", 1, {}, "shm"),
        ("tcp", 3, {"COBRE_COMM_BACKEND": "local"}, "tcp"),
    ],
)
def test_many_processes(backend: str, workers: int, environment: dict[str, str], chosen: str) -> None:
    placement = resolve_placement(backend, workers, environment)
    assert (placement.backend, placement.num_workers, placement.in_process) == (chosen, workers, False)


def test_local_by_the_environment_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="cobre"):
        assert resolve_placement("auto", 4, {"COBRE_COMM_BACKEND": "local"}) == Placement("local", 1)
    assert "not with 4 workers" in caplog.text


def test_the_start_method_fork_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: "fork" if allow_none else "")
    with pytest.raises(ValidationError, match="undefined") as caught:
        resolve_placement("shm", 2, {})
    assert caught.value.kind == "IncompatibleSettings"
    assert resolve_placement("local", 2, {}).in_process


def test_limits_of_workers() -> None:
    placement = resolve_placement("shm", 2, {}, hang_timeout=7, memory_limit=1 << 30)
    assert (placement.hang_timeout, placement.memory_limit) == (7.0, 1 << 30)
    with pytest.raises(ValidationError) as caught:
        resolve_placement("shm", 2, {}, hang_timeout=0, memory_limit=12)
    assert [d.field for d in caught.value.diagnostics] == ["hang_timeout", "memory_limit"]


@pytest.mark.parametrize(
    ("backend", "workers", "environment", "kind", "field"),
    [
        ("auto", 1, {"COBRE_COMM_BACKEND": "mpi"}, "InvalidEnum", "COBRE_COMM_BACKEND"),
        ("mpi", 1, {}, "InvalidEnum", "backend"),
        ("auto", 0, {}, "OutOfRange", "num_workers"),
        ("auto", -2, {}, "OutOfRange", "num_workers"),
        ("auto", True, {}, "OutOfRange", "num_workers"),
        ("auto", 1.5, {}, "OutOfRange", "num_workers"),
        ("shm", 10**9, {}, "OutOfRange", "num_workers"),
        ("auto", 2, {"COBRE_TCP_RANK": "0"}, "IncompatibleSettings", "COBRE_TCP_RANK"),
        ("shm", 1, {"COBRE_SHM_RANK": "1"}, "IncompatibleSettings", "COBRE_SHM_RANK"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    backend: str, workers: int, environment: dict[str, str], kind: str, field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        resolve_placement(backend, workers, environment)
    assert caught.value.kind == kind
    assert caught.value.diagnostics[0].field == field


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        resolve_placement("mpi", 0, {})
    assert [d.field for d in caught.value.diagnostics] == ["num_workers", "backend"]
