"""Simulation: the same scenarios whoever asks, totals that add up, and enumerated trees weighted right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cobre.errors import ValidationError
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.sampling import draw_paths, enumerated_paths, scenario_count
from cobre.sddp.settings import Enumerated, Sampled, SimulationSettings, TrainingSettings
from cobre.sddp.simulation import SimulatedBlock, simulate
from cobre.sddp.stopping import IterationLimit
from cobre.sddp.training import train
from tests.sddp.small import cascade

PROBLEM = cascade(stages=3, openings=4)
SETTINGS = SimulationSettings(scenarios=Sampled(50), seed=3, block=16)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.of(train(PROBLEM, TrainingSettings(passes=Enumerated(), stopping=(IterationLimit(12),))))


def test_how_scenarios_are_cut_into_blocks_changes_no_bit(policy: Policy) -> None:
    costs = {simulate(PROBLEM, policy, replace(SETTINGS, block=block)).costs.tobytes() for block in (1, 7, 50)}
    assert len(costs) == 1


def test_enumerated_scenarios_cost_what_training_says_exactly(policy: Policy) -> None:
    exact = train(PROBLEM, TrainingSettings(passes=Enumerated(), stopping=(IterationLimit(13),))).exact_upper_bounds[-1]
    outcome = simulate(PROBLEM, policy, replace(SETTINGS, scenarios=Enumerated()))
    assert outcome.costs.size == 64
    assert outcome.probability.sum() == pytest.approx(1.0)
    assert outcome.mean == pytest.approx(exact, rel=1e-9)
    assert outcome.mean == pytest.approx(policy.final_bound, rel=1e-8)


def test_what_is_handed_over_adds_up(policy: Policy) -> None:
    blocks: list[SimulatedBlock] = []
    outcome = simulate(PROBLEM, policy, SETTINGS, consume=lambda block, number: blocks.append(block))
    assert [b.scenarios.tolist()[0] for b in blocks] == [0, 16, 32, 48]
    assert np.concatenate([b.costs for b in blocks]).tobytes() == outcome.costs.tobytes()
    for block in blocks:
        total = sum(s.discount * s.stage_cost for s in block.stages)
        assert np.allclose(total, block.costs, rtol=1e-12)
        assert [s.discount for s in block.stages] == pytest.approx([1.0, 0.99, 0.99**2])
        for stage, now, after in zip(PROBLEM.stages, block.stages, [*block.stages[1:], None], strict=True):
            assert np.allclose(now.primal @ stage.cost, now.stage_cost, rtol=1e-9)
            if after is not None:
                assert np.allclose(now.primal[:, stage.outgoing], after.incoming, atol=1e-9)
    assert outcome.mean == pytest.approx(outcome.costs.mean())
    assert outcome.deviation == pytest.approx(outcome.costs.std(ddof=1))


def test_a_maximisation_comes_out_in_its_own_sense(policy: Policy) -> None:
    stages = tuple(replace(s, cost=-s.cost) for s in PROBLEM.stages)
    turned = Problem(stages, PROBLEM.initial_state, sense="max", state_names=PROBLEM.state_names)
    training = TrainingSettings(passes=Enumerated(), stopping=(IterationLimit(12),))
    high, blocks = Policy.of(train(turned, training)), []
    outcome = simulate(turned, high, SETTINGS, consume=lambda block, number: blocks.append(block))
    assert outcome.costs.tobytes() == (-simulate(PROBLEM, policy, SETTINGS).costs).tobytes()
    stage = blocks[0].stages[0]
    assert np.allclose(stage.primal @ turned.stages[0].cost, stage.stage_cost)


def test_stopping_early_is_said(policy: Policy) -> None:
    outcome = simulate(PROBLEM, policy, SETTINGS, observe=lambda complete, total: complete < 32)
    assert outcome.stopped
    assert outcome.costs.size == 32
    whole = simulate(PROBLEM, policy, SETTINGS, observe=lambda complete, total: complete < 50)
    assert not whole.stopped
    assert whole.costs[:32].tobytes() == outcome.costs.tobytes()


def test_a_policy_of_another_problem_is_refused(policy: Policy) -> None:
    other = cascade(stages=3, openings=4, seed=9)
    with pytest.raises(ValidationError, match="other numbers"):
        simulate(other, policy, SETTINGS)
    assert simulate(other, policy, SETTINGS, strict=False).costs.size == 50


def test_draws_are_keyed_by_what_they_are_for() -> None:
    whole = draw_paths(PROBLEM, "training", 5, 3, range(20))
    assert draw_paths(PROBLEM, "training", 5, 3, [11, 4]).tolist() == whole[[11, 4]].tolist()
    assert draw_paths(PROBLEM, "training", 5, 4, range(20)).tolist() != whole.tolist()
    assert draw_paths(PROBLEM, "training", 6, 3, range(20)).tolist() != whole.tolist()
    assert draw_paths(PROBLEM, "simulation", 5, 3, range(20)).tolist() != whole.tolist()
    longer = cascade(stages=4, openings=4)
    assert draw_paths(longer, "training", 5, 3, range(20))[:, :3].tolist() == whole.tolist()


def test_draws_follow_the_probabilities() -> None:
    openings = replace(PROBLEM.stages[0].openings, probability=np.array([0.1, 0.0, 0.6, 0.3]))
    stage = replace(PROBLEM.stages[0], openings=openings)
    problem = Problem((stage,), PROBLEM.initial_state, state_names=PROBLEM.state_names)
    drawn = draw_paths(problem, "training", 1, 1, range(20000))[:, 0]
    share = np.bincount(drawn, minlength=4) / drawn.size
    assert share[1] == 0.0
    assert np.allclose(share, [0.1, 0.0, 0.6, 0.3], atol=0.015)


def test_enumerated_paths_are_all_of_them_once() -> None:
    paths, probability = enumerated_paths(PROBLEM, range(64))
    assert len({tuple(path) for path in paths.tolist()}) == 64
    assert paths[1].tolist() == [0, 0, 1]
    assert probability.sum() == pytest.approx(1.0)
    assert scenario_count(PROBLEM.stages, 64) == 64
    with pytest.raises(ValidationError, match="64 scenarios"):
        scenario_count(PROBLEM.stages, 63)
