"""A policy: kept, evaluated, saved and loaded to the same bits, and refused where it does not belong."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cobre.errors import IOError, ValidationError
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.settings import CutSelection, Level1, Sampled, TrainingSettings
from cobre.sddp.stopping import IterationLimit
from cobre.sddp.training import train
from tests.sddp.small import cascade

PROBLEM = cascade()
SETTINGS = TrainingSettings(
    passes=Sampled(3), stopping=(IterationLimit(10),), cut_selection=CutSelection(Level1(check_frequency=4))
)
STATES = np.random.default_rng(5).uniform(0.0, 100.0, (20, 3))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.of(train(PROBLEM, SETTINGS))


def everything(policy: Policy) -> bytes:
    parts = [np.array([policy.evaluate(stage, state) for state in STATES]).tobytes() for stage in (1, 2, 3, 4)]
    return b"".join(parts + [a.tobytes() for s in (1, 2, 3, 4) for a in policy.cuts(s).values()])


def test_a_saved_policy_loads_and_evaluates_to_the_same_bits(policy: Policy, tmp_path: Path) -> None:
    loaded = Policy.load(policy.save(tmp_path / "policy"))
    assert everything(loaded) == everything(policy)
    assert loaded.summary() == policy.summary()
    assert (loaded.fingerprint, loaded.iterations, loaded.final_bound) == (policy.fingerprint, 10, policy.final_bound)
    assert os.listdir(tmp_path) == ["policy"]


def test_the_summary_and_the_cuts_say_the_same(policy: Policy) -> None:
    summary = policy.summary()
    assert (summary["stages"], summary["state_dimension"]) == (4, 3)
    assert summary["total_cuts"] == sum(summary["cuts_per_stage"])
    for stage in (1, 2, 3):
        cuts = policy.cuts(stage)
        assert cuts["coefficients"].shape == (cuts["intercepts"].size, 3)
        assert summary["cuts_per_stage"][stage - 1] == cuts["intercepts"].size > 0
        assert summary["active_cuts"][stage - 1] == cuts["active"].sum()
    assert policy.cuts(4)["intercepts"].size == 0
    assert policy.evaluate(4, [1.0, 2.0, 3.0]) == 0.0


@pytest.mark.parametrize("stage", [0, 5, -1])
def test_stages_outside_the_policy_are_an_index_error(policy: Policy, stage: int) -> None:
    with pytest.raises(IndexError, match=r"outside 1\.\.4"):
        policy.cuts(stage)
    with pytest.raises(IndexError):
        policy.evaluate(stage, [0.0, 0.0, 0.0])


def test_a_state_of_the_wrong_length_is_refused(policy: Policy) -> None:
    with pytest.raises(ValidationError, match="2 values"):
        policy.evaluate(1, [0.0, 0.0])


def test_evaluation_is_the_highest_cut_or_the_bound(policy: Policy) -> None:
    cuts = policy.cuts(2)
    for state in STATES:
        expected = max(0.0, float((cuts["intercepts"] + cuts["coefficients"] @ state).max()))
        assert policy.evaluate(2, state) == pytest.approx(expected)


def test_a_maximisation_s_cuts_lie_above() -> None:
    stages = tuple(replace(s, cost=-s.cost) for s in PROBLEM.stages)
    turned = Problem(stages, PROBLEM.initial_state, sense="max", state_names=PROBLEM.state_names)
    low, high = Policy.of(train(PROBLEM, SETTINGS)), Policy.of(train(turned, SETTINGS))
    for state in STATES:
        assert high.evaluate(1, state) == -low.evaluate(1, state)
    assert high.final_bound == -low.final_bound


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "no metadata", "torn metadata", "other format"])
def test_a_damaged_policy_is_refused_by_name(policy: Policy, tmp_path: Path, damage: str) -> None:
    folder = policy.save(tmp_path / "policy")
    file, metadata = folder / "cuts" / "stage_002.parquet", folder / "metadata.json"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        file.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage == "missing":
        file.unlink()
    elif damage == "no metadata":
        metadata.unlink()
    elif damage == "torn metadata":
        metadata.write_text(metadata.read_text()[:200])
    else:
        metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"format": 99}))
    with pytest.raises(IOError, match="policy") as caught:
        Policy.load(folder)
    assert caught.value.kind == "PolicyUnreadable"
    assert str(folder) in caught.value.message


def test_a_policy_is_never_written_over_another(policy: Policy, tmp_path: Path) -> None:
    folder = policy.save(tmp_path / "policy")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(IOError, match="not empty"):
        policy.save(folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_policy_of_another_problem_is_refused_with_the_difference(policy: Policy) -> None:
    policy.check(PROBLEM)
    other = cascade(seed=8)
    with pytest.raises(ValidationError, match="other numbers"):
        policy.check(other)
    policy.check(other, strict=False)
    for different, words in ((cascade(stages=3), "4 stages, not 3"), (cascade(reservoirs=2), "states")):
        with pytest.raises(ValidationError, match=words) as caught:
            policy.check(different, strict=False)
        assert caught.value.kind == "IncompatibleSettings"
