"""How a writer comes to a reader of a tcp channel: the talk of ``handshake``, over and over, without waiting.

The reader proves itself first, then the caller does, and says what it wants: one of the two streams of a writer, or an
answer. Neither is told a thing by somebody who does not hold the channel's token, nor are bytes taken from one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from cobre.transport.handshake import CoordinatorTalk, OtherVersion, Place, RankTalk, Say, Stranger, Terms
from cobre.transport.tcp_door import Connection, Gone, Listener, Loop

__all__ = ["ASKER", "Dial", "Door", "Refused", "Spot", "Visit", "Wish", "ask"]

ASKER = 0xFFFF_FFFF
"""The place of a caller that is no writer."""

_LIMIT = 4096  # bytes of a message of the talk
_ANSWER_LIMIT = 1 << 16
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1  # seconds between calls of a reader that is not there
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EINTR)


class Wish(IntEnum):
    """What a connection is for."""

    DATA = 1
    NOTES = 2
    ANSWER = 3


class Refused(Exception):
    """The reader, or whoever listens in its place, does not take the caller. kind: of the ChannelError that follows."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Spot:
    """A reader of a channel, as those find it who call: where it is, and what both must hold and agree on."""

    place: int
    host: str
    port: int
    token: bytes
    channel: str
    writers: int

    @property
    def terms(self) -> Terms:
        return Terms(self.channel, self.place, self.writers, curve=False)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Visit:
    """A caller that has proved itself. name: the same for both streams of a writer."""

    writer: int
    wish: Wish
    name: str


class Door:
    """The reader's side. Everything is called from ``loop``.

    free(writer): raises Refused where there is such a writer. arrived(visit, stream, welcome): takes over a stream of a
    writer, of which the loop knows nothing more, and welcomes it before anything else is sent there (raises Gone).
    asked(question): the answer to a question.
    """

    def __init__(
        self,
        loop: Loop,
        stream: socket.socket,
        spot: Spot,
        free: Callable[[int], None],
        arrived: Callable[[Visit, socket.socket, Callable[[], None]], None],
        asked: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._spot = spot
        self._free = free
        self._arrived = arrived
        self._asked = asked
        self._talks: dict[Connection, CoordinatorTalk] = {}
        self._listener = Listener(loop, stream, _LIMIT, self._heard)
        self._listener.on_end(self._forget)

    def close(self) -> None:
        self._listener.close()

    def _forget(self, connection: Connection) -> None:
        self._talks.pop(connection, None)

    def _heard(self, connection: Connection, message: bytes) -> None:
        talk = self._talks.get(connection)
        if talk is None:
            talk = self._talks[connection] = CoordinatorTalk(self._spot.token, self._spot.terms, os.urandom(16))
        try:
            say, answer = talk.hear(message)
        except OtherVersion:
            connection.write(talk.other_version())
            raise Stranger("another version") from None
        if answer:
            connection.write(answer)
        elif say is Say.PROOF:
            self._admit(connection, talk)

    def _admit(self, connection: Connection, talk: CoordinatorTalk) -> None:
        visit, told = self._visit(talk), b""
        try:
            self._check(visit, talk)
            if visit.wish is Wish.ANSWER:
                told = json.dumps(self._asked(json.loads(visit.name))).encode()
        except Refused as error:
            words = json.dumps({"kind": error.kind, "message": error.message[: _LIMIT // 4]})
            connection.write(talk.say(Say.REFUSED, words.encode()))
            raise Stranger(error.message) from None
        if visit.wish is Wish.ANSWER:
            connection.write(talk.say(Say.WELCOME, told))
            return
        self._listener.release(connection)
        del self._talks[connection]
        self._arrived(visit, connection.stream, lambda: connection.write(talk.say(Say.WELCOME)))

    def _visit(self, talk: CoordinatorTalk) -> Visit:
        caller = talk.caller
        assert caller is not None
        try:
            return Visit(caller.rank, Wish(caller.place.ports[0]), caller.place.host)
        except (IndexError, ValueError):
            raise Stranger("no wish") from None

    def _check(self, visit: Visit, talk: CoordinatorTalk) -> None:
        caller = talk.caller
        assert caller is not None
        if not caller.same_run or caller.size != self._spot.writers:
            raise Refused("OutOfRange", "it reads another channel, or one with other settings")
        if caller.generation != self._spot.place:
            raise Refused("OutOfRange", f"it is reader {self._spot.place}, not reader {caller.generation}")
        if visit.wish is Wish.ANSWER:
            return
        if not 0 <= visit.writer < self._spot.writers:
            raise Refused("OutOfRange", f"the channel has no writer {visit.writer}")
        self._free(visit.writer)


class Dial:
    """A caller's way to one stream. ``step`` goes on with what can be done without waiting."""

    def __init__(self, spot: Spot, visit: Visit) -> None:
        self.spot = spot
        self._visit = visit
        self._connection: Connection | None = None
        self._stream: socket.socket | None = None
        self._talk: RankTalk | None = None
        self._pause = _FIRST_PAUSE
        self._again = 0.0
        self.told = b""
        self.last = "nobody listens there"

    def step(self) -> Connection | None:
        """The connection, which belongs to the caller then, once the reader has taken it. Raises Refused."""
        try:
            if self._stream is None and not self._begin():
                return None
            if self._connection is None and not self._begun():
                return None
            return self._converse()
        except (Gone, OSError) as error:
            self._fail(error)
            return None

    def awaited(self) -> tuple[socket.socket, int] | None:
        """The stream and the event (of ``selectors``) that ``step`` waits for; None where it waits for ``pause``."""
        if self._stream is None:
            return None
        return self._stream, selectors.EVENT_WRITE if self._connection is None else selectors.EVENT_READ

    def pause(self) -> float:
        """Seconds until the reader is called again."""
        return max(self._again - time.monotonic(), 0.0)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = self._connection = self._talk = None

    def _begin(self) -> bool:
        """Calls the reader, if it is time to. Raises OSError."""
        if time.monotonic() < self._again:
            return False
        family = socket.AF_INET6 if ":" in self.spot.host else socket.AF_INET
        self._stream = socket.socket(family, socket.SOCK_STREAM)
        self._stream.setblocking(False)
        code = self._stream.connect_ex((self.spot.host, self.spot.port))
        if code not in _UNDER_WAY:
            raise OSError(code, os.strerror(code))
        return True

    def _begun(self) -> bool:
        """Says hello, if the connection stands. Raises OSError, Gone."""
        assert self._stream is not None
        if code := self._stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))
        try:
            if self._stream.getpeername() == self._stream.getsockname():  # a port of this host's own that nobody has
                raise Gone("nobody listens there")
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return False
            raise
        self._connection = Connection(self._stream, _ANSWER_LIMIT)
        self._talk = RankTalk(self.spot.token, self.spot.terms, self._visit.writer, os.urandom(16))
        self._connection.write(self._talk.hello)
        return True

    def _converse(self) -> Connection | None:
        """Goes on with the talk. Raises Gone, Refused."""
        assert self._connection is not None
        assert self._talk is not None
        while True:
            try:
                message = self._connection.read()
                if message is None:
                    return None
                say, body = self._talk.hear(message)
            except (Stranger, OtherVersion) as error:
                raise Refused("Unreachable", f"what listens there is not its reader: {error}") from None
            if say is Say.CHALLENGE:
                place = Place(self._visit.name, (self._visit.wish,))
                self._connection.write(self._talk.say(Say.PROOF, place.pack()))
            elif say is Say.REFUSED:
                told = json.loads(body)
                raise Refused(told["kind"], told["message"])
            elif say is Say.WELCOME:
                self.told = body
                connection, self._stream = self._connection, None
                return connection

    def _fail(self, error: Exception) -> None:
        self.last = str(getattr(error, "strerror", None) or error)
        self.close()
        self._again = time.monotonic() + self._pause
        self._pause = min(2.0 * self._pause, _LONGEST_PAUSE)


def ask(spots: Sequence[Spot], question: dict[str, Any], timeout: float) -> dict[int, dict[str, Any]]:
    """What readers answer, by their places, without those that are not there or say nothing for so many seconds."""
    dials = [Dial(spot, Visit(ASKER, Wish.ANSWER, json.dumps(question))) for spot in spots]
    end = time.monotonic() + timeout
    answers: dict[int, dict[str, Any]] = {}
    with contextlib.ExitStack() as held:
        for dial in dials:
            held.callback(dial.close)
        while dials and (left := end - time.monotonic()) > 0:
            dials = [dial for dial in dials if _goes_on(dial, answers)]
            awaited = [found for dial in dials if (found := dial.awaited())]
            with selectors.DefaultSelector() as selector:
                for stream, events in awaited:
                    selector.register(stream, events)
                if awaited:
                    selector.select(left)
    return answers


def _goes_on(dial: Dial, answers: dict[int, dict[str, Any]]) -> bool:
    """Whether there is more to wait for."""
    try:
        connection = dial.step()
    except Refused:
        return False
    if connection is not None:
        connection.close()
        answers[dial.spot.place] = json.loads(dial.told)
    return connection is None and dial.awaited() is not None
