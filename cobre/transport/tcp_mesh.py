"""The ranks of a tcp group as one of them sees it: a link with every other, and the rules for breaking down together.

Every rank is connected with every other, so that each sees a death for itself and is told of a failure by the rank
that met it; no rank has to pass anything on. A collective is a series of exchanges, each of which sends and receives
at once and so cannot deadlock however long the payloads.

A rank whose patience is nearly at its end asks the ranks it waits for whom they wait for: those that do not answer
are the ones that are missing, not those that wait as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from cobre.errors import CommError
from cobre.transport.failures import Group, name_ranks
from cobre.transport.tcp_links import Link, LinkDown, Waiter
from cobre.transport.wire import HEADER, Abort, Answer, Ask, Goodbye, Notice, Signatures, header

__all__ = ["Mesh", "Part"]

Part = tuple[int, memoryview]
"""A peer, and the bytes that go to it or come from it."""

_Result = TypeVar("_Result")
_PATIENCE = 5.0  # seconds that ``close`` gives another thread to leave its collective
_GRACE = 0.25  # seconds before the end of a wait at which the others are asked, or a tenth of the wait


class _Outgoing:
    """What is left to send to one peer."""

    __slots__ = ("link", "views")

    def __init__(self, link: Link, views: list[memoryview]) -> None:
        self.link = link
        self.views = views

    def advance(self) -> bool:
        """Sends what goes without waiting; whether that was all."""
        while self.views:
            count = self.link.send(self.views)
            if not count:
                return False
            _drop(self.views, count)
        return True


class _Incoming:
    """What is left to receive from one peer, and the header that must stand before it."""

    __slots__ = ("expected", "found", "link", "missing", "views")

    def __init__(self, link: Link, expected: bytes, view: memoryview) -> None:
        self.link = link
        self.expected: bytes | None = expected
        self.found = bytearray(HEADER)
        self.missing = HEADER
        self.views = [memoryview(self.found), view] if len(view) else [memoryview(self.found)]

    def advance(self) -> bool:
        """Receives what is there; whether that was all. Raises _Foreign for another header."""
        while self.views:
            count = self.link.receive(self.views)
            if not count:
                return False
            _drop(self.views, count)
            if self.expected is not None:
                self.missing -= count
                if self.missing <= 0:
                    if self.found != self.expected:
                        raise _Foreign(self.link.peer)
                    self.expected = None
        return True


class _Foreign(Exception):
    """This peer sent what belongs to another call."""


class Mesh:
    """Links to all other ranks, owned; one collective at a time, ``abort`` and ``close`` from any thread.

    A collective goes through ``run``; an exception that leaves it breaks the group. The links belong to the thread
    inside ``run``, and to whoever holds the mutex while none is.
    """

    def __init__(self, group: Group, links: Mapping[int, Link], waiter: Waiter, timeout: float) -> None:
        self.timeout = timeout
        self.failure: Abort | None = None
        self.closed = False
        self._group = group
        self._links = links
        self._waiter = waiter
        self._signatures = Signatures()
        self._sequence = 0
        self._signature = b""
        self._operation = ""
        self._deadline = 0.0
        self._asked = False
        self._answers: dict[int, tuple[int, ...]] = {}
        self._left: dict[int, int] = {}  # peers that said goodbye, after how many collectives
        self._owner: int | None = None  # the thread inside ``run``
        self._mutex = threading.Lock()
        self._gone = threading.Event()  # given back everything
        self._told = False

    def check(self, operation: str) -> None:
        """Raises the CommError that a call gets on a group that is closed or broken."""
        if self.closed:
            raise self._group.closed(operation)
        if self.failure is not None:
            raise self._broken(operation, self.failure)

    def run(self, operation: str, call: tuple[Any, ...], steps: Callable[[], _Result]) -> _Result:
        """A collective: ``steps`` makes its exchanges. ``call`` is what must be the same on all ranks."""
        try:
            self._owner = threading.get_ident()  # first this, then the check: ``abort`` and ``close`` do the reverse
            self.check(operation)
            self._operation = operation
            self._signature = self._signatures.of((operation, *call))
            self._deadline = time.monotonic() + self.timeout
            self._asked = False
            self._sequence += 1
            return steps()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._owner = None
            if self.closed or self.failure is not None:
                self._settle()

    def exchange(self, out: Sequence[Part], into: Sequence[Part]) -> None:
        """Sends and receives all of it. Raises CommError.

        out: sent whole, header first; may be changed when this returns. into: filled whole.
        """
        try:
            self._exchange(out, into)
        except LinkDown as down:
            raise self._down(down) from None
        except _Foreign as foreign:
            raise self._group.mismatch(self._operation, foreign.args) from None

    def _exchange(self, out: Sequence[Part], into: Sequence[Part]) -> None:
        links = self._links
        generation, sequence, signature = self._group.generation, self._sequence, self._signature
        sending = []
        for peer, view in out:
            head = memoryview(header(generation, sequence, signature, len(view)))
            item = _Outgoing(links[peer], [head, view] if len(view) else [head])
            if not item.advance():
                sending.append(item)
        receiving = []
        for peer, view in into:
            part = _Incoming(links[peer], header(generation, sequence, signature, len(view)), view)
            if not part.advance():
                receiving.append(part)
        while sending or receiving:
            self._wait(sending, receiving)
            sending = [item for item in sending if not item.advance()]
            receiving = [part for part in receiving if not part.advance()]

    def _wait(self, sending: list[_Outgoing], receiving: list[_Incoming]) -> None:
        left = self._deadline - time.monotonic()
        grace = min(_GRACE, 0.1 * self.timeout)
        waiting = [item.link for item in sending], [part.link for part in receiving]
        if left <= grace and not self._asked:
            self._asked = True
            self._answers = {}
            self._post(Ask())
        if self._waiter.wait(*waiting, left if self._asked else left - grace):
            self._heed(waiting)
        elif self._asked and time.monotonic() >= self._deadline:
            raise self._group.timed_out(self._operation, self._missing(waiting), self.timeout)

    def _heed(self, waiting: tuple[list[Link], list[Link]] = ([], [])) -> None:
        """Reads all notices, answers, and raises if the group is broken or a peer is gone that has not finished."""
        if self.closed:
            raise self._group.closed(self._operation)
        if self.failure is not None:
            raise self._broken(self._operation, self.failure)
        dead = {}
        for link in self._links.values():
            try:
                for notice in link.notices():
                    self._take(link, notice, waiting)
            except LinkDown as down:
                self._waiter.forget(link)
                if self._left.get(link.peer, -1) < self._sequence:
                    dead[link.peer] = str(down)
        if self.failure is not None:
            raise self._broken(self._operation, self.failure)
        gone = [peer for peer, collectives in self._left.items() if collectives < self._sequence]
        if died := [peer for peer in dead if peer not in self._left]:
            raise self._lost(died, f"died, or {dead[died[0]]}")
        if gone:
            raise self._lost(gone, "closed its communicator")

    def _take(self, link: Link, notice: Notice, waiting: tuple[list[Link], list[Link]]) -> None:
        if isinstance(notice, Abort):
            if self.failure is None:
                self.failure = Abort(notice.kind, notice.ranks, f"rank {link.peer} gave up: {notice.reason}")
                self._told = True  # by the rank that met it
        elif isinstance(notice, Goodbye):
            self._left[link.peer] = notice.collectives
        elif isinstance(notice, Ask):
            link.post(Answer(_peers(waiting)).pack())
        else:
            self._answers[link.peer] = notice.ranks

    def _missing(self, waiting: tuple[list[Link], list[Link]]) -> list[int]:
        """The ranks at the end of the chain of waits: those that did not answer."""
        seen: set[int] = {self._group.rank}
        open_ = list(_peers(waiting))
        silent = set()
        while open_:
            peer = open_.pop()
            if peer in seen:
                continue
            seen.add(peer)
            if peer in self._answers:
                open_ += self._answers[peer]
            else:
                silent.add(peer)
        return sorted(silent or set(_peers(waiting)))

    def _down(self, down: LinkDown) -> CommError:
        """The error for a broken payload stream: the notices beside it know more."""
        try:
            self._heed()
        except CommError as error:
            return error
        peers = [link.peer for link in self._links.values() if link.finished] or [down.peer]
        return self._lost(peers, f"died, or {down}")

    def _lost(self, ranks: list[int], how: str) -> CommError:
        if len(ranks) == 1:
            return self._group.lost(self._operation, ranks[0], how)
        return self._group.error(
            "RankLost",
            self._operation,
            f"{name_ranks(sorted(ranks))} {how}",
            "close, and form the group again",
            ranks=sorted(ranks),
        )

    def _fail(self, error: BaseException) -> None:
        """Takes note of why the group is broken."""
        if self.failure is not None or self.closed:
            return
        self._sequence -= 1
        if isinstance(error, CommError):
            self.failure = Abort(error.kind, tuple(error.context.get("ranks", ())), error.message)
        else:
            self.failure = Abort("Aborted", (), f"{type(error).__name__} in {self._operation}: {error}")

    def _broken(self, operation: str, failure: Abort) -> CommError:
        if failure.kind == "Aborted":
            return self._group.aborted(operation, failure.reason, failure.ranks)
        return self._group.error(
            failure.kind,
            operation,
            f"the group is broken: {failure.reason}",
            "close, and form the group again",
            ranks=list(failure.ranks),
        )

    def abort(self, reason: str) -> None:
        """Breaks the group and tells the others; returns at once, from any thread."""
        if self.closed or self.failure is not None:
            return
        self.failure = Abort("Aborted", (), reason)
        self._waiter.wake()
        self._settle()

    def close(self) -> None:
        """Leaves the group; a collective under way in another thread raises Closed first."""
        self.closed = True
        self._waiter.wake()
        self._settle()
        if self._owner != threading.get_ident():  # else in a signal handler, on top of the collective
            self._gone.wait(_PATIENCE)

    def _settle(self) -> None:
        """Says and gives back what is due, unless a collective is under way: it does so at its end."""
        with self._mutex:
            if self._owner is not None or self._gone.is_set():
                return
            if self.failure is not None and not self._told:
                self._told = True
                self._post(self.failure)
            if self.closed:
                if self.failure is None:
                    self._post(Goodbye(self._sequence))
                for link in self._links.values():
                    link.close()
                self._waiter.close()
                self._gone.set()

    def _post(self, notice: Notice) -> None:
        data = notice.pack()
        for link in self._links.values():
            if not link.finished:
                link.post(data)


def _peers(waiting: tuple[Iterable[Link], Iterable[Link]]) -> tuple[int, ...]:
    return tuple({link.peer for links in waiting for link in links})


def _drop(views: list[memoryview], count: int) -> None:
    """Takes ``count`` bytes off the front."""
    while views and count >= len(views[0]):
        count -= len(views.pop(0))
    if count:
        views[0] = views[0][count:]
