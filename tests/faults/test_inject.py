"""How faults are asked for, and what is refused before anything starts."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

import cobre
from cobre.testing import faults
from cobre.testing.faults import VARIABLE, Fault
from tests.faults.table import SETTINGS, problem

GOOD = {"rank": 1, "how": "raise", "when": "backward"}


def test_blocks_add_up_and_end() -> None:
    assert VARIABLE not in os.environ
    with faults.inject(rank=1, how="exit", when="backward", iteration=2, stage=3) as first:
        with faults.inject(rank=0, how="raise", when="starting"):
            assert faults.parse(os.environ[VARIABLE]) == [first, Fault(0, "raise", "starting")]
        assert faults.parse(os.environ[VARIABLE]) == [first]
    assert VARIABLE not in os.environ
    assert str(first) == "rank 1: exit at backward iteration 2 stage 3"


def test_what_was_set_by_hand_is_there_inside_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(GOOD)
    monkeypatch.setenv(VARIABLE, text)
    with faults.inject(rank=0, how="hang", when="bound"):
        assert [fault.rank for fault in faults.parse(os.environ[VARIABLE])] == [1, 0]
    assert os.environ[VARIABLE] == text


WRONG: list[tuple[Any, str, str]] = [
    (GOOD | {"how": "explode"}, "InvalidEnum", "how"),
    (GOOD | {"when": "lunch"}, "InvalidEnum", "when"),
    (GOOD | {"how": None}, "InvalidEnum", "how"),
    ({"how": "raise", "when": "backward"}, "OutOfRange", "rank"),
    (GOOD | {"rank": -1}, "OutOfRange", "rank"),
    (GOOD | {"rank": True}, "OutOfRange", "rank"),
    (GOOD | {"iteration": 0}, "OutOfRange", "iteration"),
    (GOOD | {"stage": 1.5}, "OutOfRange", "stage"),
    (GOOD | {"when": "starting", "iteration": 1}, "IncompatibleSettings", "iteration"),
    (GOOD | {"when": "bound", "stage": 1}, "IncompatibleSettings", "stage"),
    (GOOD | {"where": "here"}, "SchemaViolation", "where"),
    ([GOOD, "raise"], "TypeMismatch", "[1]"),
    (GOOD | {"rank": 2}, "OutOfRange", "rank"),
    (GOOD | {"life": 0}, "OutOfRange", "life"),
    (GOOD | {"each": 1}, "TypeMismatch", "each"),
    (GOOD | {"each": True, "life": 2}, "IncompatibleSettings", "life"),
]


@pytest.mark.parametrize(("told", "kind", "field"), WRONG)
def test_what_makes_no_sense_is_refused_before_the_start(
    told: Any, kind: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps(told))
    with pytest.raises(cobre.ValidationError) as caught:
        cobre.train(problem(), SETTINGS, num_workers=2)
    (found,) = caught.value.diagnostics
    assert (found.kind, field in str(found.field)) == (kind, True)


def test_text_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "SIGKILL please")
    with pytest.raises(cobre.ValidationError, match="no JSON"):
        cobre.train(problem(), SETTINGS, num_workers=2)


def test_a_block_is_refused_as_it_is_entered() -> None:
    with pytest.raises(cobre.ValidationError), faults.inject(rank=1, how="explode", when="backward"):
        pytest.fail("the block was entered")
    assert VARIABLE not in os.environ


def test_a_run_in_one_process_has_nobody_to_have_a_fault() -> None:
    with (
        faults.inject(rank=0, how="SIGKILL", when="forward"),
        pytest.raises(cobre.ValidationError, match="this run has none"),
    ):
        cobre.train(problem(), SETTINGS)


def test_it_happens_once_and_where_it_was_asked_for() -> None:
    told = [
        {"rank": 2, "how": "raise", "when": "backward", "iteration": 2},
        {"rank": 2, "how": "raise-cobre", "when": "forward", "stage": 3},
        {"rank": 1, "how": "raise", "when": "forward"},
    ]
    reached = faults.arm(2, json.dumps(told))
    for point, place in (("starting", {}), ("forward", {"iteration": 1, "stage": 2}), ("backward", {"iteration": 1})):
        reached(point, **place)
    with pytest.raises(cobre.CobreError) as caught:
        reached("forward", iteration=1, stage=3)
    assert caught.value.kind == "Injected"
    reached("forward", iteration=2, stage=3)
    with pytest.raises(ValueError, match="injected"):
        reached("backward", iteration=2, stage=7)


def test_a_fault_is_of_one_process_of_the_rank_or_of_each() -> None:
    second, each = {"life": 2, "when": "forward"}, {"each": True, "when": "bound"}
    text = json.dumps([GOOD, GOOD | second, GOOD | each])
    for life, points in enumerate((["backward", "bound"], ["bound", "forward"], ["bound"]), 1):
        reached, raised = faults.arm(1, text, life), []
        for point in ("forward", "backward", "bound", "forward", "backward", "bound"):
            try:
                reached(point, iteration=1, stage=1)
            except ValueError:
                raised.append(point)
        assert sorted(set(raised)) == points
        assert raised.count("bound") == 2  # again and again


def test_a_fault_at_a_point_that_never_comes_does_nothing() -> None:
    with faults.inject(rank=1, how="SIGKILL", when="backward", iteration=4):  # there are three
        result = cobre.train(problem(), SETTINGS, num_workers=2)
    assert result.iterations == 3
