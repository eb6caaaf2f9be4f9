"""What else can go wrong with a run on workers: callbacks, problems without a solution, results without room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

import cobre
from cobre.actors import ActorSystem
from cobre.sddp.builder import StageBuilder, chain
from cobre.sddp.problem import Problem
from cobre.testing import faults
from tests.faults.parents import ROOT, ended
from tests.faults.table import SETTINGS, problem

ENDLESS = SETTINGS | {"training.stopping_rules": [{"type": "iteration_limit", "limit": 100_000_000}]}


class Murderer:
    """A callback that kills a worker, and does not return before all workers are gone; what it does then is given."""

    def __init__(self, rank: int, raises: Exception | None = None) -> None:
        self.rank, self.raises = rank, raises
        self.others = psutil.Process().children()  # what these tests keep, which is none of a run's
        self.all_gone: bool | None = None

    def __call__(self, event: cobre.ProgressEvent) -> None:
        if self.all_gone is None:
            workers = [child for child in psutil.Process().children() if child not in self.others]
            os.kill(workers[self.rank].pid, signal.SIGKILL)
            self.all_gone = ended(workers)
            if self.raises is not None:
                raise self.raises


def test_workers_end_while_a_callback_blocks() -> None:
    callback = Murderer(1)
    with pytest.raises(cobre.WorkerError) as caught:
        cobre.train(problem(), ENDLESS, callback, num_workers=3)
    assert callback.all_gone
    error = caught.value
    assert (error.rank, error.context["signal"], error.context["failures"]) == (1, "SIGKILL", [])


def test_an_exception_of_a_callback_comes_out_as_it_is() -> None:
    callback = Murderer(0, KeyError("mine"))
    with pytest.raises(KeyError, match="mine"):
        cobre.train(problem(), ENDLESS, callback, num_workers=2)
    assert callback.all_gone


def test_of_two_workers_that_fail_one_is_named_and_no_third_is_blamed() -> None:
    kinds = {0: "ValueError", 1: "Injected"}
    with (
        faults.inject(rank=0, how="raise", when="bound", iteration=2),
        faults.inject(rank=1, how="raise-cobre", when="bound", iteration=2),
        pytest.raises(cobre.WorkerError) as caught,
    ):
        cobre.train(problem(), SETTINGS, num_workers=3)
    error, others = caught.value, [failure["rank"] for failure in caught.value.context["failures"]]
    assert error.rank is not None
    assert error.inner is not None
    assert error.inner.kind == kinds.pop(error.rank)
    assert others in ([], list(kinds))


def without_solution() -> Problem:
    """More is asked of its third stage than there is, in the last of its openings."""
    stages = []
    for t in range(4):
        stage = StageBuilder(f"stage {t}")
        stage.state("water", 0.0, 100.0)
        stage.variable("flow", 0.0, 30.0, 1.0)
        stage.variable("spill")
        stage.constraint("balance", {"water.out": 1.0, "water.in": -1.0, "flow": 1.0, "spill": 1.0}, "==", 10.0)
        stage.constraint("need", {"flow": 1.0}, ">=", 5.0)
        for opening in range(4):
            stage.opening(0.25, rhs={"need": 31.0 if (t, opening) == (2, 3) else 5.0})
        stages.append(stage)
    return chain(stages, initial_state={"water": 50.0})


def test_a_problem_that_fails_in_a_worker_says_which_stage(tmp_path: Path) -> None:
    with pytest.raises(cobre.WorkerError) as caught:
        cobre.train(without_solution(), SETTINGS, None, "tcp", 2, output_directory=tmp_path / "out")
    error, inner = caught.value, caught.value.inner
    assert isinstance(inner, cobre.SolverError)
    assert (error.kind, error.exit_code, inner.stage, inner.iteration) == ("WorkerFailed", None, 3, 1)
    assert Path(inner.context["model_file"]).is_file()
    assert "File" in str(inner.__cause__)  # where it was raised, over there


def test_a_result_that_is_too_large_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cobre.engine.executor.ActorSystem", partial(ActorSystem, max_message=30_000))
    with pytest.raises(cobre.WorkerError) as caught:
        cobre.train(
            problem(),
            SETTINGS | {"training.stopping_rules": [{"type": "iteration_limit", "limit": 100}]},
            num_workers=2,
        )
    error = caught.value
    assert isinstance(error.inner, cobre.ActorError)
    assert (error.rank, error.inner.kind, error.context["phase"]) == (0, "TooLarge", "stopping")


def test_a_coordinator_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COBRE_TCP_COORDINATOR", "192.0.2.1:29500")  # an address that nobody has
    with pytest.raises(cobre.WorkerError) as caught:
        cobre.train(problem(), SETTINGS, num_workers=2)
    error = caught.value
    assert isinstance(error.inner, cobre.CommError)
    assert (error.rank, error.context["phase"]) == (0, "connecting")
    assert "192.0.2.1" in error.message


NO_ROOM = """
import os, sys
sys.path.insert(0, {root!r})
from tests.transport.fault_deeds import own_shared_memory
try:
    own_shared_memory(65536)
except OSError as error:
    sys.exit(f"skip: {{error}}")
import cobre
from tests.faults.table import SETTINGS, problem
try:
    cobre.train(problem(), SETTINGS, num_workers=2)
except cobre.ValidationError as error:
    print(error, os.listdir("/dev/shm"))
"""


def test_shared_memory_that_is_too_small_is_said_before_the_start() -> None:
    done = subprocess.run([sys.executable, "-c", NO_ROOM.format(root=str(ROOT))], capture_output=True, text=True)
    if done.stderr.startswith("skip"):
        pytest.skip(f"a mount namespace of its own is not permitted here: {done.stderr}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "/dev/shm has 0.1 MB free, and the run may need" in done.stdout
    assert "tcp" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_a_worker_that_hangs_in_start_is_not_called_a_timeout() -> None:
    with (
        faults.inject(rank=1, how="hang", when="starting"),
        pytest.raises(cobre.WorkerError) as caught,
    ):
        cobre.train(problem(), SETTINGS, num_workers=3, backend="tcp", hang_timeout=4.0)
    assert (caught.value.rank, caught.value.kind, caught.value.context["failures"]) == (1, "WorkerHung", [])


def test_a_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(cobre.WorkerError, match="could not be started") as caught:
        cobre.train(problem(), SETTINGS, num_workers=2)
    assert (caught.value.kind, caught.value.exit_code, caught.value.inner) == ("NotStarted", None, None)
    assert "/nowhere/python" in caught.value.message
