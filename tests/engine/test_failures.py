"""One error out of what became of the workers: the cause, not its echoes, with all that is known of it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from cobre.engine.failures import Failure, worker_error
from cobre.errors import ActorError, CobreError, CommError, SolverError, WorkerError

WHERE = {"phase": "backward", "iteration": 7, "stage": 3}


def death(**context: Any) -> ActorError:
    known = {"pid": 41, "signal": None, "exit_code": None, "cause": "exited", "memory_bytes": 5, "stderr": "last words"}
    return ActorError("gone", kind="Died", context=known | context)


def lost(kind: str = "RankLost") -> CommError:
    return CommError("rank 1 is gone", kind=kind, operation="allgatherv", context={"ranks": [1]})


def test_a_death_says_who_how_and_where() -> None:
    error = worker_error([Failure(1, death(signal="SIGKILL"), where=WHERE)])
    assert (error.rank, error.exit_code, error.inner, error.kind) == (1, None, None, "WorkerDied")
    for part in ("worker 1", "pid 41", "SIGKILL", "backward", "iteration 7", "stage 3"):
        assert part in error.message
    wanted = {"pid": 41, "signal": "SIGKILL", "memory_bytes": 5, "stderr": "last words", "failures": []} | WHERE
    assert {name: error.context[name] for name in wanted} == wanted
    assert error.suggestion


def test_an_exit_has_its_code_and_no_signal() -> None:
    error = worker_error([Failure(0, death(exit_code=3))])
    assert (error.exit_code, error.context["signal"], error.context["phase"]) == (3, None, None)
    assert "exit code 3" in error.message


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("memory limit", "MemoryLimit"),
        ("hang", "WorkerHung"),
        ("start limit", "StartTimeout"),
        ("not started", "NotStarted"),
    ],
)
def test_what_the_supervisor_did_has_its_reason(cause: str, kind: str) -> None:
    error = worker_error([Failure(2, death(cause=cause, signal="SIGKILL"))])
    assert error.kind == kind
    assert "ended by SIGKILL" not in error.message
    assert error.suggestion


@pytest.mark.parametrize("known", ["yes", "possibly"])
def test_want_of_memory_is_said_as_surely_as_it_is_known(known: str) -> None:
    error = worker_error([Failure(2, death(signal="SIGKILL", out_of_memory=known))])
    assert ("ran out of memory" in error.message) == (known == "yes")
    assert error.context["out_of_memory"] == known
    assert "memory" in str(error.suggestion)


def test_a_cobre_error_is_inner_as_it_is() -> None:
    inner = SolverError("infeasible", stage=3, iteration=7)
    error = worker_error([Failure(1, inner, pid=9, memory_bytes=11, where=WHERE)])
    assert error.inner is inner
    assert (error.exit_code, error.kind, error.context["pid"], error.context["stage"]) == (None, "WorkerFailed", 9, 3)


def test_any_other_exception_is_wrapped_with_its_traceback() -> None:
    raised = LookupError("nowhere")
    raised.__cause__ = remote = RuntimeError("the remote traceback")
    error = worker_error([Failure(1, raised)])
    assert isinstance(error.inner, CobreError)
    assert (error.inner.kind, error.inner.message) == ("LookupError", "LookupError: nowhere")
    assert error.inner.__cause__ is remote


def test_the_cause_wins_over_its_echoes_whatever_came_first() -> None:
    fate = death(cause="fate", signal="SIGKILL")
    failures = [
        Failure(0, lost()),
        Failure(2, fate),
        Failure(1, death(signal="SIGSEGV")),
        Failure(3, ValueError("too")),
    ]
    error = worker_error(failures)
    assert (error.rank, error.context["signal"]) == (1, "SIGSEGV")
    assert error.context["failures"] == [{"rank": 3, "error": "ValueError: too"}]


def test_echoes_alone_are_reported_as_they_are() -> None:
    error = worker_error([Failure(2, lost("Aborted")), Failure(0, lost("Aborted"))])
    assert error.rank == 2
    assert isinstance(error.inner, CommError)
    assert "lost each other" in str(error.suggestion)


def test_want_of_memory_that_was_raised_has_its_advice() -> None:
    error = worker_error([Failure(2, MemoryError())])
    assert error.message == "worker 2 failed: MemoryError"
    assert "more memory" in str(error.suggestion)


def test_the_end_that_was_put_to_the_others_is_no_failure() -> None:
    stopped = ActorError("worker 0 was stopped by its owner", kind="Closed", context={"actor": "worker 0"})
    error = worker_error([Failure(0, stopped), Failure(1, ValueError("mine"), stderr="last words")])
    assert (error.rank, error.context["failures"], error.context["stderr"]) == (1, [], "last words")


def test_it_survives_pickling() -> None:
    error = worker_error([Failure(1, SolverError("infeasible", stage=3), where=WHERE)])
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, WorkerError)
    assert (again.rank, again.kind, again.context, again.suggestion) == (1, error.kind, error.context, error.suggestion)
    assert isinstance(again.inner, SolverError)
    assert again.inner.stage == 3
