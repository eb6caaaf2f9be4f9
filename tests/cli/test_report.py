"""The report of a run: what its folder holds, and every folder that is none."""

from __future__ import annotations

import builtins
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cobre
from cobre.cli.record import RunRecord
from tests.cli.commands import Cli
from tests.sddp.small import cascade


def test_a_report_says_what_the_run_said(cli: Cli, output: Path) -> None:
    outcome = cli("report", output, "--no-pictures")
    manifest = json.loads((output / "manifest.json").read_text())
    assert (outcome.code, outcome.err) == (0, "")
    for part in ("brook", "after 6 iterations", "lower bound", "of 30 scenarios", "50% quantile", "thermal"):
        assert part in outcome.out
    assert f"{manifest['training']['lower_bound']:,.2f}" in outcome.out


def test_costs_are_those_of_the_simulation(output: Path) -> None:
    costs = RunRecord(output).costs()
    manifest = json.loads((output / "manifest.json").read_text())
    assert costs is not None
    assert costs.scenarios == 30
    assert costs.mean == pytest.approx(manifest["simulation"]["mean_cost"], rel=1e-9)
    assert costs.deviation == manifest["simulation"]["std_cost"]
    values = list(costs.quantiles.values())
    assert values == sorted(values)
    assert sum(costs.categories.values()) == pytest.approx(costs.mean, rel=1e-6)


def test_a_report_as_json_holds_the_whole_history(cli: Cli, output: Path) -> None:
    document = cli("report", output, "--json", "--no-pictures").document
    assert [row["iteration"] for row in document["convergence"]] == [1, 2, 3, 4, 5, 6]
    assert document["costs"]["scenarios"] == 30
    assert document["policy"] == {"stages": 3, "states": 1}
    assert document["pictures"] == []


@pytest.mark.usefixtures("drawing")
def test_pictures_are_drawn_into_the_output(cli: Cli, output: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(output, tmp_path / "out"))
    assert cli("report", own).code == cli("report", own).code == 0  # again is fine
    assert sorted(file.name for file in (own / "report").iterdir()) == ["convergence.png", "storages.png"]


def test_without_matplotlib_the_report_says_how_to_get_it(
    cli: Cli, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return known(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    outcome = cli("report", output)
    assert outcome.code == 0
    assert "cobre-actors[plot]" in outcome.err


def test_a_run_of_a_problem_without_plants(cli: Cli, tmp_path: Path) -> None:
    settings = {"training.stopping_rules": [{"type": "iteration_limit", "limit": 5}]}
    sampled = {"simulation.selection": {"method": "sampled", "num_scenarios": 20}}
    result = cobre.train(cascade(), settings, output_directory=tmp_path / "out")
    simulated = cobre.simulate(cascade(), result.policy, sampled, output_directory=tmp_path / "out")
    document = cli("report", tmp_path / "out", "--json", "--no-pictures").document
    assert document["costs"]["mean"] == pytest.approx(simulated.mean_cost, rel=1e-9)
    assert document["costs"]["quantiles"]["0.5"] == pytest.approx(np.sort(simulated.costs)[9], rel=1e-9)
    assert document["costs"]["categories"] == {}


@pytest.mark.parametrize("part", ["training", "simulation"])
def test_half_a_run_is_reported_too(cli: Cli, case: Path, output: Path, tmp_path: Path, part: str) -> None:
    if part == "training":
        cobre.train(case, output_directory=tmp_path / "out")
    else:
        sampled = {"simulation.selection": {"method": "sampled", "num_scenarios": 10}}
        cobre.simulate(case, output / "policy", sampled, output_directory=tmp_path / "out")
    document = cli("report", tmp_path / "out", "--json", "--no-pictures").document
    assert [name for name in ("training", "simulation") if document[name]] == [part]
    assert cli("report", tmp_path / "out", "--no-pictures").code == 0


def damaged(output: Path, folder: Path, file: str, content: str | None) -> Path:
    own = Path(shutil.copytree(output, folder))
    (own / file).unlink()
    if content is not None:
        (own / file).write_text(content)
    return own


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("manifest.json", None),
        ("manifest.json", "{"),
        ("manifest.json", "[]"),
        ("training/convergence.parquet", None),
        ("training/convergence.parquet", "PAR1"),
        ("policy/metadata.json", "{}"),
        ("simulation/costs/scenario_block=0000/data.parquet", None),
        ("simulation/costs/scenario_block=0000/data.parquet", "PAR1"),
    ],
)
def test_a_damaged_output(cli: Cli, output: Path, tmp_path: Path, file: str, content: str | None) -> None:
    outcome = cli("report", damaged(output, tmp_path / "own", file, content), "--json")
    assert outcome.code == 5
    assert outcome.document["error"]["kind"] == "OutputUnreadable"
    assert file.split("/")[-1].split(".")[0] in outcome.err or "simulation/costs" in outcome.err


def test_a_folder_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    assert cli("report", tmp_path / "none").code == 5
