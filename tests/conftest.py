"""What every test runs under: nothing may stay behind, and random tests are the same each time where it counts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from cobre.testing.leaks import assert_no_leaks, snapshot

# Shrinking a failure of a whole training takes minutes, in which the time limit of a test would hide it: the usual
# profile reports the first failure as it is; HYPOTHESIS_PROFILE=explore looks further and shrinks.
_AT_ONCE = (Phase.explicit, Phase.reuse, Phase.generate)
_BUSY = [HealthCheck.too_slow]  # a machine that does other things at the same time is no fault
settings.register_profile(
    "ci", derandomize=True, deadline=None, print_blob=True, phases=_AT_ONCE, suppress_health_check=_BUSY
)
settings.register_profile("explore", deadline=None, max_examples=1000, suppress_health_check=_BUSY)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _own_temporary_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Temporary files of this process and of its workers stand apart from those of other runs."""
    patch = pytest.MonkeyPatch()
    directory = tmp_path_factory.mktemp("temporary")
    patch.setenv("TMPDIR", str(directory))
    patch.setattr(tempfile, "tempdir", None)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _nothing_left_behind(_own_temporary_directory: None) -> Iterator[None]:
    before = snapshot()
    yield
    assert_no_leaks(before, timeout=5.0, segment_timeout=90.0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of cases and problems beside the repository; a test that needs it is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("the directory of shared cases is not beside the repository")
    return SHARED


@pytest.fixture(scope="session")
def problems_file(shared: Path) -> Path:
    """The file of problems with known optima."""
    path = shared / "problems" / "problems.json"
    if not path.is_file():
        pytest.skip("the file of problems with known optima is not there")
    return path
