"""The front door: train, simulate and validate, by a path or by objects."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cobre.engine.in_process import InProcess
from cobre.errors import IOError, ValidationError
from cobre.events import ProgressCallback, ProgressEvent
from cobre.results import SimulationResult, TrainingResult
from cobre.run_folder import RunFolder, plain, problem_tables, write_partition
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.settings import SimulationSettings, TrainingSettings
from cobre.sddp.simulation import SimulatedBlock
from cobre.settings import HANG_TIMEOUT, Placement, fault_plan, resolve_placement

if TYPE_CHECKING:
    import pyarrow as pa

    from cobre.engine.runners import Runner
    from cobre.hydro.entities import Case
    from cobre.hydro.stage_lp import HydroProblem
    from cobre.hydro.validate import ValidationResult

__all__ = ["CaseLoader", "simulate", "simulate_async", "train", "train_async", "validate"]

log = logging.getLogger("cobre")

Overrides = Mapping[str, Any] | None
Result = TypeVar("Result")

_PROBLEM_DEFAULTS: dict[str, Any] = {
    "training": {
        "selection": {"method": "sampled", "forward_passes": 1},
        "stopping_rules": [{"type": "iteration_limit", "limit": 100}],
    }
}


class CaseLoader:
    """Reads case directories."""

    @staticmethod
    def load(path: str | Path, config_overrides: Overrides = None) -> Case:
        """The case in the directory ``path``. Raises ValidationError with everything that is wrong with it."""
        from cobre.hydro.load import load_case

        return load_case(path, config_overrides)


def validate(path: str | Path, config_overrides: Overrides = None) -> ValidationResult:
    """All errors and warnings of a case directory at once; never an exception for what it holds."""
    from cobre.hydro.validate import validate_case

    return validate_case(path, config_overrides)


def train(
    case: str | Path | Case | Problem,
    config_overrides: Overrides = None,
    progress_callback: ProgressCallback | None = None,
    backend: str = "auto",
    num_workers: int = 1,
    *,
    output_directory: str | Path | None = None,
    hang_timeout: float = HANG_TIMEOUT,
    memory_limit: int | None = None,
) -> TrainingResult:
    """Train a policy.

    case: a case directory, a ``Case`` or a ``cobre.sddp.Problem``. config_overrides: flat dotted keys
    (``{"training.tree_seed": 7}``) or nested dictionaries, checked like ``config.json``.
    progress_callback: called after every iteration, in this thread; returning ``False`` stops with reason
    ``shutdown``, raising ends the run with that exception. num_workers: processes that share the work, to the same
    bits. backend: what they exchange data through: ``shm`` or ``tcp``; ``local`` is this process alone; ``auto`` is
    what the environment says (``COBRE_COMM_BACKEND``, ``COBRE_TCP_COORDINATOR``), else ``local`` for one worker and
    ``shm`` for more. output_directory: where the training, the policy and a manifest are written; it must not hold an
    earlier run. hang_timeout: seconds after which a worker that gives no sign of life is ended. memory_limit: bytes of
    memory that a worker may come to hold.

    Raises ValidationError (bad input, with all of it), SolverError, and IOError for the output directory: before any
    work where it can be seen then, else with the finished training in the error's ``result``. With workers, what one
    of them raises, and its death, is a WorkerError, with all of them gone.
    """
    placement = resolve_placement(backend, num_workers, hang_timeout=hang_timeout, memory_limit=memory_limit)
    with _folder(output_directory, ("training", "policy")) as folder:
        failures = folder.failures if folder else None
        with _runner(placement) as runner:
            work = _work(case, config_overrides)
            log.info("training %s: %d stages", work.problem.name, len(work.problem.stages))
            outcome, workers = runner.train(work.problem, work.training, progress_callback, failures)
        log.info("training ended (%s): bound %g", outcome.reason, outcome.lower_bounds[-1])
        result = replace(TrainingResult.of(outcome, Policy.of(outcome)), workers=workers)
        if folder is None:
            return result
        try:
            files = folder.write_training(outcome, result.policy, work.describe(work.training))
        except IOError as error:
            error.result = result  # hours of work are not lost with a full disk
            raise
    return replace(result, output_directory=folder.path, output_files=files)


def simulate(
    case: str | Path | Case | Problem,
    policy: str | Path | Policy,
    config_overrides: Overrides = None,
    progress_callback: ProgressCallback | None = None,
    backend: str = "auto",
    num_workers: int = 1,
    *,
    output_directory: str | Path | None = None,
    strict: bool = True,
    hang_timeout: float = HANG_TIMEOUT,
    memory_limit: int | None = None,
) -> SimulationResult:
    """Apply a policy to scenarios and see what it does and costs.

    policy: a ``Policy`` or the folder of a saved one. output_directory: where every decision is written, a folder
    an entity, partitioned by blocks of scenarios; it may hold the training of the same run, no simulation.
    strict: refuse a policy that was trained on other numbers, not just on other stages or states.
    The other arguments are those of ``train``.

    Raises ValidationError (bad input, a policy of another case), IOError, SolverError, WorkerError.
    """
    placement = resolve_placement(backend, num_workers, hang_timeout=hang_timeout, memory_limit=memory_limit)
    with _folder(output_directory, ("simulation",)) as folder, _runner(placement) as runner:
        work = _work(case, config_overrides)
        if not isinstance(policy, Policy):
            policy = Policy.load(policy)
        policy.check(work.problem, strict=strict)
        log.info("simulating %s: %d stages", work.problem.name, len(work.problem.stages))
        given = (work.problem, policy, work.simulation, progress_callback)
        if folder is None:
            outcome, workers = runner.simulate(*given, None, None, strict)
            return replace(SimulationResult.of(outcome, None, ()), workers=workers)
        with folder.simulation() as part:
            outcome, workers = runner.simulate(*given, folder.failures, _Writer(part, work.tables), strict)
        files = folder.describe_simulation(outcome, work.describe(work.simulation))
    return replace(SimulationResult.of(outcome, folder.path, files), workers=workers)


async def train_async(*args: Any, progress_callback: ProgressCallback | None = None, **kwargs: Any) -> TrainingResult:
    """``train`` in a thread, for event loops and notebooks; the callback runs in that thread.

    Cancelling it stops the training after the iteration under way.
    """
    return await _in_thread(train, args, kwargs, progress_callback)


async def simulate_async(
    *args: Any, progress_callback: ProgressCallback | None = None, **kwargs: Any
) -> SimulationResult:
    """``simulate`` in a thread; cancelling it stops after the block of scenarios under way."""
    return await _in_thread(simulate, args, kwargs, progress_callback)


async def _in_thread(
    function: Callable[..., Result], args: tuple[Any, ...], kwargs: dict[str, Any], callback: ProgressCallback | None
) -> Result:
    cancelled = threading.Event()

    def relay(event: ProgressEvent) -> object:
        return False if cancelled.is_set() else callback(event) if callback else None

    try:
        return await asyncio.to_thread(function, *args, progress_callback=relay, **kwargs)
    except asyncio.CancelledError:
        cancelled.set()
        raise


@dataclass(frozen=True, eq=False)
class _Work:
    """A case or a problem, ready to be solved; ``tables`` turns a simulated block into what is written of it."""

    problem: Problem
    training: TrainingSettings
    simulation: SimulationSettings
    source: str
    hashes: dict[str, str]
    tables: Callable[[SimulatedBlock], dict[str, pa.Table]]

    def describe(self, settings: TrainingSettings | SimulationSettings) -> dict[str, Any]:
        return {
            "case": self.problem.name,
            "source": self.source,
            "inputs": self.hashes,
            "fingerprint": self.problem.fingerprint(),
            "settings": plain(settings),
        }


def _work(case: str | Path | Case | Problem, overrides: Overrides) -> _Work:
    if isinstance(case, Problem):
        training, simulation = _problem_settings(case, overrides)
        names = case.state_names
        return _Work(case, training, simulation, "cobre.sddp.Problem", {}, partial(problem_tables, state_names=names))
    from cobre.hydro.entities import Case
    from cobre.hydro.load import load_case
    from cobre.hydro.stage_lp import build_problem

    if not isinstance(case, Case):
        case = load_case(case, overrides)
    elif overrides:
        case = load_case(case.path, overrides)
    built = build_problem(case)
    return _Work(
        problem=built.problem,
        training=case.training,
        simulation=case.simulation,
        source=str(case.path),
        hashes=case.file_hashes,
        tables=_CaseTables(case, built),
    )


@dataclass(frozen=True, eq=False)
class _CaseTables:
    """What is written of a simulated block of a case. It can be sent to a worker."""

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


def _problem_settings(problem: Problem, overrides: Overrides) -> tuple[TrainingSettings, SimulationSettings]:
    """The settings for a problem that comes without a config.json: its defaults, then the overrides."""
    from cobre.hydro.config import parse_config, simulation_settings, training_settings
    from cobre.hydro.diagnostics import Findings

    findings = Findings()
    for key in overrides or {}:
        if str(key).split(".")[0] not in ("training", "simulation"):
            findings.error(
                "NotSupported", "settings", "says nothing about a problem given as stage LPs", field=str(key)
            )
    config = parse_config(_PROBLEM_DEFAULTS, overrides, findings)
    most = max(len(stage.openings) for stage in problem.stages)
    training = training_settings(config, findings, most) if config else None
    simulation = simulation_settings(config, findings) if config else None
    if findings.errors or training is None or simulation is None:
        raise ValidationError.of(findings.errors, "the settings")
    return training, simulation


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


@contextmanager
def _runner(placement: Placement) -> Iterator[Runner]:
    """Whoever runs the algorithm; its workers start at once, while the case is read, and are gone afterwards."""
    if placement.in_process:
        yield InProcess()
        return
    from cobre.engine.runners import OnWorkers

    with OnWorkers(
        placement.backend,
        placement.num_workers,
        hang_timeout=placement.hang_timeout,
        memory_limit=placement.memory_limit,
        faults=fault_plan(),
    ) as workers:
        yield workers
