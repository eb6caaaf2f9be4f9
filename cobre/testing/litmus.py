"""A litmus test of shared memory: do two processes see each other's stores in the order that collectives rely on?

Run ``python -m cobre.testing.litmus --seconds 60`` on a new kind of machine. Two patterns, the ones of
docs/decisions/0010-memory-order.md: data then flag, read as flag then data; and two processes that each write a word
of their own and then read the other's, of which at least one must see the other's store. Torn words are counted too.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass

import numpy as np

from cobre.transport.fence import ORDERED, Fence

__all__ = ["Verdict", "other_side", "run"]

_ROUNDS = 2000  # between two looks at the clock
_WORDS = 64
_PATIENCE = 200  # looks before a side yields its core
_LOW = 0xFFFF_FFFF
_OTHER = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from cobre.testing.litmus import other_side
other_side(int(sys.argv[2]), float(sys.argv[3]))
"""


@dataclass(frozen=True)
class Verdict:
    """What was seen. rounds: exchanges of each pattern. stale: data older than its flag. torn: words of mixed halves.
    unseen: rounds in which neither process saw the other's store."""

    rounds: int
    stale: int
    torn: int
    unseen: int


class _Pair:
    """One side of two processes that share a page: words on cache lines of their own, then the data."""

    def __init__(self, memory: mmap.mmap, side: int) -> None:
        def word(index: int) -> ctypes.c_uint64:
            return ctypes.c_uint64.from_buffer(memory, 128 * index)

        self.mine, self.theirs = word(side), word(1 - side)
        self.my_turn, self.their_turn = word(2 + side), word(3 - side)
        self.saw, self.other_saw = word(4 + side), word(5 - side)
        self.end = word(6)
        data = np.frombuffer(memory, np.uint64, 4 * _WORDS, 4096).reshape(2, 2, _WORDS)
        self.data, self.their_data = data[side], data[1 - side]
        self.fence = Fence()
        self.side = side
        self.round = 0
        self.stale = self.torn = self.unseen = 0

    def message(self) -> None:
        """Data, fence where stores have no order of their own, flag; then the other's flag, fence, data."""
        self.round += 1
        number = (self.round & _LOW) << 32 | self.round & _LOW
        self.data[self.round & 1] = number
        if not ORDERED:
            self.fence()
        self.my_turn.value = number
        looks = 0
        while (found := self.their_turn.value) != number:
            self.torn += found >> 32 != found & _LOW
            looks += 1
            if looks > _PATIENCE:
                os.sched_yield()
        if not ORDERED:
            self.fence()
        self.stale += int(np.count_nonzero(self.their_data[self.round & 1] != number))

    def both_store(self) -> None:
        """Own word, fence, the other's word: what it saw is compared after both are through."""
        self.mine.value = self.round
        self.fence()
        seen = self.theirs.value
        self.saw.value = self.round << 1 | int(seen == self.round)
        while self.other_saw.value >> 1 != self.round:
            os.sched_yield()
        self.unseen += not (self.saw.value & 1 or self.other_saw.value & 1)

    def run(self, seconds: float) -> Verdict:
        deadline = time.monotonic() + seconds
        while True:
            for _ in range(_ROUNDS):
                self.message()
                self.both_store()
            if self.side == 0:
                self.end.value = self.round << 1 | int(time.monotonic() >= deadline)
            else:
                while self.end.value >> 1 != self.round:
                    os.sched_yield()
            if self.end.value & 1:
                return Verdict(self.round, self.stale, self.torn, self.unseen)


def run(seconds: float) -> Verdict:
    """Both patterns between this process and one that it starts, for about that long; counts of both sides added up."""
    with tempfile.TemporaryFile() as file:
        file.truncate(2 * mmap.PAGESIZE)
        memory = mmap.mmap(file.fileno(), 2 * mmap.PAGESIZE)
        command = [sys.executable, "-c", _OTHER, json.dumps(sys.path), str(file.fileno()), str(seconds)]
        with subprocess.Popen(command, pass_fds=[file.fileno()], stdout=subprocess.PIPE) as other:
            try:
                mine = _Pair(memory, 0).run(seconds)
                answer, _ = other.communicate(timeout=30.0)
            except BaseException:
                other.kill()
                raise
    theirs = Verdict(**json.loads(answer))
    return Verdict(mine.rounds, mine.stale + theirs.stale, mine.torn + theirs.torn, mine.unseen + theirs.unseen)


def other_side(descriptor: int, seconds: float) -> None:
    """What the process that ``run`` starts does: its part over the file it was handed, its verdict to stdout."""
    verdict = _Pair(mmap.mmap(descriptor, 2 * mmap.PAGESIZE), 1).run(seconds)
    os.write(1, json.dumps(asdict(verdict)).encode())


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to look for violations")
    verdict = run(parser.parse_args().seconds)
    os.write(1, json.dumps(asdict(verdict)).encode() + b"\n")
    return int(verdict.stale + verdict.torn + verdict.unseen > 0)


if __name__ == "__main__":
    sys.exit(_main())
