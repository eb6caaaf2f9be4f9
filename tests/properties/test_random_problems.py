"""Training on random problems against their extensive forms: what must hold of every problem whatsoever.

Every stage can always be balanced, at a price (relatively complete recourse), its states are bounded, and its bound
on the cost-to-go follows from its costs. Numbers are small and round: a difference is a mistake, not rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cobre.sddp import reuse
from cobre.sddp.builder import StageBuilder, chain
from cobre.sddp.contracts import SERIAL, Exchange, Shuffled
from cobre.sddp.problem import Problem
from cobre.sddp.risk import CVaR, Expectation, FloatArray, RiskMeasure
from cobre.sddp.settings import (
    CutSelection,
    Domination,
    Dynamic,
    Enumerated,
    Level1,
    LimitedMemory,
    Sampled,
    TrainingSettings,
)
from cobre.sddp.stopping import Gap, IterationLimit
from cobre.sddp.training import TrainingOutcome, train
from cobre.testing import extensive

NODES = 60  # of a random problem's tree at most, so that enumerating it stays quick
SHAPES = [  # openings of each stage, for 1, 2, 3 and 4 stages
    [shape for shape in itertools.product(range(1, 5), repeat=length) if sum(np.cumprod(shape)) <= NODES]
    for length in range(1, 5)
]
RISKS: list[RiskMeasure] = [Expectation(), CVaR(0.5, 0.5), CVaR(0.25, 1.0), CVaR(0.8, 0.2), CVaR(1.0, 0.5)]
PENALTY = 40.0


def halves(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(2 * low, 2 * high).map(lambda n: n / 2.0)


@st.composite
def stages(draw: st.DrawFn, number: int, states: int, openings: int, sense: str, after: float) -> StageBuilder:
    """A stage whose cost-to-go is at least ``after`` (at most, in a maximisation)."""
    sign = -1.0 if sense == "max" else 1.0
    discount = draw(st.sampled_from([1.0, 1.0, 0.9, 0.5, 1.25]))
    stage = StageBuilder(
        f"stage {number}", discount=discount, risk=draw(st.sampled_from(RISKS)), cost_to_go_bound=after
    )
    decisions = [
        stage.variable(f"y{i}", 0.0, draw(halves(1, 8)), sign * draw(halves(-5, 10)))
        for i in range(draw(st.integers(1, 3)))
    ]
    names = [f"x{i}" for i in range(states)]
    rows = []
    for name in names:
        cost, price = sign * draw(halves(0, 3)), sign * draw(halves(-2, 2))
        stage.state(name, draw(st.sampled_from([0.0, 0.0, 1.0])), draw(halves(4, 12)), cost=cost, incoming_cost=price)
    for name in names:
        spill = stage.variable(f"{name} spilled", cost=sign * draw(halves(0, 1)))
        short = stage.variable(f"{name} short", cost=sign * PENALTY)
        kept = draw(st.sampled_from([1.0, 1.0, 0.5]))
        terms = {f"{name}.out": 1.0, f"{name}.in": -kept, spill: 1.0, short: -1.0}
        terms |= {y: draw(halves(-1, 2)) for y in decisions}
        rows.append(stage.constraint(f"{name} balance", terms, "==", draw(halves(0, 6))))
    unserved = stage.variable("unserved", cost=sign * PENALTY)
    served = {y: draw(halves(0, 2)) for y in decisions} | {unserved: 1.0, f"{names[0]}.in": draw(halves(0, 1))}
    rows.append(stage.constraint("demand", served, ">=", draw(halves(0, 8))))
    _add_openings(draw, stage, openings, rows, decisions, sign)
    return stage


def _add_openings(
    draw: st.DrawFn, stage: StageBuilder, count: int, rows: Sequence[str], decisions: Sequence[str], sign: float
) -> None:
    weights = draw(st.lists(st.integers(0, 5), min_size=count, max_size=count).filter(any))
    noisy = [row for row in rows if draw(st.booleans())]
    priced = [y for y in decisions if draw(st.integers(0, 3)) == 0]
    for weight in weights:
        stage.opening(
            weight / sum(weights),
            rhs={row: draw(halves(-2, 8)) for row in noisy},
            cost={y: sign * draw(halves(-5, 10)) for y in priced},
        )


@st.composite
def random_problems(draw: st.DrawFn) -> Problem:
    """1 to 4 stages, 1 to 3 states, 1 to 4 openings a stage with unequal probabilities (some zero)."""
    sense: Literal["min", "max"] = draw(st.sampled_from(["min", "max"]))
    states = draw(st.integers(1, 3))
    counts = draw(st.sampled_from(SHAPES[draw(st.sampled_from([1, 2, 3, 0]))]))
    after, builders = 0.0, []
    for number in range(len(counts), 0, -1):
        builder = draw(stages(number, states, counts[number - 1], sense, after))
        after = _least(builder, after, sense)
        builders.append(builder)
    initial = {f"x{i}": draw(halves(0, 6)) for i in range(states)}
    return chain(builders[::-1], initial, sense=sense, name="random")


def _least(builder: StageBuilder, after: float, sense: str) -> float:
    """A bound on what this stage and those after it cost, from the bounds of its variables and states alone."""
    stage = builder.build()
    sign = -1.0 if sense == "max" else 1.0
    assert stage.incoming_cost is not None
    costs = np.tile(sign * stage.cost, (len(stage.openings), 1))
    costs[:, stage.openings.cost_columns] = sign * stage.openings.cost
    finite = np.where(np.isfinite(stage.upper), stage.upper, 0.0)  # the unbounded ones never pay
    least = np.minimum(costs * stage.lower, costs * finite).sum(axis=1).min()
    widest = 12.0  # of any state
    least -= float(np.abs(stage.incoming_cost).sum()) * widest
    return float(sign * (least + stage.discount * sign * after))


def scale(optimum: float) -> float:
    """What a relative tolerance is relative to."""
    return max(1.0, abs(optimum))


def inward(problem: Problem, bounds: Sequence[float]) -> FloatArray:
    """Outer bounds as those of a minimisation."""
    return np.array(bounds) * (-1.0 if problem.sense == "max" else 1.0)


def enumerated(problem: Problem, exchange: Exchange = SERIAL, **changes: object) -> TrainingOutcome:
    stopping = (IterationLimit(60), Gap(relative_tolerance=1e-7))
    return train(problem, TrainingSettings(passes=Enumerated(), stopping=stopping, **changes), exchange=exchange)  # type: ignore[arg-type]


def examples(count: int) -> settings:
    """``count`` examples of the usual hundred, and as many more as the profile asks for more than that."""
    share = count * settings().max_examples // 100
    return settings(max_examples=share, suppress_health_check=[HealthCheck.too_slow])


REUSE = st.sampled_from(["exact", "exact", "adaptive", "off"])


@examples(60)
@given(random_problems(), REUSE)
def test_enumerated_training_reaches_the_optimum_from_outside(problem: Problem, mode: str) -> None:
    optimum = extensive.solve(problem)
    outcome = enumerated(problem, dual_reuse=mode)
    bounds = inward(problem, outcome.lower_bounds)
    unit = scale(optimum)
    assert np.all(np.diff(bounds) >= 0.0)
    assert bounds[-1] <= inward(problem, [optimum])[0] + 1e-7 * unit
    assert outcome.lower_bounds[-1] == pytest.approx(optimum, abs=1e-6 * unit)
    assert outcome.exact_upper_bounds[-1] == pytest.approx(optimum, abs=1e-6 * unit)
    assert np.all(inward(problem, outcome.exact_upper_bounds) >= inward(problem, [optimum])[0] - 1e-7 * unit)


@examples(60)
@given(random_problems(), st.integers(0, 2**32 - 1), st.integers(1, 4), REUSE)
def test_sampled_training_never_passes_the_optimum(
    problem: Problem, seed: int, count: int, mode: Literal["exact", "adaptive", "off"]
) -> None:
    optimum = extensive.solve(problem)
    settings = TrainingSettings(passes=Sampled(count), stopping=(IterationLimit(6),), seed=seed, dual_reuse=mode)
    outcome = train(problem, settings)
    bounds = inward(problem, outcome.lower_bounds)
    assert len(bounds) == 6
    assert np.all(np.diff(bounds) >= 0.0)
    assert bounds[-1] <= inward(problem, [optimum])[0] + 1e-7 * scale(optimum)


@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "HiGHS"])
@examples(15)
@given(random_problems(), st.integers(0, 2**32 - 1), st.sampled_from(["exact", "adaptive"]))
def test_no_cut_lies_above_the_true_cost_to_go(
    kernel: bool, problem: Problem, seed: int, mode: Literal["exact", "adaptive"]
) -> None:
    chosen = TrainingSettings(Sampled(2), (IterationLimit(8),), seed=seed, dual_reuse=mode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reuse, "kernel_is_there", lambda: kernel)
        outcome = train(problem, chosen)
    sign, random = -1.0 if problem.sense == "max" else 1.0, np.random.default_rng(seed)
    for t, pool in enumerate(outcome.cuts[:-1]):
        at = problem.stages[t].outgoing
        low, high = problem.stages[t].lower[at], problem.stages[t].upper[at]
        for state in (low, high, random.uniform(low, high)):
            true = sign * extensive.solve(Problem(problem.stages[t + 1 :], state, problem.sense))
            assert pool.heights(state).max() <= true + 1e-7 * scale(true)


EXACT = {
    "level 1": CutSelection(Level1(check_frequency=1)),
    "limited memory": CutSelection(LimitedMemory(check_frequency=2)),
    "domination": CutSelection(Domination(tolerance=1e-6, check_frequency=1)),
    "dynamic": CutSelection(Dynamic(start_iteration=2, seed_window=0, max_added_per_round=1)),
}
SELECTIONS = EXACT | {
    "dynamic, of late": CutSelection(Dynamic(candidate_recency=2)),
    "two": CutSelection(max_active_per_stage=2),
    "level 1, one": CutSelection(Level1(check_frequency=1), max_active_per_stage=1),
}


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS.keys())
@examples(15)
@given(problem=random_problems(), seed=st.integers(0, 2**32 - 1))
def test_cut_selection_never_makes_a_bound_pass_the_optimum(
    selection: CutSelection, problem: Problem, seed: int
) -> None:
    optimum = extensive.solve(problem)
    chosen = TrainingSettings(Sampled(2), (IterationLimit(7),), seed=seed, cut_selection=selection)
    bounds = inward(problem, train(problem, chosen).lower_bounds)
    assert np.all(np.diff(bounds) >= 0.0)
    assert bounds[-1] <= inward(problem, [optimum])[0] + 1e-7 * scale(optimum)


@pytest.mark.parametrize("selection", EXACT.values(), ids=EXACT.keys())
@examples(15)
@given(problem=random_problems())
def test_selections_that_forget_nothing_needed_still_reach_the_optimum(
    selection: CutSelection, problem: Problem
) -> None:
    optimum = extensive.solve(problem)
    outcome = enumerated(problem, cut_selection=selection)
    assert outcome.lower_bounds[-1] == pytest.approx(optimum, abs=1e-6 * scale(optimum))


def fingerprint(outcome: TrainingOutcome) -> list[bytes]:
    """Every bit that a training leaves."""
    cuts = [part for pool in outcome.cuts for part in (pool.slopes, pool.intercepts, pool.active)]
    numbers = [[r.lower_bound, r.upper_bound, r.upper_bound_std, r.gap] for r in outcome.records]
    return [np.array(numbers).tobytes(), *(part.tobytes() for part in cuts)]


@examples(25)
@given(
    random_problems(),
    st.sampled_from([*SELECTIONS.values(), CutSelection()]),
    st.none() | st.integers(1, 3),
    st.integers(0, 99),
    REUSE,
)
def test_the_order_of_units_changes_no_bit(
    problem: Problem,
    selection: CutSelection,
    openings_per_unit: int | None,
    seed: int,
    mode: Literal["exact", "adaptive", "off"],
) -> None:
    chosen = TrainingSettings(
        Sampled(3),
        (IterationLimit(4),),
        seed=seed,
        cut_selection=selection,
        openings_per_unit=openings_per_unit,
        dual_reuse=mode,
    )
    straight = train(problem, chosen)
    assert fingerprint(train(problem, chosen)) == fingerprint(straight)
    assert fingerprint(train(problem, chosen, exchange=Shuffled(seed))) == fingerprint(straight)


@examples(15)
@given(random_problems(), st.integers(0, 99))
def test_the_order_of_units_changes_no_bit_of_enumerated_passes(problem: Problem, seed: int) -> None:
    assert fingerprint(enumerated(problem, Shuffled(seed))) == fingerprint(enumerated(problem))


@examples(25)
@given(random_problems())
def test_the_strategy_makes_valid_bounds_on_the_cost_to_go(problem: Problem) -> None:
    """Without this the other properties would test their own premise."""
    for t in range(1, len(problem.stages)):
        rest = Problem(problem.stages[t:], np.zeros(problem.initial_state.size), problem.sense)
        bound = problem.stages[t - 1].cost_to_go_bound
        assert inward(problem, [extensive.solve(rest)])[0] >= inward(problem, [bound])[0] - 1e-9
