"""Openings answered from kept dual vertices: the same values with fewer solves, the same bits in whatever order."""

from __future__ import annotations

import ctypes
import pickle
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from cobre.sddp import kernel, reuse
from cobre.sddp.contracts import SERIAL, Shuffled
from cobre.sddp.kernel import LOST, OPTIMAL, SAME, KernelLP, Walks, kernel_is_there
from cobre.sddp.kernel_vertices import KernelVertices, Passes
from cobre.sddp.lp import StageLP
from cobre.sddp.model import Model
from cobre.sddp.problem import Problem
from cobre.sddp.reuse import Pairs, Reuse
from cobre.sddp.reusing import Exactness
from cobre.sddp.risk import CVaR, FloatArray
from cobre.sddp.settings import CutSelection, Dynamic, Enumerated, Level1, Sampled, SolverProfile, TrainingSettings
from cobre.sddp.state import TrainingState
from cobre.sddp.stopping import BoundStalling, IterationLimit
from cobre.sddp.training import train
from cobre.sddp.vertices import FRESH, NONE, Vertices
from tests.sddp.small import cascade
from tests.sddp.test_training import bits

IntArray = NDArray[np.int64]
SETTINGS = TrainingSettings(passes=Sampled(3), stopping=(IterationLimit(12),), dual_reuse="exact")
MODES = ("off", "exact", "adaptive")
needs_kernel = pytest.mark.skipif(
    not kernel_is_there(), reason="the kernel could not be compiled when cobre was installed"
)


@pytest.fixture(params=["kernel", "HiGHS"])
def solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the compiled kernel and, as where LPs are large, without it."""
    if request.param == "kernel" and not kernel_is_there():
        pytest.skip("the kernel could not be compiled when cobre was installed")
    if request.param == "HiGHS":
        monkeypatch.setattr(reuse, "kernel_is_there", lambda: False)
    return str(request.param)


@pytest.mark.usefixtures("solver")
def test_exact_reuse_solves_less_and_comes_to_the_same() -> None:
    long = replace(SETTINGS, passes=Enumerated(), stopping=(IterationLimit(20),))
    small = cascade(stages=3, openings=3)
    every, exact = (train(small, replace(long, dual_reuse=mode)) for mode in ("off", "exact"))
    assert exact.lower_bounds[0] == pytest.approx(every.lower_bounds[0], rel=1e-12)
    assert exact.lower_bounds[-1] == pytest.approx(every.lower_bounds[-1], rel=1e-9)
    # what was not solved was proved in the kernel, or took a run without a pivot in HiGHS
    assert exact.statistics.solves <= every.statistics.solves + len(small.stages), "a first one of each stage"
    assert exact.statistics.simplex_iterations < every.statistics.simplex_iterations


@needs_kernel
def test_the_kernel_proves_what_it_need_not_solve() -> None:
    problem = cascade(openings=9)
    every, exact = (train(problem, replace(SETTINGS, dual_reuse=mode)) for mode in ("off", "exact"))
    assert exact.statistics.solves < 0.6 * every.statistics.solves
    assert exact.statistics.solves + exact.statistics.reused == every.statistics.solves


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("selection", [CutSelection(), CutSelection(Level1(check_frequency=2))], ids=["all", "level1"])
def test_neither_the_order_of_units_nor_going_on_from_a_state_changes_a_bit(
    mode: str, selection: CutSelection, solver: str
) -> None:
    if (mode, solver) == ("off", "HiGHS"):
        pytest.skip("the same as with the kernel")
    problem = cascade(stages=3, openings=6, risk=CVaR(0.3, 0.4))
    rules = (IterationLimit(8),)
    settings = replace(SETTINGS, dual_reuse=mode, cut_selection=selection, stopping=rules)  # type: ignore[arg-type]
    states: list[TrainingState] = []
    expected = bits(train(problem, settings, keep=states.append))
    assert bits(train(problem, settings, exchange=Shuffled(1))) == expected
    assert [state.iteration for state in states] == list(range(1, 8))
    for state in (states[0], pickle.loads(pickle.dumps(states[4]))):
        assert bits(train(problem, settings, exchange=SERIAL, resume=state)) == expected


@pytest.mark.parametrize("passes", [Enumerated(), Sampled(4)])
@pytest.mark.parametrize("selection", [CutSelection(max_active_per_stage=6), CutSelection(Dynamic(seed_window=1))])
def test_a_training_that_solves_everything_goes_on_from_a_state_too(
    passes: Enumerated | Sampled, selection: CutSelection
) -> None:
    problem = cascade(stages=3, openings=3)
    settings = replace(SETTINGS, cut_selection=selection, passes=passes, dual_reuse="auto")
    states: list[TrainingState] = []
    outcome = train(problem, settings, keep=states.append)
    again = train(problem, settings, resume=states[5])
    assert bits(again) == bits(outcome)
    assert again.exact_upper_bounds == outcome.exact_upper_bounds
    assert again.statistics.solves == outcome.statistics.solves


def test_few_vertices_may_be_kept_and_the_bits_stay() -> None:
    problem = cascade(openings=8)
    settings = replace(SETTINGS, kept_vertices=20)
    states: list[TrainingState] = []
    expected = bits(train(problem, settings, keep=states.append))
    assert max(stage.vertices["last_used"].size for state in states for stage in state.stages) > 20
    assert min(stage.vertices["last_used"].size for stage in states[-1].stages[1:]) < 20, "some were forgotten"
    assert bits(train(problem, settings, exchange=Shuffled(3))) == expected
    assert bits(train(problem, settings, resume=states[8])) == expected


def kept(problem: Problem) -> Reuse:
    """The second stage of a training, with what it keeps."""
    states: list[TrainingState] = []
    train(problem, SETTINGS, keep=states.append)
    model = Model(problem)
    model.begin(12)
    stage = model.stages[1]
    stage.reuse = Reuse(stage, 1000, problem.initial_state)
    states[-1].stages[1].put_into(stage)
    return stage.reuse


@needs_kernel
def test_the_kernel_solves_what_highs_solves() -> None:
    problem = cascade(openings=30)
    found = kept(problem)
    random = np.random.default_rng(3)
    states = random.uniform(0.0, 100.0, (40, 3))
    share = found.stage.share(40, range(40))
    openings, points = share.openings, share.points
    passes = Passes(openings[np.newaxis], states[points])
    found.follow(passes, 0, points)
    assert found.lp.statistics.solves > 10
    answers = found.answer(share, states, np.arange(40))
    ids = np.arange(found.pool.size)
    found.lp.set_cuts(ids, found.pool.slopes, found.pool.intercepts)
    batch = found.lp.solve(openings, states[points], np.arange(1, 1201), [None] * 1200)
    own = batch.values - found.stage.stage.discount * batch.cost_to_go
    np.testing.assert_allclose(passes.costs[0], own, rtol=1e-8, atol=1e-6)
    assert (passes.states[1] == found.stage.clip(passes.states[1])).all()
    kept_before, told = found.vertices.size, answers.told[:, 0]
    assert (told >= 0).any()
    assert (told < NONE).any(), "some are optimal in a basis that their unit came to before"
    assert np.count_nonzero(told == FRESH) == answers.packed.shape[0]
    turn = found.stage.places
    places = found.vertices.keep(answers.told, answers.packed, turn, 40, 13)
    assert found.vertices.size > kept_before
    assert (found.vertices.last_used[: found.vertices.size] == 13).any()
    proved = found.vertices.outcomes(places, states, found.pool, 13)
    in_turn = batch.values.reshape(40, 30)[:, turn]
    np.testing.assert_allclose(proved, in_turn, rtol=1e-10)
    # no vertex is above the value of any pair
    every = (
        found.vertices.levels[:, : found.vertices.size][openings]
        + states[points] @ found.vertices.slopes[:, : found.vertices.size]
    )
    assert (every <= batch.values[:, np.newaxis] + 1e-9 * np.abs(batch.values[:, np.newaxis])).all()


@needs_kernel
def test_a_kernel_of_other_sources_is_not_called(caplog: pytest.LogCaptureFixture) -> None:
    library = kernel._library()
    assert library is not None
    assert kernel.fits(library)
    assert not kernel.fits(ctypes.CDLL(None)), "it has no sizes"
    with pytest.MonkeyPatch.context() as patch, caplog.at_level("WARNING"):
        patch.setattr(kernel, "fits", lambda library: False)
        assert kernel._library.__wrapped__() is None
    assert "install cobre again" in caplog.text


@needs_kernel
def test_numpy_and_the_kernel_keep_the_same_vertices_to_the_bit() -> None:
    problem = cascade(openings=12)
    found = kept(problem)
    kernel, plain = found.vertices, Vertices(found.lp, 1000)
    plain.restore(kernel.arrays())
    random = np.random.default_rng(5)
    counted = found.pool.times_active.copy()
    for iteration in range(13, 17):
        states = random.uniform(0.0, 100.0, (20, 3))
        share = found.stage.share(20, range(20))
        best = found._best(share.openings, share.points, states)
        left = np.flatnonzero(~best.proved)
        solved = found._solve(Pairs(left, share.openings, share.own_units, share.points), best)
        weights = random.dirichlet(np.ones(12), 20)
        both: list[list[object]] = []
        for vertices in (kernel, plain):
            told = np.full((240, 1), 0.0)
            packed = vertices.name(solved, left, share.openings, share.points, states, told)
            places = vertices.keep(told, packed, found.stage.places, 20, iteration)
            values = vertices.outcomes(places, states, found.pool, iteration)
            means = [vertices.average(places, values, some) for some in (weights, weights[:1])]
            if iteration == 15:  # fewer than there are
                vertices.limit = vertices.size // 2
                vertices.evict()
                vertices.limit = 1000
            arrays = vertices.arrays()
            rows = packed[:, : plain.width]  # the kernel's have room for what proves them
            both.append([told, rows, places, values, *means[0], *means[1], *arrays.values()])
        assert packed.size
        assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(*both, strict=True))
    assert plain.evictions == kernel.evictions == 1
    assert ((found.pool.times_active - counted) % 2 == 0).all(), "both count the same"


@needs_kernel
def test_what_a_vertex_brings_to_prove_it_is_what_would_be_learned_of_it() -> None:
    problem = cascade(openings=12)
    found = kept(problem)
    before, states = found.vertices.size, np.random.default_rng(6).uniform(0.0, 100.0, (20, 3))
    share = found.stage.share(20, range(20))
    answers = found.answer(share, states, np.arange(20))
    found.vertices.keep(answers.told, answers.packed, found.stage.places, 20, 13)
    brought = found.vertices
    assert isinstance(brought, KernelVertices)
    size = brought.size
    assert size > before
    assert brought.record[before:size].all(), "the solver's own"
    learned = KernelVertices(found.lp, found.small, 1000, proves=True)
    learned.restore(brought.arrays())
    assert not learned.record.any()
    learned.prove(found.pool, states, share.openings, share.points)
    asked = np.flatnonzero(learned.record[:size])
    assert (asked >= before).any()
    for place in asked:
        if brought.record[place]:
            assert_array_equal(record(learned, place), record(brought, place))


@needs_kernel
@pytest.mark.parametrize("seed", range(4))
def test_an_eviction_in_place_leaves_what_one_into_new_arrays_leaves(seed: int) -> None:
    found = kept(cascade(openings=12))
    random = np.random.default_rng(seed)
    ways = [KernelVertices(found.lp, found.small, 1000, proves=True) for _ in range(2)]
    begun = {name: array.copy() for name, array in found.vertices.arrays().items()}
    begun["last_used"] = random.integers(3, 4 + 5 * seed, begun["last_used"].size)
    states = random.uniform(0.0, 100.0, (20, 3))
    share = found.stage.share(20, range(20))
    for vertices in ways:
        vertices.restore({name: array.copy() for name, array in begun.items()})
        vertices.prove(found.pool, states, share.openings, share.points)
        vertices.limit = begun["last_used"].size * 2 // 3
    seen = ways[1].arrays()
    before = {name: array.copy() for name, array in seen.items()}
    came_to = []
    for vertices in ways:
        vertices.evict()
        assert vertices.size == vertices.least
        proofs = vertices.prove(found.pool, states, share.openings, share.points)
        came_to.append([*vertices.arrays().values(), proofs.vertices, proofs.proved])
        assert_array_equal(places_of(vertices, 12), np.arange(12), "each is found by its basis")
    assert all(np.array_equal(one, other) for one, other in zip(*came_to, strict=True))
    assert all(np.array_equal(seen[name], before[name]) for name in before), "a kept state does not change"


def places_of(vertices: KernelVertices, count: int) -> IntArray:
    """Where the first ones are found to be when they are told as new: as many as there are openings."""
    arrays, ends = vertices.arrays(), vertices._ends
    rows = np.zeros((count, vertices.width))
    rows[:, ends[2] : ends[3]] = arrays["tight"][:count]
    status = np.zeros((count, 8 * (ends[4] - ends[3])), np.int8)
    status[:, : arrays["status"].shape[1]] = arrays["status"][:count]
    rows[:, ends[3] : ends[4]] = status.view(np.float64)
    return vertices.keep(np.full((count, 1), float(FRESH)), rows, np.arange(count), 1, 99)[0]


def record(vertices: KernelVertices, place: int) -> IntArray:
    """Its bits."""
    at = (ctypes.c_int64 * vertices.record_size).from_address(int(vertices.record[place]))
    return np.array(at)


@needs_kernel
def test_few_pivots_leave_a_valid_bound() -> None:
    """A basis on the way of the dual simplex method is dual feasible: what it gives is below the optimum."""
    problem = cascade(openings=30)
    found = kept(problem)
    assert found.small is not None
    states = np.random.default_rng(4).uniform(0.0, 100.0, (30, 3))
    openings = np.arange(30)
    sides = found.lp.sides.moved(openings, states)
    kept_ones = found.vertices.status, found.vertices.tight
    alone = Walks(np.arange(30), np.arange(30), np.zeros(30, np.int64), np.full(30, -np.inf))
    full = found.small.walk(found.pool, kept_ones, alone, sides, 1000)
    assert (full.outcome == OPTIMAL).all()
    assert full.pivots.max() > 3
    short = found.small.walk(found.pool, kept_ones, alone, sides, 2)
    assert (short.outcome != OPTIMAL).any()
    good = short.outcome != LOST
    assert (short.objective[good] <= full.objective[good] + 1e-9 * np.abs(full.objective[good])).all()
    further = replace(alone, places=np.arange(30))
    again = found.small.walk(found.pool, (short.status, short.tight), further, sides, 1000)
    np.testing.assert_allclose(again.objective[good], full.objective[good], rtol=1e-12)
    some = replace(alone, rows=np.array([3, 7]))
    assert (
        found.small.walk(found.pool, kept_ones, some, sides, 1000).objective.tolist() == full.objective[[3, 7]].tolist()
    )


@needs_kernel
def test_a_unit_of_work_sees_its_own_bases_and_no_others() -> None:
    problem = cascade(openings=30)
    found = kept(problem)
    assert found.small is not None
    openings = np.tile(np.arange(30), 2)
    sides = found.lp.sides.moved(openings, np.tile(np.full((1, 3), 40.0), (60, 1)))
    kept_ones = found.vertices.status, found.vertices.tight
    alone = Walks(np.arange(60), np.arange(60), np.zeros(60, np.int64), np.full(60, -np.inf))
    together = replace(alone, units=np.repeat(np.arange(2), 30))
    each = found.small.walk(found.pool, kept_ones, alone, sides, 1000)
    both = found.small.walk(found.pool, kept_ones, together, sides, 1000)
    assert (each.same < 0).all()
    same = both.outcome == SAME
    assert same.any()
    assert not same[[0, 30]].any()
    assert (both.same[same] < np.flatnonzero(same)).all()
    assert both.pivots.sum() < each.pivots.sum()
    np.testing.assert_allclose(both.objective, each.objective, rtol=1e-12)
    np.testing.assert_allclose(both.outgoing, each.outgoing, rtol=1e-9, atol=1e-7)
    first, second = (slice(0, 30), slice(30, 60))
    assert both.objective[first].tolist() == both.objective[second].tolist(), "whatever other units have come to"
    assert (both.same[first] == np.where(same[second], both.same[second] - 30, -1)).all()


@needs_kernel
def test_the_kernel_gives_up_what_has_no_solution_and_bases_that_are_none() -> None:
    problem = cascade(openings=2)
    found = kept(problem)
    small = found.small
    assert small is not None
    status, tight = found.vertices.status[:1].copy(), found.vertices.tight[:1].copy()
    only = np.zeros(1, np.int64)

    def outcome(sides: FloatArray, place: int = 0) -> int:
        walks = Walks(only, only, only + place, np.zeros(1))
        return int(small.walk(found.pool, (status, tight), walks, sides, 1000).outcome[0])

    sides = found.lp.sides.moved(only, np.full((1, 3), 50.0))
    assert outcome(sides) == OPTIMAL
    assert outcome(sides, place=-2) == LOST, "no vertex is known"
    assert outcome(found.lp.sides.moved(only, np.full((1, 3), -1e9))) == LOST, "more water leaves than there is"
    tight[:] = found.pool.size
    assert outcome(sides) == LOST, "a cut that is not there"
    tight[:] = found.vertices.tight[:1]
    status[:] = 1  # everything basic
    assert outcome(sides) == LOST
    status[:] = 0  # nothing is
    assert outcome(sides) == LOST


def test_what_the_kernel_loses_highs_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = cascade(openings=6)
    expected = train(problem, SETTINGS)
    real = KernelLP.walk

    def walk(self: KernelLP, *arguments: object) -> object:
        found = real(self, *arguments)  # type: ignore[arg-type]
        found.outcome[::2] = LOST
        found.outcome[np.isin(found.same, np.arange(0, found.same.size, 2))] = LOST
        found.same[found.outcome == LOST] = -1
        found.totals[:4] = np.bincount(found.outcome, minlength=4)
        return found

    monkeypatch.setattr(KernelLP, "walk", walk)
    found = train(problem, SETTINGS)
    assert found.lower_bounds[0] == pytest.approx(expected.lower_bounds[0], rel=1e-10)
    assert found.lower_bounds[-1] == pytest.approx(expected.lower_bounds[-1], rel=1e-3)


def test_adaptive_reuse_ends_exact_and_at_the_same_bound() -> None:
    problem = cascade(stages=3, openings=5)
    settings = replace(SETTINGS, passes=Sampled(8), stopping=(IterationLimit(60), BoundStalling(10, 1e-9)))
    exact, adaptive = (train(problem, replace(settings, dual_reuse=mode)) for mode in ("exact", "adaptive"))
    assert adaptive.reason == "bound_stalling"
    assert adaptive.lower_bounds[-1] == pytest.approx(exact.lower_bounds[-1], rel=1e-6)
    assert adaptive.records[0].solves < exact.records[0].solves, "fewer openings are solved at first"


def test_the_share_that_is_solved_follows_gaps_and_counts_alone() -> None:
    settings = replace(SETTINGS, dual_reuse="adaptive", stopping=(IterationLimit(100),))
    rule = Exactness(settings, 10, kernel=True)
    assert [rule.now(1), rule.now(2)] == [1, 1]
    rule.learn([100.0, 101.0], risen=0.5, solved=10)  # 5 % are missing, and an iteration gains 1 %
    assert rule.now(3) == 2
    rule.learn([101.0, 111.0], risen=0.5, solved=1000)
    assert rule.now(4) == 1
    assert not rule.confirm(50), "a rule that says stop of inexact iterations is asked again"
    assert rule.now(51) is None
    assert rule.confirm(60)
    fresh = Exactness(settings, 10, kernel=True)
    assert fresh.now(95) == 1
    assert fresh.now(96) is None, "the last twentieth"
    assert Exactness(replace(settings, dual_reuse="auto"), 10, kernel=True).now(1) is None
    assert Exactness(replace(settings, dual_reuse="auto"), 10, kernel=False).now(1) == 1


def test_stages_whose_costs_differ_are_solved_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    problem = cascade(stages=3, openings=2)
    stage = problem.stages[1]
    noise = replace(stage.openings, cost_columns=np.array([0], np.int32), cost=np.array([[1.0], [2.0]]))
    stages = (problem.stages[0], replace(stage, openings=noise), problem.stages[2])
    priced = Problem(stages, problem.initial_state, state_names=problem.state_names)
    with caplog.at_level("WARNING"):
        mixed = train(priced, SETTINGS)
    assert "stages 2 are solved" in caplog.text
    assert mixed.lower_bounds[-1] == pytest.approx(train(priced, replace(SETTINGS, dual_reuse="off")).lower_bounds[-1])
    caplog.clear()
    with caplog.at_level("WARNING"):
        train(priced, replace(SETTINGS, cut_selection=CutSelection(max_active_per_stage=5)))
    assert "dynamic or max_active" in caplog.text
    with caplog.at_level("WARNING"):
        train(priced, replace(SETTINGS, backward=SolverProfile(presolve="on")))
    assert "options of the solver" in caplog.text


@pytest.mark.usefixtures("solver")
def test_an_error_names_stage_iteration_and_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = cascade(stages=3, openings=3)
    broken = replace(problem.stages[1], upper=np.where(problem.stages[1].upper == np.inf, 0.0, problem.stages[1].upper))
    bad = Problem(
        (problem.stages[0], broken, problem.stages[2]), problem.initial_state, state_names=problem.state_names
    )
    named: list[tuple[int, int]] = []
    real = StageLP.name_solves

    def name_solves(self: StageLP, openings: np.ndarray, scenarios: np.ndarray) -> None:
        named.append((int(openings[0]), int(scenarios[0])))
        real(self, openings, scenarios)

    monkeypatch.setattr(StageLP, "name_solves", name_solves)
    with pytest.raises(Exception, match="stage 2, iteration 1, scenario 0") as caught:
        train(bad, SETTINGS)
    assert caught.value.context["opening"] == named[-1][0]  # type: ignore[attr-defined]
