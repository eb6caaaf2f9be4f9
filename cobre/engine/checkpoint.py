"""Going on from a checkpoint: it is found, proved whole, and proved to be of the very run that goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from cobre.engine.checkpoint_file import Content, Unreadable, read
from cobre.engine.checkpoint_parts import assemble
from cobre.engine.checkpoint_writer import checkpoints_in, iteration_of, locked
from cobre.errors import IOError, ValidationError
from cobre.sddp.highs import highs_version
from cobre.sddp.kernel import kernel_is_there
from cobre.sddp.plain import plain
from cobre.sddp.policy import Policy, StageCuts
from cobre.sddp.problem import Problem
from cobre.sddp.reusing import Exactness
from cobre.sddp.settings import TrainingSettings
from cobre.sddp.state import TrainingState
from cobre.sddp.stopping import IterationLimit

__all__ = ["CHECKPOINTS", "find", "identity", "policy_of", "resumed"]

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
_STOPPING = ("stopping", "stopping_mode")


def identity(problem: Problem, settings: TrainingSettings, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Which run it is: all that its bits depend on. inputs: SHA-256 of the input files by name, to tell what differs.

    Not in it: the number of workers, and what they exchange data through.
    """
    said: dict[str, Any] = {
        "versions": {
            "cobre": version("cobre-actors"),
            "highs": highs_version(),
            "numpy": np.__version__,
            "compiled kernel": kernel_is_there(),
        },
        "name": problem.name,
        "sense": problem.sense,
        "states": list(problem.state_names),
        "problem": problem.fingerprint(),
        "settings": plain(settings),
        "inputs": dict(inputs),
    }
    found: dict[str, Any] = json.loads(json.dumps(said))
    return found


def find(path: Path) -> Path:
    """The checkpoint that ``path`` means: itself, or the latest in the folder, or in the folder of a run.

    Raises cobre's IOError (CheckpointMissing).
    """
    if iteration_of(path) >= 0 and path.is_file():
        return path
    for folder in (path, path / CHECKPOINTS, path.parent / CHECKPOINTS):
        found = checkpoints_in(folder)
        if found:
            return found[0]
    raise IOError(
        f"there is no checkpoint in {path}",
        kind="CheckpointMissing",
        context={"path": str(path)},
        suggestion="give the output directory of a run that writes them (policy.checkpointing), or begin anew",
    )


def resumed(path: Path, run: Mapping[str, Any], settings: TrainingSettings) -> TrainingState:
    """The state in the checkpoint that ``find`` finds, to go on from. run: the ``identity`` of the run that does.

    Stopping rules may be others than they were, as long as nothing that was done depends on them. Raises cobre's
    IOError (CheckpointMissing; CheckpointDamaged: its ``context`` names the latest earlier one that is whole; Busy),
    ValidationError (CheckpointForeign: of other inputs, settings or versions; NothingToDo).
    """
    path, was, state = _read(path, run)
    log.info("going on after iteration %d, from %s", state.iteration, path)
    _check_stopping(path, was, run, settings, state)
    return state


def policy_of(path: Path) -> Policy:
    """The cuts in the checkpoint that ``find`` finds, as a policy. Raises cobre's IOError as ``resumed`` does."""
    _, was, state = _read(path)
    sign = 1.0 if was["sense"] == "min" else -1.0
    stages = tuple(
        StageCuts(sign * stage.intercepts, sign * stage.slopes, stage.active, stage.iterations, 0.0)
        for stage in state.stages
    )
    names, bound = tuple(map(str, was["states"])), sign * state.bounds[-1]
    return Policy(stages, names, was["sense"], str(was["problem"]), str(was["name"]), state.iteration, bound)


def _read(path: Path, run: Mapping[str, Any] | None = None) -> tuple[Path, dict[str, Any], TrainingState]:
    """The file of the checkpoint, what it says of its run, which is to be ``run``, and its state."""
    with locked(find(path).parent):
        path = find(path)  # again: whoever had it locked may have written since
        try:
            chain = _chain(path)
        except Unreadable as error:
            raise _damaged(path, error) from error
        was: dict[str, Any] = chain[0].header["run"]
        if run is not None:
            _check(path, was, run)
        try:
            return path, was, assemble(chain)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise _damaged(path, Unreadable("foreign", f"its parts do not fit together ({error})")) from error


def _chain(path: Path) -> list[Content]:
    """The contents that make up the state, the whole one first. Raises Unreadable."""
    found: list[Content] = []
    expected = None
    while True:
        try:
            content = read(path)
        except (OSError, Unreadable) as error:
            fault = error.fault if isinstance(error, Unreadable) else "missing"
            raise Unreadable(fault, f"{path.name}: {error}") from error
        if expected not in (None, content.digest):
            raise Unreadable("altered", f"{path.name} is not the one that was there when the next one was written")
        found.insert(0, content)
        on = content.header.get("on")
        if on is None:
            break
        try:
            expected, at = str(on["sha256"]), int(on["iteration"])
        except (KeyError, TypeError, ValueError) as error:
            raise Unreadable("foreign", f"{path.name} does not say what it follows") from error
        if at >= iteration_of(path) >= 0:
            raise Unreadable("foreign", f"{path.name} does not follow an earlier one")
        path = path.with_name(f"iteration-{at:06d}.checkpoint")
    if not isinstance(found[0].header.get("run"), dict):
        raise Unreadable("foreign", f"{path.name} does not say which run it is of")
    return found


def _damaged(path: Path, error: Unreadable) -> IOError:
    before = next((older for older in _older(path) if _is_whole(older)), None)
    if before is None:
        advice = "no earlier checkpoint is whole: begin anew"
    else:
        advice = f"the one before it, after iteration {iteration_of(before)}, is whole: resume from {before}"
    return IOError(
        f"the checkpoint {path} cannot be used: {error}",
        kind="CheckpointDamaged",
        context={"path": str(path), "fault": error.fault, "before": None if before is None else str(before)},
        suggestion=advice,
    )


def _older(path: Path) -> list[Path]:
    return [other for other in checkpoints_in(path.parent) if iteration_of(other) < iteration_of(path)]


def _is_whole(path: Path) -> bool:
    try:
        assemble(_chain(path))
    except (Unreadable, ValueError, KeyError, TypeError, IndexError):
        return False
    return True


def _check(path: Path, was: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    differs, faults = "", []
    if was.get("versions") != run["versions"]:
        differs, faults = "versions", _differences(was.get("versions"), run["versions"])
    elif was.get("problem") != run["problem"]:
        differs = "inputs"
        faults = [f"{name} has changed" for name in _changed(was.get("inputs"), run["inputs"])]
        faults += _differences(_without_stopping(was.get("settings")), _without_stopping(run["settings"]))
        faults = faults or ["other numbers"]
    elif _without_stopping(was.get("settings")) != _without_stopping(run["settings"]):
        differs = "settings"
        faults = _differences(_without_stopping(was.get("settings")), _without_stopping(run["settings"]))
    if not differs:
        return
    advice = {
        "versions": "install what it was written with",
        "inputs": "give the case as it was",
        "settings": "give the settings that it was written with",
    }[differs]
    raise ValidationError(
        f"the checkpoint {path} is of another run ({was.get('name')!r}); {differs} differ: {'; '.join(faults)}",
        kind="CheckpointForeign",
        context={"path": str(path), "differs": differs},
        suggestion=f"{advice}, or begin with its cuts alone (policy.mode warm_start, policy.path {path.absolute()})",
    )


def _changed(was: Any, now: Mapping[str, str]) -> list[str]:
    then = was if isinstance(was, dict) else {}
    return sorted(name for name in {*then, *now} if then.get(name) != now.get(name) and name != "config.json")


def _without_stopping(settings: Any) -> Any:
    return {k: v for k, v in settings.items() if k not in _STOPPING} if isinstance(settings, dict) else settings


def _differences(was: Any, now: Any, name: str = "") -> list[str]:
    """What differs, in words."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [*now, *(key for key in was if key not in now)]
        return [text for key in keys for text in _differences(was.get(key), now.get(key), f"{name}.{key}".strip("."))]
    return [] if was == now else [f"{name} was {was!r} and is {now!r}"]


def _check_stopping(
    path: Path, was: Mapping[str, Any], run: Mapping[str, Any], settings: TrainingSettings, state: TrainingState
) -> None:
    limit = min(rule.limit for rule in settings.stopping if isinstance(rule, IterationLimit))
    if state.iteration >= limit:
        raise ValidationError(
            f"the checkpoint {path} is of iteration {state.iteration}, and the iteration limit is {limit}",
            kind="NothingToDo",
            context={"path": str(path), "iteration": state.iteration},
            suggestion="raise the limit, or resume from an earlier checkpoint",
        )
    same = all(was["settings"].get(name) == run["settings"][name] for name in _STOPPING)
    if same or state.exact_from == 1 or (state.exact_from is None and _is_early(settings, state)):
        return
    raise ValidationError(
        f"the checkpoint {path} is of a run with other stopping rules, which its last, exact iterations depend on",
        kind="CheckpointForeign",
        context={"path": str(path), "differs": "settings"},
        suggestion="give the stopping rules that it was written with, or resume from an earlier checkpoint",
    )


def _is_early(settings: TrainingSettings, state: TrainingState) -> bool:
    """Whether what was done would have been done the same under the new limit."""
    adaptive = replace(settings, dual_reuse="adaptive")
    return Exactness(adaptive, 1, kernel=False).now(state.iteration) is not None
