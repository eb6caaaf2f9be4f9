"""How the ranks of a host meet in a segment, and how they share further ones."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable

from cobre.errors import CommError
from cobre.transport.control import MAGIC, MAX_SIZE, VERSION, Control, State, Verdict
from cobre.transport.failures import Group, invalid, name_ranks
from cobre.transport.fence import Fence
from cobre.transport.segment import PREFIX, Segment, page_rounded, sweep
from cobre.transport.watch import Deathwatch

__all__ = ["Meeting", "meet"]

_PAUSE = 0.0005, 0.002  # seconds between two looks while the group forms: the first and the longest


class Meeting:
    """A group that has formed: its memory (nameless by now), its control pages and the watch over its processes.

    on_death of the watch: the rank that watches is woken, in case it waits for the one that died.
    """

    def __init__(self, memory: mmap.mmap, control: Control) -> None:
        self.memory = memory
        self.control = control
        others = {rank: control.process(rank) for rank in range(control.size) if rank != control.rank}
        visible = {rank: process for rank, process in others.items() if process is not None}
        self.watch = Deathwatch(visible, lambda _: control.ring(control.rank))


def meet(group: Group, name: str, half: int, timeout: float, cancelled: Callable[[], bool] | None = None) -> Meeting:
    """Forms the group called ``name``: rank 0 makes the segment, the others attach, and its name goes.

    half: bytes of one half of the data, as rank 0 has it. timeout: seconds until all must be there. cancelled: looked
    at again and again meanwhile; once it is true, this rank gives up, and the others hear of it.

    Raises CommError: AddressInUse where another rank 0 has the name, Refused where this rank's place is taken or the
    segment is somebody else's, OutOfMemory, Timeout with the missing ranks, RankLost, Aborted where it was cancelled,
    Mismatch where a rank came with another size.
    """
    if group.size > MAX_SIZE:
        raise invalid("connect", f"size is {group.size}, but at most {MAX_SIZE} ranks can share memory")
    forming = _Forming(group, f"{PREFIX}{name}.{group.generation}", time.monotonic() + timeout, timeout, cancelled)
    segment = forming.make(half) if group.rank == 0 else forming.attach()
    control = Control(segment.memory, group.rank, group.size)
    try:
        forming.gather(segment, control)
        return Meeting(segment.memory, control)
    except BaseException as error:
        control.give_up(Verdict.of(error))
        raise
    finally:
        segment.release_name()
        sweep(forming.name)  # where rank 0 was killed before it could


class _Forming:
    """One rank's way into a group, against one deadline."""

    def __init__(
        self, group: Group, name: str, deadline: float, timeout: float, cancelled: Callable[[], bool] | None
    ) -> None:
        self.group = group
        self.name = name
        self.deadline = deadline
        self.timeout = timeout
        self.cancelled = cancelled

    def until(self, condition: Callable[[], bool]) -> bool:
        """Waits for it; False where it did not come true in time. Raises CommError (Aborted)."""
        pause, longest = _PAUSE
        while not condition():
            if time.monotonic() >= self.deadline:
                return False
            if self.cancelled is not None and self.cancelled():
                raise self.group.called_off()
            time.sleep(pause)
            pause = min(1.5 * pause, longest)
        return True

    def make(self, half: int) -> Segment:
        """Rank 0: the segment, filled in but for ``magic``'s promise that the rest is there."""
        sweep()
        size = Control.bytes_for(self.group.size) + 2 * page_rounded(half)
        try:
            segment = Segment.make(self.name, size)
        except FileExistsError:
            raise self.group.error(
                "AddressInUse",
                "connect",
                f"a group called {self.name} is forming already, or its name belongs to another user",
                "two ranks 0 were started, or two runs share a name: give each run its own",
            ) from None
        except OSError as error:
            raise self.no_room(error, size) from error
        try:
            control = Control(segment.memory, 0, self.group.size)
            control.found(self.group.generation, page_rounded(half))
            self.enter(segment, control)
            Fence()()
            control.header.magic = MAGIC
        except BaseException:
            segment.release_name()
            raise
        return segment

    def attach(self) -> Segment:
        """Any other rank: the segment, once rank 0 has made it and it is the right one."""
        found: list[Segment] = []

        def attached() -> bool:
            segment = self.look()
            found.extend([segment] if segment is not None else [])
            return segment is not None

        if not self.until(attached):
            sweep(self.name)  # where rank 0 was killed before it could be attached to
            raise self.group.error(
                "Timeout",
                "connect",
                f"rank 0 made no segment called {self.name} within {self.timeout:g} s",
                "start rank 0 on this host with the same name and generation, and see its messages",
                ranks=[0],
            )
        return found[0]

    def look(self) -> Segment | None:
        """One attempt to attach; None while there is nothing to attach to."""
        try:
            segment = Segment.attach(self.name)
        except OSError as error:
            raise self.group.error(
                "Refused",
                "connect",
                f"the segment {self.name} cannot be attached to: {error.strerror or error}",
            ) from error
        if segment is None:
            return None
        try:
            header = Control(segment.memory, 0, 1).header
            if header.magic != MAGIC:
                segment.release_name()
                return None
            Fence()()
            if header.version != VERSION:
                raise self.group.error("Mismatch", "connect", f"rank 0 speaks version {header.version}, not {VERSION}")
            if header.size != self.group.size:
                header.disputing, header.dispute = self.group.rank, self.group.size + 1
                raise self.two_sizes(self.group.rank, self.group.size, header.size)
            self.enter(segment, Control(segment.memory, self.group.rank, self.group.size))
        except BaseException:
            segment.release_name()
            raise
        return segment

    def enter(self, segment: Segment, control: Control) -> None:
        """Takes this rank's place. Raises CommError where another process has it."""
        if not segment.claim(self.group.rank):
            taken = control.ranks[self.group.rank].process
            raise self.group.error(
                "Refused",
                "connect",
                f"rank {self.group.rank} is taken already, by process {taken}",
                "start each rank once",
            )
        control.register()

    def gather(self, segment: Segment, control: Control) -> None:
        """Returns when all ranks are there. Rank 0 says so to the others, and the name goes."""
        mine, everybody = self.group.rank, range(self.group.size)

        def complete() -> bool:
            if mine and control.header.formed:  # whatever has become of the others since
                return True
            if control.header.dispute:
                size = control.header.dispute - 1
                raise self.two_sizes(control.header.disputing, size, self.group.size)
            for rank in everybody:
                gone = control.state(rank) != State.ABSENT and rank != mine and not segment.is_claimed(rank)
                if control.state(rank) == State.BROKEN:
                    raise control.verdict(rank).error(self.group, "connect", rank)
                if gone and not control.header.formed:  # once it has formed, claims go with the name
                    raise self.group.lost("connect", rank, f"(process {control.ranks[rank].process}) is gone")
            return mine == 0 and all(control.state(rank) != State.ABSENT for rank in everybody)

        if not self.until(complete):
            missing = [rank for rank in everybody if control.state(rank) == State.ABSENT]
            raise self.group.timed_out("connect", missing or [0], self.timeout)
        Fence()()
        if mine == 0:
            control.header.formed = 1

    def two_sizes(self, rank: int, size: int, expected: int) -> CommError:
        return self.group.error(
            "Mismatch",
            "connect",
            f"{name_ranks([rank])} was started with size {size}, rank 0 with {expected}",
            "start all ranks with the same size",
            ranks=[rank],
        )

    def no_room(self, error: OSError, size: int) -> CommError:
        return self.group.error(
            "OutOfMemory",
            "connect",
            f"no segment of {size:,} bytes could be made in shared memory: {error.strerror or error}",
            "make /dev/shm larger or free some of it, or use kind='tcp'",
            bytes=size,
        )
