"""Checkpoints: what is read is what was kept, to the bit; what is damaged or of another run is refused by name."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cobre
from cobre.engine import beginning, checkpoint_file, checkpoint_writer
from cobre.engine.checkpoint import find, identity, policy_of, resumed
from cobre.engine.checkpoint_file import Content
from cobre.engine.checkpoint_parts import assemble, parts
from cobre.engine.checkpoint_writer import CheckpointPlan, CheckpointWriter, checkpoints_in
from cobre.errors import CobreError, IOError, ValidationError
from cobre.results import TrainingResult
from cobre.sddp.continuing import Checkpointing
from cobre.sddp.problem import Problem
from cobre.sddp.settings import CutSelection, Enumerated, Level1, Sampled, TrainingSettings
from cobre.sddp.state import StageState, TrainingState
from cobre.sddp.stopping import BoundStalling, IterationLimit
from cobre.sddp.training import train
from tests.cli.commands import Cli, finish, start
from tests.hydro.cases import case_files, hydro, thermal, write_case
from tests.sddp.small import cascade
from tests.sddp.test_training import bits

SETTINGS = TrainingSettings(passes=Sampled(3), stopping=(IterationLimit(9),))
EVERY = {"policy.checkpointing": {"enabled": True, "interval_iterations": 1}}
LIMIT = {"training.stopping_rules": [{"type": "iteration_limit", "limit": 9}]}


@pytest.fixture(scope="module")
def problem() -> Problem:
    return cascade()


@pytest.fixture(scope="module")
def expected(problem: Problem) -> bytes:
    return bits(train(problem, SETTINGS))


@pytest.fixture(autouse=True)
def _all_that_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short iterations are, each has its checkpoint."""
    monkeypatch.setattr(beginning, "CheckpointPlan", partial(CheckpointPlan, share=np.inf))


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to the bit, whatever their types hold."""
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other) and type(one) is type(other)


def content(state: TrainingState, before: TrainingState | None) -> Content:
    header, arrays = parts(state, before)
    return Content(json.loads(json.dumps(header)), dict(arrays), "")


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, kept_vertices=20, dual_reuse="adaptive"),
        replace(SETTINGS, cut_selection=CutSelection(Level1(check_frequency=2)), dual_reuse="off"),
        replace(SETTINGS, passes=Enumerated(), stopping=(IterationLimit(5),)),
    ],
    ids=["evictions", "visited states, bases", "exact bounds"],
)
def test_what_came_since_makes_up_the_whole(settings: TrainingSettings) -> None:
    small = cascade(stages=3, openings=4)
    states: list[TrainingState] = []
    outcome = bits(train(small, settings, keep=states.append))
    whole = [assemble([content(state, None)]) for state in states]
    assert all(map(same, whole, [state.trimmed() for state in states]))
    chosen = [states[0], *states[1::2]]  # some of them are skipped
    chain = [content(state, before) for state, before in zip(chosen, [None, *chosen], strict=False)]
    assert same(assemble(chain), chosen[-1].trimmed())
    assert bits(train(small, settings, resume=assemble(chain[:2]))) == outcome
    with pytest.raises(ValueError, match="follow"):
        assemble([chain[0], chain[2]])


def test_all_of_a_state_is_written() -> None:
    """A field that is added to a state must be added to what is written of it."""
    assert {field.name for field in fields(TrainingState)} == {
        "iteration", "seconds", "records", "bounds", "exact", "questioned", "statistics", "picks", "exact_from",
        "passes", "visited", "stages",
    }  # fmt: skip
    assert {field.name for field in fields(StageState)} == {
        "slopes", "intercepts", "iterations", "active", "last_active", "times_active", "starts", "bases", "vertices",
    }  # fmt: skip


def written(folder: Path, problem: Problem, settings: TrainingSettings = SETTINGS, **given: Any) -> Path:
    """A folder with the checkpoints of a training."""
    plan = CheckpointPlan(folder, Checkpointing(1, **given), identity(problem, settings, {}), share=np.inf)
    with CheckpointWriter(plan) as writer:

        def keep(state: TrainingState) -> None:
            writer.keep(state)
            while writer._reached is not state:  # each of them, whoever is faster
                time.sleep(0.001)

        train(problem, settings, keep=keep)
    return folder


@pytest.fixture(scope="module")
def folder(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("runs") / "checkpoints", problem)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "checkpoints"))


def go_on(path: Path, problem: Problem, settings: TrainingSettings = SETTINGS) -> bytes:
    state = resumed(find(path), identity(problem, settings, {}), settings)
    return bits(train(problem, settings, resume=state))


def test_each_checkpoint_goes_on_to_the_same_bits(folder: Path, problem: Problem, expected: bytes) -> None:
    files = checkpoints_in(folder)
    assert [checkpoint_writer.iteration_of(path) for path in files] == [
        8,
        7,
        6,
        5,
        4,
    ]  # the chain, and the one before it
    assert {path.name for path in files} == {path.name for path in folder.iterdir()}
    for path in (files[0], files[3]):
        assert go_on(path, problem) == expected


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[int(0.7 * len(data))] ^= 4
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_another(path: Path) -> None:
    path.write_bytes(b"#!/bin/sh\n" + b"echo no checkpoint\n" * 20)


def relayout(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8] = 9
    path.write_bytes(data)


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (truncate, "truncated"), (flip, "altered"), (empty, "truncated"), (replace_by_another, "foreign"),
    (relayout, "another layout"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "fault"), DAMAGES)
def test_damage_is_refused_by_name_and_the_one_before_is_offered(
    copy: Path, problem: Problem, damage: Callable[[Path], None], fault: str
) -> None:
    latest, before, *_ = checkpoints_in(copy)
    damage(latest)
    with pytest.raises(IOError) as caught:
        go_on(copy, problem)
    error = caught.value
    assert (error.kind, error.context["fault"]) == ("CheckpointDamaged", fault)
    assert error.context["before"] == str(before)
    assert str(before) in str(error.suggestion)
    assert resumed(before, identity(problem, SETTINGS, {}), SETTINGS).iteration == 7


@pytest.mark.parametrize(("damage", "fault"), [(Path.unlink, "missing"), (flip, "altered")])
def test_what_stands_on_something_damaged_is_damaged(
    copy: Path, problem: Problem, expected: bytes, damage: Callable[[Path], None], fault: str
) -> None:
    on = {path: checkpoint_file.read(path).header.get("on") for path in checkpoints_in(copy)}
    later = next(path for path in on if on[path])
    below = checkpoint_writer.iteration_of(later) - 1
    damage(copy / f"iteration-{below:06d}.checkpoint")
    with pytest.raises(IOError, match=f"iteration-{below:06d}") as caught:
        go_on(later, problem)
    assert caught.value.context["fault"] == fault
    before = Path(caught.value.context["before"])
    assert checkpoint_writer.iteration_of(before) == below - 1
    assert go_on(before, problem) == expected


def test_where_nothing_is_whole_that_is_said(copy: Path, problem: Problem) -> None:
    for path in checkpoints_in(copy):
        flip(path)
    with pytest.raises(IOError, match="begin anew") as caught:
        go_on(copy, problem)
    assert caught.value.context["before"] is None


def test_an_altered_link_of_a_chain_is_noticed(copy: Path, problem: Problem, tmp_path: Path) -> None:
    """A file that is whole, and not the one that the next was written upon."""
    later = next(path for path in checkpoints_in(copy) if checkpoint_file.read(path).header.get("on"))
    below = checkpoint_writer.iteration_of(later) - 1
    other = written(tmp_path / "other", problem, replace(SETTINGS, seed=1))
    shutil.copy(other / f"iteration-{below:06d}.checkpoint", copy)
    with pytest.raises(IOError, match="is not the one that was there"):
        go_on(later, problem)


def test_another_run_is_refused_by_name(
    folder: Path, problem: Problem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def differs(other: Problem, settings: TrainingSettings) -> tuple[str, str]:
        with pytest.raises(ValidationError) as caught:
            go_on(folder, other, settings)
        assert caught.value.kind == "CheckpointForeign"
        return caught.value.context["differs"], str(caught.value)

    kind, text = differs(problem, replace(SETTINGS, seed=5, passes=Sampled(4)))
    assert kind == "settings"
    assert "passes.count was 3 and is 4; seed was 42 and is 5" in text
    assert differs(cascade(seed=8), SETTINGS)[0] == "inputs"
    monkeypatch.setattr("cobre.engine.checkpoint.highs_version", lambda: "9.9")
    kind, text = differs(problem, SETTINGS)
    assert (kind, "highs was" in text) == ("versions", True)


def test_a_run_may_go_on_to_another_end(folder: Path, problem: Problem) -> None:
    longer = replace(SETTINGS, stopping=(IterationLimit(11), BoundStalling(5, 1e-12)))
    assert go_on(folder, problem, longer) == bits(train(problem, longer))
    with pytest.raises(ValidationError) as caught:
        go_on(folder, problem, replace(SETTINGS, stopping=(IterationLimit(8),)))
    assert caught.value.kind == "NothingToDo"


def test_an_adaptive_run_has_one_end(problem: Problem, tmp_path: Path) -> None:
    """Its last iterations are exact: had the limit been another, others would be."""
    short = replace(SETTINGS, dual_reuse="adaptive", stopping=(IterationLimit(30),))
    states: list[TrainingState] = []
    train(problem, replace(short, stopping=(IterationLimit(4),)), keep=states.append)
    run = written(tmp_path / "checkpoints", problem, replace(short, stopping=(IterationLimit(4),)))
    assert [state.exact_from for state in states] == [None, None, None]
    assert go_on(run, problem, short) == bits(train(problem, short))
    exact = written(tmp_path / "exact", problem, replace(short, stopping=(IterationLimit(30), BoundStalling(2, 1.0))))
    with pytest.raises(ValidationError, match="other stopping rules"):
        go_on(exact, problem, replace(short, stopping=(IterationLimit(40),)))


def test_compressed_ones_are_smaller(folder: Path, problem: Problem, expected: bytes, tmp_path: Path) -> None:
    small = written(tmp_path / "checkpoints", problem, compress=True)
    latest, plain = checkpoints_in(small)[0], checkpoints_in(folder)
    assert latest.stat().st_size < next(path for path in plain if path.name == latest.name).stat().st_size
    assert go_on(latest, problem) == expected


def test_what_cannot_be_written_is_a_warning(
    problem: Problem, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> tuple[str, int]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_writer, "write", full)
    plan = CheckpointPlan(tmp_path / "checkpoints", Checkpointing(1), identity(problem, SETTINGS, {}))
    with caplog.at_level(logging.WARNING), CheckpointWriter(plan) as writer:
        assert bits(train(problem, SETTINGS, keep=writer.keep)) == expected
    assert "No space left on device" in caplog.text
    assert not (tmp_path / "checkpoints").exists()


def test_one_run_writes_at_a_time(problem: Problem, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_writer, "_PATIENCE", 0.0)
    plan = CheckpointPlan(folder, Checkpointing(1), {})
    with checkpoint_writer.locked(folder), pytest.raises(IOError) as caught, CheckpointWriter(plan):
        pass
    assert caught.value.kind == "Busy"


# The front door.


def stop_after(iteration: int) -> Callable[[Any], bool]:
    return lambda event: event.iteration is None or event.iteration < iteration


def bits_of(result: TrainingResult) -> tuple[Any, ...]:
    cuts = [result.policy.cuts(stage) for stage in range(1, len(result.policy.stages) + 1)]
    history = result.convergence_history.drop_columns(["wall_time_ms", "iteration_time_ms"])
    return history.to_pylist(), [{name: array.tobytes() for name, array in cut.items()} for cut in cuts]


def test_an_interrupted_run_goes_on_in_its_folder_or_in_another(problem: Problem, tmp_path: Path) -> None:
    given = LIMIT | EVERY | {"training.selection.forward_passes": 3}
    whole = cobre.train(problem, given, output_directory=tmp_path / "whole")
    run = tmp_path / "run"

    def fail(event: Any) -> None:
        if event.iteration == 5:
            raise RuntimeError("the lights went out")

    with pytest.raises(RuntimeError):
        cobre.train(problem, given, fail, output_directory=run)
    assert [path.name for path in run.iterdir()] == ["checkpoints"]
    taken = checkpoint_writer.iteration_of(find(run))
    assert 1 <= taken <= 4, "as late as writing lets them be"
    with pytest.raises(IOError, match="resume that run") as caught:
        cobre.train(problem, given, output_directory=run)
    assert caught.value.kind == "OutputExists"
    seen: list[int | None] = []
    earliest = checkpoints_in(run / "checkpoints")[-1]
    elsewhere = cobre.train(
        problem, given, lambda e: seen.append(e.iteration), resume=earliest, output_directory=tmp_path / "elsewhere"
    )
    assert seen == [*range(checkpoint_writer.iteration_of(earliest) + 1, 10)]
    for name in ("policy", "training", ".training.x.part"):  # the run was killed while it wrote its results
        (run / name).mkdir()
        (run / name / "torn").touch()
    here = cobre.train(problem, given | {"policy.mode": "resume"}, output_directory=run)
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "manifest.json", "policy", "training"]
    assert bits_of(whole) == bits_of(here) == bits_of(elsewhere)
    for file in sorted((tmp_path / "whole" / "policy" / "cuts").iterdir()):
        assert file.read_bytes() == (run / "policy" / "cuts" / file.name).read_bytes()
    assert taken <= checkpoint_writer.iteration_of(find(run)) < 9, "the same where writing took as long as the rest"
    with pytest.raises(IOError, match="already holds"):
        cobre.train(problem, given, resume=run)


def test_a_run_that_is_stopped_leaves_its_last_iterations(problem: Problem, tmp_path: Path) -> None:
    """Also where the next checkpoint is not due for long."""
    rarely = LIMIT | {"policy.checkpointing": {"enabled": True, "interval_iterations": 100}}
    stopped = cobre.train(problem, rarely, stop_after(6), output_directory=tmp_path / "run")
    assert (stopped.termination_reason, stopped.iterations) == ("shutdown", 6)
    again = cobre.train(problem, rarely, resume=tmp_path / "run", output_directory=tmp_path / "on")
    assert bits_of(again) == bits_of(cobre.train(problem, LIMIT))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (EVERY, "policy.checkpointing.enabled"),
        ({"policy.mode": "resume"}, "policy.path"),
        ({"policy.mode": "warm_start"}, "policy.path"),
    ],
)
def test_what_needs_an_output_directory_says_so(problem: Problem, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match="output_directory") as caught:
        cobre.train(problem, settings)
    assert caught.value.context["field"] == field


def test_nothing_to_go_on_from(problem: Problem, tmp_path: Path) -> None:
    for given in ({"resume": tmp_path / "no"}, {"output_directory": tmp_path / "run"}):
        with pytest.raises(IOError) as caught:
            cobre.train(problem, LIMIT | {"policy.mode": "resume"}, **given)  # type: ignore[arg-type]
        assert caught.value.kind == "CheckpointMissing"
    assert not list(tmp_path.iterdir())


def test_a_warm_start_begins_where_the_cuts_are(problem: Problem, folder: Path, tmp_path: Path) -> None:
    first = cobre.train(problem, LIMIT, output_directory=tmp_path / "first")
    warm = LIMIT | {"policy.mode": "warm_start"}
    for path in ("first", "first/policy"):
        second = cobre.train(
            problem, warm | {"policy.path": f"../{path}"}, output_directory=tmp_path / f"after {path[-5:]}"
        )
        assert second.convergence_history["lower_bound"][0].as_py() >= first.final_bound
        assert second.total_cuts == 2 * first.total_cuts
        assert second.iterations == 9
    from_checkpoint = cobre.train(problem, warm | {"policy.path": str(folder)})
    assert from_checkpoint.total_cuts == first.total_cuts + sum(policy_of(find(folder)).summary()["cuts_per_stage"])


def test_a_warm_start_from_what_is_no_policy_of_the_case(
    problem: Problem, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def begin(other: Problem, path: Path) -> CobreError:
        with pytest.raises(CobreError) as caught:
            cobre.train(other, LIMIT | {"policy.mode": "warm_start", "policy.path": str(path)})
        return caught.value

    assert begin(cascade(stages=3), folder).kind == "IncompatibleSettings"
    assert begin(problem, tmp_path / "none").kind == "PolicyUnreadable"
    (tmp_path / "manifest.bin").touch()
    assert (begin(problem, tmp_path).kind, "FlatBuffers" in str(begin(problem, tmp_path))) == ("NotSupported", True)
    with caplog.at_level(logging.WARNING):
        cobre.train(cascade(seed=8), LIMIT | {"policy.mode": "warm_start", "policy.path": str(folder)})
    assert "trained on other numbers" in caplog.text


# The command line.


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def test_a_run_that_is_killed_whole_goes_on_with_other_workers(cli: Cli, tmp_path: Path) -> None:
    thermals = (thermal(0, most=50.0, cost=20.0), thermal(1, most=80.0, cost=90.0))
    endless = case_files(stages=3, openings=4, hydros=(hydro(3),), thermals=thermals, inflow_std=8.0, iterations=10**8)
    case, out = write_case(tmp_path / "brook", endless), tmp_path / "out"
    every = ("--set", 'policy.checkpointing={"enabled": true, "interval_iterations": 1}')
    process = start("run", case, "-o", out, "--workers", "2", *every)
    while not checkpoints_in(out / "checkpoints"):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    finish(process)
    with checkpoint_writer.locked(out / "checkpoints"):  # its workers are gone
        limit = checkpoint_writer.iteration_of(find(out)) + 3
    short = (
        "--no-simulate", "--set", f'training.stopping_rules=[{{"type": "iteration_limit", "limit": {limit}}}]',
    )  # fmt: skip
    wrong = cli("run", case, "--resume", out, "--set", "training.tree_seed=7", *every, *short)
    assert (wrong.code, "seed was" in wrong.err) == (3, True), wrong.err
    gone_on = cli("run", case, "--resume", out, "--json", *every, *short)
    assert gone_on.code == 0, gone_on.err
    assert gone_on.document["output"] == str(out)
    whole = cli("run", case, "-o", tmp_path / "whole", *short)
    assert whole.code == 0
    for file in sorted((tmp_path / "whole" / "policy" / "cuts").iterdir()):
        assert file.read_bytes() == (out / "policy" / "cuts" / file.name).read_bytes()
    missing = cli("run", case, "--resume", tmp_path)
    assert (missing.code, "there is no checkpoint" in missing.err) == (5, True)
