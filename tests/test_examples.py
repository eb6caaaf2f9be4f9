"""Every example runs, and the example case is what its script writes and what its page says."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

import cobre

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CASE = EXAMPLES / "cases" / "three-dams"


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text()
    assert [path.stem for path in EXAMPLES.glob("*.py") if f'load("{path.stem}")' not in here] == []


def test_train_simulate_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("train_and_simulate").main(tmp_path / "out")
    said = capsys.readouterr().out
    assert "stopped (shutdown)" in said
    assert "50 scenarios cost" in said
    load("read_results").main(tmp_path / "out")
    said = capsys.readouterr().out
    assert "50 scenarios, median" in said
    assert "hydro 2:" in said


def test_warehouse(capsys: pytest.CaptureFixture[str]) -> None:
    load("warehouse").main()
    shops = {line.split()[0]: [float(x.replace(",", "")) for x in line.split()[1:]] for line in _table(capsys)}
    (neutral_bound, neutral_mean, neutral_worst), (_, careful_mean, careful_worst) = shops["neutral"], shops["careful"]
    assert neutral_bound == pytest.approx(neutral_mean, rel=0.1)
    assert careful_mean > neutral_mean
    assert careful_worst < neutral_worst


def test_actors(capsys: pytest.CaptureFixture[str]) -> None:
    load("actors").main(2)
    said = capsys.readouterr().out.splitlines()
    shortages = [float(line.split()[-1].replace(",", "")) for line in said if line.startswith("saving below")]
    assert len(shortages) == 11
    assert min(shortages) == shortages[4]
    assert "best is 200 hm3" in said
    assert "was ended by SIGKILL" in said[-2]
    assert said[-1].endswith(f" {shortages[0]:,.0f}")


def test_train_on_workers(capsys: pytest.CaptureFixture[str]) -> None:
    load("train_on_workers").main(2)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said if line.startswith("iteration")] == ["1", "2", "3", "4", "5"]
    assert [line.split()[1] for line in said if line.startswith("worker")] == ["0:", "1:"]
    assert said[-1].startswith("one process comes to the same bits")


def _table(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()[1:]


def test_the_example_case_is_what_its_script_writes(tmp_path: Path) -> None:
    load("make_example_case").write(tmp_path)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {path.relative_to(CASE) for path in CASE.rglob("*") if path.is_file()}
    for name in written:
        if name.suffix == ".json":
            assert json.loads((tmp_path / name).read_text()) == json.loads((CASE / name).read_text())
        else:  # the bytes of a Parquet file say which version of pyarrow wrote it
            assert pq.ParquetFile(tmp_path / name).read().equals(pq.ParquetFile(CASE / name).read())


def test_the_example_case_is_valid_and_converges_towards_its_bound() -> None:
    found = cobre.validate(CASE)
    assert (found.errors, found.warnings) == ((), ())
    rules = {"training.stopping_rules": [{"type": "iteration_limit", "limit": 8}]}
    # 115.79 million is where hundreds of iterations end; a bound never passes the optimum.
    assert 0.99 * 115.79e6 < cobre.train(CASE, rules).final_bound < 115.80e6


@pytest.mark.parametrize("name", ["train_and_simulate", "read_results"])
def test_examples_that_need_a_folder_say_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy

    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(SystemExit, match="Usage"):
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
