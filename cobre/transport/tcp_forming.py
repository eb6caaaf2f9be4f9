"""Forming a tcp group, rank 0's part: it keeps the door until all ranks are in and linked with each other."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cobre.errors import CommError
from cobre.transport.failures import Group, name_ranks
from cobre.transport.handshake import (
    FRAME_LIMIT,
    Caller,
    CoordinatorTalk,
    OtherVersion,
    Refusal,
    Say,
    Stranger,
    Terms,
    Ticket,
    pack_places,
)
from cobre.transport.tcp_address import Address
from cobre.transport.tcp_door import Connection, Gone, Listener, Loop, listen
from cobre.transport.tcp_links import Link, Waiter
from cobre.transport.tcp_streams import CHANNELS, LinkMaker

__all__ = ["SALT", "Formed", "Plan", "attend"]

SALT = 32
"""Bytes that make the tickets of each forming its own."""


@dataclass(frozen=True)
class Plan:
    """What a rank needs to know to take part.

    coordinator: where rank 0 is called. door: where rank 0 listens. bind: where
    this rank listens for others, if it was told. make: (loop, host to listen at, host to be called at) -> LinkMaker.
    """

    group: Group
    terms: Terms
    token: bytes
    coordinator: Address
    door: str
    bind: Address | None
    timeout: float
    make: Callable[[Loop, str, str], LinkMaker]
    announce: Callable[[str], object] | None = None
    cancelled: Callable[[], bool] | None = None

    @property
    def called_off(self) -> bool:
        """Whether this rank is to give up."""
        return self.cancelled is not None and self.cancelled()


Formed = tuple[Mapping[int, Link], Waiter]


def attend(plan: Plan) -> Formed:
    """Rank 0's part. Raises CommError: AddressInUse, Timeout, Mismatch, RankLost."""
    with contextlib.closing(Loop()) as loop, contextlib.ExitStack() as held:
        door = _Door(plan, loop, held)
        door.await_ranks()
        door.await_links()
        return door.maker.finish()


class _Door:
    def __init__(self, plan: Plan, loop: Loop, held: contextlib.ExitStack) -> None:
        self._plan = plan
        self._loop = loop
        self._deadline = time.monotonic() + plan.timeout
        self._talks: dict[Connection, CoordinatorTalk] = {}
        self._ranks: dict[int, tuple[Connection, CoordinatorTalk, Caller]] = {}
        self._ready: set[int] = set()
        self._welcomed = False
        stream = self._bind()
        self._listener = Listener(loop, stream, FRAME_LIMIT, self._heard)
        held.callback(self._close)
        self._listener.on_end(self._forget)
        self.maker = plan.make(loop, plan.door, "")  # the others know where they met rank 0
        held.callback(self.maker.close)
        if plan.announce is not None:
            plan.announce(plan.coordinator.at(int(stream.getsockname()[1])))

    def _bind(self) -> socket.socket:
        host, port = self._plan.door, self._plan.coordinator.port
        try:
            return listen(host, port, 256)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                kind, advice = "AddressInUse", "another run may be there: give another port (COBRE_TCP_PORT)"
            else:
                kind, advice = "InvalidArgument", "give an address of this host, and a port that this user may take"
            reason = error.strerror or error
            raise self._plan.group.error(
                kind, "connect", f"cannot listen at {host}, port {port}: {reason}", advice, address=f"{host}:{port}"
            ) from None

    def await_ranks(self) -> None:
        """Returns when every rank has proved itself and been welcomed."""
        group = self._plan.group
        while absent := self._absent():
            self._turn(absent)
        salt = os.urandom(SALT)
        self.maker.start(Ticket(self._plan.token, salt, self._plan.terms), [], self._left())
        self._welcomed = True
        for rank in range(1, group.size):
            below = [self.maker.place, *(self._ranks[other][2].place for other in range(1, rank))]
            roster = [(place.host, place.ports_for(rank - at, len(CHANNELS))) for at, place in enumerate(below)]
            self._say(rank, Say.WELCOME, salt + pack_places(roster))

    def await_links(self) -> None:
        """Returns when every rank has told that it is linked with all others, and has been told that all are."""
        others = set(range(1, self._plan.group.size))
        while absent := sorted((others - self._ready) | set(self.maker.missing())):
            self.maker.poke()
            self._turn(absent)
        for rank in others:
            self._say(rank, Say.GO)

    def _absent(self) -> list[int]:
        return [rank for rank in range(1, self._plan.group.size) if rank not in self._ranks]

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _turn(self, absent: list[int]) -> None:
        if self._left() <= 0.0:
            group = self._plan.group
            raise self._fail(group.timed_out("connect", absent, self._plan.timeout))
        if self._plan.called_off:
            raise self._fail(self._plan.group.called_off())
        self._loop.once(min(self._left(), self.maker.pace))

    def _heard(self, connection: Connection, message: bytes) -> None:
        """A message from a caller that has not proved itself yet."""
        talk = self._talks.get(connection)
        if talk is None:
            talk = self._talks[connection] = CoordinatorTalk(self._plan.token, self._plan.terms, os.urandom(16))
        try:
            _, answer = talk.hear(message)
        except OtherVersion:
            connection.write(CoordinatorTalk.other_version())
            raise Stranger("another version") from None
        if answer:
            connection.write(answer)
        if talk.caller is not None:
            self._admit(connection, talk, talk.caller)

    def _admit(self, connection: Connection, talk: CoordinatorTalk, caller: Caller) -> None:
        group, terms = self._plan.group, self._plan.terms
        if not caller.same_run:
            self._refuse(connection, talk, "it belongs to another run (the run ids differ)")
        if caller.generation != terms.generation:
            again = caller.generation > terms.generation  # the next generation will find its own coordinator here
            self._refuse(
                connection, talk, f"this is generation {terms.generation}, not {caller.generation}", again=again
            )
        if caller.size != group.size:
            raise self._fail(
                group.error(
                    "Mismatch",
                    "connect",
                    f"rank {caller.rank} was told that the group has {caller.size} ranks, others {group.size}",
                    "give all ranks the same size",
                    ranks=[caller.rank],
                ),
                extra=(connection, talk),
            )
        if not 0 < caller.rank < group.size:
            self._refuse(connection, talk, f"rank {caller.rank} is none of 1 to {group.size - 1}")
        if caller.rank in self._ranks or self._welcomed:
            self._refuse(connection, talk, f"rank {caller.rank} is already there")
        self._listener.release(connection)
        del self._talks[connection]
        self._ranks[caller.rank] = connection, talk, caller
        self._loop.add(connection.stream, lambda: self._told(caller.rank))
        self._call_the_roll()

    def _forget(self, connection: Connection) -> None:
        self._talks.pop(connection, None)

    def _refuse(self, connection: Connection, talk: CoordinatorTalk, why: str, again: bool = False) -> None:
        connection.write(talk.say(Say.REFUSED, Refusal("Refused", why, again).pack()))
        raise Stranger(why)

    def _call_the_roll(self) -> None:
        absent = self._absent()
        for rank in list(self._ranks):
            self._say(rank, Say.ROLL, struct.pack(f"<{len(absent)}I", *absent))

    def _told(self, rank: int) -> None:
        """Something from a rank that is in."""
        connection, talk, _ = self._ranks[rank]
        try:
            while (message := connection.read()) is not None:
                talk.hear(message)
                self._ready.add(rank)
        except (Gone, Stranger):
            absent = [other for other in self._absent() if other != rank]
            alone = f"; {name_ranks(absent)} had not come" if absent else ""
            how = f"left while the group was formed{alone}"
            raise self._fail(self._plan.group.lost("connect", rank, how)) from None

    def _say(self, rank: int, say: Say, body: bytes = b"") -> None:
        connection, talk, _ = self._ranks[rank]
        with contextlib.suppress(Gone):  # read as such in its turn
            connection.write(talk.say(say, body))

    def _fail(self, error: CommError, extra: tuple[Connection, CoordinatorTalk] | None = None) -> CommError:
        """Tells every rank that waits why the group is not formed."""
        body = Refusal(error.kind, error.message, ranks=tuple(error.context.get("ranks", ()))).pack()
        callers = [(connection, talk) for connection, talk, _ in self._ranks.values()]
        for connection, talk in [*callers, *([extra] if extra else [])]:
            with contextlib.suppress(Gone):
                connection.write(talk.say(Say.REFUSED, body))
        return error

    def _close(self) -> None:
        self._listener.close()
        for connection, _, _ in self._ranks.values():
            connection.close()
