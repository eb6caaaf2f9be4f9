"""How ranks that share memory wait for one another: a look, a while of yielding, then sleep until somebody rings."""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from pathlib import Path

from cobre.errors import CommError
from cobre.transport import futex
from cobre.transport.control import ASLEEP, COUNTER, State, Verdict
from cobre.transport.failures import Group, name_ranks
from cobre.transport.fence import ORDERED, Fence, fence_everybody
from cobre.transport.forming import Meeting

__all__ = ["Meetings"]

# Looks at a flag (0.1 to 0.2 microseconds each) before a rank begins to yield its core, where every rank can have one:
# few, for two ranks may share a core all the same. A rank that waits longer than all the yields (about 1 microsecond
# each where nobody wants the core) goes to sleep.
_LOOKS, _YIELDS = 40, 200
_AWAKE = ~ASLEEP


class Meetings:
    """One rank's view of who has arrived. ``arrive`` is the one thing that all collectives are made of."""

    def __init__(self, group: Group, meeting: Meeting, timeout: float) -> None:
        self.group = group
        self.control = meeting.control
        self.timeout = timeout
        self.sequence = 0
        self.fault: Verdict | None = None
        self.closed = False
        self.broken = False  # closed or at fault
        self.hindered = False  # that, or for whoever uses this not ready: what every collective asks first
        self._process = os.getpid()
        self._watch = meeting.watch
        self._lock = threading.RLock()  # a signal handler may close or abort in the middle of either
        self.fence = Fence()
        own, everybody = group.rank, range(group.size)
        self._flags = [(flags[own], [flags[r] for r in everybody if r != own]) for flags in meeting.control.flags]
        self.one_sided = all(meeting.control.ranks[r].fenced for r in everybody)
        self._fenced = not (ORDERED and self.one_sided)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.patient = group.size <= cores  # every rank may have a core
        self._looks = range(_LOOKS if self.patient else 1)
        self._yields = range(_YIELDS)

    def arrive(self, signature: int, operation: str) -> None:
        """Says that this rank has come to its next collective, and returns when all have come to the same.

        signature: which call it is. What ranks wrote before they arrived is seen after. Raises CommError: Mismatch,
        RankLost, Timeout, Aborted, Closed.
        """
        sequence = self.sequence = (self.sequence + 1) & 0xFFFFFF  # COUNTER: a constant is quicker than a name
        word = signature | sequence
        own, others = self._flags[sequence & 1]
        if self._fenced:
            self.fence()
            own.value = word
            self.fence()
        else:
            own.value = word
        for flag in others:
            if flag.value != word:
                for _ in self._looks:
                    if flag.value == word:
                        break
                else:
                    self.attend(word, operation)
                    break
        if self._fenced:
            self.fence()

    def attend(self, word: int, operation: str) -> None:
        """Rings for those who sleep until this rank arrives, then waits for those who have not. Raises as ``arrive``.

        word: what this rank's flag shows, and what those of all others are to show.
        """
        rank = self.group.rank
        for other, flag in enumerate(self.control.flags[word & 1]):
            if flag.value & ASLEEP and self.control.sleeping[other].value == rank + 1:
                self.control.ring(other)
        for flag in self._flags[word & 1][1]:
            if not self._linger(flag, word):
                self._sleep(word, operation)
                return

    def _linger(self, flag: ctypes.c_uint64, word: int) -> bool:
        """Yields the core for a while; False where the flag did not come up."""
        if flag.value & _AWAKE == word:
            return True
        for _ in self._yields:
            os.sched_yield()
            if flag.value & _AWAKE == word:
                return True
        return False

    def _sleep(self, word: int, operation: str) -> None:
        """Sleeps until every flag shows ``word``."""
        timeout = self.timeout
        deadline = time.monotonic() + timeout
        control, rank = self.control, self.group.rank
        flags, bell, sleeping = control.flags[word & 1], control.bells[rank], control.sleeping[rank]
        try:
            while True:
                seen = bell.value
                missing = [r for r in range(self.group.size) if flags[r].value & _AWAKE != word]
                if not missing:
                    return
                sleeping.value = missing[0] + 1
                flags[rank].value = word | ASLEEP
                if self.one_sided:
                    fence_everybody()
                else:
                    self.fence()
                if flags[missing[0]].value & _AWAKE == word:
                    continue
                self._look(word, operation)
                left = deadline - time.monotonic()
                if left <= 0.0:
                    raise self._timed_out(missing, operation, timeout)
                futex.wait(bell, seen, left)
        finally:
            flags[rank].value = word
            sleeping.value = 0

    def _look(self, word: int, operation: str) -> None:
        """Raises where it is plain that not all will come: the flags of those who are gone are read after that."""
        if self.closed:
            raise self.group.closed(operation)
        if self.fault is not None:
            raise self.fault.error(self.group, operation, self.group.rank)
        flags, gone = self.control.flags[word & 1], self._watch.dead.copy()
        states = [self.control.state(rank) for rank in range(self.group.size)]
        self.fence()
        for rank, state in enumerate(states):
            found = flags[rank].value & _AWAKE
            if found == word:
                continue
            if state == State.BROKEN:
                raise self.control.verdict(rank).error(self.group, operation, rank)
            if state == State.CLOSED:
                raise self.group.lost(operation, rank, "closed its communicator")
            if rank in gone:
                raise self.group.lost(operation, rank, f"died (process {self.control.ranks[rank].process})")
            if found & COUNTER == word & COUNTER:
                raise self.group.mismatch(operation, [rank])
        for rank, state in enumerate(states):
            if state == State.BROKEN and rank != self.group.rank:  # it came, but something else was amiss
                raise self.control.verdict(rank).error(self.group, operation, rank)

    def _timed_out(self, missing: list[int], operation: str, timeout: float) -> CommError:
        stopped = [rank for rank in missing if self._is_stopped(rank)]
        state = f" ({name_ranks(stopped)}: stopped by a signal)" if stopped else ""
        return self.group.timed_out(operation, missing, timeout, state)

    def _is_stopped(self, rank: int) -> bool:
        process = self.control.process(rank)
        if process is None:
            return False
        try:
            fields = Path(f"/proc/{process[0]}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return fields[0] == "T"

    def refusal(self, operation: str) -> CommError | None:
        """The error of a call on a group that is closed or broken, else None."""
        if self.closed:
            return self.group.closed(operation)
        return None if self.fault is None else self.fault.error(self.group, operation, self.group.rank)

    def unhinder(self) -> None:
        """What hindered whoever uses this is over; closed or broken it stays."""
        with self._lock:
            self.hindered = self.broken

    def give_up(self, verdict: Verdict) -> None:
        """Breaks the group for all ranks, with the first reason that this rank had. From any thread."""
        with self._lock:
            if self.closed or self.fault is not None:
                return
            self.fault = verdict
            self.broken = self.hindered = True
            self.control.give_up(verdict)

    def close(self) -> None:
        """Says that this rank has left and ends the watch. From any thread; may be called twice.

        In a process that was forked from the rank's it does nothing: the rank itself is still there.
        """
        if os.getpid() != self._process:
            return
        with self._lock:
            if self.closed:
                return
            self.closed = self.broken = self.hindered = True
            mine = self.control.ranks[self.group.rank]
            if mine.state != State.BROKEN:
                mine.state = State.CLOSED
            self.control.ring_all()
        self._watch.close()
        # The mapping goes with the last reference to it; a thread inside a collective holds its own until it is out.
        del self.control, self._flags

    @staticmethod
    def closing_with(owner: object, meetings: Meetings) -> None:
        """Closes when ``owner`` is collected or the interpreter ends, for those who forgot."""
        weakref.finalize(owner, meetings.close)
