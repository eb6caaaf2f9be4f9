"""Where a run runs: arguments win over the environment, and what is not there yet is refused by name."""

from __future__ import annotations

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
    ("backend", "workers", "environment", "kind", "field"),
    [
        ("auto", 4, {}, "NotSupported", "num_workers"),
        ("shm", 1, {}, "NotSupported", "backend"),
        ("tcp", 2, {}, "NotSupported", "backend"),
        ("auto", 1, {"COBRE_COMM_BACKEND": "shm"}, "NotSupported", "COBRE_COMM_BACKEND"),
        ("auto", 1, {"COBRE_COMM_BACKEND": "mpi"}, "InvalidEnum", "COBRE_COMM_BACKEND"),
        ("mpi", 1, {}, "InvalidEnum", "backend"),
        ("auto", 0, {}, "OutOfRange", "num_workers"),
        ("auto", True, {}, "OutOfRange", "num_workers"),
        ("auto", 1.5, {}, "OutOfRange", "num_workers"),
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
