"""The training loop: the same bits in whatever order units are computed, and what it reports on the way."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cobre.errors import SolverError, ValidationError
from cobre.sddp.builder import StageBuilder, chain
from cobre.sddp.contracts import SERIAL, Exchange, Shuffled
from cobre.sddp.problem import Problem
from cobre.sddp.risk import CVaR
from cobre.sddp.settings import CutSelection, Dynamic, Enumerated, Level1, Sampled, SolverProfile, TrainingSettings
from cobre.sddp.statistics import PassStatistics
from cobre.sddp.stopping import BoundStalling, Gap, IterationLimit, TimeLimit
from cobre.sddp.training import IterationRecord, TrainingOutcome, train
from cobre.testing import extensive
from tests.sddp.small import cascade

RARE_FIRST = 0  # the seed: the first passes meet what has a probability of 0.02
SETTINGS = TrainingSettings(passes=Sampled(3), stopping=(IterationLimit(8),))


def bits(outcome: TrainingOutcome) -> bytes:
    """Everything of a training that must not depend on how it ran; times do."""
    parts = [np.array(outcome.lower_bounds).tobytes()]
    parts += [np.array([[r.lower_bound, r.upper_bound, r.upper_bound_std, r.ci_95] for r in outcome.records]).tobytes()]
    for pool in outcome.cuts:
        parts += [pool.slopes.tobytes(), pool.intercepts.tobytes(), pool.active.tobytes(), pool.iterations.tobytes()]
    return b"".join(parts)


@pytest.mark.parametrize("openings_per_unit", [None, 1, 3])
@pytest.mark.parametrize(
    "selection",
    [
        CutSelection(),
        CutSelection(Level1(check_frequency=2)),
        CutSelection(Dynamic(seed_window=1, max_added_per_round=2)),
        CutSelection(max_active_per_stage=6),
    ],
    ids=["none", "level1", "dynamic", "cap"],
)
def test_the_order_in_which_units_are_computed_changes_no_bit(
    selection: CutSelection, openings_per_unit: int | None
) -> None:
    problem = cascade(openings=7, risk=CVaR(0.3, 0.4))
    settings = replace(SETTINGS, cut_selection=selection, openings_per_unit=openings_per_unit)
    exchanges: list[Exchange] = [SERIAL, Shuffled(1), Shuffled(2)]
    assert len({bits(train(problem, settings, exchange=exchange)) for exchange in exchanges}) == 1


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    problem = cascade()
    first, again, other = (train(problem, replace(SETTINGS, seed=seed)) for seed in (1, 1, 2))
    assert bits(first) == bits(again)
    assert bits(first) != bits(other)


@pytest.mark.parametrize("passes", [Sampled(4), Enumerated()])
def test_the_bound_never_falls_and_reaches_the_optimum(passes: Sampled | Enumerated) -> None:
    problem = cascade(stages=3, openings=4)
    optimum = extensive.solve(problem)
    outcome = train(problem, replace(SETTINGS, passes=passes, stopping=(IterationLimit(30),)))
    assert np.all(np.diff(outcome.lower_bounds) >= 0.0)
    assert max(outcome.lower_bounds) <= optimum * (1 + 1e-9)
    assert outcome.lower_bounds[-1] == pytest.approx(optimum, rel=1e-8)
    if isinstance(passes, Enumerated):
        assert outcome.exact_upper_bounds[-1] == pytest.approx(optimum, rel=1e-8)
        assert all(record.exact for record in outcome.records)


def test_records_count_the_work() -> None:
    outcome = train(cascade(stages=4, openings=5), SETTINGS)
    forward, backward, bound = 3 * 4, 3 * 5 * 3, 5
    for record in outcome.records[1:]:
        assert record.solves <= forward + backward + bound
        assert record.cuts_added <= 9
    assert sum(r.solves for r in outcome.records) == outcome.statistics.solves
    assert outcome.records[-1].cuts_active == sum(pool.size for pool in outcome.cuts)
    assert sum(r.simplex_iterations for r in outcome.records) == outcome.statistics.simplex_iterations
    assert 0.0 < outcome.statistics.run_seconds <= outcome.statistics.seconds <= outcome.seconds


def test_each_stopping_rule_gives_its_reason() -> None:
    problem = cascade(stages=3, openings=3)
    limit = IterationLimit(50)
    assert train(problem, replace(SETTINGS, stopping=(IterationLimit(2),))).reason == "iteration_limit"
    assert train(problem, replace(SETTINGS, stopping=(limit, TimeLimit(0.0)))).reason == "time_limit"
    stalled = train(problem, replace(SETTINGS, stopping=(limit, BoundStalling(5, 1e-9))))
    assert stalled.reason == "bound_stalling"
    assert len(stalled.records) < 50
    closed = train(problem, replace(SETTINGS, passes=Enumerated(), stopping=(limit, Gap(relative_tolerance=1e-6))))
    assert closed.reason == "gap"
    assert closed.records[-1].gap <= 1e-8
    both = (limit, TimeLimit(0.0), BoundStalling(5, 1e-9))
    agreed = train(problem, replace(SETTINGS, stopping=both, stopping_mode="all"))
    assert agreed.reason == "bound_stalling"
    assert len(agreed.records) == len(stalled.records)


def test_an_observer_sees_every_iteration_and_can_stop() -> None:
    seen: list[IterationRecord] = []

    def observe(record: IterationRecord) -> object:
        seen.append(record)
        return record.iteration < 3

    outcome = train(cascade(), SETTINGS, observe=observe)
    assert outcome.reason == "shutdown"
    assert [r.iteration for r in seen] == [1, 2, 3]
    assert outcome.records == seen
    assert bits(outcome) == bits(train(cascade(), replace(SETTINGS, stopping=(IterationLimit(3),))))


def test_an_observer_that_raises_ends_the_run_with_its_own_exception() -> None:
    class Mine(Exception):
        pass

    def observe(record: IterationRecord) -> object:
        raise Mine

    with pytest.raises(Mine):
        train(cascade(), SETTINGS, observe=observe)


def test_a_maximisation_reports_its_outer_bound_above() -> None:
    problem = cascade(stages=3, openings=3)
    stages = tuple(replace(s, cost=-s.cost, cost_to_go_bound=-s.cost_to_go_bound) for s in problem.stages)
    turned = Problem(stages, problem.initial_state, sense="max", state_names=problem.state_names)
    low, high = train(problem, SETTINGS), train(turned, SETTINGS)
    assert [-b for b in high.lower_bounds] == low.lower_bounds
    for a, b in zip(low.records, high.records, strict=True):
        assert (b.upper_bound, b.lower_bound, b.gap) == (-a.lower_bound, -a.upper_bound, a.gap)


def test_cold_solves_give_the_same_bounds() -> None:
    cold = SolverProfile(use_warm_start=False)
    problem = cascade(stages=3, openings=4)
    a = train(problem, replace(SETTINGS, passes=Enumerated(), stopping=(IterationLimit(12),)))
    b = train(
        problem, replace(SETTINGS, passes=Enumerated(), stopping=(IterationLimit(12),), forward=cold, backward=cold)
    )
    assert a.lower_bounds[-1] == pytest.approx(b.lower_bounds[-1], rel=1e-9)


def test_a_tree_too_large_to_enumerate_is_refused_before_any_work() -> None:
    with pytest.raises(ValidationError, match="scenarios"):
        train(cascade(stages=4, openings=9), replace(SETTINGS, passes=Enumerated(limit=1000)))


def test_an_unsolvable_stage_says_stage_and_iteration() -> None:
    problem = cascade(stages=3, openings=3)
    broken = replace(problem.stages[1], upper=np.where(problem.stages[1].upper == np.inf, 0.0, problem.stages[1].upper))
    stages = (problem.stages[0], broken, problem.stages[2])
    with pytest.raises(SolverError) as caught:
        train(Problem(stages, problem.initial_state, state_names=problem.state_names), SETTINGS)
    assert (caught.value.stage, caught.value.iteration) == (2, 1)
    assert caught.value.solver_status == "infeasible"


@pytest.mark.parametrize(("fails", "scenario"), [(4 + 2, 2), (4 * 3 + 2 * 5 + 1, 2)])
def test_a_solver_error_names_the_scenario_forward_and_back(
    monkeypatch: pytest.MonkeyPatch, fails: int, scenario: int
) -> None:
    """Three stages, four passes, five openings: the stage-2 solve of pass 2, and that of its trial point."""
    from cobre.sddp.lp import StageLP

    solved = 0
    real = StageLP._chain

    def chain(self: StageLP, sides: object, batch: object, rows: range, *rest: object) -> None:
        nonlocal solved
        if solved <= fails < solved + len(rows):
            raise self._failure(int(self._openings[rows.start]), int(self._scenarios[rows.start]))
        solved += len(rows)
        real(self, sides, batch, rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(StageLP, "_chain", chain)
    with pytest.raises(SolverError) as caught:
        train(cascade(stages=3, openings=5), replace(SETTINGS, passes=Sampled(4), dual_reuse="off"))
    assert (caught.value.stage, caught.value.scenario) == (2 if fails < 12 else 3, scenario)


def test_states_a_hair_outside_their_bounds_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without clipping, the next stage could not be solved: its reservoir would hold less than nothing."""
    from cobre.sddp.lp import StageLP

    real = StageLP._unscale

    def astray(self: StageLP, batch: object, incoming: np.ndarray) -> None:
        real(self, batch, incoming)  # type: ignore[arg-type]
        batch.states[:] = np.where(batch.states <= 0.0, -1e-7, batch.states + 1e-7)  # type: ignore[attr-defined]

    monkeypatch.setattr(StageLP, "_unscale", astray)
    outcome = train(cascade(), SETTINGS)
    assert outcome.statistics.retries == 0


@pytest.mark.parametrize("passes", [Enumerated(), Sampled(10)])
def test_a_bound_beyond_the_policy_s_cost_is_said_once(
    passes: Sampled | Enumerated, caplog: pytest.LogCaptureFixture
) -> None:
    problem = cascade(stages=3, openings=3)
    settings = replace(SETTINGS, passes=passes, stopping=(IterationLimit(20),))
    train(problem, settings)
    assert caplog.records == []
    wrong = tuple(replace(stage, cost_to_go_bound=50_000.0) for stage in problem.stages)
    train(Problem(wrong, problem.initial_state, state_names=problem.state_names), settings)
    assert len(caplog.records) == 1
    assert "cost_to_go_bound" in caplog.text


def test_passes_that_did_not_meet_the_rare_dear_scenario_are_no_reason_to_doubt_the_bound(
    caplog: pytest.LogCaptureFixture,
) -> None:
    built = []
    for name in ("now", "then"):
        stage = StageBuilder(name)
        stage.state("v", 0.0, 100.0)
        stage.variable("bought", cost=10.0)
        stage.constraint("water", {"v.out": 1.0, "v.in": -1.0, "bought": -1.0}, "==", 0.0)
        if name == "now":
            stage.opening(1.0, rhs={"water": 0.0})
        for probability, need in ((0.02, 90.0), (0.49, 1.0), (0.49, 2.0)) if name == "then" else ():
            stage.opening(probability, rhs={"water": -need})
        built.append(stage)
    settings = replace(
        SETTINGS, passes=Sampled(3), stopping=(IterationLimit(100),), upper_bound_passes=30, seed=RARE_FIRST
    )
    outcome = train(chain(built, initial_state={"v": 0.0}, name="rare"), settings)
    means = [record.upper_bound for record in outcome.records[9:]]
    assert outcome.lower_bounds[-1] == pytest.approx(10.0 * (0.02 * 90.0 + 0.49 * 3.0))
    assert max(means) > outcome.lower_bounds[-1] > 1.5 * min(means), "some had met it, others had not"
    assert caplog.records == []


def test_pass_statistics_cover_the_last_iterations() -> None:
    statistics = PassStatistics(10)
    random = np.random.default_rng(0)
    costs = [random.normal(100.0, 5.0, 4) for _ in range(20)]
    for each in costs:
        statistics.add(each)
    last = np.concatenate(costs[-3:])
    mean, deviation, interval = statistics.estimate()
    assert mean == pytest.approx(last.mean())
    assert deviation == pytest.approx(last.std(ddof=1))
    assert interval == pytest.approx(1.959964 * last.std(ddof=1) / math.sqrt(12), rel=1e-6)
    single = PassStatistics(1)
    single.add(np.array([3.0]))
    assert single.estimate() == (3.0, 0.0, 0.0)
