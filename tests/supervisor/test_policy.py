"""When a process that ended is started again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cobre.errors import CobreError
from cobre.supervisor.policy import RestartCount, RestartPolicy


@pytest.mark.parametrize(
    ("when", "deliberate", "exit_code", "again"),
    [
        ("never", False, 3, False),
        ("failure", False, 3, True),
        ("failure", False, None, True),  # a signal
        ("failure", False, 0, False),
        ("failure", True, None, False),
        ("always", False, 0, True),
        ("always", False, 3, True),
        ("always", True, 0, False),
    ],
)
def test_when(when: str, deliberate: bool, exit_code: int | None, again: bool) -> None:
    count = RestartCount(RestartPolicy(when))  # type: ignore[arg-type]
    assert count.allows(deliberate=deliberate, exit_code=exit_code, at=0.0) is again


def test_the_limit_counts_restarts_within_the_period() -> None:
    count = RestartCount(RestartPolicy("failure", limit=2, period=10.0))
    assert [count.allows(deliberate=False, exit_code=1, at=at) for at in (0.0, 9.0, 10.0)] == [True, True, True]
    assert not count.allows(deliberate=False, exit_code=1, at=18.9)
    assert count.given_up


def test_what_was_given_up_stays_given_up() -> None:
    count = RestartCount(RestartPolicy("always", limit=0))
    assert not count.allows(deliberate=False, exit_code=1, at=0.0)
    assert not count.allows(deliberate=False, exit_code=1, at=1e9)


@given(st.lists(st.floats(0.0, 5.0), max_size=60), st.integers(0, 4), st.floats(0.5, 20.0))
def test_no_period_ever_holds_more_restarts_than_the_limit(pauses: list[float], limit: int, period: float) -> None:
    count = RestartCount(RestartPolicy("failure", limit=limit, period=period))
    at, restarts = 0.0, list[float]()
    for pause in pauses:
        at += pause
        if count.allows(deliberate=False, exit_code=1, at=at):
            restarts.append(at)
    assert all(sum(0.0 <= other - start < period for other in restarts) <= limit for start in restarts)


@pytest.mark.parametrize("wrong", [{"when": "sometimes"}, {"limit": -1}, {"period": 0.0}, {"period": float("nan")}])
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(CobreError, match="restart policy") as caught:
        RestartPolicy(**wrong)  # type: ignore[arg-type]
    assert caught.value.kind == "OutOfRange"
