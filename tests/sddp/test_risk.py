"""Risk measures against their dual programs and against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from cobre.errors import ValidationError
from cobre.sddp.risk import CVaR, Expectation, FloatArray


@st.composite
def outcomes(draw: st.DrawFn) -> tuple[FloatArray, FloatArray]:
    """Probabilities (some zero, not all) and costs (some equal)."""
    size = draw(st.integers(1, 8))
    raw = draw(st.lists(st.integers(0, 10), min_size=size, max_size=size).filter(any))
    cost = draw(st.lists(st.integers(-5, 5) | st.floats(-1e6, 1e6), min_size=size, max_size=size))
    p = np.array(raw, dtype=np.float64)
    return p / p.sum(), np.array(cost, dtype=np.float64)


shares = st.floats(0.01, 1.0)
weights_of_tail = st.floats(0.0, 1.0)


@given(outcomes(), shares, weights_of_tail)
def test_cvar_weights_are_a_distribution_and_the_worst_one_allowed(
    outcome: tuple[FloatArray, FloatArray], alpha: float, lambda_: float
) -> None:
    p, cost = outcome
    kept = p.copy()
    weights = CVaR(alpha, lambda_).adjust(p, cost)
    most = (1.0 - lambda_) * p + lambda_ * p / alpha
    assert np.array_equal(p, kept)
    assert np.all(weights >= 0.0)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.all(weights <= most * (1.0 + 1e-12) + 1e-15)
    assert np.all(weights >= (1.0 - lambda_) * p - 1e-15)
    dual = linprog(
        -cost,
        A_eq=np.ones((1, p.size)),
        b_eq=[1.0],
        bounds=np.column_stack([(1.0 - lambda_) * p, most * (1.0 + 1e-13) + 1e-15]),
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    assert dual.status == 0
    # weights within the solver's tolerance of adding up to one are worth that part of the largest cost
    assert weights @ cost == pytest.approx(-dual.fun, rel=1e-7, abs=1e-7 + 1e-8 * np.abs(cost).max())


@given(outcomes(), shares, weights_of_tail, st.floats(-10.0, 10.0), st.floats(0.1, 10.0))
def test_cvar_is_coherent(
    outcome: tuple[FloatArray, FloatArray], alpha: float, lambda_: float, shift: float, scale: float
) -> None:
    p, cost = outcome
    measure = CVaR(alpha, lambda_)

    def value(z: FloatArray) -> float:
        return float(measure.adjust(p, z) @ z)

    close = {"rel": 1e-9, "abs": 1e-6}
    assert value(cost + shift) == pytest.approx(value(cost) + shift, **close)
    assert value(scale * cost) == pytest.approx(scale * value(cost), **close)
    assert value(cost) >= float(p @ cost) - 1e-6
    assert value(cost) <= float(cost[p > 0.0].max()) + 1e-6
    other = cost[::-1].copy()
    assert value(cost + other) <= value(cost) + value(other) + 1e-5


@given(outcomes())
def test_the_ends_of_its_ranges_are_the_mean_and_the_worst_case(outcome: tuple[FloatArray, FloatArray]) -> None:
    p, cost = outcome
    mean = float(Expectation().adjust(p, cost) @ cost)
    assert CVaR(1.0, 0.7).adjust(p, cost) @ cost == pytest.approx(mean, rel=1e-9, abs=1e-6)
    assert np.array_equal(CVaR(0.3, 0.0).adjust(p, cost), p)
    least = float(p[p > 0.0].min())
    worst = float(cost[p > 0.0].max())
    assert CVaR(least, 1.0).adjust(p, cost) @ cost == pytest.approx(worst, rel=1e-9, abs=1e-6)


def test_cvar_by_hand() -> None:
    p, cost = np.array([0.4, 0.3, 0.2, 0.1]), np.array([1.0, 4.0, 2.0, 3.0])
    assert CVaR(0.5, 1.0).adjust(p, cost) == pytest.approx([0.0, 0.6, 0.2, 0.2])
    assert CVaR(0.5, 0.5).adjust(p, cost) == pytest.approx([0.2, 0.45, 0.2, 0.15])


def test_equal_costs_are_filled_in_the_order_of_their_index() -> None:
    p, cost = np.full(4, 0.25), np.array([2.0, 5.0, 5.0, 5.0])
    assert CVaR(0.5, 1.0).adjust(p, cost).tolist() == [0.0, 0.5, 0.5, 0.0]


def test_the_mean_gives_the_probabilities_themselves() -> None:
    p = np.array([0.1, 0.9])
    assert np.array_equal(Expectation().adjust(p, np.array([5.0, 1.0])), p)


@pytest.mark.parametrize(
    ("alpha", "lambda_"), [(0.0, 0.5), (1.1, 0.5), (-0.1, 0.5), (0.5, -0.1), (0.5, 1.1), (np.nan, 0.5), (0.5, np.nan)]
)
def test_cvar_refuses_what_is_no_share(alpha: float, lambda_: float) -> None:
    with pytest.raises(ValidationError, match="CVaR needs alpha") as caught:
        CVaR(alpha, lambda_)
    assert caught.value.kind == "OutOfRange"


def test_descriptions_tell_measures_apart() -> None:
    descriptions = [m.describe() for m in (Expectation(), CVaR(0.5, 0.5), CVaR(0.25, 0.5), CVaR(0.5, 0.25))]
    assert all(descriptions.count(d) == 1 for d in descriptions)
