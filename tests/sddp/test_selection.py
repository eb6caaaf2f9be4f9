"""Cut selection: each method against its definition, worked out with plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cobre.sddp.cuts import CutPool
from cobre.sddp.lazy import LazyCuts
from cobre.sddp.selection import _highest
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
from cobre.sddp.stopping import IterationLimit
from cobre.sddp.training import train
from tests.sddp.small import cascade

SETTINGS = TrainingSettings(passes=Sampled(3), stopping=(IterationLimit(20),))


def pool_of(slopes: list[list[float]], intercepts: list[float]) -> CutPool:
    pool = CutPool(len(slopes[0]))
    for i, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
        pool.add(np.array([slope]), np.array([intercept]), i + 1)
    return pool


# one state: a V, its flat minimum, a cut below all of them, and a twin of the first
V = pool_of([[-1.0], [1.0], [0.0], [0.0], [-1.0]], [0.0, 0.0, 1.0, -5.0, 0.0])
VISITED = np.array([[-4.0], [4.0], [0.5]])


def test_level1_keeps_what_is_highest_somewhere_twins_included() -> None:
    assert _highest(V, VISITED, Level1()).tolist() == [True, True, True, False, True]


def test_limited_memory_keeps_the_oldest_of_twins() -> None:
    assert _highest(V, VISITED, LimitedMemory()).tolist() == [True, True, True, False, False]


def test_domination_keeps_what_is_within_its_tolerance_somewhere() -> None:
    assert _highest(V, VISITED, Domination(0.0)).tolist() == [True, True, True, False, True]
    assert _highest(V, VISITED, Domination(5.9)).tolist() == [True, True, True, False, True]
    assert _highest(V, VISITED, Domination(6.1)).all()


def test_heights_do_not_depend_on_how_many_cuts_there_are() -> None:
    random = np.random.default_rng(1)
    pool = CutPool(5)
    pool.add(random.normal(size=(50, 5)), random.normal(size=50), 1)
    state = random.normal(size=5)
    some = np.array([3, 17, 40])
    assert pool.heights(state)[some].tobytes() == pool.heights(state, some).tobytes()


def test_violated_cuts_come_dearest_first_and_never_twice() -> None:
    lazy = LazyCuts(V, first=0, resident=0, most=2, tolerance=1e-9)
    found = lazy.violated(np.array([4.0]), 0.5, np.array([1]))
    assert found.tolist() == [2]
    assert lazy.violated(np.array([-4.0]), 0.5, np.zeros(0, np.int64)).tolist() == [0, 4]
    assert lazy.violated(np.array([-4.0]), 4.0, np.zeros(0, np.int64)).tolist() == []
    assert replace(lazy, first=3).violated(np.array([-4.0]), 0.5, np.zeros(0, np.int64)).tolist() == [4]


@pytest.mark.parametrize("method", [Level1(3), LimitedMemory(3), Domination(0.01, 3)])
def test_selection_thins_the_lps_and_keeps_the_bound(method: Level1 | LimitedMemory | Domination) -> None:
    problem = cascade(openings=6)
    settings = replace(SETTINGS, stopping=(IterationLimit(45),), passes=Sampled(4))
    everything = train(problem, settings)
    thinned = train(problem, replace(settings, cut_selection=CutSelection(method)))
    assert np.all(np.diff(thinned.lower_bounds) >= 0.0)
    assert thinned.lower_bounds[-1] == pytest.approx(everything.lower_bounds[-1], rel=2e-3)
    assert thinned.records[-1].cuts_active < everything.records[-1].cuts_active
    # the first stage, whose LP gives the bound, keeps every cut
    assert thinned.cuts[0].active.all()
    assert [pool.size for pool in thinned.cuts] != [int(pool.active.sum()) for pool in thinned.cuts]


def test_dynamic_selection_is_exact_and_its_lps_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    from cobre.sddp.lp import StageLP

    sizes: list[int] = []
    real = StageLP._start_from

    def note(self: StageLP, basis: object) -> None:
        sizes.append(self.cut_ids.size)
        real(self, basis)  # type: ignore[arg-type]

    problem = cascade(stages=3, openings=4)
    settings = replace(SETTINGS, passes=Enumerated(), stopping=(IterationLimit(15),))
    everything = train(problem, settings)
    monkeypatch.setattr(StageLP, "_start_from", note)
    lazy = train(problem, replace(settings, cut_selection=CutSelection(Dynamic(seed_window=0, max_added_per_round=3))))
    assert lazy.lower_bounds[-1] == pytest.approx(everything.lower_bounds[-1], rel=1e-9)
    assert lazy.exact_upper_bounds[-1] == pytest.approx(everything.exact_upper_bounds[-1], rel=1e-9)
    assert max(sizes) < max(pool.size for pool in everything.cuts)


def test_a_recency_limit_looks_at_late_cuts_only() -> None:
    problem = cascade(openings=6)
    exact = train(problem, replace(SETTINGS, cut_selection=CutSelection(Dynamic())))
    recent = CutSelection(Dynamic(seed_window=0, candidate_recency=1))
    assert train(problem, replace(SETTINGS, cut_selection=recent)).lower_bounds != exact.lower_bounds


def test_the_cap_evicts_the_least_recently_active() -> None:
    outcome = train(cascade(openings=6), replace(SETTINGS, cut_selection=CutSelection(max_active_per_stage=10)))
    for pool in outcome.cuts[1:-1]:
        assert pool.active.sum() == 10
        assert pool.active[pool.iterations == 20].all()
        old = pool.iterations < 20
        kept = pool.last_active[pool.active & old]
        assert (
            kept.min() >= np.sort(pool.last_active[~pool.active])[-1]
            or kept.min() == pool.last_active[~pool.active].max()
        )
    assert np.all(np.diff(outcome.lower_bounds) >= 0.0)
