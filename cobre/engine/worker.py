"""One rank of a run on many processes: it meets the others and runs the whole algorithm with them.

The same class is an actor that a run spawns, and what a rank that a scheduler started drives by itself.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from cobre.engine.dialogue import Dialogue, Finished, Progress, Resumed, Surroundings
from cobre.engine.exchange import CommExchange
from cobre.engine.keeping import Kept
from cobre.engine.marks import MARKS, Position, where
from cobre.engine.rank_log import log_with_rank
from cobre.engine.sharing import Packed
from cobre.sddp.batch import SolverStatistics
from cobre.sddp.cuts import CutPool
from cobre.sddp.problem import Problem
from cobre.sddp.settings import SimulationSettings, TrainingSettings
from cobre.sddp.state import TrainingState
from cobre.sddp.stopping import StopReason
from cobre.sddp.training import IterationRecord, TrainingOutcome, train
from cobre.transport.communicator import Communicator
from cobre.transport.select import create_communicator

if TYPE_CHECKING:
    from cobre.engine.checkpoint_writer import CheckpointPlan, Keep, Wants
    from cobre.sddp.policy import Policy
    from cobre.sddp.simulation import FinishedBlock, SimulatedBlock, SimulationOutcome

__all__ = ["MARKS", "Summary", "Trained", "Worker", "check_faults", "where"]


@dataclass(frozen=True)
class Summary:
    """What a worker did. collective_seconds: passing data on, and waiting for slower ranks. memory_bytes: at most."""

    rank: int
    seconds: float
    collective_seconds: float
    solves: int
    memory_bytes: int


@dataclass(frozen=True, eq=False)
class Trained:
    """A training's outcome without the problem, which whoever asked for it has."""

    records: list[IterationRecord]
    reason: StopReason
    cuts: list[CutPool]
    statistics: SolverStatistics
    seconds: float
    exact_upper_bounds: list[float]

    def on(self, problem: Problem) -> TrainingOutcome:
        """The outcome of training for ``problem``."""
        return TrainingOutcome(problem=problem, **vars(self))


class Worker:
    """One rank of ``size``. Its errors leave it as they are, and end its group: all other ranks hear of them, wherever
    they wait. It can meet them again after that.

    backend: ``shm``, ``tcp`` or ``local``. log_level: of the messages that go to stderr with the rank in front (None:
    they go where they would). faults: ``module:function text``; the function, called with rank, text and life, gives
    a hook that is called at every point the worker comes to. life: which process of this rank it is, from 1.
    surroundings: by default those of this actor.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        backend: str,
        *,
        log_level: int | None = None,
        faults: str | None = None,
        life: int = 1,
        ignore_terminate: bool = False,
        surroundings: Surroundings | None = None,
    ) -> None:
        if surroundings is None:
            from cobre.actors import context

            surroundings = context()
        if ignore_terminate:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.rank, self.size, self.backend = rank, size, backend
        self._surroundings: Surroundings = surroundings
        self._communicator: Communicator | None = None
        self.forget()
        if log_level is not None:
            log_with_rank(rank, log_level)
        self._position = Position(surroundings.board, None if faults is None else _hook(faults, rank, life))
        self._position.reach("starting")

    def meet(self, **place: Any) -> None:
        """Forms the group, in place of an earlier one. place: keywords of ``create_communicator``; without them, what
        the environment says.

        Over tcp, rank 0 emits its address where its port is 0. Raises CommError: Aborted where this is interrupted.
        """
        self.close()
        self._position.reach("connecting")
        if self.backend != "local":
            place = {**place, "cancelled": self._surroundings.interrupted.is_set}
        if self.backend == "tcp" and place.get("port") == 0:
            place = {**place, "announce": self._surroundings.emit}
        self._position.meeting(True)
        try:
            self._communicator = create_communicator(self.backend, rank=self.rank, size=self.size, **place)
        finally:
            self._position.meeting(False)

    @property
    def communicator(self) -> Communicator:
        """The one that ``meet`` made."""
        assert self._communicator is not None, "meet comes first"
        return self._communicator

    def train(
        self,
        problem: Problem | Packed,
        settings: TrainingSettings,
        failure_folder: Path | None = None,
        job: str | None = None,
        resume: TrainingState | Packed | None = None,
        checkpoints: CheckpointPlan | None = None,
        run: int = 0,
    ) -> tuple[Summary, Trained | None]:
        """Trains together with all other ranks; the outcome is on rank 0.

        job: a name by which this training is known again: what is completed of it is kept until ``forget``, so that all
        ranks can go on after one of them was lost. resume: where it begins. checkpoints: written by rank 0. run: other
        than 0, the owner wants to be told of each iteration, and says with this number how many it has dealt with.
        Raises what ``cobre.sddp.training`` does, and cobre's IOError where no checkpoints can be written.
        """
        began, exchange = perf_counter(), CommExchange(self.communicator, self._position)
        dialogue = Dialogue(self._surroundings, run, exchange.leads)

        def observe(record: IterationRecord) -> bool:
            return dialogue.goes_on(Progress(perf_counter() - began, exchange.seconds, record=record))

        with self._in_group():
            (loaded,) = self._loaded(job, problem)
            begin, keep = self._agreed(job, _opened(resume))
            with _keeping(checkpoints if exchange.leads else None, keep) as (keep_all, wants):
                outcome = train(
                    loaded,
                    settings,
                    exchange=exchange,
                    observe=observe,
                    failure_folder=failure_folder,
                    resume=begin,
                    keep=keep_all,
                    wants=wants,
                )
            self._position.reach("stopping")
        summary = self._summary(began, exchange, outcome.own_statistics)
        if not exchange.leads:
            return summary, None
        found = {name: value for name, value in vars(outcome).items() if name not in ("problem", "own_statistics")}
        return summary, Trained(**found)

    def simulate(
        self,
        problem: Problem | Packed,
        policy: Policy | Packed,
        settings: SimulationSettings,
        consume: Callable[[SimulatedBlock, int], None] | None = None,
        failure_folder: Path | None = None,
        strict: bool = True,
        job: str | None = None,
        finished: Mapping[int, FinishedBlock] | None = None,
        run: int = 0,
    ) -> tuple[Summary, SimulationOutcome | None]:
        """Simulates this rank's blocks of scenarios; the outcome of all of them is on rank 0.

        consume: takes each of this rank's blocks and its number. job: a name, as for ``train``; the owner is told of
        each block that is finished. finished: those of an earlier attempt. run: as in ``train``. Raises what
        ``cobre.sddp.simulation`` does.
        """
        from cobre.sddp.simulation import simulate

        began, exchange = perf_counter(), CommExchange(self.communicator, self._position)
        dialogue = Dialogue(self._surroundings, run, exchange.leads)

        def observe(complete: int, total: int) -> bool:
            return dialogue.goes_on(Progress(perf_counter() - began, exchange.seconds, None, complete, total))

        with self._in_group():
            loaded, opened = self._loaded(job, problem, policy)
            if job is not None:
                self._resumed(sum(block.costs.size for block in (finished or {}).values()))
            outcome = simulate(
                loaded,
                opened,
                settings,
                exchange=exchange,
                consume=None if consume is None else partial(self._write, consume),
                observe=observe,
                failure_folder=failure_folder,
                strict=strict,
                finished=finished,
                keep=None if job is None else self._tell_finished,
            )
            self._position.reach("stopping")
        summary = self._summary(began, exchange, outcome.own_statistics)
        return summary, outcome if exchange.leads else None

    def forget(self) -> None:
        """Lets go of what is kept of a job."""
        self._held: tuple[str | None, list[Any]] = (None, [])
        self._kept = Kept()

    def _agreed(self, job: str | None, resume: TrainingState | None) -> tuple[TrainingState | None, Keep | None]:
        """Where the job goes on from (``resume``: if it has not begun), and who is given each later state."""
        if job is None:
            return resume, None
        self._position.meeting(True)
        try:
            state = self._kept.agreed(self.communicator) or resume
        finally:
            self._position.meeting(False)
        self._resumed(0 if state is None else state.iteration)
        return state, self._kept.keep

    def _loaded(self, job: str | None, *values: Any) -> list[Any]:
        """The values, opened; those of the job that is tried again are here already."""
        if job is not None and self._held[0] == job:
            return self._held[1]
        self.forget()
        loaded = [_opened(value) for value in values]
        if job is not None:
            self._held = job, loaded
        return loaded

    def _write(self, consume: Callable[[SimulatedBlock, int], None], block: SimulatedBlock, number: int) -> None:
        self._position.reach("writing", number + 1)
        consume(block, number)

    def _tell_finished(self, block: FinishedBlock) -> None:
        self._surroundings.emit(Finished(block))

    def _resumed(self, completed: int) -> None:
        if self.rank == 0:
            self._surroundings.emit(Resumed(completed))

    def close(self) -> None:
        """Leaves the group; may be called twice."""
        if self._communicator is not None:
            self._communicator.close()

    @contextlib.contextmanager
    def _in_group(self) -> Iterator[None]:
        """What goes wrong in the block ends the group: the other ranks must not wait for this one any more."""
        try:
            yield
        except BaseException as error:
            self.abort(f"rank {self.rank} failed: {type(error).__name__}: {error}")
            self.close()
            raise

    def abort(self, reason: str) -> None:
        """Ends the other ranks' waiting for this one. From any thread."""
        if self._communicator is not None:
            self._communicator.abort(reason)

    def _summary(self, began: float, exchange: CommExchange, own: SolverStatistics) -> Summary:
        return Summary(self.rank, perf_counter() - began, exchange.seconds, own.solves, _peak_memory())


def _peak_memory() -> int:
    """Bytes of resident memory, at most. What getrusage says on Linux counts the parent's from before the exec."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _keeping(
    plan: CheckpointPlan | None, keep: Keep | None
) -> contextlib.AbstractContextManager[tuple[Keep | None, Wants | None]]:
    if plan is None:
        return contextlib.nullcontext((keep, None))
    from cobre.engine.checkpoint_writer import keeping  # most workers write none, and wait for what they import

    return keeping(plan, keep)


def _opened(value: Any) -> Any:
    return value.open() if isinstance(value, Packed) else value


def check_faults(faults: str, size: int) -> None:
    """Has the module that knows the faults look whether workers of such a run can have them. Raises what it does."""
    entry, _, text = faults.partition(" ")
    import_module(entry.partition(":")[0]).check(text, size)


def _hook(faults: str, rank: int, life: int) -> Callable[..., object]:
    entry, _, text = faults.partition(" ")
    module, _, name = entry.partition(":")
    hook: Callable[..., object] = getattr(import_module(module), name)(rank, text, life)
    return hook
