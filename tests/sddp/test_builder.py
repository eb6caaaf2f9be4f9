"""Stages written by name: what is built, and what each mistake is called."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest

import cobre.sddp.builder
from cobre.errors import ValidationError
from cobre.sddp.builder import StageBuilder, State, chain
from cobre.sddp.risk import CVaR, Expectation
from cobre.testing import extensive


def reservoir() -> StageBuilder:
    stage = StageBuilder("week", discount=0.9, cost_to_go_bound=-3.0)
    stage.variable("release", upper=40.0, cost=1.0)
    stage.state("volume", lower=10.0, upper=100.0, cost=0.5, incoming_cost=-0.25)
    stage.constraint("balance", {"volume.out": 1, "volume.in": -1, "release": 1}, "==", 5)
    stage.constraint("demand", {"release": 2}, ">=", 8)
    stage.constraint("cap", {"release": 1, "volume.in": 0.1}, "<=", 30)
    return stage


def test_the_example_of_the_documentation_runs() -> None:
    results = doctest.testmod(cobre.sddp.builder)
    assert results.attempted > 5
    assert results.failed == 0


def test_everything_lands_where_it_belongs() -> None:
    stage = reservoir().build()
    assert stage.cost.tolist() == [1.0, 0.5]
    assert stage.lower.tolist() == [0.0, 10.0]
    assert stage.upper.tolist() == [40.0, 100.0]
    assert stage.sense.tolist() == [0, 1, -1]
    assert stage.rhs.tolist() == [5.0, 8.0, 30.0]
    assert [a.tolist() for a in stage.matrix.triplets()] == [[0, 0, 1, 2], [0, 1, 0, 0], [1.0, 1.0, 2.0, 1.0]]
    assert [a.tolist() for a in stage.incoming.triplets()] == [[0, 2], [0, 0], [-1.0, 0.1]]
    assert stage.outgoing.tolist() == [1]
    assert stage.incoming_cost is not None
    assert stage.incoming_cost.tolist() == [-0.25]
    assert (stage.discount, stage.cost_to_go_bound, stage.risk) == (0.9, -3.0, Expectation())
    assert stage.openings.probability.tolist() == [1.0]
    assert stage.openings.rhs.shape == (1, 0)


def test_an_opening_keeps_what_it_does_not_name() -> None:
    builder = reservoir()
    builder.opening(0.25, rhs={"cap": 20.0}, cost={"release": 7.0})
    builder.opening(0.75, rhs={"balance": 1.0}, cost={"volume.out": 2.0})
    openings = builder.build().openings
    assert openings.rhs_rows.tolist() == [0, 2]
    assert openings.rhs.tolist() == [[5.0, 20.0], [1.0, 30.0]]
    assert openings.cost_columns.tolist() == [0, 1]
    assert openings.cost.tolist() == [[7.0, 0.5], [1.0, 2.0]]


def test_declarations_give_their_terms() -> None:
    stage = StageBuilder()
    assert stage.state("x") == State("x.in", "x.out") == State(stage.incoming("x"), stage.outgoing("x"))
    assert stage.variable("y") == "y"
    assert stage.constraint("c", {"x.in": 1.0}, "<=", 0.0) == "c"
    assert stage.state_names == ("x",)


def test_a_stage_may_have_no_variables_and_no_constraints() -> None:
    stage = StageBuilder("idle")
    stage.state("x", upper=1.0)
    built = stage.build()
    assert (built.columns, built.rows, built.states) == (1, 0, 1)
    assert extensive.solve(chain([stage], {"x": 0.0})) == 0.0


MISTAKES: list[tuple[str, str, Callable[[StageBuilder], object]]] = [
    ("MissingReference", "did you mean 'release'", lambda s: s.constraint("c", {"relaese": 1}, "==", 0)),
    ("MissingReference", "declare it first", lambda s: s.constraint("c", {"zzz": 1}, "==", 0)),
    ("MissingReference", "did you mean 'volume.in'", lambda s: s.constraint("c", {"volume.inn": 1}, "==", 0)),
    ("MissingReference", "did you mean 'balance'", lambda s: s.opening(1.0, rhs={"balanse": 0})),
    ("MissingReference", "opening 1 sets the cost", lambda s: s.opening(1.0, cost={"nothing": 0})),
    ("MissingReference", "there is no state 'level'", lambda s: s.incoming("level")),
    ("InvalidEnum", "use '<=', '==' or '>='", lambda s: s.constraint("c", {"release": 1}, "=<", 0)),
    ("DuplicateId", "'balance' is added twice", lambda s: s.constraint("balance", {"release": 1}, "==", 0)),
    ("DuplicateId", "'release' is declared twice", lambda s: s.variable("release")),
    ("DuplicateId", "'volume' is declared twice", lambda s: s.state("volume")),
    ("SchemaViolation", "a state's term", lambda s: s.variable("other.in")),
    ("OutOfRange", r"bounds \[2.0, 1.0\]", lambda s: s.variable("y", 2.0, 1.0)),
    ("OutOfRange", r"bounds \[nan, 1.0\]", lambda s: s.state("y", float("nan"), 1.0)),
    ("OutOfRange", r"bounds \[inf, inf\]", lambda s: s.variable("y", np.inf)),
    ("OutOfRange", "cost of 'y' holds nan", lambda s: s.variable("y", cost=float("nan"))),
    ("OutOfRange", "not a finite number", lambda s: s.state("y", incoming_cost=np.inf)),
    ("OutOfRange", "constraint 'c' holds inf", lambda s: s.constraint("c", {"release": np.inf}, "==", 0)),
    ("OutOfRange", "constraint 'c' holds nan", lambda s: s.constraint("c", {"release": 1}, "==", np.nan)),
    ("OutOfRange", "opening 1 holds inf", lambda s: s.opening(1.0, rhs={"cap": np.inf})),
    ("OutOfRange", "the probability -0.5", lambda s: s.opening(-0.5)),
    ("NotSupported", "tie a variable to it", lambda s: s.opening(1.0, cost={"volume.in": 1.0})),
]


@pytest.mark.parametrize(("kind", "words", "mistake"), MISTAKES)
def test_a_mistake_is_named_where_it_is_made(kind: str, words: str, mistake: Callable[[StageBuilder], object]) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        mistake(reservoir())
    assert caught.value.kind == kind
    assert "stage 'week'" in caught.value.message


@pytest.mark.parametrize(("kind", "words", "mistake"), MISTAKES)
def test_a_refused_addition_leaves_the_stage_as_it_was(
    kind: str, words: str, mistake: Callable[[StageBuilder], object]
) -> None:
    builder = reservoir()
    with pytest.raises(ValidationError):
        mistake(builder)
    built, clean = chain([builder], {"volume": 50.0}), chain([reservoir()], {"volume": 50.0})
    assert built.fingerprint() == clean.fingerprint()


def test_probabilities_must_sum_to_one() -> None:
    builder = reservoir()
    builder.opening(0.5)
    builder.opening(0.4)
    with pytest.raises(ValidationError, match=r"2 openings sum to 0\.9, not 1") as caught:
        builder.build()
    assert caught.value.context == {"stage": "week"}


def test_chain_refuses_stages_that_do_not_fit() -> None:
    other = StageBuilder("other")
    other.state("level")
    with pytest.raises(ValidationError, match=r"declares the states \['level'\]") as caught:
        chain([reservoir(), other], {"volume": 1.0})
    assert caught.value.kind == "StageMismatch"
    with pytest.raises(ValidationError, match=r"missing or unknown: \['level', 'volume'\]"):
        chain([reservoir()], {"level": 1.0})
    with pytest.raises(ValidationError, match="at least one stage"):
        chain([], {})


def test_chain_carries_sense_names_and_order() -> None:
    stage = StageBuilder(risk=CVaR(0.5, 0.5))
    stage.state("b", upper=1.0)
    stage.state("a", upper=2.0, cost=3.0)
    problem = chain([stage], {"a": 1.0, "b": 0.5}, sense="max", name="two")
    assert problem.state_names == ("b", "a")
    assert problem.initial_state.tolist() == [0.5, 1.0]
    assert (problem.sense, problem.name) == ("max", "two")
    assert extensive.solve(problem) == pytest.approx(6.0)
