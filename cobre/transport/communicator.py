"""The contract between ranks: what every backend does, and whoever writes another one has to do.

A group is ``size`` ranks, each in a process (or thread) of its own with a Communicator of its own. All make the same
collective calls in the same order: single program, multiple data. ``cobre.testing.communicators`` checks a backend
against this page.

**Arrays.** Buffers are numpy arrays of any plain dtype: fixed size, no references to objects. Contributions are read
in C order and need not be contiguous; what is returned is a new array unless the call says otherwise.

**Results** stand in rank order and are the same to the bit on all ranks and over every backend. Reductions go from
rank 0 upward: ``((s0 + s1) + s2) + ...``, so that they are deterministic.

**Errors.** Everything that goes wrong is a ``CommError`` with ``operation`` (the call that failed) and one of these
as its ``kind``:

    InvalidArgument   a wrong size, root, dtype or buffer: raised before anything is sent, on this rank alone; the
                      group is unharmed, and the call can be made again with better arguments
    ViewAlive         a view that an earlier ``allgatherv(copy=False)`` returned is still in use: likewise harmless
    OutOfMemory       shared memory for the call could not be had: raised on every rank, the group is unharmed
    AddressInUse      another process is where rank 0 should be (its port, its name): raised on rank 0 as it forms the
                      group
    Refused           this rank was turned away (its place is taken; tcp: wrong token, run id or generation), or who
                      answered is not rank 0 of this run: raised as the group forms
    Closed            this communicator was closed before the call, or in the middle of it
    Mismatch          the ranks did not make the same call (other operation, counts, dtype or order)
    RankLost          a rank died, closed its communicator or cannot be reached any more
    Timeout           ranks did not arrive within ``timeout`` seconds
    Aborted           ``abort()`` was called, or another rank gave up; its reason is in the message

``context`` holds ``backend, rank, size, generation`` (not for InvalidArgument, which has nothing to do with the group)
and, where ranks are to blame, ``ranks``: a list of them. A collective for which everything had come before the trouble
may still succeed; the next one raises. The
last five break the group: every later call raises too (after Closed: ``Closed``), every other rank that waits or
comes to wait gets an error, and no rank is given wrong data. A broken group is closed and formed again under a new
generation, in which nothing of the old one is heard.

**Threads.** The collectives of one communicator are made from one thread at a time. ``abort()`` and ``close()`` may be
called from any thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Communicator", "CompiledExchange", "Counts", "ReduceOp", "SharedRegion"]

Counts = Sequence[int] | NDArray[np.integer[Any]]


class ReduceOp(Enum):
    """How ``allreduce`` puts two elements together: ``np.add``, ``np.minimum`` or ``np.maximum``."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"

    __hash__ = object.__hash__  # members are looked up in every reduction; the usual one is a Python function


class SharedRegion(ABC):
    """An array that the leader writes and all ranks read; one copy in memory where ranks can share it."""

    array: NDArray[Any]
    """The region, of the shape and dtype asked for, zero at first. Only the leader's can be written to."""

    @property
    @abstractmethod
    def is_shared(self) -> bool:
        """Whether the ranks look at the same memory; else each holds a copy, which ``fence`` brings up to date."""

    @abstractmethod
    def fence(self) -> None:
        """Collective. What the leader wrote before its ``fence`` is what all ranks read after theirs.

        The leader must not write again until the others have finished reading: a second ``fence`` (or any other
        collective) on all ranks says so. Raises what ``Communicator.barrier`` raises.
        """

    @abstractmethod
    def close(self) -> None:
        """Gives up this rank's hold; not collective, may be called twice.

        The memory goes when the last rank has closed its region and dropped the arrays it took from it. Closing the
        communicator closes its regions.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class CompiledExchange(Protocol):
    """A function that compiled loops exchange parts with, between ``begin`` and ``end``, when no collective of the
    communicator may be called.

    function: the address of ``cobre_swap`` (see meet.c). claim: that of ``cobre_claim``, by which two ranks share units
    of work, None on one that is left over. state: that of what they are called with.
    """

    function: int
    claim: int | None
    state: int

    def begin(self) -> None:
        """The next collectives are the function's. Raises CommError where none can begin."""

    def wait(self) -> None:
        """The function said that others are late: returns when they are there. Raises CommError."""

    def end(self) -> float:
        """The next collectives are the communicator's; returns the seconds inside the function."""

    def swap(self, mine: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """One such exchange without a compiled loop, between other collectives: all (n,), rank after rank; None where
        they are too large for this. Raises CommError."""


class Communicator(ABC):
    """One rank's end of a group. As a context manager it closes itself."""

    backend: Literal["local", "shm", "tcp"] | str
    """What the group runs over."""

    rank: int
    """This rank, 0..size-1."""

    size: int
    """How many ranks the group has."""

    generation: int
    """Which forming of the group this is; ranks of different generations never meet."""

    timeout: float
    """Seconds that a collective waits for other ranks before it raises. May be set at any time between collectives."""

    @property
    def is_leader(self) -> bool:
        """Whether this rank is the one that writes shared regions: rank 0."""
        return self.rank == 0

    @abstractmethod
    def allgatherv(
        self, send: NDArray[Any], counts: Counts, *, out: NDArray[Any] | None = None, copy: bool = True
    ) -> NDArray[Any]:
        """Everybody's contribution, one after the other in rank order.

        send: this rank's contribution: ``counts[rank]`` elements, of any shape. counts: elements of each rank, the same
        on all ranks, as is the dtype. out: (sum(counts),), contiguous, of send's dtype: takes the result and is
        returned. copy: False permits a read-only view into shared memory instead of a copy, where the backend has one;
        the view holds until the next collective on this communicator, which raises ViewAlive while the view or a
        slice of it is in use. With ``out`` it has no effect.

        Returns a one-dimensional array of sum(counts) elements. ``send`` may be changed as soon as the call returns.
        Raises CommError; InvalidArgument for counts that are not ``size`` numbers from 0 up, a ``send`` of another
        size than ``counts[rank]``, a dtype that holds objects, or an unfit ``out``.
        """

    @abstractmethod
    def allreduce(
        self, send: NDArray[Any], op: ReduceOp = ReduceOp.SUM, *, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """The contributions of all ranks put together element by element, in rank order.

        send: of the same shape and dtype on all ranks; bool, integer, float or complex, summed in that dtype (integers
        wrap around; the sum of bools is "or"; complex numbers compare as numpy compares them). out: contiguous, of
        send's shape and dtype; may be ``send`` itself; takes the result and is returned.

        Returns an array of send's shape. Raises CommError; InvalidArgument for another dtype or op, or an unfit
        ``out``.
        """

    @abstractmethod
    def broadcast(self, buf: NDArray[Any], root: int = 0) -> None:
        """Copies the root's ``buf`` into everybody else's, in place.

        buf: of the same shape and dtype on all ranks; writeable on all but the root. Raises CommError; InvalidArgument
        for a root that is no rank, a dtype that holds objects or a buffer that cannot be written to.
        """

    @abstractmethod
    def barrier(self) -> None:
        """Returns when every rank has called it. What a rank wrote before is seen by the others after.

        Raises CommError.
        """

    def compiled(self) -> CompiledExchange | None:
        """For compiled loops; None where the backend has none. Alike on all ranks of one installation."""
        return None

    @abstractmethod
    def create_shared_region(self, shape: int | Sequence[int], dtype: DTypeLike) -> SharedRegion:
        """Collective. A zeroed array that the leader writes and all read; ``shape`` and ``dtype`` as on all ranks.

        Raises CommError; InvalidArgument for a negative shape or a dtype that holds objects, OutOfMemory on all ranks
        where there is no room for it.
        """

    @abstractmethod
    def split_local(self) -> Communicator:
        """Collective. A new communicator of the ranks on this host, in the order of their ranks here.

        Raises CommError. The new one is closed on its own; closing this one leaves it open.
        """

    @abstractmethod
    def abort(self, reason: str = "") -> None:
        """Breaks the group: every rank that waits or comes to wait gets a CommError that gives the reason.

        Not collective; from any thread; harmless on a communicator that is broken or closed. Returns at once.
        """

    @abstractmethod
    def close(self) -> None:
        """Leaves the group and gives back everything it holds; not collective, from any thread, may be called twice.

        A rank that then waits for this one gets a CommError (RankLost). Call it when all collectives are done: what
        another rank has not fetched yet is still delivered.
        """

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether ``close`` was called."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
