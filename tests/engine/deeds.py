"""What the ranks of the tests do: functions that run in the ranks' own processes."""

from __future__ import annotations

import ctypes
import hashlib
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from cobre.engine.exchange import CommExchange
from cobre.engine.keeping import Kept
from cobre.engine.sharing import Packed, share
from cobre.engine.worker import Worker
from cobre.errors import SolverError, ValidationError
from cobre.sddp import kernel_vertices, reuse
from cobre.sddp.contracts import SERIAL, Exchange
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.sddp.risk import CVaR
from cobre.sddp.settings import (
    CutSelection,
    Domination,
    Dynamic,
    Enumerated,
    Level1,
    LimitedMemory,
    Sampled,
    SimulationSettings,
    SolverProfile,
    TrainingSettings,
)
from cobre.sddp.simulation import SimulatedBlock, simulate
from cobre.sddp.stopping import IterationLimit
from cobre.sddp.training import IterationRecord, TrainingOutcome, train
from cobre.transport import Communicator
from tests.sddp.small import cascade

_PLAIN = TrainingSettings(Sampled(3), (IterationLimit(4),), seed=5)
_SIMULATION = SimulationSettings(Sampled(37), seed=3, block=4)


def _with(**changes: Any) -> TrainingSettings:
    return replace(_PLAIN, **changes)


def _selecting(method: Any, **further: Any) -> TrainingSettings:
    return _with(cut_selection=CutSelection(method, **further))


# problem (keywords of ``cascade``), settings of the training, settings of the simulation
CASES: dict[str, tuple[dict[str, Any], TrainingSettings, SimulationSettings]] = {
    "three passes": ({}, _PLAIN, _SIMULATION),
    "one pass": ({"openings": 9}, _with(passes=Sampled(1)), replace(_SIMULATION, block=None)),
    "one pass, one opening": ({"openings": 1, "stages": 6}, _with(passes=Sampled(1)), _SIMULATION),
    "many points": ({"openings": 5}, _with(passes=Sampled(24)), _SIMULATION),
    "two openings a unit": ({}, _with(openings_per_unit=2), _SIMULATION),
    "one stage": ({"stages": 1}, _PLAIN, _SIMULATION),
    "one opening": ({"openings": 1}, _PLAIN, SimulationSettings(Enumerated(), block=1)),
    "enumerated": (
        {"stages": 3, "openings": 3},
        _with(passes=Enumerated()),
        SimulationSettings(Enumerated(), block=5),
    ),
    "risk": ({"risk": CVaR(0.4, 0.7)}, _PLAIN, _SIMULATION),
    "level 1": ({}, _selecting(Level1(check_frequency=2)), _SIMULATION),
    "limited memory": ({}, _selecting(LimitedMemory(check_frequency=2)), _SIMULATION),
    "domination": ({}, _selecting(Domination(1e-6, 2)), _SIMULATION),
    "lazy": ({}, _selecting(Dynamic(start_iteration=2, seed_window=1, max_added_per_round=2)), _SIMULATION),
    "capped": ({}, _selecting(None, max_active_per_stage=6), _SIMULATION),
    "lazy and capped": ({}, _selecting(Dynamic(2, 0, 1), max_active_per_stage=7), _SIMULATION),
    "every opening solved": ({}, _with(dual_reuse="off"), _SIMULATION),
    "adaptive": ({"openings": 9}, _with(dual_reuse="adaptive"), _SIMULATION),
    "few kept": ({"openings": 9}, _with(kept_vertices=15), _SIMULATION),
    "from nothing": ({}, _with(backward=SolverProfile(use_warm_start=False)), _SIMULATION),
}


@cache
def problem(name: str) -> Problem:
    return cascade(**CASES[name][0])


def bits(name: str, exchange: Exchange) -> str:
    """A digest of all that a training and a simulation give, but for the seconds."""
    digest = hashlib.sha256()
    outcome = train(problem(name), CASES[name][1], exchange=exchange)
    digest.update(trained_bits(outcome))
    found = simulate(problem(name), Policy.of(outcome), CASES[name][2], exchange=exchange)
    digest.update(found.costs.tobytes() + found.probability.tobytes())
    counts = found.statistics
    digest.update(repr((counts.solves, counts.simplex_iterations, found.stopped)).encode())
    return digest.hexdigest()


def trained_bits(outcome: TrainingOutcome) -> bytes:
    parts = [np.array(outcome.lower_bounds).tobytes(), np.array(outcome.exact_upper_bounds).tobytes()]
    for record in outcome.records:
        parts.append(repr((record.upper_bound, record.ci_95, record.cuts_added, record.cuts_active)).encode())
        parts.append(repr((record.solves, record.simplex_iterations)).encode())
    for pool in outcome.cuts:
        for values in (pool.slopes, pool.intercepts, pool.active, pool.iterations, pool.times_active):
            parts.append(values.tobytes())
    return repr(outcome.reason).encode() + b"".join(parts)


def bits_of(communicator: Communicator, names: list[str]) -> dict[str, str]:
    return {name: bits(name, CommExchange(communicator)) for name in names}


def blocks_of(communicator: Communicator, name: str) -> list[tuple[int, bytes]]:
    """The numbers and contents of the blocks that this rank simulates."""
    outcome = train(problem(name), CASES[name][1], exchange=CommExchange(communicator))
    found: list[tuple[int, bytes]] = []

    def consume(block: SimulatedBlock, number: int) -> None:
        found.append((number, block_bits(block)))

    simulate(problem(name), Policy.of(outcome), CASES[name][2], exchange=CommExchange(communicator), consume=consume)
    return found


def block_bits(block: SimulatedBlock) -> bytes:
    parts = [block.scenarios, block.probability, block.costs]
    for stage in block.stages:
        parts += [stage.opening, stage.incoming, stage.primal, stage.duals, stage.stage_cost, stage.cost_to_go]
    return b"".join(part.tobytes() for part in parts)


class Tape:
    """What a worker's surroundings are told; stops the run after so many messages."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.board, self.interrupted, self.told = None, threading.Event(), list[Any]()
        self._stop_after = stop_after

    def emit(self, value: Any) -> None:
        self.told.append(value)
        if self._stop_after is not None and len(self.told) >= self._stop_after:
            self.interrupted.set()

    def hear(self, timeout: float | None = None) -> None:
        """An owner who never says that it has dealt with anything holds nobody up for long."""
        if timeout:
            time.sleep(timeout)


class Joined(Worker):
    """A worker on a communicator that is there already."""

    def __init__(self, communicator: Communicator, **further: Any) -> None:
        super().__init__(communicator.rank, communicator.size, communicator.backend, **further)
        self._communicator = communicator


def worked(communicator: Communicator, packed: Packed, settings: TrainingSettings, stop_at: int) -> Any:
    """What a worker returns and tells; the last rank asks for an end early, rank 0 after so many messages."""
    tape = Tape({0: stop_at, communicator.size - 1: 1}.get(communicator.rank))
    return Joined(communicator, surroundings=tape).train(packed, settings, run=1), tape.told


def simulated(communicator: Communicator, packed: Packed, stop_at: int | None) -> Any:
    problem, policy, settings = packed.open()
    tape = Tape(stop_at if communicator.rank == 0 else None)
    return Joined(communicator, surroundings=tape).simulate(problem, policy, settings, run=1), tape.told


def failing(communicator: Communicator) -> str:
    """Rank 1's part of the work cannot be solved; the others must not be left waiting for ever."""
    exchange = CommExchange(communicator)
    assert not exchange.leads or communicator.size > 1
    try:
        if communicator.rank == 1:
            raise SolverError("unsolved", stage=2, solver_status="infeasible")
        exchange.gather((np.zeros((1, 1)), np.ones(communicator.size, np.int64)))
    except SolverError:
        communicator.abort("unsolved")
        return "raised"
    except Exception as error:
        return getattr(error, "kind", type(error).__name__)
    return "returned"


class Reached:
    """Stands for the state of a training after so many iterations; known by the rank that made it."""

    def __init__(self, iteration: int, maker: int) -> None:
        self.iteration, self.maker = iteration, maker


def agreed(communicator: Communicator, reached: list[int]) -> tuple[int, int] | None:
    """From which iteration this rank goes on, and who kept its state. reached: by each rank, 0 is none."""
    kept, mine = Kept(), reached[communicator.rank]
    if mine:
        kept.keep(Reached(mine, communicator.rank))  # type: ignore[arg-type]
    found: Any = kept.agreed(communicator)
    assert kept.state is found
    return None if found is None else (found.iteration, found.maker)


class Recorder:
    """A watcher that writes down what it is told, of every stage."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def reached(self, phase: str, iteration: int, stage: int) -> None:
        self.seen.append((phase, iteration, stage))

    def words(self) -> None:
        return None

    def waiting(self, waits: bool) -> None:
        self.seen.append(waits)


class Board(Recorder):
    """One whose stages and waits a compiled loop may keep for itself, but for two words."""

    def __init__(self) -> None:
        super().__init__()
        self.stage, self.beats = ctypes.c_int64(), ctypes.c_int64()

    def words(self) -> tuple[int, int]:  # type: ignore[override]
        return ctypes.addressof(self.stage), ctypes.addressof(self.beats)


def followed(communicator: Communicator, name: str) -> tuple[bytes, bytes, int, int]:
    """Bits of a training that is told every stage, and of one that writes them on a board; what stands there after."""
    board, settings = Board(), CASES[name][1]
    told, written = (
        trained_bits(train(problem(name), settings, exchange=CommExchange(communicator, watcher)))
        for watcher in (Recorder(), board)
    )
    return told, written, board.stage.value, board.beats.value


def losing(communicator: Communicator | None, name: str) -> bytes:
    """Bits of a training whose kernel gives most pairs up after two pivots, and leaves them to HiGHS."""
    exchange = SERIAL if communicator is None else CommExchange(communicator)
    with pytest.MonkeyPatch.context() as patch:
        for module in (kernel_vertices, reuse):
            patch.setattr(module, "MOST_PIVOTS", 2)
        return trained_bits(train(problem(name), CASES[name][1], exchange=exchange))


class Slow(Recorder):
    """One that takes its time in a backward pass."""

    def reached(self, phase: str, iteration: int, stage: int) -> None:
        if phase == "backward":
            time.sleep(0.002)


def slowed(communicator: Communicator, name: str) -> tuple[bytes, int]:
    """Bits of a training in which rank 0 is slow, and how many pairs this rank has answered."""
    exchange = CommExchange(communicator, Slow() if communicator.rank == 0 else None)
    outcome = train(problem(name), CASES[name][1], exchange=exchange)
    return trained_bits(outcome), outcome.own_statistics.solves + outcome.own_statistics.reused


def followed_by_one(communicator: Communicator, name: str) -> bytes:
    """Bits of a training of which rank 0 is told every stage, and the others none."""
    watcher = Recorder() if communicator.rank == 0 else Board()
    return trained_bits(train(problem(name), CASES[name][1], exchange=CommExchange(communicator, watcher)))


def watched(communicator: Communicator) -> tuple[list[Any], float]:
    recorder = Recorder()
    exchange = CommExchange(communicator, recorder)
    train(problem("three passes"), replace(_PLAIN, stopping=(IterationLimit(1),)), exchange=exchange)
    return recorder.seen, exchange.seconds


def gathered(communicator: Communicator, units: int) -> list[bytes]:
    """Two parts in one step, of units with 0, 1, 2, 0, 1, 2 ... rows and with one; the first alone, also very wide."""
    exchange = CommExchange(communicator)
    mine = list(exchange.assigned(units))
    counts = np.arange(units) % 3
    rows = np.array([[unit, k] for unit in mine for k in range(counts[unit])], np.float64).reshape(-1, 2)
    ones = np.array(mine, np.float64).reshape(-1, 1)
    found = exchange.gather((rows, counts), (ones, np.ones(units, np.int64)))
    assert exchange.most(units) >= len(mine)
    assert exchange.agree(float(communicator.rank + 3)) == 3.0
    assert exchange.total(np.array([2.0 * communicator.rank])).tolist() == [communicator.size * (communicator.size - 1)]
    alone = exchange.gather((rows, counts))[0]
    wide = exchange.gather((np.repeat(rows, 9000, axis=1), counts))[0]
    assert wide.shape == (alone.shape[0], 18000)
    assert (wide == np.repeat(alone, 9000, axis=1)).all()
    return [part.tobytes() for part in (*found, alone)]


def stopping(communicator: Communicator) -> tuple[str, int]:
    """Only rank 0's observer counts; every rank stops with it."""

    def observe(record: IterationRecord) -> bool:
        return record.iteration < (2 if communicator.rank == 0 else 1)

    outcome = train(problem("three passes"), _PLAIN, exchange=CommExchange(communicator), observe=observe)
    return outcome.reason, len(outcome.records)


def shared_problem(communicator: Communicator, make: Callable[[], Any]) -> tuple[bool, str, str]:
    """Whether its arrays can be written to, which problem it is, and the bits of a training on it."""
    found = share(communicator, make)
    outcome = train(found, _PLAIN, exchange=CommExchange(communicator))
    writeable = any(stage.cost.flags.writeable for stage in found.stages)
    return writeable, found.fingerprint(), hashlib.sha256(trained_bits(outcome)).hexdigest()


def plain_problem() -> Problem:
    return problem("three passes")


def reference_bits() -> str:
    outcome = train(problem("three passes"), _PLAIN, exchange=SERIAL)
    return hashlib.sha256(trained_bits(outcome)).hexdigest()


class Unspeakable(Exception):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise pickle.PicklingError("never")


def failing_to_share(communicator: Communicator, readable: bool) -> tuple[str, str]:
    def make() -> Problem:
        if readable:
            raise ValidationError("no such case", kind="MissingFile")
        raise Unspeakable("a secret")

    try:
        share(communicator, make)
    except Exception as error:
        return type(error).__name__, str(error)
    return "returned", ""
