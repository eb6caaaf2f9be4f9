"""Where a training begins: anew, with the cuts of an earlier policy, or from a checkpoint; and where its own go."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from cobre.engine.checkpoint import CHECKPOINTS, find, identity, policy_of, resumed
from cobre.engine.checkpoint_writer import CheckpointPlan
from cobre.errors import IOError, ValidationError
from cobre.sddp.continuing import PolicySettings
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.settings import TrainingSettings
from cobre.sddp.state import TrainingState
from cobre.sddp.warm_start import warm_state

__all__ = ["beginning", "run_of"]

log = logging.getLogger(__name__)


def run_of(resume: Path) -> Path:
    """The output directory of the run whose checkpoints ``resume`` means. Raises cobre's IOError: CheckpointMissing."""
    folder = find(resume).parent
    return folder.parent if folder.name == CHECKPOINTS else folder


def beginning(
    problem: Problem,
    training: TrainingSettings,
    policy: PolicySettings,
    *,
    inputs: Mapping[str, str],
    output: Path | None,
    resume: Path | None = None,
) -> tuple[TrainingState | None, CheckpointPlan | None]:
    """The state that a training begins with (None: nothing), and the plan of its checkpoints (None: none).

    inputs: SHA-256 of the input files by name. output: the output directory. resume: a run, or a checkpoint, to go on
    from, whatever the settings say of the beginning.

    Raises ValidationError for settings that need an output directory where there is none, for a policy or a checkpoint
    of something else; cobre's IOError for what is not there, or damaged.
    """
    run = identity(problem, training, inputs) if resume or policy.checkpointing or policy.mode == "resume" else {}
    plan = None
    if policy.checkpointing is not None:
        if output is None:
            raise _nowhere("policy.checkpointing.enabled", "checkpoints", "or set it to false")
        plan = CheckpointPlan((output / CHECKPOINTS).absolute(), policy.checkpointing, run)
    if resume is None and policy.mode == "resume":
        resume = _earlier(policy, output)
    if resume is not None:
        return resumed(resume, run, training), plan
    if policy.mode == "warm_start":
        return _warm(problem, _earlier(policy, output)), plan
    return None, plan


def _warm(problem: Problem, path: Path) -> TrainingState:
    policy = _policy_at(path)
    state = warm_state(problem, policy)
    if policy.fingerprint != problem.fingerprint():
        log.warning(
            "the policy in %s was trained on other numbers: the bound is a valid one only where its cuts still are "
            "(they are when only the initial state differs)",
            path,
        )
    log.info("beginning with the %d cuts of %s", sum(policy.summary()["cuts_per_stage"]), path)
    return state


def _policy_at(path: Path) -> Policy:
    """A saved policy, that of a run's output directory, or the cuts in a checkpoint."""
    for folder in (path, path / "policy"):
        if (folder / "metadata.json").exists():
            return Policy.load(folder)
        if (folder / "manifest.bin").exists() or any((folder / "cuts").glob("*.bin")):
            raise IOError(
                f"{folder} holds a policy in FlatBuffers, of another implementation: not supported",
                kind="NotSupported",
                context={"path": str(folder)},
                suggestion="train the policy here, and give its folder",
            )
    if path.exists():
        return policy_of(path)
    raise IOError(
        f"there is no policy to begin with in {path}",
        kind="PolicyUnreadable",
        context={"path": str(path)},
        suggestion="give policy.path the 'policy' folder of a training's output, or set policy.mode to fresh",
    )


def _earlier(policy: PolicySettings, output: Path | None) -> Path:
    """What ``policy.path`` means."""
    path = Path(policy.path)
    if not path.is_absolute() and output is None:
        raise _nowhere("policy.path", f"the earlier run ({policy.path})", "or an absolute path")
    return path if output is None else output / path


def _nowhere(field: str, what: str, advice: str) -> ValidationError:
    return ValidationError(
        f"{field}: {what} would be in the output directory, and there is none",
        kind="IncompatibleSettings",
        context={"field": field},
        suggestion=f"give output_directory, {advice}",
    )
