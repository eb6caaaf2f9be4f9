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
from cobre.actors.pipeline_file import read_pipeline

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


def test_speech_chain(capsys: pytest.CaptureFixture[str]) -> None:
    load("speech_chain").main()
    said = capsys.readouterr().out.splitlines()
    heard = [line.split()[-1] for line in said if " s to " in line]
    assert heard == ["right", "left", "stop", "left", "right", "right", "stop"]
    assert "spotter is loading (33%): learning 'right'" in said
    assert said[-1].startswith("one process hears the same 7 words")


def test_video_chain(capsys: pytest.CaptureFixture[str]) -> None:
    load("video_chain").main(12)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "frame 1: movement in rows 40 to 184, columns 80 to 248"
    assert [line for line in said if "nothing" in line] == ["frame 5: nothing moves", "frame 10: nothing moves"]
    assert said[-2].startswith("12 frames, 75 MB, at most ")
    assert said[-1].startswith("12 frames arrived as they were sent")


def test_sddp_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    load("sddp_pipeline").main()
    said = capsys.readouterr().out.splitlines()
    expected = {line.split()[0]: float(line.split()[2]) for line in said[:3]}
    assert expected["dry"] > expected["usual"] > expected["wet"]
    assert said[3].startswith("usual is best: dry costs ")
    assert said[4].startswith("trained in this process, the usual belief expects the same: ")


@pytest.mark.parametrize("name", ["speech", "video"])
def test_pipelines_in_files_are_those_of_the_scripts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    written = read_pipeline(EXAMPLES / "pipelines" / f"{name}.toml").check()
    built = load(f"{name}_chain").build().check()
    assert written.name == built.name
    assert written.channels == built.channels
    for one, other in zip(written.nodes.values(), built.nodes.values(), strict=True):
        assert (one.name, one.type_name, one.config) == (other.name, other.type_name, other.config)
    assert {path.stem for path in (EXAMPLES / "pipelines").glob("*.toml")} == {"speech", "video"}


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
