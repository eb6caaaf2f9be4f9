"""Problems with known optima: what is read, what is refused and why, and that the numbers are right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cobre.errors import IOError, ValidationError
from cobre.sddp.risk import CVaR, Expectation
from cobre.testing import extensive, problems

CHAIN = {
    "name": "small",
    "source": "here",
    "sense": "min",
    "cost_to_go_initial_bound": 0.0,
    "asserted": {"value": 3.0, "op": "~", "atol": 0.1},
    "checked": {},
    "risk": None,
    "model": {
        "states": [{"name": "x", "init": 1, "lb": 0, "ub": 4, "integer": False}],
        "templates": {
            "a": {
                "vars": [["buy", 0, None, 1.0, False], ["short", 0, None, 10.0, False]],
                "cons": [["use", {"x.in": 1, "buy": 1, "short": 1, "x.out": -1}, ">=", 2]],
                "noise": [{"p": 1.0}],
            },
            "b": {
                "vars": [["buy", 0, None, 1.0, False], ["short", 0, None, 10.0, False]],
                "cons": [["use", {"x.in": 1, "buy": 1, "short": 1, "x.out": -1}, ">=", 2]],
                "noise": [{"p": 0.5, "rhs": {"use": 1}}, {"p": 0.5, "rhs": {"use": 3}, "obj": {"buy": 4.0}}],
            },
        },
        "nodes": {"1": {"template": "a", "children": {"2": 1.0}}, "2": {"template": "b", "children": {}}},
        "root": {"1": 1.0},
    },
}


def model(**changes: Any) -> dict[str, Any]:
    """The model above, deeply copied, with parts of its graph exchanged."""
    copy: dict[str, Any] = json.loads(json.dumps(CHAIN))
    for key, value in changes.items():
        (copy["model"] if key in copy["model"] else copy)[key] = value
    return copy


def write(directory: Path, *models: dict[str, Any]) -> Path:
    path = directory / "problems.json"
    path.write_text(json.dumps({"models": models}))
    return path


def test_a_chain_is_read(tmp_path: Path) -> None:
    problem = problems.read(write(tmp_path, model()))["small"]
    # Buying all of 1 + 2 at first costs 1 a unit; later the dear half of the openings would cost 4.
    assert extensive.solve(problem) == pytest.approx(4.0)
    first, second = problem.stages
    assert (first.risk, second.discount, first.discount) == (Expectation(), 1.0, 1.0)
    assert second.openings.rhs.tolist() == [[1.0], [3.0]]
    assert second.openings.cost.tolist() == [[1.0], [4.0]]
    assert problem.initial_state.tolist() == [1.0]
    optimum = problems.known(write(tmp_path, model()))["small"]
    assert (optimum.value, optimum.tolerance, optimum.absolute, optimum.evidence) == (3.0, 0.1, True, "assertion")


def test_an_agreement_is_absolute_or_relative() -> None:
    absolute = problems.KnownOptimum(1000.0, 0.5, True, "", "")
    relative = problems.KnownOptimum(1000.0, 1e-3, False, "", "")
    assert [absolute.agrees(b) for b in (999.6, 1000.6)] == [True, False]
    assert [relative.agrees(b) for b in (999.1, 1001.1)] == [True, False]
    assert problems.KnownOptimum(0.0, 1e-3, False, "", "").agrees(0.0009)


def test_children_that_sum_to_less_than_one_are_a_discount(tmp_path: Path) -> None:
    nodes = {"1": {"template": "a", "children": {"2": 0.75}}, "2": {"template": "b", "children": {}}}
    problem = problems.read(write(tmp_path, model(nodes=nodes, cost_to_go_initial_bound=-3.0)))["small"]
    assert [stage.discount for stage in problem.stages] == [0.75, 1.0]
    assert problem.stages[0].cost_to_go_bound == -4.0  # the file's bound is on what comes after, discounted
    # Now 1 + 0.75 * (0.5 * 0 + 0.5 * 4 * 2) with one unit handed on beats handing on three.
    assert extensive.solve(problem) == pytest.approx(min(4.0, 2.0 + 0.75 * 4.0, 3.0 + 0.75 * 2.0))


def test_nodes_of_one_depth_with_equal_children_are_openings(tmp_path: Path) -> None:
    children = {"2": 0.25, "3": 0.75, "4": 0.0}
    leaf = {"children": {}}
    nodes = {
        "0": {"template": "a", "children": children}, "1": {"template": "b", "children": children},
        "2": {"template": "a", **leaf}, "3": {"template": "b", **leaf}, "4": {"template": "a", **leaf},
    }  # fmt: skip
    problem = problems.read(write(tmp_path, model(nodes=nodes, root={"0": 0.5, "1": 0.5})))["small"]
    assert [stage.openings.probability.tolist() for stage in problem.stages] == [
        [0.5, 0.25, 0.25],
        [0.25, 0.375, 0.375],
    ]
    assert problem.stages[1].openings.rhs.tolist() == [[2.0], [1.0], [3.0]]


def test_a_risk_measure_moves_to_the_openings_it_is_taken_over(tmp_path: Path) -> None:
    problem = problems.read(write(tmp_path, model(risk={"*": ["EAVaR", 0.25, 0.5]})))["small"]
    assert [stage.risk for stage in problem.stages] == [Expectation(), CVaR(0.5, 0.75)]
    worst = problems.read(write(tmp_path, model(risk={"1": ["EAVaR", 0.0, 0.0], "*": ["E"]})))["small"]
    assert worst.stages[1].risk == CVaR(0.5, 1.0)
    leaf_only = problems.read(write(tmp_path, model(risk={"2": ["EAVaR", 0.25, 0.5], "*": ["E"]})))["small"]
    assert leaf_only.stages[1].risk == Expectation()


def test_random_coefficients_of_incoming_states_are_switched(tmp_path: Path) -> None:
    changed = model()
    for noise, gain in zip(changed["model"]["templates"]["b"]["noise"], (0.5, 2.0), strict=True):
        noise["coef"] = {"use": {"x.in": gain}}
    problem = problems.read(write(tmp_path, changed))["small"]
    # With s handed on: 1 + s at first, then max(0, 1 - s/2) at 1 or max(0, 3 - 2s) at 4: s = 3/2 is best.
    assert extensive.solve(problem) == pytest.approx(1.0 + 1.5 + 0.5 * 0.25)
    changed["model"]["states"][0]["ub"] = None
    assert "without bounds" in problems.refused(write(tmp_path, changed))["small"]


def _cycle() -> dict[str, Any]:
    return model(nodes={"1": {"template": "a", "children": {"1": 0.9}}})


def _markov() -> dict[str, Any]:
    leaf = {"template": "b", "children": {}}
    start = {"template": "a", "children": {"2": 1.0}}
    return model(
        nodes={"0": start | {"children": {"3": 1.0}}, "1": start, "2": leaf, "3": leaf}, root={"0": 0.5, "1": 0.5}
    )


def _integer() -> dict[str, Any]:
    changed = model()
    changed["model"]["templates"]["a"]["vars"][0][4] = True
    return changed


def _decision_coefficients() -> dict[str, Any]:
    changed = model()
    changed["model"]["templates"]["b"]["noise"][0]["coef"] = {"use": {"buy": 2.0}}
    return changed


def _incoming_cost() -> dict[str, Any]:
    changed = model()
    changed["model"]["templates"]["b"]["noise"][0]["obj"] = {"x.in": 2.0}
    return changed


def _short() -> dict[str, Any]:
    changed = model()
    changed["model"]["templates"]["b"]["noise"][0]["p"] = 0.4
    return changed


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (_cycle(), "a cycle"),
        (_markov(), "a Markov chain"),
        (_integer(), "integer variables"),
        (_decision_coefficients(), "coefficients of decisions"),
        (_incoming_cost(), "the cost of an incoming state"),
        (_short(), "sum to 0.9"),
        (model(risk={"*": ["ModChi2", 0.5]}), "ModChi2"),
        (model(root={"1": 0.5}), "first nodes"),
    ],
)
def test_what_is_no_chain_is_refused_with_its_reason(tmp_path: Path, entry: dict[str, Any], why: str) -> None:
    path = write(tmp_path, entry)
    assert problems.read(path) == {}
    assert problems.known(path) == {}
    assert why in problems.refused(path)["small"]


def test_integers_may_be_relaxed(tmp_path: Path) -> None:
    entry = _integer()
    entry["checked"] = {"sddp_lp_bound": 4.0, "extensive_form": 5.0}
    path = write(tmp_path, entry)
    assert extensive.solve(problems.read(path, relax=True)["small"]) == pytest.approx(4.0)
    assert problems.known(path, relax=True)["small"].value == 4.0


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IOError, match="cannot be read") as missing:
        problems.read(tmp_path / "none.json")
    assert missing.value.kind == "MissingFile"
    for text in ("{", "[]", '{"problems": []}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValidationError, match="no file of models") as bad:
            problems.read(tmp_path / "bad.json")
        assert bad.value.kind == "ParseError"


def test_every_model_of_the_file_is_read_or_refused(problems_file: Path) -> None:
    read, refused = problems.read(problems_file), problems.refused(problems_file)
    assert len(read) == 22
    assert len(refused) == 20
    assert not set(read) & set(refused)
    assert set(problems.known(problems_file)) == set(read)
    assert len(problems.read(problems_file, relax=True)) == 32


# The trees of these are too large for one linear program within a second.
LARGE = {
    "generation_expansion",
    "hydro_thermal_linear_20",
    "sldp_example_one",
    "stochdynprog_multistock",
    "stochdynprog_stock",
}


def test_extensive_forms_agree_with_the_known_optima(problems_file: Path) -> None:
    optima = problems.known(problems_file, relax=True)
    solved = 0
    for name, problem in problems.read(problems_file, relax=True).items():
        if name not in LARGE:
            bound = extensive.solve(problem, limit=1000)
            assert optima[name].agrees(bound), (name, bound, optima[name])
            solved += 1
    assert solved == 27


def test_the_risk_averse_problem_reaches_more_digits_than_were_asserted(problems_file: Path) -> None:
    problem = problems.read(problems_file)["asset_management_stagewise"]
    assert extensive.solve(problem) == pytest.approx(1.2784100924018311, rel=1e-8)  # what a training gave


def test_a_risk_measure_on_the_first_stage_is_taken_over_its_openings(problems_file: Path) -> None:
    problem = problems.read(problems_file)["air_conditioning_random_first_stage"]
    first, *others = problem.stages
    worst = replace(first, risk=CVaR(float(first.openings.probability.min()), 1.0))
    assert extensive.solve(replace(problem, stages=(worst, *others))) == pytest.approx(107500.0)


def test_a_tree_too_large_is_refused_before_it_is_built(tmp_path: Path) -> None:
    problem = problems.read(write(tmp_path, model()))["small"]
    assert extensive.nodes(problem) == 3
    with pytest.raises(ValidationError, match="has 3 nodes, more than 2") as caught:
        extensive.solve(problem, limit=2)
    assert caught.value.kind == "OutOfRange"
    assert np.isfinite(extensive.solve(problem, limit=3))
