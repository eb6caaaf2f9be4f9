"""Every way to fail at every moment over every backend, and what must be said of each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import cobre
from cobre.sddp.policy import Policy
from cobre.sddp.problem import Problem
from cobre.testing import faults
from tests.sddp.small import cascade

BACKENDS = ("shm", "tcp")
SETTINGS: dict[str, Any] = {
    "training.selection": {"method": "sampled", "forward_passes": 4},
    "training.stopping_rules": [{"type": "iteration_limit", "limit": 3}],
    "simulation.selection": {"method": "sampled", "num_scenarios": 64},  # four blocks, two for each rank
}
SIZE = 2
HANG_TIMEOUT = 3.0  # seconds, of those who are to hang; others have all the time
MEMORY_LIMIT = 200_000_000


@dataclass(frozen=True)
class Way:
    """What the WorkerError must say of a way to fail."""

    kind: str
    exit_code: int | None = None
    signal: str | None = None
    cause: str = "raised"
    inner: tuple[str, str] | None = None  # its type, and its kind
    hang_timeout: float = 120.0
    memory_limit: int | None = None


RAISED = "WorkerFailed"
WAYS: dict[str, Way] = {
    "raise-cobre": Way(RAISED, inner=("CobreError", "Injected")),
    "raise": Way(RAISED, inner=("CobreError", "ValueError")),
    "unpicklable-error": Way(RAISED, inner=("ActorError", "NotSerializable")),
    "unpicklable-result": Way(RAISED, inner=("ActorError", "NotSerializable")),
    "system-exit": Way("WorkerDied", exit_code=4, cause="exited"),
    "exit": Way("WorkerDied", exit_code=3, cause="exited"),
    "SIGKILL": Way("WorkerDied", signal="SIGKILL", cause="killed from outside"),
    "SIGSEGV": Way("WorkerDied", signal="SIGSEGV", cause="crashed"),
    "abort": Way("WorkerDied", signal="SIGABRT", cause="crashed"),
    "out-of-memory": Way(RAISED, inner=("CobreError", "MemoryError")),
    "memory-limit": Way("MemoryLimit", signal="SIGKILL", cause="memory limit", memory_limit=MEMORY_LIMIT),
    "hang": Way("WorkerHung", signal="SIGKILL", cause="hang", hang_timeout=HANG_TIMEOUT),
    "hang-native": Way("WorkerHung", signal="SIGKILL", cause="hang", hang_timeout=HANG_TIMEOUT),
    "stop": Way("WorkerHung", signal="SIGKILL", cause="hang", hang_timeout=HANG_TIMEOUT),
    "broken-transport": Way(RAISED, inner=("CommError", "RankLost or Aborted")),
}


@dataclass(frozen=True)
class Moment:
    """Where the fault is asked for, and where the WorkerError must say that it was. Of a simulation: by rank 0."""

    place: dict[str, int]
    phase: str
    simulates: bool = False


MOMENTS: dict[str, Moment] = {
    "starting": Moment({}, "starting"),
    "connecting": Moment({}, "connecting"),
    "forward": Moment({"iteration": 2, "stage": 3}, "forward"),
    "backward": Moment({"iteration": 2, "stage": 3}, "backward"),
    "bound": Moment({"iteration": 2}, "bound"),
    "collective": Moment({"iteration": 3, "stage": 2}, "backward"),  # where each stage ends in one
    "simulation": Moment({"iteration": 2, "stage": 2}, "simulation", simulates=True),
    "writing": Moment({"iteration": 2}, "writing", simulates=True),
    "stopping": Moment({}, "stopping"),
}

IMPOSSIBLE: dict[tuple[str, str], str] = {
    ("broken-transport", "starting"): "there is nothing to break yet",
    ("broken-transport", "connecting"): "there is nothing to break yet",
    ("broken-transport", "stopping"): "nothing is exchanged any more: the run succeeds, rightly",
}


@dataclass(frozen=True)
class Cell:
    """One way to fail, one moment, one backend, and the rank that fails."""

    how: str
    when: str
    backend: str
    rank: int

    def __str__(self) -> str:
        return f"{self.how} {self.when} {self.backend} {self.rank}"

    @property
    def place(self) -> dict[str, int]:
        """Where it fails. A simulation's blocks are the first half of rank 0, the second of rank 1."""
        place = MOMENTS[self.when].place
        return place | {"iteration": place["iteration"] + 2 * self.rank} if MOMENTS[self.when].simulates else place


def cells(ranks: Sequence[int] = range(SIZE)) -> Iterator[Cell]:
    """All that can be."""
    for how, when, backend, rank in product(WAYS, MOMENTS, BACKENDS, ranks):
        if (how, when) not in IMPOSSIBLE:
            yield Cell(how, when, backend, rank)


def sample() -> list[Cell]:
    """Death at every moment, and every other way once."""
    deaths = [Cell("SIGKILL", when, BACKENDS[turn % 2], 1 - turn // 2 % 2) for turn, when in enumerate(MOMENTS)]
    ways = [how for how in WAYS if how != "SIGKILL"]
    moments = ["backward", "collective", "starting", "stopping", "forward", "writing", "connecting", "bound"]
    others = [Cell(how, moments[turn % 8], BACKENDS[turn // 2 % 2], 1 - turn // 4 % 2) for turn, how in enumerate(ways)]
    early = Cell("exit", "starting", "tcp", 1)  # before rank 0 could say where it is to be met
    return [*deaths, early, *(cell for cell in others if (cell.how, cell.when) not in IMPOSSIBLE)]


@cache
def problem() -> Problem:
    return cascade()


@cache
def policy() -> Policy:
    return cobre.train(problem(), SETTINGS).policy


def run(cell: Cell) -> cobre.WorkerError | None:
    """What a run with this fault raises."""
    way, moment = WAYS[cell.how], MOMENTS[cell.when]
    given: dict[str, Any] = {"num_workers": SIZE, "backend": cell.backend}
    given |= {"hang_timeout": way.hang_timeout, "memory_limit": way.memory_limit}
    trained = policy() if moment.simulates else None
    with ExitStack() as stack:
        stack.enter_context(faults.inject(rank=cell.rank, how=cell.how, when=cell.when, **cell.place))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            if trained is not None:
                cobre.simulate(problem(), trained, SETTINGS, output_directory=folder / "out", **given)
            else:
                cobre.train(problem(), SETTINGS, **given)
        except cobre.WorkerError as error:
            return error
    return None


def differences(cell: Cell, error: cobre.WorkerError | None) -> list[str]:
    """What is said and should not be, or the other way round; a line each."""
    if error is None:
        return ["no WorkerError was raised"]
    way, found = WAYS[cell.how], error.context
    inner = None if error.inner is None else (type(error.inner).__name__, error.inner.kind)
    if cell.how == "broken-transport":  # each rank sees the other go, and any may be the first to say so
        expected = inner in {("CommError", "RankLost"), ("CommError", "Aborted")}
        return [] if expected and error.kind == way.kind else [f"{error.kind}, inner {inner}"]
    wanted: dict[str, Any] = {"kind": way.kind, "rank": cell.rank, "exit_code": way.exit_code, "inner": way.inner}
    wanted |= {"signal": way.signal, "cause": way.cause, "failures": [], **_where(cell)}
    said = {"kind": error.kind, "rank": error.rank, "exit_code": error.exit_code, "inner": inner}
    said |= {name: found.get(name) for name in ("signal", "cause", "failures", "phase", "iteration", "stage")}
    lines = [f"{name} is {said[name]!r}, not {wanted[name]!r}" for name in wanted if said[name] != wanted[name]]
    if f"injected fault: rank {cell.rank}" not in found.get("stderr", ""):
        lines.append("its stderr is not there")
    if cell.how in ("hang", "hang-native") and "most recent call first" not in found.get("stderr", ""):
        lines.append("it is not said where it stood still")
    if not isinstance(found.get("pid"), int) or not error.suggestion:
        lines.append("pid or suggestion is not there")
    return lines


def _where(cell: Cell) -> dict[str, Any]:
    moment = MOMENTS[cell.when]
    if cell.how == "unpicklable-result":  # which is found when it is sent
        return {"phase": "stopping", "iteration": None, "stage": None}
    stage = 1 if cell.when == "bound" else None
    return {"phase": moment.phase, "iteration": None, "stage": stage, **cell.place}
