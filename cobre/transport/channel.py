"""Channels between processes of one host: messages in memory that they share, read where they were written."""

from __future__ import annotations

import errno
import os
import sys
import weakref
from collections.abc import Iterable
from typing import Literal, Self

from cobre.errors import ChannelError
from cobre.transport.channel_claims import ClaimingReader
from cobre.transport.channel_memory import (
    ABSENT,
    ATTACHED,
    BLOCKED,
    BYTES,
    CLOSED,
    FAILED,
    HIGH_WATER,
    MARKS,
    STATE,
    TAIL,
    Memory,
    Plan,
)
from cobre.transport.channel_ports import ChannelStatistics
from cobre.transport.channel_reader import MemoryReader
from cobre.transport.channel_wait import Address, failure, refused
from cobre.transport.channel_writer import MemoryWriter
from cobre.transport.control import started_at
from cobre.transport.fence import be_fenced
from cobre.transport.message_header import FRONT, HEADER_BYTES, KINDS, SESSION_BYTES

__all__ = ["Channel"]

_MOST_PLACES, _MOST_MESSAGES = 64, 1 << 20
_RING = b"\1"


class Channel:
    """A channel in shared memory, for processes of one user on one Linux host.

    name: of the channel, for people. writers, readers: how many of each there will be. capacity, bytes: how many
    messages, and how many bytes of them, each writer can have in the channel before it waits; all of it is reserved
    at once. to: whether each message goes to "all" readers or to "one" of them, whichever comes first. kinds: what may
    be published ("array", "text", "bytes", "audio", "video"), None: anything. session: at most 40 bytes that every
    message says it belongs to. succession: whether a port whose process died, or that was abandoned, is waited for like
    one that never came, because another process will take its place and go on where it was; if not, those at the other
    end are told (PeerDied).

    Pickle it to where it is used: any process can take a place with ``writer`` or ``reader``, for as long as the one
    that made it lives and has not closed it. Those that have taken a place need neither. ``close()``, the end of a
    ``with`` block and the garbage collector give back what this process holds; the memory goes with the last port.

    Raises ChannelError: OutOfRange, NotSupported (not Linux), OutOfMemory, TooManyFiles.
    """

    def __init__(
        self,
        name: str = "channel",
        *,
        writers: int = 1,
        readers: int = 1,
        capacity: int = 10,
        bytes: int = 16 << 20,
        to: Literal["all", "one"] = "all",
        kinds: Iterable[str] | None = None,
        session: str = "",
        succession: bool = False,
    ) -> None:
        if sys.platform != "linux":
            raise failure(
                "NotSupported", "Channel", name, f"memory is not shared this way on {sys.platform}", 'transport="tcp"'
            )
        _check_number(name, "writers", writers, _MOST_PLACES)
        _check_number(name, "readers", readers, _MOST_PLACES)
        _check_number(name, "capacity", capacity, _MOST_MESSAGES)
        _check_number(name, "bytes", bytes, 1 << 48)
        allowed = _checked_kinds(name, kinds)
        if to not in ("all", "one"):
            raise failure("OutOfRange", "Channel", name, f'to is "all" or "one", not {to!r}')
        if len(session.encode()) > SESSION_BYTES:
            raise failure("OutOfRange", "Channel", name, f"the session {session!r} has more than {SESSION_BYTES} bytes")
        self._start(name, Plan(writers, readers, capacity, bytes), to, allowed, session, succession)

    def _start(self, name: str, plan: Plan, to: str, kinds: tuple[str, ...], session: str, succession: bool) -> None:
        token = os.urandom(16)
        descriptors: list[int] = []
        try:
            _check_room(name, plan.size)
            memory = Memory.make(plan, token)
            try:
                for _ in range(plan.writers + plan.readers):
                    descriptors.append(_bell())
                inode = os.fstat(memory.descriptor).st_ino
            except BaseException:
                memory.close()
                raise
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            raise _not_made(name, plan, error) from None
        process = os.getpid()
        self._address = Address(
            process=process,
            started=started_at(process),
            descriptor=memory.descriptor,
            inode=inode,
            bells=tuple(descriptors),
            token=token,
            plan=plan,
            to_one=to == "one",
            one_sided=be_fenced(),
            kinds=kinds,
            name=name,
            session=session,
            succession=succession,
        )
        self._hold(memory, descriptors)

    def _hold(self, memory: Memory, descriptors: list[int]) -> None:
        self._memory: Memory | None = memory
        self._closed = False
        self._release = weakref.finalize(self, _let_go, os.getpid(), memory, descriptors)

    @property
    def name(self) -> str:
        return self._address.name

    @property
    def session(self) -> str:
        return self._address.session

    def writer(self, place: int = 0) -> MemoryWriter:
        """Takes a writer's place, for this process.

        Raises ChannelError: OutOfRange; PlaceTaken; Closed (whoever had the place has closed it); Unreachable (who
        made the channel has gone).
        """
        return MemoryWriter(self._address, place)

    def reader(self, place: int = 0) -> MemoryReader:
        """Takes a reader's place, for this process. Raises as ``writer`` does."""
        return (ClaimingReader if self._address.to_one else MemoryReader)(self._address, place)

    def end(self, reason: str = "") -> None:
        """Ends the channel for all: waiting calls raise ChannelError Closed, readers when all was read. Again: nothing.

        Raises ChannelError: Unreachable where the process that made it has gone; TooManyFiles.
        """
        self._seen("end").end(reason)
        own = self._address.process == os.getpid()
        for bell in self._address.bells:
            try:
                descriptor = bell if own else self._address.open(bell, os.O_RDWR | os.O_NONBLOCK)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise refused(error, "end", self.name, "not all who wait can be woken") from None
                continue  # who made the channel has just gone, and whoever waits for it is told so
            try:
                os.write(descriptor, _RING)
            except BlockingIOError:
                pass  # full of rings
            finally:
                if not own:
                    os.close(descriptor)

    @property
    def ended(self) -> bool:
        return self._seen("ended").ended

    @property
    def state(self) -> str:
        """created, active, draining or destroyed."""
        return self.statistics().state

    def statistics(self) -> ChannelStatistics:
        """What went through the channel and is in it, now. Raises ChannelError Unreachable."""
        memory = self._seen("statistics")
        plan, words = self._address.plan, memory.words
        writers = [self._state_of(memory, True, place) for place in range(plan.writers)]
        readers = [self._state_of(memory, False, place) for place in range(plan.readers)]
        used = [self._unfinished(memory, place, readers) for place in range(plan.writers)]
        blocks = [plan.writer_word(place) for place in range(plan.writers)]
        return ChannelStatistics(
            name=self.name,
            state=_state(memory.ended, writers, readers),
            messages=sum(words[block + TAIL] - words[block + MARKS] for block in blocks),
            bytes=sum(words[block + BYTES] for block in blocks),
            occupancy=sum(map(len, used)),
            occupancy_bytes=sum(
                FRONT.unpack_from(memory.control, plan.headers(place) + sequence % plan.capacity * HEADER_BYTES)[0]
                for place, sequences in enumerate(used)
                for sequence in sequences
            ),
            capacity=plan.capacity,
            capacity_bytes=plan.lane,
            high_water=max(words[block + HIGH_WATER] for block in blocks),
            blocked_seconds=sum(words[block + BLOCKED] for block in blocks) / 1e9,
            writers=writers.count(ATTACHED),
            readers=readers.count(ATTACHED),
        )

    def _state_of(self, memory: Memory, writing: bool, place: int) -> int:
        """CLOSED also for a process that died, unless there will be another one."""
        found = memory.words[memory.block_word(writing, place) + STATE]
        if found == FAILED or (found == ATTACHED and not memory.is_held(writing, place)):
            return ABSENT if self._address.succession else CLOSED
        return int(found)

    def _unfinished(self, memory: Memory, writer: int, readers: list[int]) -> list[int]:
        """Sequence numbers of a writer's messages that are in the channel."""
        plan, words = self._address.plan, memory.words
        tail = words[plan.writer_word(writer) + TAIL]
        recent = range(max(0, tail - plan.capacity), tail)
        if self._address.to_one:
            finished = plan.finished_word(writer)
            return [sequence for sequence in recent if words[finished + sequence % plan.capacity] != sequence + 1]
        there = [place for place, state in enumerate(readers) if state != CLOSED]
        done = min((words[plan.cursor_word(place, writer)] for place in there), default=tail)
        return [sequence for sequence in recent if sequence >= done]

    def _seen(self, operation: str) -> Memory:
        """The channel's memory, attached where this process did not make it."""
        if self._memory is None or self._release.alive is False:
            if self._closed and self._address.process == os.getpid():
                raise failure("Closed", operation, self.name, "this process has closed it")
            self._hold(self._address.memory(operation), [])
        assert self._memory is not None
        return self._memory

    def close(self) -> None:
        """Gives back what this process holds of it. Nobody can attach any more if it was made here; ports go on."""
        if self._memory is not None:  # a copy that was never used holds nothing
            self._release()
        self._memory, self._closed = None, True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> Address:
        return self._address

    def __setstate__(self, address: Address) -> None:
        self._address = address
        self._memory, self._closed = None, False

    def __repr__(self) -> str:
        plan = self._address.plan
        to = "one" if self._address.to_one else "all"
        return f"<Channel {self.name}: {plan.writers} writers, {plan.readers} readers, to {to}>"


def _check_number(name: str, what: str, value: int, limit: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise failure("OutOfRange", "Channel", name, f"{what} is a number from 1 to {limit}, not {value!r}")


def _checked_kinds(name: str, kinds: Iterable[str] | None) -> tuple[str, ...]:
    allowed = tuple(kinds or ())
    for kind in allowed:
        if kind not in KINDS[:-1]:
            raise failure("OutOfRange", "Channel", name, f"{kind!r} is none of {', '.join(KINDS[:-1])}")
    return allowed


def _bell() -> int:
    """A pipe that is open at both ends under one descriptor."""
    reading, writing = os.pipe()
    try:
        return os.open(f"/proc/self/fd/{reading}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(reading)
        os.close(writing)


def _check_room(name: str, size: int) -> None:
    """The system reserves more than it has and ends a process later: look before. Raises OSError ENOMEM."""
    available = _available_memory()
    if available is not None and size > available:
        raise OSError(errno.ENOMEM, f"{available >> 20} MiB are available")


def _available_memory() -> int | None:
    """Bytes that this process could still have, as far as the system says."""
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _not_made(name: str, plan: Plan, error: OSError) -> ChannelError:
    return refused(error, "Channel", name, f"{plan.size} bytes cannot be shared", bytes=plan.size)


def _state(ended: bool, writers: list[int], readers: list[int]) -> str:
    if ended or set(readers) == {CLOSED}:
        return "destroyed"
    if set(writers) == {CLOSED}:
        return "draining"
    return "created" if set(writers + readers) == {ABSENT} else "active"


def _let_go(process: int, memory: Memory, descriptors: list[int]) -> None:
    if os.getpid() != process:  # forked from the one that holds it
        return
    memory.close()
    for descriptor in descriptors:
        os.close(descriptor)
