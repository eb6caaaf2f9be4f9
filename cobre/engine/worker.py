"""One rank of a run on many processes: it meets the others and runs the whole algorithm with them.

The same class is an actor that a run spawns, and what a rank that a scheduler started drives by itself.
"""

from __future__ import annotations

import logging
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from cobre.engine.exchange import CommExchange
from cobre.engine.marks import MARKS, Board, Position, where
from cobre.engine.sharing import Packed
from cobre.sddp.batch import SolverStatistics
from cobre.sddp.cuts import CutPool
from cobre.sddp.problem import Problem
from cobre.sddp.settings import SimulationSettings, TrainingSettings
from cobre.sddp.stopping import StopReason
from cobre.sddp.training import IterationRecord, TrainingOutcome, train
from cobre.transport.communicator import Communicator
from cobre.transport.select import create_communicator

if TYPE_CHECKING:
    import threading

    from cobre.sddp.policy import Policy
    from cobre.sddp.simulation import SimulatedBlock, SimulationOutcome

_PATIENCE = 0.1  # seconds that the owner may take for what it is told before it is not waited for

__all__ = ["MARKS", "Progress", "Summary", "Surroundings", "Trained", "Worker", "check_faults", "where"]


class Surroundings(Protocol):
    """Where a worker lives; an actor's context is one."""

    @property
    def board(self) -> Board | None:
        """Words in which others read where the worker stands."""

    @property
    def interrupted(self) -> threading.Event:
        """Set when the run shall end early."""

    def emit(self, value: Any) -> None:
        """Tells the run's owner something while a call is under way."""

    def hear(self, timeout: float | None = None) -> Any:
        """What the owner says to that, or None after ``timeout`` seconds: how many of these were dealt with."""


@dataclass(frozen=True)
class Progress:
    """What a worker tells of a run: after each iteration its record, or the scenarios that all ranks have simulated.

    seconds: since this worker's part began; collective_seconds: those of them inside collectives.
    """

    seconds: float
    collective_seconds: float
    record: IterationRecord | None = None
    scenarios_complete: int = 0
    scenarios_total: int = 0


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


class _Dialogue:
    """Tells the owner of the progress of a run, and hears whether to go on.

    Rank 0 waits a moment for the owner's verdict before the next piece is begun, so that a run stops where it would
    in the owner's own process; an owner who is slower is told, and not waited for until it has caught up.
    """

    def __init__(self, surroundings: Surroundings, answered: bool, leads: bool) -> None:
        self._surroundings, self._answered, self._leads = surroundings, answered, leads
        self._told = self._dealt_with = 0
        while surroundings.hear(0.0) is not None:  # what an earlier run did not wait for
            pass

    def goes_on(self, progress: Progress) -> bool:
        """Tells this progress; False where the run shall end."""
        if self._answered:
            self._surroundings.emit(progress)
            if self._leads:
                self._listen()
        return not self._surroundings.interrupted.is_set()

    def _listen(self) -> None:
        patience = _PATIENCE if self._dealt_with == self._told else 0.0
        self._told += 1
        deadline = perf_counter() + patience
        while self._dealt_with < self._told:
            heard = self._surroundings.hear(max(0.0, deadline - perf_counter()))
            if heard is None:
                return
            self._dealt_with = heard


class Worker:
    """One rank of ``size``. Errors leave it as they are, and nothing is closed by them: the run ends all ranks.

    backend: ``shm``, ``tcp`` or ``local``. log_level: of the messages that go to stderr with the rank in front (None:
    they go where they would). faults: ``module:function text``; the function, called with the rank and the text, gives
    a hook that is called at every point the worker comes to. surroundings: by default those of this actor.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        backend: str,
        *,
        log_level: int | None = None,
        faults: str | None = None,
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
        if log_level is not None:
            _log_with_rank(rank, log_level)
        self._position = Position(surroundings.board, None if faults is None else _hook(faults, rank))
        self._position.reach("starting")

    def meet(self, **place: Any) -> None:
        """Forms the group. place: keywords of ``create_communicator``; without them, what the environment says.

        Over tcp, rank 0 emits its address where its port is 0. Raises CommError.
        """
        self._position.reach("connecting")
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
        answered: bool = False,
    ) -> tuple[Summary, Trained | None]:
        """Trains together with all other ranks; the outcome is on rank 0.

        answered: the owner wants to be told of each iteration, and says when it has dealt with it. Raises what
        ``cobre.sddp.training`` does.
        """
        began, exchange = perf_counter(), CommExchange(self.communicator, self._position)
        dialogue = _Dialogue(self._surroundings, answered, exchange.leads)

        def observe(record: IterationRecord) -> bool:
            return dialogue.goes_on(Progress(perf_counter() - began, exchange.seconds, record=record))

        outcome = train(_opened(problem), settings, exchange=exchange, observe=observe, failure_folder=failure_folder)
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
        answered: bool = False,
    ) -> tuple[Summary, SimulationOutcome | None]:
        """Simulates this rank's blocks of scenarios; the outcome of all of them is on rank 0.

        consume: takes each of this rank's blocks and its number. answered: as in ``train``. Raises what
        ``cobre.sddp.simulation`` does.
        """
        from cobre.sddp.simulation import simulate

        began, exchange = perf_counter(), CommExchange(self.communicator, self._position)
        dialogue = _Dialogue(self._surroundings, answered, exchange.leads)

        def observe(complete: int, total: int) -> bool:
            seconds = perf_counter() - began
            return dialogue.goes_on(
                Progress(seconds, exchange.seconds, scenarios_complete=complete, scenarios_total=total)
            )

        def write(block: SimulatedBlock, number: int) -> None:
            if consume is not None:
                self._position.reach("writing", number + 1)
                consume(block, number)

        outcome = simulate(
            _opened(problem),
            _opened(policy),
            settings,
            exchange=exchange,
            consume=write,
            observe=observe,
            failure_folder=failure_folder,
            strict=strict,
        )
        self._position.reach("stopping")
        summary = self._summary(began, exchange, outcome.own_statistics)
        return summary, outcome if exchange.leads else None

    def abort(self, reason: str) -> None:
        """Ends the other ranks' waiting for this one; for ranks that nobody supervises. From any thread."""
        if self._communicator is not None:
            self._communicator.abort(reason)

    def close(self) -> None:
        """Leaves the group; may be called twice."""
        if self._communicator is not None:
            self._communicator.close()

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


def _opened(value: Any) -> Any:
    return value.open() if isinstance(value, Packed) else value


def check_faults(faults: str, size: int) -> None:
    """Has the module that knows the faults look whether workers of such a run can have them. Raises what it does."""
    entry, _, text = faults.partition(" ")
    import_module(entry.partition(":")[0]).check(text, size)


def _hook(faults: str, rank: int) -> Callable[..., object]:
    entry, _, text = faults.partition(" ")
    module, _, name = entry.partition(":")
    hook: Callable[..., object] = getattr(import_module(module), name)(rank, text)
    return hook


class _RankHandler(logging.StreamHandler[Any]):
    """To stderr, which the run's owner passes on."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(f"[rank {rank}] %(levelname)s %(name)s: %(message)s"))


def _log_with_rank(rank: int, level: int) -> None:
    logger = logging.getLogger("cobre")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _RankHandler)]:
        logger.removeHandler(handler)
    logger.addHandler(_RankHandler(rank))
    logger.setLevel(level)
    logger.propagate = False
