"""Training reaches optima that others computed, and a handful worked out here."""

from __future__ import annotations

from pathlib import Path

import pytest

from cobre.sddp.builder import StageBuilder, chain
from cobre.sddp.problem import Problem
from cobre.sddp.risk import CVaR, Expectation, RiskMeasure
from cobre.sddp.settings import Enumerated, Sampled, TrainingSettings
from cobre.sddp.stopping import Gap, IterationLimit
from cobre.sddp.training import TrainingOutcome, train
from cobre.testing import extensive, problems

SAMPLED = {  # trees too large to walk: (passes, iterations) that come within the tolerance
    "stochdynprog_multistock": (10, 25),
    "stochdynprog_stock": (10, 25),
    "hydro_thermal_linear_20": (10, 30),
    "sldp_example_one": (10, 40),
    "generation_expansion": (10, 40),
}
# Every problem of the file that a chain can say, its integers relaxed; those read today, so that none goes missing.
NAMES = [
    "air_conditioning_integer", "air_conditioning_lp", "air_conditioning_random_first_stage", "all_blacks",
    "asset_management_simple", "asset_management_stagewise", "async_two_stage", "booking_management_1_2_5",
    "booking_management_2_2_3", "electric_lands", "farmers_problem", "fast_hydro_thermal",
    "fast_production_management", "fast_quickstart", "fixed_discrete_continuous", "generation_expansion",
    "hydro_thermal_linear_2", "hydro_thermal_linear_20", "hydro_thermal_linear_4", "hydro_valley_deterministic",
    "hydro_valley_stagewise", "mccardle_farm", "mspformat_hydro_thermal", "sldp_example_one", "sldp_example_two_N2",
    "sldp_example_two_N3", "sldp_example_two_N6", "stochastic_all_blacks", "stochdynprog_multistock",
    "stochdynprog_stock", "structdual_prob5.2_2stages", "structdual_prob5.2_3stages",
]  # fmt: skip


def exactly(problem: Problem) -> TrainingOutcome:
    stopping = (IterationLimit(60), Gap(relative_tolerance=1e-7))
    return train(problem, TrainingSettings(passes=Enumerated(), stopping=stopping))


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_reaches_the_known_optimum(problems_file: Path, name: str) -> None:
    problem = problems.read(problems_file, relax=True)[name]
    optimum = problems.known(problems_file, relax=True)[name]
    if name in SAMPLED:
        passes, iterations = SAMPLED[name]
        outcome = train(problem, TrainingSettings(Sampled(passes), (IterationLimit(iterations),)))
    else:
        outcome = exactly(problem)
        assert outcome.reason == "gap"
        assert outcome.exact_upper_bounds[-1] == pytest.approx(outcome.lower_bounds[-1], rel=1e-8, abs=1e-8)
    assert optimum.agrees(outcome.lower_bounds[-1]), (outcome.lower_bounds[-1], optimum)


def test_the_list_of_names_is_that_of_the_file(problems_file: Path) -> None:
    assert sorted(problems.read(problems_file, relax=True)) == NAMES


def reservoirs(stages: int, risk: RiskMeasure, sense: str = "min") -> Problem:
    """Two reservoirs in a cascade, a thermal plant and a shortage; inflows of both are random together."""
    sign = -1.0 if sense == "max" else 1.0
    builders = []
    for t in range(stages):
        stage = StageBuilder(f"stage {t + 1}", discount=0.95, risk=risk if t else Expectation())
        for name, volume in (("upper", 8.0), ("lower", 6.0)):
            stage.state(name, upper=volume)
            stage.variable(f"{name} release", upper=5.0)
            stage.variable(f"{name} spill", cost=sign * 0.01)
        stage.variable("thermal", upper=4.0, cost=sign * 7.0)
        stage.variable("shortage", cost=sign * 50.0)
        stage.constraint(
            "upper", {"upper.out": 1.0, "upper.in": -1.0, "upper release": 1.0, "upper spill": 1.0}, "==", 2.0
        )
        stage.constraint(
            "lower",
            {
                "lower.out": 1,
                "lower.in": -1,
                "lower release": 1,
                "lower spill": 1,
                "upper release": -1,
                "upper spill": -1,
            },
            "==",
            0.0,
        )
        stage.constraint(
            "demand", {"upper release": 1.0, "lower release": 0.8, "thermal": 1.0, "shortage": 1.0}, ">=", 6.0
        )
        for p, upper, lower, price in ((0.5, 2.0, 1.0, 7.0), (0.3, 0.0, 0.5, 9.0), (0.2, 5.0, 2.0, 3.0)):
            if t:
                stage.opening(p, rhs={"upper": upper, "lower": lower}, cost={"thermal": sign * price})
        builders.append(stage)
    return chain(builders, {"upper": 3.0, "lower": 2.0}, sense=sense)  # type: ignore[arg-type]


def newsvendor(risk: RiskMeasure) -> Problem:
    """Buy at 2, sell at 5 what is asked for: 4, 8 or 12, equally likely. The first stage has no constraints."""
    morning = StageBuilder("morning", cost_to_go_bound=100.0)
    morning.state("papers", cost=-2.0)
    day = StageBuilder("day", risk=risk)
    day.state("papers")
    sold = day.variable("sold", cost=5.0)
    day.constraint("stock", {sold: 1.0, "papers.in": -1.0}, "<=", 0.0)
    day.constraint("asked", {sold: 1.0}, "<=", 0.0)
    for asked in (4.0, 8.0, 12.0):
        day.opening(1.0 / 3.0, rhs={"asked": asked})
    return chain([morning, day], {"papers": 0.0}, sense="max", name="newsvendor")


def discounted() -> Problem:
    """Pay 1 now or 3 * 0.25 later for each of two units: later is cheaper."""
    builders = []
    for cost in (1.0, 3.0):
        stage = StageBuilder(discount=0.25)
        stage.state("owed", upper=2.0)
        stage.variable("pay", cost=cost)
        stage.constraint("owe", {"owed.out": 1.0, "owed.in": -1.0, "pay": 1.0}, "==", 0.0)
        if cost == 3.0:
            stage.constraint("settle", {"owed.out": 1.0}, "<=", 0.0)
        builders.append(stage)
    return chain(builders, {"owed": 2.0})


@pytest.mark.parametrize(
    ("problem", "optimum"),
    [
        (newsvendor(Expectation()), 5.0 * 20.0 / 3.0 - 16.0),  # the middle number is best
        (newsvendor(CVaR(1.0 / 3.0, 1.0)), 12.0),  # judged by the worst third: only what is surely sold
        (discounted(), 1.5),
    ],
    ids=["newsvendor", "careful newsvendor", "discounted"],
)
def test_problems_worked_out_by_hand(problem: Problem, optimum: float) -> None:
    assert extensive.solve(problem) == pytest.approx(optimum)
    assert exactly(problem).lower_bounds[-1] == pytest.approx(optimum, rel=1e-9)


@pytest.mark.parametrize("sense", ["min", "max"])
@pytest.mark.parametrize("risk", [Expectation(), CVaR(0.4, 0.6), CVaR(0.3, 1.0), CVaR(1.0, 1.0)], ids=repr)
def test_a_cascade_reaches_its_extensive_form(risk: RiskMeasure, sense: str) -> None:
    problem = reservoirs(4, risk, sense)
    outcome = exactly(problem)
    assert outcome.lower_bounds[-1] == pytest.approx(extensive.solve(problem), rel=1e-8)
    assert outcome.exact_upper_bounds[-1] == pytest.approx(outcome.lower_bounds[-1], rel=1e-8)


def test_a_maximisation_is_the_minimisation_turned_round() -> None:
    lowest, highest = exactly(reservoirs(3, CVaR(0.4, 0.6))), exactly(reservoirs(3, CVaR(0.4, 0.6), "max"))
    assert highest.lower_bounds == [-bound for bound in lowest.lower_bounds]
    assert [r.lower_bound for r in highest.records] == [-r.upper_bound for r in lowest.records]


def test_a_wrong_bound_on_the_cost_to_go_shows_against_the_extensive_form() -> None:
    """The bound is the caller's promise; a broken one gives a wrong optimum, which is what the check is for."""
    broken = newsvendor(Expectation())
    object.__setattr__(broken.stages[0], "cost_to_go_bound", 1.0)
    assert exactly(broken).lower_bounds[-1] < extensive.solve(broken) - 1.0
