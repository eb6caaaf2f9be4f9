"""The reference's own cases: the bounds that it reaches, or the optimum where that is known.

They stand beside the repository; small cases of our own, with the reference's numbers, are in tests/hydro.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import cobre

EXACT = (
    "d01-thermal-dispatch", "d02-single-hydro", "d03-two-hydro-cascade", "d04-transmission", "d08-evaporation",
    "d10-inflow-nonnegativity", "d11-water-withdrawal", "d15-non-controllable-source", "d21-min-outflow-regression",
    "d22-per-block-min-outflow", "d24-productivity-override", "d25-discount-rate",
)  # fmt: skip


@pytest.fixture(scope="session")
def expected(shared: Path) -> dict[str, Any]:
    return dict(json.loads((shared / "cases" / "expected.json").read_text()))


def test_the_list_is_that_of_the_file(expected: dict[str, Any]) -> None:
    assert {name for name, facts in expected.items() if facts.get("exact")} == set(EXACT)


@pytest.mark.parametrize("name", EXACT)
def test_the_bound_is_the_reference_s_after_its_own_iterations(
    shared: Path, expected: dict[str, Any], name: str
) -> None:
    result = cobre.train(shared / "cases" / name)
    facts = expected[name]
    assert result.iterations == facts["iterations"]
    assert result.final_bound == pytest.approx(facts["lower_bound"], rel=facts["relative_tolerance"])
    assert result.solver.retries == 0


def test_a_small_tree_is_solved_to_its_optimum(shared: Path, expected: dict[str, Any]) -> None:
    """Enumerated: 11,110 nodes an iteration, and the gap closes in three."""
    facts = expected["1dtoy"]
    settings = {
        "training.selection": {"method": "enumerated"},
        "training.stopping_rules": [
            {"type": "iteration_limit", "limit": 10},
            {"type": "gap", "relative_tolerance": 1e-7},
        ],
    }
    result = cobre.train(shared / "cases" / "1dtoy", settings)
    assert result.termination_reason == "gap"
    assert result.final_bound == pytest.approx(facts["optimum"], rel=facts["relative_tolerance"])
    assert result.final_upper_bound == pytest.approx(facts["optimum"], rel=1e-8)


def test_a_real_case_keeps_up_with_the_reference_s_trace(shared: Path, expected: dict[str, Any]) -> None:
    """The case's own seed, 64 iterations; medians over seeds up to 256 are in docs/performance.md."""
    trace = expected["4ree"]["reference_trace"]
    stop = {"training.stopping_rules": [{"type": "iteration_limit", "limit": 64}]}
    bounds = cobre.train(shared / "cases" / "4ree", stop).convergence_history.column("lower_bound").to_pylist()
    assert bounds[63] >= trace["64"] * (1 - 2e-4)
    assert bounds == sorted(bounds)
