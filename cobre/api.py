"""The front door: train, simulate and validate, by a path or by objects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cobre.engine.in_process import InProcess
from cobre.events import ProgressCallback, ProgressEvent
from cobre.pool import Workers
from cobre.results import SimulationResult, TrainingResult
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.settings import HANG_TIMEOUT, RESTART_PERIOD, check_no_placement, fault_plan, resolve_placement
from cobre.work import Overrides, simulate_on, train_on

if TYPE_CHECKING:
    from cobre.engine.runners import Runner
    from cobre.hydro.entities import Case
    from cobre.hydro.validate import ValidationResult

__all__ = ["CaseLoader", "Workers", "simulate", "simulate_async", "train", "train_async", "validate"]

Result = TypeVar("Result")


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
    workers: Workers | None = None,
    output_directory: str | Path | None = None,
    resume: str | Path | None = None,
    hang_timeout: float = HANG_TIMEOUT,
    memory_limit: int | None = None,
    max_restarts: int = 0,
    restart_period: float = RESTART_PERIOD,
) -> TrainingResult:
    """Train a policy.

    case: a case directory, a ``Case`` or a ``cobre.sddp.Problem``. config_overrides: flat dotted keys
    (``{"training.tree_seed": 7}``) or nested dictionaries, checked like ``config.json``.
    progress_callback: called after every iteration, in this thread; returning ``False`` stops with reason
    ``shutdown``, raising ends the run with that exception. num_workers: processes that share the work, to the same
    bits. backend: what they exchange data through: ``shm`` or ``tcp``; ``local`` is this process alone; ``auto`` is
    what the environment says (``COBRE_COMM_BACKEND``, ``COBRE_TCP_COORDINATOR``), else ``local`` for one worker and
    ``shm`` for more. workers: workers that are there already, in place of both (``cobre.Workers``). output_directory:
    where the training, the policy and a manifest are written, and checkpoints where the case asks for them; it must not
    hold an earlier run. resume: the output directory of a run that was interrupted, or one of its checkpoints; it goes
    on there (or in output_directory) to the bits that it would have come to. hang_timeout: seconds
    after which a worker that gives no sign of life is ended. memory_limit: bytes of memory that a worker may come to
    hold. max_restarts: how often, within restart_period seconds, a worker that died, hung or passed its memory limit
    is replaced, and all go on after the last completed iteration (a simulation: with the blocks that are not written
    yet) to the result that the undisturbed run has, to the bit; the callback is given an event with ``restart`` each
    time.

    Raises ValidationError (bad input, with all of it; a checkpoint of another run), SolverError, and IOError for the
    output directory and checkpoints: before any work where it can be seen then, else with the finished training in the
    error's ``result``. With workers, what one
    of them raises, and its death beyond max_restarts, is a WorkerError, with all of them gone; its
    ``context["restarts"]`` has all that were made.
    """
    placed = backend, num_workers, hang_timeout, memory_limit, max_restarts, restart_period
    runner = _runner(workers, *placed)
    return train_on(runner, case, config_overrides, progress_callback, output_directory, resume)


def simulate(
    case: str | Path | Case | Problem,
    policy: str | Path | Policy,
    config_overrides: Overrides = None,
    progress_callback: ProgressCallback | None = None,
    backend: str = "auto",
    num_workers: int = 1,
    *,
    workers: Workers | None = None,
    output_directory: str | Path | None = None,
    strict: bool = True,
    hang_timeout: float = HANG_TIMEOUT,
    memory_limit: int | None = None,
    max_restarts: int = 0,
    restart_period: float = RESTART_PERIOD,
) -> SimulationResult:
    """Apply a policy to scenarios and see what it does and costs.

    policy: a ``Policy`` or the folder of a saved one. output_directory: where every decision is written, a folder
    an entity, partitioned by blocks of scenarios; it may hold the training of the same run, no simulation.
    strict: refuse a policy that was trained on other numbers, not just on other stages or states.
    The other arguments are those of ``train``.

    Raises ValidationError (bad input, a policy of another case), IOError, SolverError, WorkerError.
    """
    placed = backend, num_workers, hang_timeout, memory_limit, max_restarts, restart_period
    runner = _runner(workers, *placed)
    return simulate_on(runner, case, policy, config_overrides, progress_callback, output_directory, strict)


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


def _runner(
    workers: Workers | None,
    backend: str,
    num_workers: int,
    hang_timeout: float,
    memory_limit: int | None,
    max_restarts: int,
    restart_period: float,
) -> AbstractContextManager[Runner]:
    """Whoever runs the algorithm. Workers of this run alone start when it is entered, while the case is read, and are
    gone afterwards.
    """
    if workers is not None:
        check_no_placement(backend, num_workers, hang_timeout, memory_limit)
        return workers.runner(max_restarts, restart_period)
    placement = resolve_placement(
        backend,
        num_workers,
        hang_timeout=hang_timeout,
        memory_limit=memory_limit,
        max_restarts=max_restarts,
        restart_period=restart_period,
    )
    if placement.in_process:
        return nullcontext(InProcess())
    from cobre.engine.runners import restart_policy, workers_of_one_run

    return workers_of_one_run(
        placement.backend,
        placement.num_workers,
        hang_timeout=placement.hang_timeout,
        memory_limit=placement.memory_limit,
        faults=fault_plan(),
        policy=restart_policy(placement.max_restarts, placement.restart_period),
    )
