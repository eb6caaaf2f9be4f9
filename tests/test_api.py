"""The front door, on a problem and on a case: results, events, output folders, and every way to be refused."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cobre
from cobre import ProgressEvent
from cobre.sddp.problem import Problem
from tests.hydro.cases import write_case
from tests.hydro.full_case import full_files
from tests.sddp.small import cascade

SETTINGS: dict[str, Any] = {
    "training.selection": {"method": "sampled", "forward_passes": 3},
    "training.stopping_rules": [{"type": "iteration_limit", "limit": 6}],
    "simulation.selection": {"method": "sampled", "num_scenarios": 30},
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases") / "small"
    return write_case(folder, full_files())


@pytest.fixture(scope="module", params=["problem", "path", "case"])
def subject(request: pytest.FixtureRequest, case: Path) -> Problem | Path | cobre.Case:
    return {"problem": cascade, "path": lambda: case, "case": lambda: cobre.CaseLoader.load(case)}[request.param]()


def test_train_and_simulate_tell_one_story(subject: Any, tmp_path: Path) -> None:
    events: list[ProgressEvent] = []
    out = tmp_path / "out"
    result = cobre.train(subject, SETTINGS, events.append, output_directory=out)
    assert result.iterations == 6 == len(events)
    assert result.termination_reason == "iteration_limit"
    assert result.workers is None
    assert result.final_bound == result.final_lower_bound == events[-1].lower_bound
    assert result.total_cuts == result.policy.summary()["total_cuts"]
    history = result.convergence_history
    assert [(f.name, str(f.type)) for f in history.schema] == [
        ("iteration", "int32"),
        ("lower_bound", "double"),
        ("upper_bound", "double"),
        ("upper_bound_std", "double"),
        ("ci_95", "double"),
        ("gap", "double"),
        ("wall_time_ms", "int64"),
        ("iteration_time_ms", "int64"),
    ]
    assert history.column("lower_bound").to_pylist() == [e.lower_bound for e in events]
    assert np.all(np.diff(history.column("lower_bound").to_numpy()) >= 0.0)
    assert all(e.phase == "training" and e.worker_id is None for e in events)

    seen: list[ProgressEvent] = []
    simulated = cobre.simulate(subject, out / "policy", SETTINGS, seen.append, output_directory=out)
    assert (simulated.scenarios, simulated.complete) == (30, True)
    assert simulated.mean_cost == pytest.approx(simulated.costs.mean())
    assert [(e.scenarios_complete, e.scenarios_total) for e in seen] == [(16, 30), (30, 30)]
    assert simulated.costs.tobytes() == cobre.simulate(subject, result.policy, SETTINGS).costs.tobytes()
    _check_folder(out, result, simulated)


def _check_folder(out: Path, result: cobre.TrainingResult, simulated: cobre.SimulationResult) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest) == {"training", "simulation"}
    assert manifest["training"]["lower_bound"] == result.final_lower_bound
    assert manifest["training"]["settings"]["passes"] == {"type": "Sampled", "count": 3}
    assert manifest["simulation"]["mean_cost"] == simulated.mean_cost
    assert manifest["simulation"]["versions"]["highs"]
    assert pq.read_table(out / "training" / "convergence.parquet").num_rows == 6
    assert pq.read_table(out / "training" / "timing" / "iterations.parquet").num_rows == 6
    costs = pq.read_table(out / "simulation" / "costs")
    assert len(set(costs.column("scenario_id").to_pylist())) == 30
    listed = {*result.output_files, *simulated.output_files}
    assert {p for p in out.rglob("*") if p.is_file()} == listed
    assert list(out.rglob(".*")) == []


def test_every_decision_of_a_hydro_case_is_written(case: Path, tmp_path: Path) -> None:
    policy = cobre.train(case, SETTINGS).policy
    cobre.simulate(case, policy, SETTINGS, output_directory=tmp_path / "out")
    written = {p.name for p in (tmp_path / "out" / "simulation").iterdir()}
    assert written >= {"costs", "hydros", "thermals", "buses", "exchanges"}
    hydros = pq.read_table(tmp_path / "out" / "simulation" / "hydros")
    assert {"scenario_id", "stage_id", "block_id", "hydro_id", "storage_final_hm3"} <= set(hydros.column_names)


def test_overrides_may_be_nested_or_dotted(case: Path) -> None:
    nested = {
        "training": {
            "selection": {"method": "sampled", "forward_passes": 3},
            "stopping_rules": [{"type": "iteration_limit", "limit": 6}],
        }
    }
    dotted = {k: v for k, v in SETTINGS.items() if k.startswith("training")}
    a, b = cobre.train(case, nested), cobre.train(case, dotted)
    assert a.convergence_history.column("lower_bound").equals(b.convergence_history.column("lower_bound"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"training.tree_sed": 7}, "tree_seed"),
        ({"training.tree_seed": "seven"}, "tree_seed"),
        ({"training": {"stopping_rules": []}}, "iteration_limit"),
        ({"training.stopping_rules": [{"type": "iteration_limit", "limit": 0}]}, "limit"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_meant(subject: Any, overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(cobre.ValidationError, match=words):
        cobre.train(subject, overrides)


def test_a_problem_takes_no_settings_of_cases() -> None:
    with pytest.raises(cobre.ValidationError, match="stage LPs"):
        cobre.train(cascade(), {"modeling.inflow_non_negativity.method": "none"})


def test_a_callback_that_returns_false_stops_with_everything_saved(case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cobre.train(case, SETTINGS, lambda event: event.iteration < 2, output_directory=out)
    assert (result.termination_reason, result.iterations) == ("shutdown", 2)
    assert cobre.Policy.load(out / "policy").iterations == 2


def test_a_callback_that_raises_leaves_nothing(case: Path, tmp_path: Path) -> None:
    def callback(event: ProgressEvent) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        cobre.train(case, SETTINGS, callback, output_directory=tmp_path / "out")
    with pytest.raises(KeyError, match="mine"):
        cobre.simulate(case, cobre.train(case, SETTINGS).policy, SETTINGS, callback, output_directory=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_with_something_in_it_is_refused_before_any_work(case: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    called: list[ProgressEvent] = []
    with pytest.raises(cobre.IOError, match=r"not empty.*notes\.txt"):
        cobre.train(case, SETTINGS, called.append, output_directory=tmp_path)
    assert called == []
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    out = tmp_path / "out"
    result = cobre.train(case, SETTINGS, output_directory=out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(cobre.IOError, match="already holds policy and training"):
        cobre.train(case, SETTINGS, output_directory=out)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    cobre.simulate(case, result.policy, SETTINGS, output_directory=out)
    with pytest.raises(cobre.IOError, match="already holds simulation"):
        cobre.simulate(case, result.policy, SETTINGS, output_directory=out)
    with pytest.raises(cobre.IOError, match="is no folder"):
        cobre.train(case, SETTINGS, output_directory=tmp_path / "notes.txt")


def test_a_training_is_not_lost_when_its_output_cannot_be_written(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(cobre.IOError, match="No space left") as caught:
        cobre.train(case, SETTINGS, output_directory=out)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    rescued = caught.value.result
    assert rescued.iterations == 6
    cobre.simulate(case, rescued.policy.save(tmp_path / "elsewhere"), SETTINGS)


def test_a_policy_of_another_case_is_refused(case: Path) -> None:
    foreign = cobre.train(cascade(), SETTINGS).policy
    with pytest.raises(cobre.ValidationError, match="not one of"):
        cobre.simulate(case, foreign, SETTINGS)
    with pytest.raises(cobre.IOError, match="no readable policy"):
        cobre.simulate(case, case, SETTINGS)


def test_a_case_that_is_not_there_is_a_validation_error(tmp_path: Path) -> None:
    result = cobre.validate(tmp_path / "nowhere")
    assert not result.valid
    with pytest.raises(cobre.ValidationError, match="nowhere"):
        cobre.train(tmp_path / "nowhere")
    with pytest.raises(cobre.ValidationError):
        cobre.CaseLoader.load(tmp_path / "nowhere")


def test_workers_give_the_same_bits(case: Path, tmp_path: Path) -> None:
    """All of the result: bounds, cuts, what is saved, what is simulated and written."""
    one = cobre.train(case, SETTINGS, output_directory=tmp_path / "one")
    two = cobre.train(case, SETTINGS, num_workers=2, output_directory=tmp_path / "two")
    assert one.workers is None
    assert two.workers is not None
    assert [(info.rank, info.backend) for info in two.workers] == [(0, "shm"), (1, "shm")]
    bounds = [result.convergence_history["lower_bound"].to_pylist() for result in (one, two)]
    assert bounds[0] == bounds[1]
    for stage in range(1, one.policy.summary()["stages"] + 1):
        for name, values in one.policy.cuts(stage).items():
            assert np.array_equal(values, two.policy.cuts(stage)[name])
    simulated = cobre.simulate(case, one.policy, SETTINGS, output_directory=tmp_path / "one")
    spread = cobre.simulate(case, two.policy, SETTINGS, num_workers=3, backend="tcp", output_directory=tmp_path / "two")
    assert spread.workers is not None
    assert np.array_equal(simulated.costs, spread.costs)
    for folder in ("policy", "simulation"):
        files = [path for path in sorted((tmp_path / "one" / folder).rglob("*")) if path.is_file()]
        assert len(files) > 3
        assert all(
            path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes() for path in files
        )


def test_events_of_all_workers_reach_the_callback_in_order(case: Path) -> None:
    events: list[cobre.ProgressEvent] = []
    result = cobre.train(case, SETTINGS, events.append, num_workers=2)
    for rank in (0, 1):
        seen = [event.iteration for event in events if event.worker_id == rank]
        assert seen == list(range(1, result.iterations + 1))
        assert all(0.0 <= (event.busy_share or 0.0) <= 1.0 for event in events)


def test_auto_is_tcp_where_a_coordinator_is_set(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    monkeypatch.setenv("COBRE_TCP_COORDINATOR", f"127.0.0.1:{port}")
    result = cobre.train(case, SETTINGS, num_workers=2, backend="auto")
    assert result.workers is not None
    assert [info.backend for info in result.workers] == ["tcp", "tcp"]


SCRIPT = """
import sys, cobre
result = cobre.train(sys.argv[1], {"training.selection.forward_passes": 2}, num_workers=2)
print(result.iterations, len(result.workers))
"""


@pytest.mark.parametrize("way", ["stdin", "-c", "script"])
def test_a_users_script_needs_no_guard(case: Path, tmp_path: Path, way: str) -> None:
    script = tmp_path / "plan.py"
    script.write_text(SCRIPT)
    arguments = {"stdin": ["-"], "-c": ["-c", SCRIPT], "script": [str(script)]}[way]
    done = subprocess.run(
        [sys.executable, *arguments, str(case)], input=SCRIPT, text=True, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["2"], "it ran once, on two workers"
    assert done.stderr == ""


def test_a_callback_stops_workers(case: Path) -> None:
    long = SETTINGS | {"training.stopping_rules": [{"type": "iteration_limit", "limit": 100_000}]}
    result = cobre.train(case, long, lambda event: event.iteration != 5, num_workers=2)
    assert result.termination_reason == "shutdown"
    assert result.iterations == 5  # as in one process

    def refuse(event: cobre.ProgressEvent) -> None:
        raise LookupError("no more of this")

    with pytest.raises(LookupError, match="no more"):
        cobre.train(case, long, refuse, num_workers=2)


def test_the_async_forms_give_the_same_and_can_be_cancelled(case: Path) -> None:
    async def both() -> tuple[cobre.TrainingResult, cobre.SimulationResult]:
        trained = await cobre.train_async(case, SETTINGS)
        return trained, await cobre.simulate_async(case, trained.policy, SETTINGS)

    trained, simulated = asyncio.run(both())
    plain = cobre.train(case, SETTINGS)
    assert trained.convergence_history.column("lower_bound").equals(plain.convergence_history.column("lower_bound"))
    assert simulated.scenarios == 30
    iterations: list[ProgressEvent] = []

    async def cancelled() -> None:
        forever = SETTINGS | {"training.stopping_rules": [{"type": "iteration_limit", "limit": 10**6}]}
        task = asyncio.create_task(cobre.train_async(case, forever, progress_callback=iterations.append))
        while not iterations:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())  # ends only when the thread has ended: asyncio waits for it
    assert len(iterations) < 10**5


def test_the_library_logs_and_never_prints(
    case: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="cobre"):
        cobre.train(case, SETTINGS)
    assert any("training" in record.message for record in caplog.records)
    assert capsys.readouterr() == ("", "")


def test_results_are_arrow_tables(case: Path) -> None:
    assert isinstance(cobre.train(case, SETTINGS).convergence_history, pa.Table)
