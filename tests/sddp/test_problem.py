"""The problem types: what they accept, what they say is wrong, and what identifies a problem."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cobre.errors import ValidationError
from cobre.sddp.problem import Openings, Problem, SparseRows, Stage
from cobre.sddp.risk import CVaR


def stage(**changes: Any) -> Stage:
    """Two columns (a decision, the state's outgoing value), two rows, one state, two openings."""
    parts: dict[str, Any] = {
        "cost": [1.0, 0.0],
        "lower": [0.0, 0.0],
        "upper": [np.inf, 5.0],
        "matrix": SparseRows.from_triplets((2, 2), [0, 0, 1], [0, 1, 0], [1.0, 1.0, 1.0]),
        "sense": [0, 1],
        "rhs": [3.0, 0.5],
        "incoming": SparseRows.from_triplets((2, 1), [0], [0], [-1.0]),
        "outgoing": [1],
        "openings": Openings(np.array([0.5, 0.5]), [0], [[3.0], [4.0]]),
    }
    return Stage(**(parts | changes))


def test_sparse_rows_add_up_sort_and_drop_zeros() -> None:
    rows = SparseRows.from_triplets((3, 2), [2, 0, 2, 1, 1], [1, 0, 1, 0, 0], [1.0, 5.0, 2.0, 4.0, -4.0])
    assert rows.start.tolist() == [0, 1, 1, 2]
    assert [a.tolist() for a in rows.triplets()] == [[0, 2], [0, 1], [5.0, 3.0]]
    assert rows.rows == 3
    assert (rows.start.dtype, rows.index.dtype, rows.value.dtype) == (np.int32, np.int32, np.float64)


def test_sparse_rows_may_be_empty() -> None:
    assert SparseRows.from_triplets((0, 0), [], [], []).start.tolist() == [0]
    assert SparseRows.from_triplets((2, 0), [], [], []).start.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("row", "column"), [(2, 0), (0, 2), (-1, 0), (0, -1)])
def test_sparse_rows_refuse_a_place_outside(row: int, column: int) -> None:
    with pytest.raises(ValidationError, match=r"outside the shape \(2, 2\)") as caught:
        SparseRows.from_triplets((2, 2), [row], [column], [1.0])
    assert caught.value.kind == "OutOfRange"


@pytest.mark.parametrize("probability", [[], [0.5, 0.4], [1.5, -0.5], [np.nan, 1.0]])
def test_openings_refuse_what_is_no_distribution(probability: list[float]) -> None:
    with pytest.raises(ValidationError, match="probabilities"):
        Openings(np.array(probability))


def test_openings_refuse_tables_of_the_wrong_shape() -> None:
    with pytest.raises(ValidationError, match=r"rhs has the shape \(1, 1\), not \(2, 1\)"):
        Openings(np.array([0.5, 0.5]), [0], [[1.0]])
    with pytest.raises(ValidationError, match="cost has the shape"):
        Openings(np.array([0.5, 0.5]), cost_columns=[0, 1], cost=[[1.0], [2.0]])


def test_openings_without_noise_have_empty_tables() -> None:
    openings = Openings(np.array([1.0]))
    assert len(openings) == 1
    assert (openings.rhs.shape, openings.cost.shape) == ((1, 0), (1, 0))


def test_a_sound_stage_has_no_faults_and_its_sizes() -> None:
    sound = stage()
    assert sound.faults() == []
    assert (sound.columns, sound.rows, sound.states) == (2, 2, 1)
    assert sound.incoming_cost is not None
    assert sound.incoming_cost.tolist() == [0.0]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"lower": [0.0]}, "lower has length 1, not 2"),
        ({"sense": [0]}, "sense has length 1, not 2"),
        ({"sense": [0, 2]}, "a row's sense is not -1, 0 or 1"),
        ({"incoming_cost": [1.0, 2.0]}, "incoming_cost has length 2, not 1"),
        ({"incoming": SparseRows.from_triplets((1, 1), [0], [0], [1.0])}, "incoming rows has length 2, not 3"),
        ({"matrix": SparseRows.from_triplets((2, 4), [0], [3], [1.0])}, "matrix column 3 is outside 0..1"),
        ({"incoming": SparseRows.from_triplets((2, 2), [0], [1], [1.0])}, "incoming state 1 is outside 0..0"),
        ({"outgoing": [2]}, "outgoing column 2 is outside 0..1"),
        ({"outgoing": [1, 1]}, "two states share one outgoing column"),
        ({"openings": Openings(np.array([1.0]), [2], [[1.0]])}, "openings row 2 is outside 0..1"),
        ({"openings": Openings(np.array([1.0]), cost_columns=[9], cost=[[1.0]])}, "openings column 9"),
        ({"openings": Openings(np.array([1.0]), [0], [[np.inf]])}, "is not finite"),
        ({"rhs": [np.nan, 0.0]}, "is not finite"),
        ({"cost": [np.inf, 0.0]}, "is not finite"),
        ({"lower": [6.0, 6.0]}, "lower bound is above its upper bound"),
        ({"upper": [np.nan, 1.0]}, "or not a number"),
        ({"discount": 0.0}, "discount must be positive"),
        ({"discount": np.inf}, "discount must be positive"),
        ({"cost_to_go_bound": -np.inf}, "cost_to_go_bound finite"),
    ],
)
def test_each_fault_is_found_and_placed(changes: dict[str, Any], fault: str) -> None:
    bad = stage(**changes)
    assert any(fault in found for found in bad.faults())
    with pytest.raises(ValidationError, match="stage 2") as caught:
        Problem((stage(), bad), np.array([1.0]))
    assert any(fault in diagnostic.message for diagnostic in caught.value.diagnostics)


def test_a_problem_lists_everything_that_is_wrong() -> None:
    with pytest.raises(ValidationError) as caught:
        Problem((stage(discount=-1.0), stage(sense=[3, 3])), np.array([1.0, 2.0]), sense="up")  # type: ignore[arg-type]
    text = str(caught.value)
    for part in ("5 problems", "discount", "sense is not", "has 1 states where the problem has 2", "'up'"):
        assert part in text
    with pytest.raises(ValidationError, match="at least one stage"):
        Problem((), np.array([1.0]))


def test_states_are_named_where_nobody_named_them() -> None:
    assert Problem((stage(),), np.array([1.0])).state_names == ("state0",)


CHANGES: list[dict[str, Any]] = [
    {"cost": [1.0, 1e-300]},
    {"upper": [np.inf, 6.0]},
    {"rhs": [3.0, 0.25]},
    {"discount": 0.5},
    {"risk": CVaR(0.5, 0.5)},
    {"risk": CVaR(0.5, 0.25)},
    {"incoming_cost": [1.0]},
    {"cost_to_go_bound": -1.0},
    {"openings": Openings(np.array([0.5, 0.5]), [0], [[4.0], [3.0]])},
    {"openings": Openings(np.array([0.5, 0.5]), [1], [[3.0], [4.0]])},
    {"matrix": SparseRows.from_triplets((2, 2), [0, 0, 1], [0, 1, 1], [1.0, 1.0, 1.0])},
]


def test_every_number_of_a_problem_is_in_its_fingerprint() -> None:
    problem = Problem((stage(), stage()), np.array([1.0]))
    seen = {problem.fingerprint()}
    for change in CHANGES:
        seen.add(Problem((stage(), stage(**change)), np.array([1.0])).fingerprint())
    seen.add(Problem((stage(), stage()), np.array([2.0])).fingerprint())
    seen.add(Problem((stage(), stage()), np.array([1.0]), sense="max").fingerprint())
    seen.add(Problem((stage(),), np.array([1.0])).fingerprint())
    seen.add(replace(problem, state_names=("x",)).fingerprint())
    assert len(seen) == len(CHANGES) + 5


def test_the_fingerprint_survives_pickling_and_does_not_depend_on_the_name() -> None:
    problem = Problem((stage(), stage(risk=CVaR(0.1, 0.9))), np.array([1.0]))
    assert pickle.loads(pickle.dumps(problem)).fingerprint() == problem.fingerprint()
    assert replace(problem, name="another").fingerprint() == problem.fingerprint()
