"""Cases and outputs that the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

import cobre
from tests.cli.commands import Cli
from tests.drawing import ready_to_draw
from tests.hydro.cases import case_files, hydro, thermal, write_case

SETTINGS = {"simulation.selection": {"method": "sampled", "num_scenarios": 30}}


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stages, one hydro, random inflows; six iterations; no simulation unless asked for."""
    folder = tmp_path_factory.mktemp("cases") / "brook"
    thermals = (thermal(0, most=50.0, cost=20.0), thermal(1, most=80.0, cost=90.0))
    return write_case(
        folder,
        case_files(stages=3, openings=4, hydros=(hydro(3),), thermals=thermals, inflow_std=8.0, iterations=6),
    )


@pytest.fixture(scope="session")
def output(case: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run of ``case`` wrote."""
    folder = tmp_path_factory.mktemp("outputs") / "out"
    result = cobre.train(case, SETTINGS, output_directory=folder)
    cobre.simulate(case, result.policy, SETTINGS, output_directory=folder)
    return folder


@pytest.fixture(scope="session")
def drawing() -> None:
    """For tests that draw."""
    ready_to_draw()
