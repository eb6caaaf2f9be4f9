"""What is tried again, how often, and what is told in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from cobre.engine.dialogue import Notice, Resumed
from cobre.engine.restarts import Restarts
from cobre.errors import CobreError, CommError, SolverError, WorkerError
from cobre.supervisor import RestartPolicy


class Crew:
    """Stands for the executor: meets, and has replaced rank 1."""

    replaced = (1,)
    meetings = 0
    failed_at = 100.0

    def meet(self) -> None:
        self.meetings += 1


def lost(
    kind: str = "WorkerDied", cause: str = "crashed", inner: CobreError | None = None, **place: Any
) -> WorkerError:
    context = {"cause": cause, "signal": "SIGSEGV", "phase": "backward", "iteration": 1, "stage": 2} | place
    return WorkerError("worker 1 was lost", rank=1, kind=kind, inner=inner, context=context, suggestion="look")


def attempts(*failures: WorkerError) -> Callable[[], list[Any]]:
    left = list(failures)

    def attempt() -> list[Any]:
        if left:
            raise left.pop(0)
        return ["done"]

    return attempt


def run(policy: RestartPolicy, *failures: WorkerError) -> tuple[Restarts, Crew]:
    crew = Crew()
    tried = Restarts(crew, policy)  # type: ignore[arg-type]
    assert tried.run(attempts(*failures)) == ["done"]
    return tried, crew


def several(*places: int) -> list[WorkerError]:
    return [lost(iteration=place) for place in places]


def test_a_loss_is_tried_again_and_told() -> None:
    tried, crew = run(RestartPolicy("failure", 3), *several(4, 7))
    assert crew.meetings == 3
    assert [(one.number, one.rank, one.replaced, one.iteration) for one in tried.all] == [
        (1, 1, (1,), 4),
        (2, 1, (1,), 7),
    ]
    assert [one.seconds for one in tried.all] == [None, None]


def test_where_it_went_on_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, _ = run(RestartPolicy("failure", 3), *several(4))
    monkeypatch.setattr(time, "monotonic", lambda: 100.5)
    assert tried.resumed(Notice()) is None
    found = tried.resumed(Resumed(3))
    assert found == tried.all[0]
    assert (tried.all[0].resumed_after, tried.all[0].seconds) == (3, 0.5)
    assert tried.resumed(Resumed(3)) is None  # the first attempt of another run says so too


@pytest.mark.parametrize("kind", ["WorkerDied", "WorkerHung", "MemoryLimit", "StartTimeout", "NotStarted"])
def test_every_loss_of_a_process_counts(kind: str) -> None:
    tried, _ = run(RestartPolicy("failure", 1), lost(kind))
    assert tried.all[0].kind == kind


def test_workers_that_only_lost_each_other_are_brought_together_again() -> None:
    tried, _ = run(RestartPolicy("failure", 1), lost("WorkerFailed", inner=CommError("gone", kind="RankLost")))
    assert tried.all[0].kind == "WorkerFailed"


@pytest.mark.parametrize("inner", [SolverError("infeasible"), CommError("two sizes", kind="Mismatch")])
def test_an_error_of_the_runs_own_is_raised(inner: CobreError) -> None:
    error = lost("WorkerFailed", inner=inner)
    with pytest.raises(WorkerError) as caught:
        run(RestartPolicy("failure", 9), error)
    assert caught.value is error


def test_without_restarts_the_error_comes_as_it_is() -> None:
    error = lost()
    with pytest.raises(WorkerError) as caught:
        run(RestartPolicy("failure", 0), error)
    assert caught.value is error


def test_past_the_limit_all_of_them_are_told() -> None:
    with pytest.raises(WorkerError, match="restarted 2 times within 30 s, and is given up") as caught:
        run(RestartPolicy("failure", 2), *several(1, 2, 3))
    error = caught.value
    assert (error.rank, error.kind, error.context["iteration"], error.context["given_up"]) == (
        1,
        "WorkerDied",
        3,
        "limit",
    )
    assert [one["iteration"] for one in error.context["restarts"]] == [1, 2]
    assert str(error.suggestion).startswith("look; or allow more")


def test_the_limit_is_one_of_a_period() -> None:
    crew, left = Crew(), several(1, 2, 3, 4)

    def attempt() -> list[Any]:
        crew.failed_at += 20.0
        if left:
            raise left.pop(0)
        return []

    tried = Restarts(crew, RestartPolicy("failure", 2, period=40.0))  # type: ignore[arg-type]
    tried.run(attempt)
    assert [one.number for one in tried.all] == [1, 2, 3, 4]


def test_three_in_a_row_at_the_same_place_are_enough() -> None:
    run(RestartPolicy("failure", 9), *several(5, 5, 6, 5, 5))
    with pytest.raises(WorkerError, match="3rd failure in a row") as caught:
        run(RestartPolicy("failure", 9), *several(4, 5, 5, 5))
    assert (caught.value.context["given_up"], len(caught.value.context["restarts"])) == ("same place", 3)


def test_to_be_killed_before_anything_is_computed_is_nobodys_fault() -> None:
    place = {"phase": "connecting", "iteration": None, "stage": None}
    run(RestartPolicy("failure", 9), *(lost(cause="killed from outside", **place) for _ in range(5)))
    with pytest.raises(WorkerError, match="in a row"):
        run(RestartPolicy("failure", 9), *(lost(cause="exited", **place) for _ in range(5)))
