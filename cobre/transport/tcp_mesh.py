"""The ranks of a tcp group as one of them sees it: a link with every other, and the rules for breaking down together.

Every rank is connected with every other, so that each sees a death for itself and is told of a failure by the rank
that met it; no rank has to pass anything on. A collective is a series of exchanges, each of which sends and receives
at once and so cannot deadlock however long the payloads.

A rank whose patience is nearly at its end asks the ranks it waits for whom they wait for: those that do not answer
are the ones that are missing, not those that wait as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from threading import get_ident
from time import monotonic
from typing import Any

from cobre.errors import CommError
from cobre.transport.failures import Group, name_ranks
from cobre.transport.tcp_links import Link, LinkDown, Waiter
from cobre.transport.wire import HEADER, Abort, Answer, Ask, Goodbye, Notice, header

__all__ = ["PIECE", "Mesh", "Part"]

Part = tuple[int, memoryview]
"""A peer, and the bytes that go to it or come from it."""

PIECE = 1 << 18
"""Bytes that are sent, or copied aside, at a time: the processor's cache holds them until the second of the two."""

_NO_WORK: Iterator[int] = iter(())
_PATIENCE = 5.0  # seconds that ``close`` gives another thread to leave its collective
_GRACE = 0.25  # seconds before the end of a wait at which the others are asked, or a tenth of the wait


class _Transfer:
    """What is left to send to one peer, or to receive from it."""

    __slots__ = ("expected", "found", "link", "unread", "views")

    def __init__(self, link: Link, views: list[memoryview], found: bytearray, expected: bytes) -> None:
        self.link = link
        self.views = views
        self.found = found  # takes the header that comes
        self.expected = expected
        self.unread = HEADER

    def send(self) -> int:
        """Sends what goes without waiting; how much that was."""
        count = self.link.send(self.views[:2])
        _drop(self.views, count)
        return count

    def receive(self) -> int:
        """Receives what is there; how much that was. Raises _Foreign for another header."""
        count = self.link.receive(self.views)
        _drop(self.views, count)
        if self.unread > 0:
            self.unread -= count
            if self.unread <= 0 and self.found != self.expected:
                raise _Foreign(self.link.peer)
        return count


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
        self._sequence = 0
        self._signature = b""
        self._operation = ""
        self._deadline = 0.0
        self._asked = False
        self._answers: dict[int, tuple[int, ...]] = {}
        self._left: dict[int, int] = {}  # peers that have left, after how many collectives
        self._later: Abort | None = None  # what has befallen ranks that are further on
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

    def run(self, operation: str, signature: bytes, steps: Callable[..., None], *arguments: Any) -> None:
        """A collective: ``steps(*arguments)`` makes its exchanges; ranks whose signatures differ find a mismatch."""
        try:
            self._owner = get_ident()  # first this, then the check: ``abort`` and ``close`` do the reverse
            if self.closed or self.failure is not None:
                self.check(operation)
            self._operation = operation
            self._signature = signature
            self._deadline = monotonic() + self.timeout
            self._asked = False
            self._sequence += 1
            if self._later is not None and self._later.sequence <= self._sequence:
                self.failure, self._told = self._later, True
                raise self._broken(operation, self.failure)
            steps(*arguments)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._owner = None
            if self.closed or self.failure is not None:
                self._settle()

    def exchange(self, out: Sequence[Part], into: Sequence[Part], aside: Iterator[int] = _NO_WORK) -> None:
        """Sends and receives all of it. Raises CommError.

        out: sent whole, header first; may be changed when this returns. into: filled whole. aside: work of this rank's
        own, done a step at a time in between, and wholly when this returns; each step yields a number above 0.
        """
        try:
            self._exchange(out, into, aside)
        except LinkDown as down:
            raise self._down(down) from None
        except _Foreign as foreign:
            raise self._group.mismatch(self._operation, foreign.args) from None

    def _exchange(self, out: Sequence[Part], into: Sequence[Part], aside: Iterator[int]) -> None:
        links = self._links
        generation, sequence, signature = self._group.generation, self._sequence, self._signature
        length, head = -1, b""
        sending: list[_Transfer] = []
        for peer, view in out:
            if len(view) != length:
                length = len(view)
                head = header(generation, sequence, signature, length)
            if length > PIECE:
                sending.append(_Transfer(links[peer], _pieces(head, view), bytearray(), head))
                continue
            link = links[peer]
            count = link.send((head, view) if length else (head,))
            if count != HEADER + length:
                views = [memoryview(head), view]
                _drop(views, count)
                sending.append(_Transfer(link, views, bytearray(), head))
        receiving: list[_Transfer] = []
        for peer, view in into:
            if len(view) != length:
                length = len(view)
                head = header(generation, sequence, signature, length)
            found = bytearray(HEADER)
            transfer = _Transfer(links[peer], [memoryview(found), view], found, head)
            if not length:
                transfer.views.pop()
            receiving.append(transfer)
        self._finish(sending, receiving, aside)

    def _finish(self, sending: list[_Transfer], receiving: list[_Transfer], aside: Iterator[int]) -> None:
        """Goes on until nothing is left, a piece of each transfer in turn."""
        while True:
            moved = next(aside, 0)
            for transfer in sending:
                moved += transfer.send()
            for transfer in receiving:
                moved += transfer.receive()
            if moved:
                sending = [transfer for transfer in sending if transfer.views]
                receiving = [transfer for transfer in receiving if transfer.views]
            if not moved:
                if not sending and not receiving:
                    return
                self._wait(sending, receiving)

    def _wait(self, sending: list[_Transfer], receiving: list[_Transfer]) -> None:
        left = self._deadline - monotonic()
        grace = min(_GRACE, 0.1 * self.timeout)
        waiting = [item.link for item in sending], [part.link for part in receiving]
        if left <= grace and not self._asked:
            self._asked = True
            self._answers = {}
            self._post(Ask())
        if self._waiter.wait(*waiting, left if self._asked else left - grace):
            self._heed(waiting)
        elif self._asked and monotonic() >= self._deadline:
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
            told = replace(notice, reason=f"rank {link.peer} gave up: {notice.reason}")
            if notice.sequence > self._sequence:
                self._later = self._later or told
                self._left[link.peer] = notice.sequence - 1
            elif self.failure is None:
                self.failure, self._told = told, True  # by the rank that met it
        elif isinstance(notice, Goodbye):
            self._left.setdefault(link.peer, notice.collectives)
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
        failed, self._sequence = self._sequence, self._sequence - 1
        if isinstance(error, CommError):
            self.failure = Abort(error.kind, tuple(error.context.get("ranks", ())), error.message, failed)
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
        if self._owner != get_ident():  # else in a signal handler, on top of the collective
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


def _pieces(head: bytes, view: memoryview) -> list[memoryview]:
    return [memoryview(head), *(view[start : start + PIECE] for start in range(0, len(view), PIECE))]


def _drop(views: list[memoryview], count: int) -> None:
    """Takes ``count`` bytes off the front."""
    while views and count >= len(views[0]):
        count -= len(views.pop(0))
    if count:
        views[0] = views[0][count:]
