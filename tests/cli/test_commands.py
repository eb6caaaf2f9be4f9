"""Each command, what it says and what it returns; every way to be refused ends in a message and its own code."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import cobre
from cobre.cli import runs
from cobre.errors import ActorError, CobreError, CommError, SolverError, WorkerError
from tests.cli.commands import Cli
from tests.hydro.cases import bus, case_files, thermal, write_case

SCENARIOS = "simulation.selection.num_scenarios=30"
SAMPLED = "simulation.selection.method=sampled"


def test_validate_says_that_a_case_is_valid(cli: Cli, case: Path) -> None:
    outcome = cli("validate", case)
    assert (outcome.code, outcome.err) == (0, "")
    assert "brook: valid, 0 errors, 0 warnings" in outcome.out
    assert "3 stages, 1 bus, 1 hydro, 2 thermals" in outcome.out


def test_validate_lists_every_fault_by_file(cli: Cli, tmp_path: Path) -> None:
    files = case_files(thermals=(thermal(0),), buses=(bus(0),))
    files["system/thermals.json"]["thermals"][0]["cost_per_mwh"] = "dear"
    files["system/buses.json"]["buses"][0]["nam"] = "B"
    files["penalties.json"]["line"]["exchange_cost"] = -1.0
    outcome = cli("validate", write_case(tmp_path / "bad", files))
    assert outcome.code == 3
    lines = outcome.err.splitlines()
    for file in ("system/thermals.json", "system/buses.json", "penalties.json"):
        assert lines.count(file) == 1
    assert any("thermal 0" in line and "cost_per_mwh" in line and "'dear'" in line for line in lines)
    assert "'nam'" in outcome.err
    assert "not valid, 3 errors, 0 warnings" in outcome.out


def test_validate_as_json(cli: Cli, case: Path, tmp_path: Path) -> None:
    assert cli("validate", case, "--json").document == {"valid": True, "errors": [], "warnings": []}
    outcome = cli("validate", tmp_path / "none", "--json")
    assert outcome.code == 3
    assert outcome.document["valid"] is False
    assert outcome.document["errors"][0]["kind"] == "MissingFile"


def test_run_trains_and_says_what_came_of_it(cli: Cli, case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = cli("run", case, "-o", out)
    assert outcome.code == 0
    for part in ("the iteration limit was reached, after 6 iterations", "lower bound", "(95 %)", "in the solver"):
        assert part in outcome.out
    assert str(out / "policy") in outcome.out
    assert "iteration 6 of 6" in outcome.err
    assert not (out / "simulation").exists()  # the case does not ask for it
    assert cobre.Policy.load(out / "policy").iterations == 6


def test_run_as_json_simulates_where_it_is_asked_to(cli: Cli, case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = cli("run", case, "-o", out, "--simulate", "--json", "--set", SCENARIOS, "--set", SAMPLED)
    document = outcome.document
    assert outcome.code == 0
    assert document["training"]["iterations"] == 6
    assert document["training"]["termination_reason"] == "iteration_limit"
    assert document["simulation"]["scenarios"] == 30
    assert document["stopped_early"] is False
    for part in ("training", "simulation"):
        assert all(Path(file).is_file() for file in document[part]["files"])
    assert "scenario 30 of 30" in outcome.err


def test_the_case_decides_whether_a_run_simulates(cli: Cli, case: Path, tmp_path: Path) -> None:
    enabled = ("--set", "simulation.enabled=true", "--set", SCENARIOS, "--set", SAMPLED, "--json")
    assert cli("run", case, "-o", tmp_path / "a", *enabled).document["simulation"]["scenarios"] == 30
    assert cli("run", case, "-o", tmp_path / "b", *enabled, "--no-simulate").document["simulation"] is None


def test_train_then_simulate_into_the_same_folder(cli: Cli, case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli("train", case, "-o", out, "--quiet").code == 0
    outcome = cli("simulate", case, "-o", out, "--set", SCENARIOS, "--set", SAMPLED)
    assert outcome.code == 0
    assert "mean cost" in outcome.out
    assert (out / "simulation" / "costs").is_dir()


@pytest.mark.parametrize("given", ["", "policy"])
def test_a_policy_is_named_by_its_folder_or_its_run(
    cli: Cli, case: Path, output: Path, tmp_path: Path, given: str
) -> None:
    arguments = ("simulate", case, "--policy", output / given, "-o", tmp_path / "other", "--json")
    outcome = cli(*arguments, "--set", SCENARIOS, "--set", SAMPLED)
    assert outcome.document["simulation"]["scenarios"] == 30


def test_results_are_those_of_the_library(cli: Cli, case: Path, output: Path, tmp_path: Path) -> None:
    document = cli("train", case, "-o", tmp_path / "out", "--json").document
    known = json.loads((output / "manifest.json").read_text())["training"]
    assert document["training"]["lower_bound"] == known["lower_bound"]
    assert document["training"]["upper_bound"] == known["upper_bound"]


def test_output_goes_beside_the_user_unless_told(
    cli: Cli, case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("train", case, "--json").document["output"] == "brook-output"
    assert (tmp_path / "brook-output" / "policy").is_dir()


def test_quiet_says_nothing(cli: Cli, case: Path, tmp_path: Path) -> None:
    outcome = cli("train", case, "-o", tmp_path / "out", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_warnings_are_seen_before_a_run(cli: Cli, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    folder = write_case(tmp_path / "case", case_files(iterations=2))
    file = folder / "scenarios" / "load_seasonal_stats.parquet"
    pq.write_table(pq.ParquetFile(file).read(), file, compression="snappy")
    outcome = cli("run", folder, "-o", tmp_path / "out", "--quiet")
    assert outcome.code == 0
    assert "load_seasonal_stats.parquet" in outcome.err
    assert "warning" in outcome.err


def test_settings_of_the_command_line_are_used(cli: Cli, case: Path, tmp_path: Path) -> None:
    rules = 'training.stopping_rules=[{"type": "iteration_limit", "limit": 2}]'
    document = cli("train", case, "-o", tmp_path / "out", "--json", "--set", rules).document
    assert document["training"]["iterations"] == 2


def refused(cli: Cli, code: int, *arguments: object) -> str:
    """The message of a command that must fail with ``code``, without and with ``--json`` the same."""
    plain = cli(*arguments)
    document = cli(*arguments, "--json")
    assert plain.code == document.code == code
    assert plain.out == ""
    assert "Traceback" not in plain.err + document.err
    error = document.document["error"]
    assert set(error) == {"kind", "message", "context", "suggestion", "diagnostics"}
    assert error["message"].splitlines()[0].rstrip(":") in plain.err
    return plain.err


def test_a_case_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "no such case directory" in refused(cli, 3, "run", tmp_path / "none", "-o", out)
    assert not out.exists()


def test_a_case_that_is_a_file(cli: Cli, case: Path, tmp_path: Path) -> None:
    refused(cli, 3, "train", case / "config.json", "-o", tmp_path / "out")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_case_that_cannot_be_read(cli: Cli, tmp_path: Path) -> None:
    folder = write_case(tmp_path / "case", case_files())
    (folder / "stages.json").chmod(0)
    assert "stages.json" in refused(cli, 3, "train", folder, "-o", tmp_path / "out")


def test_a_setting_that_does_not_exist(cli: Cli, case: Path, tmp_path: Path) -> None:
    err = refused(cli, 3, "train", case, "-o", tmp_path / "out", "--set", "training.tree_sead=7")
    assert "tree_sead" in err
    assert "did you mean" in err


@pytest.mark.parametrize("setting", ["training", "=3", "training..seed=3", ""])
def test_a_setting_that_is_none(cli: Cli, case: Path, setting: str) -> None:
    outcome = cli("train", case, "--set", setting, "--json")
    assert outcome.code == 2
    assert outcome.document["error"]["kind"] == "Usage"
    assert "dotted.key=value" in outcome.err


@pytest.mark.parametrize("arguments", [("train",), ("tarin", "case"), ("run", "a", "b"), ("run", "a", "--nix")])
def test_wrong_usage(cli: Cli, arguments: tuple[str, ...]) -> None:
    outcome = cli(*arguments, "--json")
    assert outcome.code == 2
    assert outcome.document["error"]["kind"] == "Usage"
    assert "Usage" in outcome.err


def test_a_policy_of_another_case(cli: Cli, output: Path, tmp_path: Path) -> None:
    other = write_case(tmp_path / "other", case_files())
    err = refused(cli, 3, "simulate", other, "--policy", output, "-o", tmp_path / "out")
    assert "brook" in err
    assert not (tmp_path / "out").exists()


def test_a_policy_of_other_numbers_needs_consent(cli: Cli, case: Path, output: Path, tmp_path: Path) -> None:
    changed = tmp_path / "brook"
    shutil.copytree(case, changed)
    initial = {"storage": [{"hydro_id": 3, "value_hm3": 50.0}], "filling_storage": []}
    (changed / "initial_conditions.json").write_text(json.dumps(initial))
    arguments = ("simulate", changed, "--policy", output, "-o", tmp_path / "out", "--set", SCENARIOS, "--set", SAMPLED)
    assert "--no-strict" in refused(cli, 3, *arguments)
    assert cli(*arguments, "--no-strict").code == 0


def test_a_policy_that_is_not_there(cli: Cli, case: Path, tmp_path: Path) -> None:
    assert "--policy" in refused(cli, 5, "simulate", case, "-o", tmp_path / "out")


def test_a_folder_that_is_in_use(cli: Cli, case: Path, output: Path, tmp_path: Path) -> None:
    assert "already holds" in refused(cli, 5, "run", case, "-o", output)
    (tmp_path / "letter.txt").write_text("dear")
    assert "letter.txt" in refused(cli, 5, "run", case, "-o", tmp_path)


def test_an_output_that_is_a_file(cli: Cli, case: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(cli, 5, "train", case, "-o", tmp_path / "file")
    refused(cli, 5, "train", case, "-o", tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SolverError("stage 3 has no solution", stage=3), 4),
        (WorkerError("worker 1 died", rank=1), 6),
        (CommError("allgatherv broke", operation="allgatherv"), 6),
        (ActorError("nobody answers"), 6),
        (CobreError("odd"), 1),
        (RuntimeError("never thought of"), 1),
        (MemoryError(), 1),
    ],
)
def test_failures_of_a_run(
    cli: Cli, case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(runs, "train_case", fail)
    err = refused(cli, code, "train", case, "-o", tmp_path / "out")
    assert "report it" in err if isinstance(error, RuntimeError) else True


@pytest.mark.parametrize("name", ["validate", "train", "simulate", "run", "report"])
def test_help_teaches(cli: Cli, name: str) -> None:
    outcome = cli(name, "--help")
    assert outcome.code == 0
    assert f"cobre {name} " in outcome.out.split("Example")[1]


def test_help_and_version(cli: Cli) -> None:
    assert "130 stopped at once" in " ".join(cli("--help").out.split())
    assert cli("--version").out.startswith("cobre ")
