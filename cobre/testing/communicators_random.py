"""The conformance suite's long sequences of random collectives, each result checked against numpy.

A sequence is a function of its seed, the same on all ranks; a failure names the seed and the step, and

    run_script(communicator, random_script(seed, size, steps))

on all ranks repeats it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.testing.communicators_data import DTYPES, REDUCIBLE, contribution, digest, reduced, require_same
from cobre.transport.communicator import Communicator, ReduceOp

__all__ = ["STEPS", "Step", "check_random_collectives", "random_script", "run_script"]

STEPS = 10_000

_POOL = 5 << 10  # elements of each dtype that contributions are cut from
_NAMES = ("gather", "gather into out", "view", "reduce", "reduce into out", "reduce in place", "broadcast", "barrier")
_LIKELY = np.array([4, 3, 4, 4, 3, 2, 4, 2], float)
_OPS = tuple(ReduceOp)


@dataclass(frozen=True)
class Step:
    """One collective: what is called, on which dtype, with how many elements from each rank.

    start: where in the pool of its dtype rank 0 cuts its contribution. pick: which reduction, or which root.
    """

    name: str
    dtype: np.dtype[Any]
    counts: tuple[int, ...]
    start: int
    pick: int


def random_script(seed: int, size: int, steps: int) -> list[Step]:
    """``steps`` collectives for ``size`` ranks: most of them small, some empty, a few of thousands of elements."""
    draw = np.random.default_rng([seed, size])
    names = draw.choice(len(_NAMES), steps, p=_LIKELY / _LIKELY.sum())
    lengths = (2.0 ** draw.uniform(0.0, 8.0, (steps, size))).astype(int) * (draw.random((steps, size)) > 0.1)
    lengths[draw.random(steps) < 0.003] *= 16
    picks, starts = draw.integers(0, 2**31, (2, steps))
    script = []
    for turn in range(steps):
        name, pick, start = _NAMES[names[turn]], int(picks[turn]), int(starts[turn] % 97)
        kinds = REDUCIBLE if name.startswith("reduce") else DTYPES
        counts = lengths[turn].tolist()
        if name.startswith(("reduce", "broadcast")):
            counts = counts[:1] * size
        script.append(Step(name, kinds[pick % len(kinds)], tuple(counts), start, pick // len(kinds)))
    return script


def run_script(communicator: Communicator, script: Sequence[Step], seed: int = -1) -> bytes:
    """Collective. Makes every call of the script and compares; returns a digest of all results.

    seed: named by the AssertionError that a wrong result raises.
    """
    digests = []
    for turn, step in enumerate(script):
        parts = [_cut(step, rank) for rank in range(communicator.size)]
        where = f"step {turn} of seed {seed}, {step.name} of {step.counts} {step.dtype}"
        found = _make(communicator, step, parts, where)
        if found is not None and turn % 16 == 0:
            digests.append(np.frombuffer(digest([found]), np.uint8))
        del found  # a view must not outlive its step
    return digest(digests)


def check_random_collectives(communicator: Communicator, seed: int = 0, steps: int = 1000) -> None:
    """``steps`` random collectives; all ranks end with the same digest of their results."""
    found = run_script(communicator, random_script(seed, communicator.size, steps), seed)
    own = np.frombuffer(found, np.uint8)
    everybody = communicator.allgatherv(own, [own.size] * communicator.size)
    require_same(everybody, np.tile(own, communicator.size), f"the digests of all ranks after seed {seed}")


def _make(communicator: Communicator, step: Step, parts: list[NDArray[Any]], where: str) -> NDArray[Any] | None:
    send = parts[communicator.rank]
    if step.name == "barrier":
        communicator.barrier()
        return None
    if step.name == "broadcast":
        root = step.pick % communicator.size
        buffer = send.copy()
        communicator.broadcast(buffer, root)
        require_same(buffer, parts[root], where)
        return buffer
    if step.name.startswith("reduce"):
        op = _OPS[step.pick % len(_OPS)]
        expected = reduced(op, parts)
        send = send.copy()
        out = {"reduce": None, "reduce into out": np.empty_like(send), "reduce in place": send}[step.name]
        found = communicator.allreduce(send, op, out=out)
    else:
        expected = np.concatenate(parts).astype(step.dtype, copy=False)
        into = np.empty(expected.size, step.dtype) if step.name == "gather into out" else None
        found = communicator.allgatherv(send, step.counts, out=into, copy=step.name != "view")
    require_same(found, expected, where)
    return found


def _cut(step: Step, rank: int) -> NDArray[Any]:
    start, count = (step.start + 131 * rank) % 997, step.counts[rank]
    return _pool(step.dtype)[start : start + count]


_pools: dict[np.dtype[Any], NDArray[Any]] = {}


def _pool(dtype: np.dtype[Any]) -> NDArray[Any]:
    """Elements of ``dtype``, made once a process; floats with the odd NaN, infinity and negative zero."""
    found = _pools.get(dtype)
    if found is None:
        found = _pools[dtype] = contribution(dtype, 1, _POOL)
        if dtype.kind in "fc":
            for at, value in enumerate((np.nan, np.inf, -np.inf, -0.0, 0.0)):
                found[50 + at :: 211] = value
    return found
