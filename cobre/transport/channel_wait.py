"""One port's hold on a channel in shared memory: its place, the bells of the others, and sleep until one rings.

A port that has nothing to do looks for a while, then says that it sleeps, looks once more and polls: its own bell, a
pipe, and the processes at the other end. Who changes something looks afterwards who sleeps, and rings. That no wake-up
is lost rests on the order of these (``fence``): the sleeper fences everybody between its word and its look.
"""

from __future__ import annotations

import errno
import os
import select
import time
from dataclasses import dataclass
from typing import NamedTuple

from cobre.errors import ChannelError
from cobre.transport.channel_memory import (
    ABSENT,
    ATTACHED,
    ATTACHMENTS,
    CLOSED,
    FAILED,
    PROCESS,
    STARTED,
    STATE,
    Memory,
    Plan,
)
from cobre.transport.control import started_at
from cobre.transport.fence import ORDERED, Fence, be_fenced, fence_everybody

__all__ = ["Address", "Attachment", "Peers", "failure", "refused"]

_LONGEST = 3600.0  # seconds of one sleep
_NO_MEMORY, _NO_FILES = (errno.ENOMEM, errno.ENOSPC, errno.EFBIG), (errno.EMFILE, errno.ENFILE)
_RING = b"\1"


@dataclass(frozen=True)
class Address:
    """How any process of the same user finds a channel while the process that made it lives."""

    process: int
    started: int
    descriptor: int
    inode: int
    bells: tuple[int, ...]  # of the writers, then of the readers
    token: bytes
    plan: Plan
    to_one: bool
    one_sided: bool  # sleepers fence everybody: nobody else needs to
    kinds: tuple[str, ...]
    name: str
    session: str
    succession: bool = False  # a place whose holder died is waited for: another process will take it

    def open(self, number: int, flags: int) -> int:
        """A descriptor of our own for one of the maker's. Raises OSError."""
        owner = "self" if self.process == os.getpid() else str(self.process)
        return os.open(f"/proc/{owner}/fd/{number}", flags | os.O_CLOEXEC)

    def memory(self, operation: str) -> Memory:
        """The channel's memory. Raises ChannelError Unreachable, OutOfMemory, TooManyFiles."""
        descriptor = -1
        try:
            descriptor = self.open(self.descriptor, os.O_RDWR)
            if os.fstat(descriptor).st_ino == self.inode:
                memory = Memory(self.plan, descriptor)
                if memory.holds(self.token):
                    return memory
            problem = OSError("something else stands there by now")
        except OSError as error:
            problem = error.with_traceback(None)  # which would refer to this frame
        if descriptor >= 0:
            os.close(descriptor)
        if problem.errno in (*_NO_MEMORY, *_NO_FILES):
            raise refused(problem, operation, self.name, "its memory cannot be attached")
        raise failure(
            "Unreachable",
            operation,
            self.name,
            f"the memory that process {self.process} made cannot be attached: {problem.strerror or problem}",
            "attach while the process that made the channel lives and has not closed it, as the same user and in the "
            'same container; between containers or hosts use transport="tcp"',
            process=self.process,
        )


def failure(
    kind: str, operation: str, channel: str, message: str, suggestion: str | None = None, **context: object
) -> ChannelError:
    """An error of a channel, worded alike everywhere."""
    return ChannelError(
        f"{operation} on channel {channel}: {message}",
        operation=operation,
        channel=channel,
        kind=kind,
        context=context,
        suggestion=suggestion,
    )


def refused(
    error: OSError, operation: str, channel: str, what: str, kind: str = "NotSupported", **context: object
) -> ChannelError:
    """The error of a call that the system refuses. what: cannot be done therefore. kind: where nothing is short."""
    problem = f"{what}: {error.strerror or error}"
    if error.errno in _NO_MEMORY:
        advice = "give fewer or smaller bytes=: that much is reserved for each writer; or let this process have more"
        kind = "OutOfMemory"
    elif error.errno in _NO_FILES:
        advice = "close what is not needed, or let this process open more files (ulimit -n)"
        kind = "TooManyFiles"
    else:
        advice = "see what the system allows this process to do"
    return failure(kind, operation, channel, problem, advice, **context)


class _Who(NamedTuple):
    """Which process is at a place."""

    process: int
    started: int
    attachments: int


class Attachment:
    """What one port holds of a channel, until it leaves: a place, memory, and the bells of both sides."""

    def __init__(self, address: Address, writing: bool, place: int) -> None:
        """Raises ChannelError: OutOfRange, Unreachable, PlaceTaken, Closed, NotSupported, OutOfMemory, TooManyFiles."""
        self.address, self.writing, self.place = address, writing, place
        plan, self.name = address.plan, address.name
        self.role = f"{'writer' if writing else 'reader'} {place}"
        self.operation = "writer" if writing else "reader"
        places = plan.writers if writing else plan.readers
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < places:
            raise failure(
                "OutOfRange",
                self.operation,
                self.name,
                f"there is no {self.operation} {place!r}: there are {places}",
                f"give {self.operation}s= when the channel is made",
            )
        if not be_fenced() and address.one_sided:
            raise failure("NotSupported", self.operation, self.name, "the system does not let this process be fenced")
        self.fenced = not (ORDERED and address.one_sided)
        self.fence = Fence()
        self.process = os.getpid()
        self.closed = False
        self.peers: Peers | None = None
        self._descriptors: list[int] = []
        self.memory = address.memory(self.operation)
        try:
            self._take_place()
        except BaseException:
            self._let_go()
            raise

    def _take_place(self) -> None:
        memory, plan = self.memory, self.address.plan
        words, self.block = memory.words, memory.block_word(self.writing, self.place)
        if not memory.claim_place(self.writing, self.place):
            holder = f"process {words[self.block + PROCESS]}"
            raise failure("PlaceTaken", self.operation, self.name, f"{holder} is {self.role}", "take another place")
        if words[self.block + STATE] == CLOSED:
            raise failure("Closed", self.operation, self.name, f"{self.role} has closed, which is for good")
        own, other = (0, plan.writers) if self.writing else (plan.writers, 0)
        self.bell = self._open_bell(own + self.place)
        self.bells = [self._open_bell(other + place) for place in range(self.opposite)]
        words[self.block + PROCESS], words[self.block + STARTED] = self.process, started_at(self.process)
        words[self.block + ATTACHMENTS] += 1
        self.fence()
        words[self.block + STATE] = ATTACHED
        self.ring_all()  # whoever sleeps now watches this process too

    @property
    def opposite(self) -> int:
        """How many places there are at the other end."""
        return self.address.plan.readers if self.writing else self.address.plan.writers

    def _open_bell(self, number: int) -> int:
        try:
            bell = self.address.open(self.address.bells[number], os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise refused(error, self.operation, self.name, "a bell cannot be opened", "Unreachable") from None
        self._descriptors.append(bell)
        return bell

    def ring(self, place: int) -> None:
        """Wakes the port at this place of the other end, or keeps it from falling asleep."""
        try:
            os.write(self.bells[place], _RING)
        except BlockingIOError:  # full of unheard rings
            return

    def ring_all(self) -> None:
        for place in range(len(self.bells)):
            self.ring(place)

    def hush(self) -> None:
        """Forgets the rings so far: look at what they were about after this."""
        try:
            while len(os.read(self.bell, 512)) == 512:
                pass
        except BlockingIOError:
            return

    def leave(self, state: int, reason: str = "") -> None:
        """Gives the place back. In a process that was forked from the port's it does nothing."""
        if self.closed or os.getpid() != self.process:
            return
        self.closed = True
        words = self.memory.words
        if state == FAILED:
            self.memory.set_place_text(self.writing, self.place, reason)
        self.fence()
        words[self.block + STATE] = state
        self.fence()
        if not self.writing and all(
            words[self.memory.plan.reader_word(place) + STATE] == CLOSED for place in range(self.memory.plan.readers)
        ):
            self.memory.end("all readers have closed")
        self.ring_all()
        self._let_go()

    def _let_go(self) -> None:
        if self.peers is not None:
            self.peers.close()
            self.peers = None  # which refers to this: memory goes at once, not when a cycle is found
        self.memory.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


class Peers:
    """What a port knows of the processes at the other end, and what it sleeps on: their ends and its own bell."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._memory = attachment.memory
        self._poll = select.epoll()
        self._poll.register(attachment.bell, select.EPOLLIN)
        plan, opposite = attachment.address.plan, range(attachment.opposite)
        self._blocks = [plan.reader_word(p) if attachment.writing else plan.writer_word(p) for p in opposite]
        self._watched: dict[int, _Who] = {}  # by place
        self._descriptors: dict[int, int] = {}  # of processes, by place
        self._dead: dict[int, _Who] = {}
        self._maker: int | None = None
        self._maker_died = False
        self._rung = False
        attachment.peers = self

    def fileno(self) -> int:
        return self._poll.fileno()

    def state(self, place: int) -> int:
        """ABSENT, ATTACHED, CLOSED, or FAILED, also for one whose process has died."""
        words, block = self._memory.words, self._blocks[place]
        found = int(words[block + STATE])
        if found == ATTACHED and self._dead.get(place) == self._who(block):
            found = FAILED
        if found == FAILED and self._attachment.address.succession:
            found = ABSENT
        if found == ABSENT and self._maker_died:
            return FAILED  # nobody can come any more
        return found

    def why(self, place: int) -> str:
        """What is known of a place in the state FAILED."""
        words, block = self._memory.words, self._blocks[place]
        found = int(words[block + STATE])
        who = f"{'reader' if self._attachment.writing else 'writer'} {place}"
        if found == FAILED:
            reason = self._memory.place_text(not self._attachment.writing, place)
            return f"{who} (process {words[block + PROCESS]}) gave up{': ' if reason else ''}{reason}"
        if found == ABSENT:
            return f"{who} never attached, and process {self._attachment.address.process}, which made the channel, died"
        return f"{who} (process {words[block + PROCESS]}) died"

    def process(self, place: int) -> int:
        return int(self._memory.words[self._blocks[place] + PROCESS])

    def _who(self, block: int) -> _Who:
        words = self._memory.words
        return _Who(words[block + PROCESS], words[block + STARTED], words[block + ATTACHMENTS])

    def watch(self) -> None:
        """Watches whoever has attached since."""
        words, absent = self._memory.words, False
        for place, block in enumerate(self._blocks):
            if words[block + STATE] == ATTACHED:
                who = self._who(block)
                if self._watched.get(place) != who:
                    self._watch(place, who)
            absent = absent or self.state(place) == ABSENT
        address = self._attachment.address
        if absent and self._maker is None and not self._maker_died and address.process != os.getpid():
            self._maker = self._opened(_Who(address.process, address.started, 0))
            self._maker_died = self._maker is None
            if self._maker is not None:
                self._poll.register(self._maker, select.EPOLLIN)

    def _watch(self, place: int, who: _Who) -> None:
        self._forget(place)
        descriptor = None if who.process == os.getpid() else self._opened(who)
        self._watched[place] = who  # once it is so
        if who.process == os.getpid():
            return
        if descriptor is None:
            self._dead[place] = who
            return
        self._descriptors[place] = descriptor
        self._poll.register(descriptor, select.EPOLLIN)

    def _opened(self, who: _Who) -> int | None:
        """What becomes readable when that process ends; None where it has. Raises ChannelError TooManyFiles."""
        try:
            descriptor = os.pidfd_open(who.process)
        except ProcessLookupError:
            return None
        except OSError as error:
            what = f"process {who.process} cannot be watched"
            raise refused(error, "wait", self._attachment.name, what) from None
        if who.started and started_at(who.process) not in (who.started, 0):  # another process has that number by now
            os.close(descriptor)
            return None
        return descriptor

    def _forget(self, place: int) -> None:
        descriptor = self._descriptors.pop(place, None)
        if descriptor is not None:
            self._poll.unregister(descriptor)
            os.close(descriptor)

    def sleep(self, timeout: float | None) -> None:
        """Returns when the bell rings, a watched process ends, or after ``timeout`` seconds (None: for ever)."""
        self.doze(timeout)
        self.hush()

    def doze(self, timeout: float | None) -> None:
        """As ``sleep``, for whoever looks at once what it is about: ``hush`` before the look that precedes a sleep."""
        ready = self._poll.poll(_LONGEST if timeout is None else min(timeout, _LONGEST), 8)
        for descriptor, _ in ready:
            if descriptor == self._attachment.bell:
                self._rung = True
            elif descriptor == self._maker:
                self._maker_died = True
                self._close_maker()
            else:
                self._mourn(descriptor)

    def hush(self) -> None:
        """Forgets that the bell rang."""
        if self._rung:
            self._rung = False
            self._attachment.hush()

    def _mourn(self, descriptor: int) -> None:
        for place, watched in list(self._descriptors.items()):
            if watched == descriptor:
                self._forget(place)
                self._dead[place] = self._watched[place]

    def _close_maker(self) -> None:
        if self._maker is not None:
            self._poll.unregister(self._maker)
            os.close(self._maker)
            self._maker = None

    def close(self) -> None:
        for place in list(self._descriptors):
            self._forget(place)
        self._close_maker()
        self._poll.close()

    def fence(self) -> None:
        """Between the word that says that this port sleeps and its last look."""
        if self._attachment.address.one_sided:
            fence_everybody()
        else:
            self._attachment.fence()


def remaining(deadline: float | None) -> float | None:
    """Seconds until then."""
    return None if deadline is None else deadline - time.monotonic()
