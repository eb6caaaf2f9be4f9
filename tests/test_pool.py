"""Workers that live through many runs, and runs that live through the loss of a worker, to the same bits."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

import cobre
from cobre.testing import faults
from tests.faults.parents import ended
from tests.sddp.small import cascade

SETTINGS: dict[str, Any] = {
    "training.selection": {"method": "sampled", "forward_passes": 3},
    "training.stopping_rules": [{"type": "iteration_limit", "limit": 4}],
    "simulation.selection": {"method": "sampled", "num_scenarios": 64},  # four blocks of 16
}


def told(result: cobre.TrainingResult) -> tuple[Any, ...]:
    """What must be the same, however it came about."""
    history = result.convergence_history
    bounds = [history[name].to_pylist() for name in ("lower_bound", "upper_bound", "ci_95")]
    cuts = [values.tobytes() for values in result.policy.cuts(1).values()]
    return bounds, cuts, result.solver.solves, result.solver.simplex_iterations, result.termination_reason


def files(folder: Path) -> dict[str, bytes]:
    parts = (folder / "simulation", folder / "policy")
    return {str(p.relative_to(folder)): p.read_bytes() for part in parts for p in part.rglob("*") if p.is_file()}


def test_a_pool_runs_one_thing_after_the_other_and_outlives_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cobre.engine.executor._LAST_ITERATION", 60.0)  # however slow this machine is
    case, other = cascade(), cascade(stages=3)
    expected, of_other = told(cobre.train(case, SETTINGS)), told(cobre.train(other, SETTINGS))
    with cobre.Workers(2, backend="tcp") as workers:
        first = workers.pids
        assert told(cobre.train(case, SETTINGS, workers=workers)) == expected
        assert told(cobre.train(other, SETTINGS, workers=workers)) == of_other

        def kill(event: cobre.ProgressEvent) -> None:
            if (event.iteration, event.worker_id) == (2, 0):
                os.kill(workers.pids[1], signal.SIGKILL)

        endless = SETTINGS | {"training.stopping_rules": [{"type": "iteration_limit", "limit": 10**6}]}
        with pytest.raises(cobre.WorkerError) as caught:
            cobre.train(case, endless, kill, workers=workers)
        assert (caught.value.rank, caught.value.kind, caught.value.context["failures"]) == (1, "WorkerDied", [])
        result = cobre.train(case, SETTINGS, workers=workers)
        assert told(result) == expected
        assert result.restarts == ()
        assert workers.pids[0] == first[0]
        assert workers.pids[1] != first[1]

        def refuse(event: cobre.ProgressEvent) -> None:
            with pytest.raises(cobre.CobreError) as busy:
                cobre.train(case, SETTINGS, workers=workers)
            assert busy.value.kind == "Busy"
            raise LookupError("no more of this")

        before = workers.pids
        with pytest.raises(LookupError, match="no more"):
            cobre.train(case, endless, refuse, workers=workers)
        assert told(cobre.train(other, SETTINGS, workers=workers)) == of_other
        assert workers.pids == before
    workers.close()
    with pytest.raises(cobre.CobreError) as closed:
        cobre.train(case, SETTINGS, workers=workers)
    assert closed.value.kind == "Closed"


def test_a_run_goes_on_after_the_loss_of_a_worker(tmp_path: Path) -> None:
    case, events = cascade(), list[cobre.ProgressEvent]()
    alone = cobre.train(case, SETTINGS, output_directory=tmp_path / "alone")
    cobre.simulate(case, alone.policy, SETTINGS, output_directory=tmp_path / "alone")
    with (
        faults.inject(rank=1, how="SIGKILL", when="backward", iteration=3),
        faults.inject(rank=1, how="exit", when="connecting", life=2),
        faults.inject(rank=0, how="SIGKILL", when="writing", iteration=2, life=2),
        faults.inject(rank=0, how="SIGKILL", when="forward", iteration=4),  # it writes the checkpoints
        cobre.Workers(2, backend="shm") as workers,
    ):
        first, saving = workers.pids, SETTINGS | {"policy.checkpointing": {"enabled": True, "interval_iterations": 1}}
        given: dict[str, Any] = {"workers": workers, "max_restarts": 3, "output_directory": tmp_path / "lost"}
        pids: list[int] = []

        def note(event: cobre.ProgressEvent) -> None:
            events.append(event)
            pids.append(workers.pids[0])

        trained = cobre.train(case, saving, note, **given)
        assert told(trained) == told(alone)
        assert pids[0] == first[0]  # it kept its process while it was rank 1 that was lost
        simulated = cobre.simulate(case, trained.policy, SETTINGS, **given)
    assert [(one.number, one.rank, one.replaced, one.phase) for one in trained.restarts] == [
        (1, 1, (1,), "backward"),
        (2, 1, (1,), "connecting"),
        (3, 0, (0,), "forward"),
    ]
    assert (trained.restarts[0].iteration, trained.restarts[0].resumed_after) == (3, None)
    assert [one.resumed_after for one in trained.restarts[1:]] == [2, 3]  # nothing that was completed is done again
    assert [event.restart for event in events if event.restart] == list(trained.restarts[1:])
    for rank in (0, 1):
        assert [e.iteration for e in events if e.worker_id == rank and e.iteration] == [1, 2, 3, 4]
    assert [(one.rank, one.phase) for one in simulated.restarts] == [(0, "writing")]
    assert files(tmp_path / "lost") == files(tmp_path / "alone")
    longer = {**SETTINGS, "training.stopping_rules": [{"type": "iteration_limit", "limit": 6}]}
    gone_on = cobre.train(case, longer, resume=tmp_path / "lost", output_directory=tmp_path / "further")
    assert told(gone_on) == told(cobre.train(case, longer))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"num_workers": 2}, "num_workers"),
    ({"backend": "shm"}, "backend"),
    ({"hang_timeout": 1.0}, "hang_timeout"),
    ({"memory_limit": 1 << 30}, "memory_limit"),
    ({"max_restarts": -1}, "max_restarts"),
    ({"max_restarts": True}, "max_restarts"),
    ({"restart_period": 0.0}, "restart_period"),
]


def test_a_pool_of_one() -> None:
    """What it has settled cannot be said again; if its worker ends while there is nothing to do, it gets another."""
    case = cascade(stages=2)
    with cobre.Workers(1) as workers:
        assert (workers.backend, workers.num_workers) == ("shm", 1)
        for given, field in WRONG:
            with pytest.raises(cobre.ValidationError) as caught:
                cobre.train(case, SETTINGS, workers=workers, **given)
            assert [found.field for found in caught.value.diagnostics] == [field]
        lost = psutil.Process(workers.pids[0])
        os.kill(lost.pid, signal.SIGKILL)
        assert ended([lost])
        result = cobre.train(case, SETTINGS, workers=workers, max_restarts=1)  # its end may not have been heard of yet
        assert workers.pids[0] != lost.pid
    assert told(result) == told(cobre.train(case, SETTINGS))


def test_a_pool_has_processes_and_a_run_without_any_has_no_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(cobre.ValidationError, match="calling process alone"):
        cobre.Workers(2, backend="local")
    with pytest.raises(cobre.ValidationError, match="this run has none") as caught:
        cobre.train(cascade(), SETTINGS, max_restarts=1)
    assert [found.field for found in caught.value.diagnostics] == ["max_restarts"]
    monkeypatch.setenv("COBRE_COMM_BACKEND", "local")
    with pytest.raises(cobre.ValidationError, match="calling process alone"):
        cobre.Workers(2)
