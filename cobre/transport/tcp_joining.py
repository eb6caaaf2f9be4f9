"""Joining a tcp group, every other rank's part: to knock, to prove itself, to be linked with all others."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time

from cobre.errors import CommError
from cobre.transport.handshake import (
    FRAME_LIMIT,
    ROSTER_LIMIT,
    VERSION,
    OtherVersion,
    RankTalk,
    Refusal,
    Say,
    Stranger,
    Ticket,
    unpack_places,
)
from cobre.transport.tcp_door import Connection, Gone, Loop
from cobre.transport.tcp_forming import SALT, Formed, Plan
from cobre.transport.tcp_streams import CHANNELS, LinkMaker

__all__ = ["join"]

_SLICE = 0.05  # seconds between looks at the clock, and at whether this rank is to give up
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25  # seconds between knocks at a door that is not there
_GRACE = 1.0  # seconds


def join(plan: Plan) -> Formed:
    """Takes this rank into the group. Raises CommError: Refused, Timeout, Mismatch, RankLost."""
    with contextlib.closing(Loop()) as loop:
        return _Visit(plan, loop).run()


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
        if self._plan.called_off:
            raise self._plan.group.called_off()
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
        """Seconds. A rank that rank 0 knows waits a little longer than rank 0, which can tell it who is missing."""
        grace = 0.0 if self._absent is None else min(_GRACE, 0.5 * self._plan.timeout)
        return self._deadline + grace - time.monotonic()

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
                Ticket(plan.token, welcome[:SALT], plan.terms), self._roster(welcome, door), max(self._left(), 0.1)
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
        places = unpack_places(welcome[SALT:], self._plan.group.rank, len(CHANNELS))
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
        if self._plan.called_off:
            raise self._plan.group.called_off()
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
        refusal = Refusal.unpack(body)
        if refusal.again:
            return _Again(refusal.why)
        whose = "the coordinator refused this rank" if refusal.kind == "Refused" else "rank 0 gave up"
        return self._plan.group.error(
            refusal.kind,
            "connect",
            f"{whose}: {refusal.why}",
            "see how each rank of the group was started",
            ranks=list(refusal.ranks),
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
