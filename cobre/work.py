"""A piece of work from beginning to end, whoever runs the algorithm: read, train or simulate, write."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cobre.engine.beginning import beginning, run_of
from cobre.errors import IOError, ValidationError
from cobre.events import ProgressCallback
from cobre.results import SimulationResult, TrainingResult
from cobre.run_folder import RunFolder, problem_tables, write_partition
from cobre.sddp.continuing import PolicySettings
from cobre.sddp.plain import plain
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.settings import SimulationSettings, TrainingSettings
from cobre.sddp.simulation import SimulatedBlock

if TYPE_CHECKING:
    import pyarrow as pa

    from cobre.engine.checkpoint_writer import CheckpointPlan
    from cobre.engine.runners import Runner
    from cobre.hydro.entities import Case
    from cobre.hydro.stage_lp import HydroProblem
    from cobre.sddp.state import TrainingState

__all__ = ["Overrides", "Work", "simulate_on", "train_on", "work_of"]

log = logging.getLogger("cobre")

Overrides = Mapping[str, Any] | None

_PROBLEM_DEFAULTS: dict[str, Any] = {
    "training": {
        "selection": {"method": "sampled", "forward_passes": 1},
        "stopping_rules": [{"type": "iteration_limit", "limit": 100}],
    }
}


def train_on(
    runner: AbstractContextManager[Runner],
    case: str | Path | Case | Problem | Work,
    overrides: Overrides,
    callback: ProgressCallback | None,
    output_directory: str | Path | None,
    resume: str | Path | None = None,
    leads: bool = True,
) -> TrainingResult:
    """Trains on ``runner``, which is entered when the output directory has been looked at; see ``cobre.train``.

    leads: False where another rank's settings decide where it begins and what is saved.
    """
    if resume is not None and output_directory is None:
        output_directory = run_of(Path(resume))
    with _folder(output_directory, ("training", "policy")) as folder:
        failures = folder.failures if folder else None
        with runner as running:
            work = work_of(case, overrides)
            given = _beginning(work, folder, resume) if leads else (None, None)
            log.info("training %s: %d stages", work.problem.name, len(work.problem.stages))
            outcome, workers = running.train(work.problem, work.training, callback, failures, *given)
        log.info("training ended (%s): bound %g", outcome.reason, outcome.lower_bounds[-1])
        result = replace(TrainingResult.of(outcome, Policy.of(outcome)), workers=workers, restarts=running.restarts)
        if folder is None:
            return result
        try:
            files = folder.write_training(outcome, result.policy, work.describe(work.training))
        except IOError as error:
            error.result = result  # hours of work are not lost with a full disk
            raise
    return replace(result, output_directory=folder.path, output_files=files)


def simulate_on(
    runner: AbstractContextManager[Runner],
    case: str | Path | Case | Problem | Work,
    policy: str | Path | Policy,
    overrides: Overrides,
    callback: ProgressCallback | None,
    output_directory: str | Path | None,
    strict: bool,
) -> SimulationResult:
    """Simulates on ``runner``; see ``cobre.simulate``."""
    with _folder(output_directory, ("simulation",)) as folder, runner as running:
        work = work_of(case, overrides)
        if not isinstance(policy, Policy):
            policy = Policy.load(policy)
        policy.check(work.problem, strict=strict)
        log.info("simulating %s: %d stages", work.problem.name, len(work.problem.stages))
        given = (work.problem, policy, work.simulation, callback)
        if folder is None:
            outcome, workers = running.simulate(*given, None, None, strict)
            return replace(SimulationResult.of(outcome, None, ()), workers=workers, restarts=running.restarts)
        with folder.simulation() as part:
            outcome, workers = running.simulate(*given, folder.failures, _Writer(part, work.tables), strict)
        files = folder.describe_simulation(outcome, work.describe(work.simulation))
    return replace(SimulationResult.of(outcome, folder.path, files), workers=workers, restarts=running.restarts)


@dataclass(frozen=True, eq=False)
class Work:
    """A case or a problem, ready to be solved. It can be sent to another process.

    hashes: of the input files. tables: turns a simulated block into what is written of it. policy: where a training
    begins, and what is saved of it meanwhile.
    """

    problem: Problem
    training: TrainingSettings
    simulation: SimulationSettings
    source: str
    hashes: dict[str, str]
    tables: Callable[[SimulatedBlock], dict[str, pa.Table]]
    policy: PolicySettings = field(default_factory=PolicySettings)

    def describe(self, settings: TrainingSettings | SimulationSettings) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "case": self.problem.name,
            "source": self.source,
            "inputs": self.hashes,
            "fingerprint": self.problem.fingerprint(),
            "settings": plain(settings),
        }


def work_of(case: str | Path | Case | Problem | Work, overrides: Overrides) -> Work:
    """What ``case`` is, with its settings. Raises ValidationError with everything that is wrong with it."""
    if isinstance(case, Work):
        return case
    if isinstance(case, Problem):
        training, simulation, policy = _problem_settings(case, overrides)
        tables = partial(problem_tables, state_names=case.state_names)
        return Work(case, training, simulation, "cobre.sddp.Problem", {}, tables, policy)
    from cobre.hydro.entities import Case
    from cobre.hydro.load import load_case
    from cobre.hydro.stage_lp import build_problem

    if not isinstance(case, Case):
        case = load_case(case, overrides)
    elif overrides:
        case = load_case(case.path, overrides)
    built = build_problem(case)
    return Work(
        problem=built.problem,
        training=case.training,
        simulation=case.simulation,
        source=str(case.path),
        hashes=case.file_hashes,
        tables=_CaseTables(case, built),
        policy=case.policy,
    )


def _beginning(
    work: Work, folder: RunFolder | None, resume: str | Path | None
) -> tuple[TrainingState | None, CheckpointPlan | None]:
    resumes = resume is not None or work.policy.mode == "resume"
    if folder is not None and not resumes:
        folder.refuse_checkpoints()
    return beginning(
        work.problem,
        work.training,
        work.policy,
        inputs=work.hashes,
        output=folder.path if folder else None,
        resume=None if resume is None else Path(resume),
    )


@dataclass(frozen=True, eq=False)
class _CaseTables:
    """What is written of a simulated block of a case."""

    case: Case
    built: HydroProblem

    def __call__(self, block: SimulatedBlock) -> dict[str, pa.Table]:
        from cobre.hydro.outputs import tables

        return tables(self.case, self.built, block)


@dataclass(frozen=True, eq=False)
class _Writer:
    """Writes simulated blocks, wherever they are simulated."""

    folder: Path
    tables: Callable[[SimulatedBlock], dict[str, pa.Table]]

    def __call__(self, block: SimulatedBlock, number: int) -> None:
        write_partition(self.folder, number, self.tables(block))


def _problem_settings(
    problem: Problem, overrides: Overrides
) -> tuple[TrainingSettings, SimulationSettings, PolicySettings]:
    """The settings for a problem that comes without a config.json: its defaults, then the overrides."""
    from cobre.hydro.config import parse_config, policy_settings, simulation_settings, training_settings
    from cobre.hydro.diagnostics import Findings

    findings = Findings()
    for key in overrides or {}:
        if str(key).split(".")[0] not in ("training", "simulation", "policy"):
            findings.error(
                "NotSupported", "settings", "says nothing about a problem given as stage LPs", field=str(key)
            )
    config = parse_config(_PROBLEM_DEFAULTS, overrides, findings)
    most = max(len(stage.openings) for stage in problem.stages)
    training = training_settings(config, findings, most) if config else None
    simulation = simulation_settings(config, findings) if config else None
    policy = policy_settings(config, findings) if config else None
    if findings.errors or training is None or simulation is None or policy is None:
        raise ValidationError.of(findings.errors, "the settings")
    return training, simulation, policy


@contextmanager
def _folder(path: str | Path | None, parts: tuple[str, ...]) -> Iterator[RunFolder | None]:
    if path is None:
        yield None
        return
    folder = RunFolder(path, parts)
    try:
        yield folder
    finally:
        folder.discard_if_empty()
