"""One rank of the benchmark of collectives: joins its group, times every operation, leaves its figures in a file.

    python collectives_rank.py SPECIFICATION

``collectives.py`` starts it, with our interpreter or with those of the MPI environments: besides numpy it needs what
it measures, and nothing else. The loop is the same for all: warm-up, then rounds of n calls between two barriers; how
large n is, rank 0 finds in the warm-up and tells the others through the very thing that is measured.
"""

from __future__ import annotations

import gc
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["main"]

Call = Callable[[], Any]

_WARM_UP = 5


@dataclass(frozen=True)
class Group:
    """What the loop needs of a communicator; ``view`` is None where results cannot be had without a copy."""

    rank: int
    size: int
    versions: dict[str, str]
    barrier: Call
    allreduce: Callable[[Any, Any], Any]
    broadcast: Callable[[Any], Any]
    allgatherv: Callable[[Any, list[int], Any], Call]
    view: Callable[[Any, list[int]], Any] | None
    close: Call


def main() -> None:
    specification = json.loads(Path(sys.argv[1]).read_text())
    small = [operation for operation in specification["operations"] if operation["bytes"] <= 1024]
    use(join_nobody(), small)  # what numpy and this program touch for the first time is nobody's overhead
    before = memory()
    join = join_mpi if specification["settings"] is None else join_ours
    group = join(specification)
    use(group, small)
    formed = memory()
    figures = {}
    for operation in specification["operations"]:
        if call := prepared(group, operation):
            figures[operation["name"]] = timed(group, call, specification)
    del call
    trim()
    after = memory()
    group.barrier()
    group.close()
    answer = {
        "rank": group.rank,
        "versions": {"Python": platform.python_version(), "numpy": np.__version__, **group.versions},
        "seconds": figures,
        "memory": {"before": before, "formed": formed, "after": after},
    }
    (Path(specification["results"]) / f"rank-{group.rank}.json").write_text(json.dumps(answer))


def use(group: Group, operations: list[dict[str, Any]]) -> None:
    for operation in operations:
        if call := prepared(group, operation):
            call()


def join_nobody() -> Group:
    def allgatherv(send: Any, counts: tuple[int, ...], out: Any) -> Call:
        return lambda: np.copyto(out, send)

    return Group(
        rank=0,
        size=1,
        versions={},
        barrier=lambda: None,
        allreduce=lambda send, out: np.copyto(out, send),
        broadcast=lambda buffer: None,
        allgatherv=allgatherv,
        view=lambda send, counts: send,
        close=lambda: None,
    )


def join_ours(specification: dict[str, Any]) -> Group:
    from cobre.transport import create_communicator

    settings = dict(specification["settings"])
    if specification.get("announce"):
        settings["announce"] = lambda address: print(address, flush=True)
    comm = create_communicator(specification["kind"], **settings)
    versions = {}
    if "zmq" in sys.modules:
        zmq = sys.modules["zmq"]
        versions = {"pyzmq": zmq.__version__, "libzmq": zmq.zmq_version()}

    def allgatherv(send: Any, counts: tuple[int, ...], out: Any) -> Call:
        return lambda: comm.allgatherv(send, counts, out=out)

    return Group(
        rank=comm.rank,
        size=comm.size,
        versions=versions,
        barrier=comm.barrier,
        allreduce=lambda send, out: comm.allreduce(send, out=out),
        broadcast=comm.broadcast,
        allgatherv=allgatherv,
        view=lambda send, counts: comm.allgatherv(send, counts, copy=False),
        close=comm.close,
    )


def join_mpi(_: dict[str, Any]) -> Group:
    import mpi4py
    from mpi4py import MPI

    comm = MPI.COMM_WORLD

    def allgatherv(send: Any, counts: tuple[int, ...], out: Any) -> Call:
        receive = [out, list(counts)]
        return lambda: comm.Allgatherv(send, receive)

    library = MPI.Get_library_version().replace("\x00", "").replace("Version:", "").split("\n")[0].split(",")[0]
    return Group(
        rank=comm.rank,
        size=comm.size,
        versions={"library": " ".join(library.split()), "mpi4py": mpi4py.__version__},
        barrier=comm.Barrier,
        allreduce=comm.Allreduce,
        broadcast=comm.Bcast,
        allgatherv=allgatherv,
        view=None,
        close=lambda: None,
    )


def prepared(group: Group, operation: dict[str, Any]) -> Call | None:
    """The call to be timed, after its result was checked once; None where the group has no such operation."""
    kind, elements = operation["kind"], operation["bytes"] // 8
    pattern = np.arange(elements, dtype=float)
    if kind == "barrier":
        group.barrier()
        return group.barrier
    if kind == "allreduce":
        send, total = pattern + group.rank, np.empty(elements)
        group.allreduce(send, total)
        check(operation, group, total, group.size * pattern + sum(range(group.size)))
        return lambda: group.allreduce(send, total)
    if kind == "broadcast":
        buffer = pattern + 1.0 if group.rank == 0 else np.zeros(elements)
        group.broadcast(buffer)
        check(operation, group, buffer, pattern + 1.0)
        return lambda: group.broadcast(buffer)
    return gathering(group, operation, pattern)


def gathering(group: Group, operation: dict[str, Any], pattern: Any) -> Call | None:
    send, counts = pattern + group.rank, (pattern.size,) * group.size
    expected = np.concatenate([pattern + rank for rank in range(group.size)])
    if operation["kind"] == "allgatherv":
        out = np.empty(expected.size)
        call = group.allgatherv(send, counts, out)
        call()
        check(operation, group, out, expected)
        return call
    view = group.view
    if view is None:
        return None
    check(operation, group, view(send, counts), expected)
    return lambda: view(send, counts)


def check(operation: dict[str, Any], group: Group, result: Any, expected: Any) -> None:
    if not np.array_equal(result, expected):
        raise SystemExit(f"wrong result of {operation['name']} on rank {group.rank} of {group.size}")


def timed(group: Group, call: Call, specification: dict[str, Any]) -> dict[str, Any]:
    """Seconds a call takes on this rank, one figure for each round, and of how many calls a round was."""
    for _ in range(_WARM_UP):
        call()
    estimate = one_round(group, call, _WARM_UP)
    least, most = specification["calls"]
    agreed = np.array([min(most, max(least, int(specification["round_seconds"] / estimate)))])
    group.broadcast(agreed)
    calls = int(agreed[0])
    for _ in range(max(1, calls // 10)):
        call()
    enabled = gc.isenabled()
    gc.disable()
    rounds = [one_round(group, call, calls) for _ in range(specification["rounds"])]
    if enabled:
        gc.enable()
    return {"calls": calls, "rounds": rounds}


def one_round(group: Group, call: Call, calls: int) -> float:
    group.barrier()
    start = time.perf_counter()
    for _ in repeat(None, calls):
        call()
    taken = time.perf_counter() - start
    group.barrier()
    return taken / calls


def trim() -> None:
    """Gives back what the C library keeps of the arrays that were measured with; else they would pass for overhead."""
    import ctypes  # not before the group is formed: whoever needs it pays for it

    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def memory() -> dict[str, int]:
    """Resident bytes of this process by what they belong to; empty where the system does not say."""
    gc.collect()
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    lines = (line.split() for line in status.read_text().splitlines())
    wanted = {"VmRSS:": "all", "RssAnon:": "own", "RssFile:": "files", "RssShmem:": "shared"}
    return {wanted[words[0]]: int(words[1]) * 1024 for words in lines if words and words[0] in wanted}


if __name__ == "__main__":
    main()
