"""A stage's LP: the same bits however it was built and whatever was solved before, and a solve that fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from cobre.errors import SolverError
from cobre.sddp.batch import Basis, Batch
from cobre.sddp.lp import StageLP
from cobre.sddp.lp_options import RETRIES
from cobre.sddp.problem import Openings, SparseRows, Stage
from cobre.sddp.right_hand_sides import opening_order
from cobre.sddp.risk import FloatArray
from cobre.sddp.scaling import scale_stage
from cobre.sddp.settings import SolverProfile
from tests.sddp.small import cascade

STAGE = cascade(openings=8).stages[0]


@pytest.fixture
def lp() -> Iterator[StageLP]:
    made = StageLP(STAGE, sign=1.0, last=False, number=3)
    yield made
    made.close()


def cuts(count: int, seed: int = 0) -> tuple[np.ndarray, FloatArray, FloatArray]:
    random = np.random.default_rng(seed)
    slopes = -random.uniform(1.0, 60.0, (count, STAGE.states))
    return np.arange(count), slopes, random.uniform(2000.0, 8000.0, count)


def solve_all(lp: StageLP, basis: Basis | None = None) -> Batch:
    """Every opening from one state, in one unit."""
    openings = np.arange(len(STAGE.openings))
    incoming = np.repeat([[30.0, 20.0, 50.0]], openings.size, axis=0)
    return lp.solve(openings, incoming, np.array([openings.size]), [basis], primal=True, first_bases=[True])


def bits(batch: Batch) -> bytes:
    arrays = (batch.values, batch.cost_to_go, batch.states, batch.duals, batch.primal)
    return b"".join(array.tobytes() for array in arrays)


def test_an_lp_built_step_by_step_in_bulk_and_by_adding_and_deleting_gives_the_same_bits() -> None:
    ids, slopes, intercepts = cuts(40)
    kept = ids[ids % 3 != 0]

    def one_by_one(lp: StageLP) -> None:
        for i in kept:
            lp.append_cuts(ids[i : i + 1], slopes[i : i + 1], intercepts[i : i + 1])

    def in_bulk(lp: StageLP) -> None:
        lp.append_cuts(kept, slopes[kept], intercepts[kept])

    def adding_and_deleting(lp: StageLP) -> None:
        lp.append_cuts(ids, slopes, intercepts)
        solve_all(lp)
        lp.set_cuts(kept, slopes[kept], intercepts[kept])

    def deleting_and_putting_back(lp: StageLP) -> None:
        some = kept[::2]
        lp.append_cuts(some, slopes[some], intercepts[some])
        solve_all(lp)
        lp.set_cuts(kept, slopes[kept], intercepts[kept])

    seen = set()
    for build in (one_by_one, in_bulk, adding_and_deleting, deleting_and_putting_back):
        lp = StageLP(STAGE, sign=1.0, last=False)
        build(lp)
        assert lp.cut_ids.tolist() == kept.tolist()
        first = solve_all(lp)
        seen.add(bits(first) + bits(solve_all(lp, first.first_bases[0])))
        lp.close()
    assert len(seen) == 1


def test_a_unit_does_not_depend_on_what_the_instance_solved_before(lp: StageLP) -> None:
    lp.append_cuts(*cuts(30))
    basis = solve_all(lp).first_bases[0]
    expected = bits(solve_all(lp, basis))
    lp.solve(np.array([5, 2]), np.array([[0.0, 0.0, 0.0], [90.0, 1.0, 3.0]]), np.array([1, 2]), [None, basis])
    assert bits(solve_all(lp, basis)) == expected


def test_units_solved_together_have_the_bits_of_units_solved_alone(lp: StageLP) -> None:
    lp.append_cuts(*cuts(30))
    basis = solve_all(lp).first_bases[0]
    openings = np.array([3, 1, 4, 1, 5, 0])
    incoming = np.random.default_rng(3).uniform(0.0, 100.0, (6, STAGE.states))
    together = lp.solve(openings, incoming, np.array([2, 3, 6]), [basis, None, basis])
    slopes = lp.sides.slopes(together.duals)
    for start, end, begin in ((0, 2, basis), (2, 3, None), (3, 6, basis)):
        alone = lp.solve(openings[start:end], incoming[start:end], np.array([end - start]), [begin])
        assert alone.values.tobytes() == together.values[start:end].tobytes()
        assert alone.states.tobytes() == together.states[start:end].tobytes()
        assert lp.sides.slopes(alone.duals).tobytes() == slopes[start:end].tobytes()


def test_slopes_are_the_derivatives_of_the_value_by_the_incoming_state(lp: StageLP) -> None:
    lp.append_cuts(*cuts(5))
    state, step = np.array([[31.7, 18.3, 47.9]]), 1e-3
    batch = lp.solve(np.array([2]), state, np.array([1]), [None])
    slope = lp.sides.slopes(batch.duals)[0]
    for j in range(STAGE.states):
        ends = []
        for sign in (-1.0, 1.0):
            moved = state.copy()
            moved[0, j] += sign * step
            ends.append(lp.solve(np.array([2]), moved, np.array([1]), [None]).values[0])
        assert slope[j] == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-6, abs=1e-6)


def test_the_solution_is_feasible_and_priced_in_the_stage_s_own_units(lp: StageLP) -> None:
    ids, slopes, intercepts = cuts(12)
    lp.append_cuts(ids, slopes, intercepts)
    batch = solve_all(lp)
    rows, columns, values = STAGE.matrix.triplets()
    for k, x in enumerate(batch.primal):
        left = np.bincount(rows, values * x[columns], minlength=STAGE.rows)
        right = STAGE.rhs.copy()
        right[STAGE.openings.rhs_rows] = STAGE.openings.rhs[k]
        b_rows, b_states, b_values = STAGE.incoming.triplets()
        right -= np.bincount(b_rows, b_values * np.array([30.0, 20.0, 50.0])[b_states], minlength=STAGE.rows)
        slack = np.where(STAGE.sense == 0, np.abs(left - right), STAGE.sense * (right - left))
        assert slack.max() < 1e-7
        highest = max(intercepts + slopes @ batch.states[k])
        assert batch.cost_to_go[k] == pytest.approx(max(highest, 0.0), rel=1e-9)
        own = STAGE.cost @ x + STAGE.discount * batch.cost_to_go[k]
        assert batch.values[k] == pytest.approx(own, rel=1e-9)


def test_scale_factors_are_powers_of_two() -> None:
    scaling = scale_stage(STAGE)
    for factors in (scaling.column, scaling.row, np.array([scaling.cost])):
        mantissa, _ = np.frexp(factors)
        assert set(mantissa.tolist()) == {0.5}


def test_the_order_of_openings_is_a_permutation_that_stays_near() -> None:
    order = opening_order(STAGE)
    assert sorted(order.tolist()) == list(range(len(STAGE.openings)))
    assert order[0] == 0
    noise = STAGE.openings.rhs / STAGE.openings.rhs.std(axis=0)
    step = np.linalg.norm(np.diff(noise[order], axis=0), axis=1).sum()
    assert step < np.linalg.norm(np.diff(noise, axis=0), axis=1).sum()


PROFILES = {
    "cost_perturbation": 1.0,
    "dual_edge_weight": "steepest_edge",
    "dual_feasibility_tolerance": 1e-8,
    "primal_feasibility_tolerance": 1e-8,
    "factor_pivot_threshold": 0.3,
    "presolve": "choose",
    "price": "row",
    "refactor_error_tolerance": 1e-9,
    "simplex_update_limit": 200,
    "steepest_edge_devex_fallback_threshold": 5.0,
    "use_warm_start": False,
}


@pytest.mark.parametrize("name", [field.name for field in fields(SolverProfile)])
def test_every_option_of_a_profile_is_taken_and_changes_no_value(name: str) -> None:
    lp = StageLP(STAGE, sign=1.0, last=False)
    lp.append_cuts(*cuts(20))
    before = solve_all(lp)
    lp.use_profile(SolverProfile(**{name: PROFILES[name]}))  # type: ignore[arg-type]
    after = solve_all(lp, before.first_bases[0])
    lp.use_profile(SolverProfile())
    assert np.allclose(after.values, before.values, rtol=1e-9)
    assert bits(solve_all(lp)) == bits(before)
    lp.close()


class Failing:
    """Says of the next ``times`` solves that they did not end well."""

    def __init__(self, lp: StageLP, times: int) -> None:
        self.left, self.real = times, lp.highs.status
        lp.highs.status = self  # type: ignore[assignment]

    def __call__(self, handle: int) -> int:
        self.left -= 1
        return 15 if self.left >= 0 else self.real(handle)


@pytest.mark.parametrize("times", [1, 2, 3, 4, 5])
def test_a_failed_solve_is_retried_in_other_ways_and_counted(lp: StageLP, times: int) -> None:
    lp.append_cuts(*cuts(20))
    expected = solve_all(lp)
    Failing(lp, times)
    found = solve_all(lp)
    assert lp.statistics.retries == times
    assert np.allclose(found.values, expected.values, rtol=1e-9)
    # the options are back where they were, and nothing of the retries stays
    assert bits(solve_all(lp)) == bits(expected)


def test_a_solve_that_stays_unsolved_says_where_and_leaves_its_model(lp: StageLP, tmp_path: Path) -> None:
    lp.failure_folder = tmp_path / "failures"
    lp.context = {"iteration": 4}
    Failing(lp, 99)
    with pytest.raises(SolverError) as caught:
        lp.solve(np.array([6]), np.full((1, 3), 10.0), np.array([1]), [None], np.array([11]))
    error = caught.value
    assert (error.stage, error.iteration, error.scenario, error.solver_status) == (3, 4, 11, "unknown")
    assert error.context["opening"] == 6
    assert "scenario 11, opening 6" in error.message
    model = Path(error.context["model_file"])
    assert model.parent == tmp_path / "failures"
    assert "ROWS" in model.read_text()
    assert lp.statistics.retries == len(RETRIES)


def test_a_failure_is_told_where_its_model_cannot_be_written(lp: StageLP, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    lp.failure_folder = tmp_path / "file" / "failures"
    Failing(lp, 99)
    with pytest.raises(SolverError) as caught:
        solve_all(lp)
    assert "model_file" not in caught.value.context


def test_a_stage_without_a_feasible_decision_is_a_solver_error() -> None:
    stage = Stage(
        cost=[1.0], lower=[0.0], upper=[1.0], matrix=SparseRows.from_triplets((1, 1), [0], [0], [1.0]), sense=[1],
        rhs=[5.0], incoming=SparseRows.from_triplets((1, 1), [], [], []), outgoing=[0], openings=Openings([1.0]),
    )  # type: ignore[arg-type]  # fmt: skip
    lp = StageLP(stage, sign=1.0, last=True, number=1)
    with pytest.raises(SolverError, match="infeasible"):
        lp.solve(np.array([0]), np.zeros((1, 1)), np.array([1]), [None])
    lp.close()


def test_no_retries_means_none() -> None:
    lp = StageLP(STAGE, sign=1.0, last=False, retry_limit=0)
    Failing(lp, 1)
    with pytest.raises(SolverError, match="0 retries"):
        solve_all(lp)
    assert lp.statistics.retries == 0
    lp.close()


def test_a_basis_survives_being_written_as_numbers(lp: StageLP) -> None:
    lp.append_cuts(*cuts(20))
    basis = solve_all(lp).first_bases[0]
    again = Basis.decode(basis.encode(), STAGE.columns + 1, STAGE.rows)
    assert again.columns.tolist() == basis.columns.tolist()
    assert again.rows.tolist() == basis.rows.tolist()
    assert again.tight.tolist() == basis.tight.tolist()
    assert basis.tight.size > 0
