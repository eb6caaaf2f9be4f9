"""Settings: what ``config.json`` and its overrides become, and what they may not ask for."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cobre.errors import Diagnostic
from cobre.hydro.config import blame_overrides, parse_config, policy_settings, simulation_settings, training_settings
from cobre.hydro.diagnostics import Findings
from cobre.hydro.support import refuse_settings
from cobre.sddp.continuing import Checkpointing, PolicySettings
from cobre.sddp.settings import (
    Domination,
    Dynamic,
    Enumerated,
    Level1,
    LimitedMemory,
    Sampled,
    SolverProfile,
    TrainingSettings,
)
from cobre.sddp.stopping import BoundStalling, Gap, IterationLimit, TimeLimit

LIMIT = {"type": "iteration_limit", "limit": 9}
CONFIG: dict[str, Any] = {
    "training": {"selection": {"method": "sampled", "forward_passes": 4}, "stopping_rules": [LIMIT]}
}


def findings_of(overrides: dict[Any, Any]) -> Findings:
    findings = Findings()
    config = parse_config(copy.deepcopy(CONFIG), overrides, findings)
    if config is not None:
        training_settings(config, findings, 10)
        simulation_settings(config, findings)
        policy_settings(config, findings)
        refuse_settings(config, findings)
    blame_overrides(overrides, findings)
    return findings


def settings(overrides: dict[Any, Any], openings: int | None = None) -> TrainingSettings:
    findings = Findings()
    config = parse_config(copy.deepcopy(CONFIG), overrides, findings)
    assert config is not None, findings.errors
    result = training_settings(config, findings, openings)
    assert result is not None
    assert not findings.errors
    return result


def only(overrides: dict[Any, Any]) -> Diagnostic:
    (error,) = findings_of(overrides).errors
    return error


def test_flat_keys_and_nested_dictionaries_say_the_same() -> None:
    flat = settings({"training.tree_seed": -5, "training.stopping_mode": "all"})
    nested = settings({"training": {"tree_seed": -5, "stopping_mode": "all"}})
    assert flat == nested
    assert flat.seed == 5
    assert flat.passes == Sampled(4)


def test_an_object_of_another_method_is_replaced() -> None:
    assert settings({"training": {"selection": {"method": "enumerated"}}}).passes == Enumerated()
    assert settings({"training.selection": {"method": "enumerated"}}).passes == Enumerated()
    assert settings({"training": {"selection": {"forward_passes": 2}}}).passes == Sampled(2)


@pytest.mark.parametrize(
    ("chosen", "method"),
    [
        ({"method": "level1"}, Level1(5, 1e-10)),
        ({"method": "lml1", "check_frequency": 3, "tie_tolerance": 0.5}, LimitedMemory(3, 0.5)),
        ({"method": "domination", "domination_tolerance": 2}, Domination(2.0, 5)),
        ({"method": "dynamic", "seed_window": 0, "candidate_recency": 8}, Dynamic(2, 0, 10, 1e-10, 8)),
        (None, None),
    ],
)
def test_cut_selection(chosen: Any, method: object) -> None:
    found = settings({"training.cut_selection": {"selection": chosen, "max_active_per_stage": 7}}).cut_selection
    assert found.method == method
    assert found.max_active_per_stage == 7


def test_stopping_rules() -> None:
    rules = [LIMIT, {"type": "time_limit", "seconds": 5}, {"type": "bound_stalling", "iterations": 3, "tolerance": 0.1},
             {"type": "gap", "relative_tolerance": 1.0}]  # fmt: skip
    found = settings({"training.selection": {"method": "enumerated"}, "training.stopping_rules": rules}).stopping
    assert found == (IterationLimit(9), TimeLimit(5.0), BoundStalling(3, 0.1), Gap(None, 1.0))


def test_solver_profiles_and_blocks_of_openings() -> None:
    chosen = {
        "solver": {"forward": {"price": "row", "scale": "off", "simplex_update_limit": 50}, "retry_max_attempts": 0}
    }
    found = settings({"training": chosen})
    assert found.forward == SolverProfile(price="row", simplex_update_limit=50)
    assert found.backward == SolverProfile()
    assert found.retry_limit == 0
    key = "training.parallelism.backward_scheduler"
    assert settings({key: {"method": "by_node", "block_size": 3}}).openings_per_unit == 3
    assert settings({key: {"method": "by_node"}}, openings=7).openings_per_unit == 4
    assert settings({key: {"method": "by_scenario"}}, openings=7).openings_per_unit is None


@pytest.mark.parametrize(
    ("overrides", "kind", "field"),
    [
        ({"training.tree_sed": 1}, "SchemaViolation", "training.tree_sed"),
        ({"training.tree_seed": "7"}, "TypeMismatch", "training.tree_seed"),
        ({"training.tree_seed": 2**63}, "OutOfRange", "training.tree_seed"),
        ({"training.tree_seed": 1.5}, "TypeMismatch", "training.tree_seed"),
        ({"training.tree_seed": True}, "TypeMismatch", "training.tree_seed"),
        ({"training.stopping_mode": "any", "training.stopping_mode.x": 1}, "SchemaViolation",
         "training.stopping_mode.x"),
        ({"training.stopping_mode": "al"}, "InvalidEnum", "training.stopping_mode"),
        ({"training.stopping_rules": []}, "SchemaViolation", "training.stopping_rules"),
        ({"training.stopping_rules": [LIMIT, {"type": "gap"}], "training.selection": {"method": "enumerated"}},
         "OutOfRange", "training.stopping_rules"),
        ({"training.stopping_rules": [LIMIT, {"type": "gap", "tolerance": 1}]}, "IncompatibleSettings",
         "training.stopping_rules"),
        ({"training.stopping_rules": [{"type": "iteration_limt", "limit": 1}]}, "InvalidEnum",
         "training.stopping_rules[0]"),
        ({"training.selection.forward_passes": 0}, "OutOfRange", "training.selection.forward_passes"),
        ({"training.cut_selection": {"selection": {"method": "domination"}}}, "SchemaViolation",
         "training.cut_selection.selection.domination_tolerance"),
        ({"training.enabled": False}, "NotSupported", "training.enabled"),
        ({"training.solver.retry_time_budget_seconds": 5.0}, "NotSupported",
         "training.solver.retry_time_budget_seconds"),
        ({"training.solver.backward": {"scale": "solver_scaling"}}, "NotSupported", "training.solver.backward.scale"),
        ({"training.scenario_source": {"inflow": {"scheme": "external"}}}, "NotSupported",
         "training.scenario_source.inflow.scheme"),
        ({"simulation": {"scenario_source": {"load": {"scheme": "out_of_sample"}, "seed": 1}}}, "NotSupported",
         "simulation.scenario_source.load.scheme"),
        ({"simulation.solver.scale": "solver_scaling"}, "NotSupported", "simulation.solver.scale"),
        ({"policy.boundary": {"path": "x"}}, "NotSupported", "policy.boundary"),
        ({"policy.path": " "}, "SchemaViolation", "policy.path"),
        ({"policy.checkpointing.store_basis": False}, "NotSupported", "policy.checkpointing.store_basis"),
        ({"policy.checkpointing.enabled": True}, "OutOfRange", "policy.checkpointing"),
        ({"exports.states": True}, "NotSupported", "exports.states"),
        ({"upper_bound_evaluation.enabled": True}, "NotSupported", "upper_bound_evaluation.enabled"),
        ({"modeling.cost_scale_factor": 0}, "OutOfRange", "modeling.cost_scale_factor"),
        ({"modeling.cost_scale_factor": float("nan")}, "OutOfRange", "modeling.cost_scale_factor"),
        ({"": 1}, "SchemaViolation", ""),
        ({3: 1}, "SchemaViolation", "3"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_to_blame_itself(overrides: dict[Any, Any], kind: str, field: str) -> None:
    error = only(overrides)
    assert (error.kind, error.file, error.field) == (kind, "settings", field)
    assert error.suggestion or error.message


def test_a_misspelt_setting_is_recognised() -> None:
    assert only({"training.tree_sed": 1}).suggestion == "did you mean 'tree_seed'?"
    assert only({"training.stopping_mode": "al"}).suggestion == "did you mean 'all'?"


def test_settings_that_change_nothing_are_a_warning() -> None:
    findings = findings_of({"modeling.cost_scale_factor": 1000.0, "policy.path": "elsewhere"})
    assert not findings.errors
    assert [d.field for d in findings.warnings] == ["modeling.cost_scale_factor", "policy.path"]


def test_what_is_asked_of_checkpoints() -> None:
    findings = Findings()
    asked = {"enabled": True, "interval_iterations": 4, "initial_iteration": 2, "compress": True, "store_basis": True}
    overrides = {"policy": {"mode": "resume", "path": "../earlier", "checkpointing": asked}}
    config = parse_config(copy.deepcopy(CONFIG), overrides, findings)
    assert config is not None
    found = policy_settings(config, findings)
    assert not findings.errors
    assert found == PolicySettings("resume", "../earlier", Checkpointing(interval=4, first=2, compress=True))
    assert found.checkpointing is not None
    assert [i for i in range(12) if found.checkpointing.is_due(i)] == [2, 6, 10]
    assert [i for i in range(10) if Checkpointing(3).is_due(i)] == [3, 6, 9]


def test_the_given_dictionaries_are_left_as_they_were() -> None:
    data, overrides = copy.deepcopy(CONFIG), {"training": {"selection": {"forward_passes": 9}}}
    parse_config(data, overrides, Findings())
    assert data == CONFIG
    assert overrides == {"training": {"selection": {"forward_passes": 9}}}


def test_the_reuse_of_dual_vertices_is_set() -> None:
    found = settings({"training.dual_reuse": {"mode": "adaptive", "kept_vertices": 70, "kept_megabytes": 2}})
    assert (found.dual_reuse, found.kept_vertices, found.kept_vertices_bytes) == ("adaptive", 70, 2 << 20)
    assert settings({}).dual_reuse == "auto"
    assert only({"training.dual_reuse.mode": "sometimes"}).kind == "InvalidEnum"


def test_forward_passes_are_chosen_from_the_number_of_openings() -> None:
    auto = {"training.selection.forward_passes": "auto"}
    passes = [settings(auto, openings).passes for openings in (5, 10, 20, 200, None)]
    assert passes == [Sampled(count) for count in (32, 24, 12, 4, 16)]
    assert only({"training.selection.forward_passes": "many"}).field == "training.selection.forward_passes"
