"""The front door: train, simulate and validate, by a path or by objects."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from cobre.errors import IOError, ValidationError
from cobre.events import ProgressCallback, ProgressEvent
from cobre.results import SimulationResult, TrainingResult, milliseconds
from cobre.run_folder import RunFolder, plain, problem_tables, write_partition
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.settings import SimulationSettings, TrainingSettings
from cobre.sddp.simulation import SimulatedBlock
from cobre.sddp.simulation import simulate as simulate_problem
from cobre.sddp.training import IterationRecord
from cobre.sddp.training import train as train_problem
from cobre.settings import resolve_placement

if TYPE_CHECKING:
    import pyarrow as pa

    from cobre.hydro.entities import Case
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
) -> TrainingResult:
    """Train a policy.

    case: a case directory, a ``Case`` or a ``cobre.sddp.Problem``. config_overrides: flat dotted keys
    (``{"training.tree_seed": 7}``) or nested dictionaries, checked like ``config.json``.
    progress_callback: called after every iteration, in this thread; returning ``False`` stops with reason
    ``shutdown``, raising ends the run with that exception. output_directory: where the training, the policy and a
    manifest are written; it must not hold an earlier run.

    Raises ValidationError (bad input, with all of it), SolverError, and IOError for the output directory: before any
    work where it can be seen then, else with the finished training in the error's ``result``.
    """
    resolve_placement(backend, num_workers)
    work = _work(case, config_overrides)
    with _folder(output_directory, ("training", "policy")) as folder:
        log.info("training %s: %d stages", work.problem.name, len(work.problem.stages))
        outcome = train_problem(
            work.problem,
            work.training,
            observe=_training_observer(progress_callback),
            failure_folder=folder.failures if folder else None,
        )
        log.info("training ended (%s): bound %g", outcome.reason, outcome.lower_bounds[-1])
        result = TrainingResult.of(outcome, Policy.of(outcome))
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
) -> SimulationResult:
    """Apply a policy to scenarios and see what it does and costs.

    policy: a ``Policy`` or the folder of a saved one. output_directory: where every decision is written, a folder
    an entity, partitioned by blocks of scenarios; it may hold the training of the same run, no simulation.
    strict: refuse a policy that was trained on other numbers, not just on other stages or states.
    The other arguments are those of ``train``.

    Raises ValidationError (bad input, a policy of another case), IOError, SolverError.
    """
    resolve_placement(backend, num_workers)
    work = _work(case, config_overrides)
    if not isinstance(policy, Policy):
        policy = Policy.load(policy)
    policy.check(work.problem, strict=strict)
    with _folder(output_directory, ("simulation",)) as folder:
        log.info("simulating %s: %d stages", work.problem.name, len(work.problem.stages))
        observe = _simulation_observer(progress_callback)
        if folder is None:
            outcome = simulate_problem(work.problem, policy, work.simulation, observe=observe, strict=strict)
            return SimulationResult.of(outcome, None, ())
        with folder.simulation() as part:
            outcome = simulate_problem(
                work.problem,
                policy,
                work.simulation,
                consume=_writer(work, part),
                observe=observe,
                failure_folder=folder.failures,
                strict=strict,
            )
        files = folder.describe_simulation(outcome, work.describe(work.simulation))
    return SimulationResult.of(outcome, folder.path, files)


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
        return _Work(case, training, simulation, "cobre.sddp.Problem", {}, lambda block: problem_tables(block, names))
    from cobre.hydro.entities import Case
    from cobre.hydro.load import load_case
    from cobre.hydro.outputs import tables
    from cobre.hydro.stage_lp import build_problem

    if not isinstance(case, Case):
        case = load_case(case, overrides)
    elif overrides:
        case = load_case(case.path, overrides)
    loaded, built = case, build_problem(case)
    return _Work(
        problem=built.problem,
        training=case.training,
        simulation=case.simulation,
        source=str(case.path),
        hashes=case.file_hashes,
        tables=lambda block: tables(loaded, built, block),
    )


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


def _writer(work: _Work, folder: Path) -> Callable[[SimulatedBlock, int], None]:
    def write(block: SimulatedBlock, number: int) -> None:
        write_partition(folder, number, work.tables(block))

    return write


def _training_observer(callback: ProgressCallback | None) -> Callable[[IterationRecord], object] | None:
    if callback is None:
        return None

    def observe(record: IterationRecord) -> object:
        return callback(
            ProgressEvent(
                phase="training",
                iteration=record.iteration,
                lower_bound=record.lower_bound,
                upper_bound=record.upper_bound,
                gap=record.gap,
                wall_time_ms=milliseconds(record.seconds),
                iteration_time_ms=milliseconds(record.iteration_seconds),
            )
        )

    return observe


def _simulation_observer(callback: ProgressCallback | None) -> Callable[[int, int], object] | None:
    if callback is None:
        return None
    began = perf_counter()

    def observe(complete: int, total: int) -> object:
        return callback(
            ProgressEvent(
                phase="simulation",
                wall_time_ms=milliseconds(perf_counter() - began),
                scenarios_complete=complete,
                scenarios_total=total,
            )
        )

    return observe
