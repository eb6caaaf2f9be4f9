"""Forming a tcp group: rank 0 keeps the door until all ranks are in and linked, the others knock."""

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
from cobre.transport.failures import Group
from cobre.transport.handshake import (
    FRAME_LIMIT,
    ROSTER_LIMIT,
    VERSION,
    Caller,
    CoordinatorTalk,
    OtherVersion,
    RankTalk,
    Say,
    Stranger,
    Terms,
    Ticket,
    pack_places,
    unpack_places,
)
from cobre.transport.tcp_address import Address
from cobre.transport.tcp_door import Connection, Gone, Listener, Loop, listen
from cobre.transport.tcp_links import Link, Waiter
from cobre.transport.tcp_streams import CHANNELS, LinkMaker

__all__ = ["Plan", "attend", "join"]

_SALT = 32
_REFUSAL = struct.Struct("<BB")  # which kind, whether it may be otherwise later
_KINDS = ("Refused", "Mismatch", "Timeout", "RankLost", "Aborted")
_SLICE = 0.5  # seconds between looks at the clock
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25  # seconds between knocks at a door that is not there


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


Formed = tuple[Mapping[int, Link], Waiter]


def attend(plan: Plan) -> Formed:
    """Rank 0's part. Raises CommError: AddressInUse, Timeout, Mismatch, RankLost."""
    with contextlib.closing(Loop()) as loop, contextlib.ExitStack() as held:
        door = _Door(plan, loop, held)
        door.await_ranks()
        door.await_links()
        return door.maker.finish()


def join(plan: Plan) -> Formed:
    """Another rank's part. Raises CommError: Refused, Timeout, Mismatch, RankLost."""
    with contextlib.closing(Loop()) as loop:
        return _Visit(plan, loop).run()


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
        salt = os.urandom(_SALT)
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
        connection.write(talk.say(Say.REFUSED, _refusal("Refused", why, again)))
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
            raise self._fail(self._plan.group.lost("connect", rank, "left while the group was formed")) from None

    def _say(self, rank: int, say: Say, body: bytes = b"") -> None:
        connection, talk, _ = self._ranks[rank]
        with contextlib.suppress(Gone):  # read as such in its turn
            connection.write(talk.say(say, body))

    def _fail(self, error: CommError, extra: tuple[Connection, CoordinatorTalk] | None = None) -> CommError:
        """Tells every rank that waits why the group is not formed."""
        body = _refusal(error.kind, error.message, False, error.context.get("ranks", ()))
        callers = [(connection, talk) for connection, talk, _ in self._ranks.values()]
        for connection, talk in [*callers, *([extra] if extra else [])]:
            with contextlib.suppress(Gone):
                connection.write(talk.say(Say.REFUSED, body))
        return error

    def _close(self) -> None:
        self._listener.close()
        for connection, _, _ in self._ranks.values():
            connection.close()


class _Visit:
    """A rank's way into the group."""

    def __init__(self, plan: Plan, loop: Loop) -> None:
        self._plan = plan
        self._loop = loop
        self._deadline = time.monotonic() + plan.timeout
        self._absent: list[int] | None = None
        self._pause = _FIRST_PAUSE
        self._last = "nobody listens there"

    def run(self) -> Formed:
        while True:
            with contextlib.closing(self._knock()) as door, contextlib.ExitStack() as held:
                try:
                    return self._enter(door, held)
                except _Again as again:
                    self._last = str(again)
            self._rest()

    def _knock(self) -> Connection:
        while True:
            for host in self._plan.coordinator.hosts:
                try:
                    address = host, self._plan.coordinator.port
                    return Connection(socket.create_connection(address, timeout=max(self._left(), 0.001)), FRAME_LIMIT)
                except OSError as error:
                    self._last = str(error.strerror or error)
            self._rest()

    def _rest(self) -> None:
        if self._left() <= self._pause:
            raise self._plan.group.error(
                "Timeout",
                "connect",
                f"no coordinator at {self._plan.coordinator} within {self._plan.timeout:g} s ({self._last})",
                "see that rank 0 runs, that the address is right, and that nothing between the hosts blocks the port",
                ranks=[0],
                address=str(self._plan.coordinator),
                timeout=self._plan.timeout,
            )
        time.sleep(self._pause)
        self._pause = min(2.0 * self._pause, _LONGEST_PAUSE)

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _enter(self, door: Connection, held: contextlib.ExitStack) -> Formed:
        plan, group = self._plan, self._plan.group
        talk = RankTalk(plan.token, plan.terms, group.rank, os.urandom(16))
        inbox = _Inbox(door)
        self._loop.add(door.stream, inbox.fill)
        held.callback(self._loop.remove, door.stream)
        try:
            door.write(talk.hello)
            self._await(talk, inbox, Say.CHALLENGE)
            door.limit = ROSTER_LIMIT
            maker = self._maker(door)
            held.callback(maker.close)
            door.write(talk.say(Say.PROOF, maker.place.pack()))
            welcome = self._await(talk, inbox, Say.WELCOME)
        except Gone as error:
            raise _Again(f"the coordinator {error}") from None
        except Stranger as error:
            raise self._unknown(error) from None
        try:
            maker.start(
                Ticket(plan.token, welcome[:_SALT], plan.terms), self._roster(welcome, door), max(self._left(), 0.1)
            )
            while absent := maker.missing():
                self._absent = absent
                maker.poke()
                self._turn(talk, inbox, pace=maker.pace)
            door.write(talk.say(Say.READY))
            self._await(talk, inbox, Say.GO)
        except (Gone, Stranger, OSError) as error:
            raise group.error(
                "RankLost", "connect", f"a rank left while the group was formed ({error})", ranks=[0]
            ) from None
        return maker.finish()

    def _maker(self, door: Connection) -> LinkMaker:
        """Listens where this rank was told to, else where it reaches the coordinator from; the latter can be called."""
        here, bind = str(door.stream.getsockname()[0]), self._plan.bind
        if bind is None:
            return self._plan.make(self._loop, here, here)
        return self._plan.make(self._loop, bind.hosts[0], here if bind.is_wildcard else bind.hosts[0])

    def _roster(self, welcome: bytes, door: Connection) -> list[tuple[str, tuple[int, ...]]]:
        places = unpack_places(welcome[_SALT:], self._plan.group.rank, len(CHANNELS))
        return [(host or str(door.stream.getpeername()[0]), ports) for host, ports in places]

    def _await(self, talk: RankTalk, inbox: _Inbox, wanted: Say) -> bytes:
        """The body of the next message, once what comes before it is dealt with."""
        while True:
            while (message := inbox.take()) is not None:
                say, body = self._take(talk, message)
                if say is wanted:
                    return body
            self._turn(talk, inbox, deal=False)

    def _turn(self, talk: RankTalk, inbox: _Inbox, deal: bool = True, pace: float = _SLICE) -> None:
        if self._left() <= 0.0:
            absent = self._absent if self._absent is not None else [0]
            raise self._plan.group.timed_out("connect", absent, self._plan.timeout)
        self._loop.once(min(self._left(), pace))
        while deal and (message := inbox.take()) is not None:
            self._take(talk, message)

    def _take(self, talk: RankTalk, message: bytes) -> tuple[Say, bytes]:
        try:
            say, body = talk.hear(message)
        except OtherVersion as error:
            raise self._plan.group.error(
                "Refused",
                "connect",
                f"the coordinator speaks version {error.args[0]} of the protocol, this rank {VERSION}",
                "run the same version of cobre everywhere",
            ) from None
        if say is Say.ROLL:
            self._absent = list(struct.unpack(f"<{len(body) // 4}I", body))
        elif say is Say.REFUSED:
            raise self._refused(body)
        return say, body

    def _refused(self, body: bytes) -> Exception:
        kind, again = _REFUSAL.unpack_from(body)
        count = struct.unpack_from("<H", body, _REFUSAL.size)[0]
        start = _REFUSAL.size + 2
        ranks = list(struct.unpack_from(f"<{count}I", body, start))
        why = body[start + 4 * count :].decode()
        if again:
            return _Again(why)
        told = f"the coordinator refused this rank: {why}" if _KINDS[kind] == "Refused" else f"rank 0 gave up: {why}"
        return self._plan.group.error(
            _KINDS[kind], "connect", told, "see how each rank of the group was started", ranks=ranks
        )

    def _unknown(self, error: Stranger) -> CommError:
        return self._plan.group.error(
            "Refused",
            "connect",
            f"what listens at {self._plan.coordinator} is not the coordinator of this run: {error}",
            "give all ranks the same token or the keys that were made together, and see that no other run has the port",
            address=str(self._plan.coordinator),
        )


class _Again(Exception):
    """The door may open to another knock."""


class _Inbox:
    """What the coordinator has said; that it has gone is heard after that."""

    def __init__(self, door: Connection) -> None:
        self._door = door
        self._held: list[bytes | Gone | Stranger] = []

    def fill(self) -> None:
        try:
            while (message := self._door.read()) is not None:
                self._held.append(message)
        except (Gone, Stranger) as error:
            self._held.append(error)

    def take(self) -> bytes | None:
        """The next message, if there is one. Raises Gone, Stranger."""
        if not self._held:
            return None
        first = self._held.pop(0)
        if isinstance(first, bytes):
            return first
        raise first


def _refusal(kind: str, why: str, again: bool, ranks: tuple[int, ...] = ()) -> bytes:
    blamed = struct.pack(f"<H{len(ranks)}I", len(ranks), *ranks)
    return _REFUSAL.pack(_KINDS.index(kind), again) + blamed + why.encode()
