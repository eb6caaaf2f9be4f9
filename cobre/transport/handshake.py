"""How a rank and the coordinator of a tcp group come to trust each other: bytes in, bytes out, no sockets.

    rank                                        coordinator
    HELLO      magic, version, terms, nonce  ->
                                             <- CHALLENGE  own nonce, MAC over both: the coordinator proves itself first
    PROOF      where its listener stands     ->
                                             <- ROLL       who is missing, whenever that changes; or REFUSED, and why
                                             <- WELCOME    where the other ranks listen, and the group's salt
    READY      has met all others            ->
                                             <- GO         everybody has

Both hold the same token, which never crosses the wire. Everything after CHALLENGE is sealed: a number that counts up
and a MAC (keyed BLAKE2b) under a key made of the token, the HELLO and both nonces, so that nothing can be replayed, in
this talk or another. Layouts are fixed and lengths bounded; what does not fit raises ``Stranger`` unread.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from cobre.transport.digests import digest, mac, same

__all__ = [
    "FRAME_LIMIT",
    "ROSTER_LIMIT",
    "VERSION",
    "Caller",
    "CoordinatorTalk",
    "OtherVersion",
    "Place",
    "RankTalk",
    "Refusal",
    "Say",
    "Stranger",
    "Terms",
    "Ticket",
    "pack_places",
    "unpack_places",
]

VERSION = 1
FRAME_LIMIT = 4096
"""Bytes of a message that the coordinator reads."""
ROSTER_LIMIT = 1 << 20
"""Bytes of a message that a rank reads, once the coordinator has proved itself."""

NONCE = 16
_MAC = 32
_MAGIC = b"cobretcp"
_OPENING = struct.Struct("<8sBH")  # magic, message, version: these never change
_HELLO = struct.Struct("<8sBHBIII16s16s")  # ... curve, generation, rank, size, run id hashed, nonce
_CHALLENGE = struct.Struct("<8sBH16s32s")  # ... nonce, MAC
_SEALED = struct.Struct("<BI")  # message, count
_PLACE = struct.Struct("<HH")  # bytes of the host, number of ports; both follow
_REFUSAL = struct.Struct("<BBH")  # which kind, again, number of ranks; they and the words follow
_KINDS = ("Refused", "Mismatch", "Timeout", "RankLost", "Aborted")
_BLAMED = 256
_TICKET = struct.Struct("<8sBIIB16s32s")  # magic, message, from, to, channel, nonce, MAC


class Stranger(Exception):
    """The other side is not who it should be, or no rank at all. Nothing is said to it."""


class OtherVersion(Exception):
    """The other side speaks another version of the protocol; args: which."""


class Say(IntEnum):
    """The messages."""

    HELLO = 1
    CHALLENGE = 2
    PROOF = 3
    REFUSED = 4
    ROLL = 5
    WELCOME = 6
    READY = 7
    GO = 8
    TICKET = 9
    OTHER_VERSION = 10


@dataclass(frozen=True)
class Terms:
    """What the ranks of one group agree on."""

    run_id: str
    generation: int
    size: int
    curve: bool


@dataclass(frozen=True)
class Place:
    """Where a rank listens: one port for all ranks above it, or a few (one a channel) for each of them."""

    host: str
    ports: tuple[int, ...]

    def ports_for(self, steps: int, channels: int) -> tuple[int, ...]:
        """The ports for the rank so many steps above, one for each channel. Raises Stranger where there are none."""
        if len(self.ports) == 1:
            return self.ports * channels
        found = self.ports[(steps - 1) * channels : steps * channels]
        if len(found) != channels:
            raise Stranger("too few ports")
        return found

    def pack(self) -> bytes:
        host = self.host.encode()
        return _PLACE.pack(len(host), len(self.ports)) + struct.pack(
            f"<{len(host)}s{len(self.ports)}H", host, *self.ports
        )

    @staticmethod
    def unpack(data: bytes) -> Place:
        try:
            length, count = _PLACE.unpack_from(data)
            host, *ports = struct.unpack(f"<{length}s{count}H", data[_PLACE.size :])
            return Place(host.decode(), tuple(ports))
        except (struct.error, UnicodeDecodeError):
            raise Stranger("no place") from None


@dataclass(frozen=True)
class Caller:
    """What a rank said of itself, proven."""

    rank: int
    size: int
    generation: int
    same_run: bool
    curve: bool
    place: Place


@dataclass(frozen=True)
class Refusal:
    """Why a rank is turned away, or no group is formed: an error's kind and words. again: later it may be otherwise."""

    kind: str
    why: str
    again: bool = False
    ranks: tuple[int, ...] = ()

    def pack(self) -> bytes:
        ranks = self.ranks[:_BLAMED]
        head = _REFUSAL.pack(_KINDS.index(self.kind), self.again, len(ranks))
        return head + struct.pack(f"<{len(ranks)}I", *ranks) + self.why.encode()[: FRAME_LIMIT // 2]

    @staticmethod
    def unpack(data: bytes) -> Refusal:
        try:
            kind, again, count = _REFUSAL.unpack_from(data)
            ranks = struct.unpack_from(f"<{count}I", data, _REFUSAL.size)
            why = data[_REFUSAL.size + 4 * count :].decode("utf-8", "replace")
            return Refusal(_KINDS[kind], why, bool(again), ranks)
        except (struct.error, IndexError):
            raise Stranger("no refusal") from None


class _Sealed:
    """Messages that only the two who hold the key can make, each once and in order."""

    def __init__(self, key: bytes, ours: bytes, theirs: bytes) -> None:
        self._ours, self._theirs = mac(key, ours), mac(key, theirs)
        self._sent = self._heard = 0

    def seal(self, say: Say, body: bytes) -> bytes:
        data = _SEALED.pack(say, self._sent) + body
        self._sent += 1
        return data + mac(self._ours, data)

    def open(self, frame: bytes) -> tuple[Say, bytes]:
        if len(frame) < _SEALED.size + _MAC:
            raise Stranger("too short")
        data, seal = frame[:-_MAC], frame[-_MAC:]
        if not same(seal, mac(self._theirs, data)):
            raise Stranger("not sealed by the other side")
        say, count = _SEALED.unpack_from(data)
        if count != self._heard:
            raise Stranger("out of order")
        self._heard += 1
        try:
            return Say(say), data[_SEALED.size :]
        except ValueError:
            raise Stranger("no message") from None


class CoordinatorTalk:
    """The coordinator's side of the talk with one caller."""

    def __init__(self, token: bytes, terms: Terms, nonce: bytes) -> None:
        self._token = token
        self._terms = terms
        self._nonce = nonce
        self._hello = b""
        self._sealed: _Sealed | None = None
        self.caller: Caller | None = None

    def hear(self, frame: bytes) -> tuple[Say, bytes]:
        """The message, and what to send back at once (empty: nothing). Raises Stranger, OtherVersion."""
        if self._sealed is None:
            return Say.HELLO, self._challenge(frame)
        say, body = self._sealed.open(frame)
        if say is not (Say.PROOF if self.caller is None else Say.READY):
            raise Stranger("out of turn")
        if say is Say.PROOF:
            _, _, _, curve, generation, rank, size, run, _ = _HELLO.unpack(self._hello)
            ours = same(run, digest(self._terms.run_id.encode(), NONCE))
            self.caller = Caller(rank, size, generation, ours, bool(curve), Place.unpack(body))
        return say, b""

    def say(self, say: Say, body: bytes = b"") -> bytes:
        """A sealed message to the caller, who has said hello."""
        assert self._sealed is not None
        return self._sealed.seal(say, body)

    def _challenge(self, frame: bytes) -> bytes:
        if len(frame) < _OPENING.size:
            raise Stranger("too short")
        magic, say, version = _OPENING.unpack_from(frame)
        if magic != _MAGIC or say != Say.HELLO:
            raise Stranger("no rank")
        if version != VERSION:
            raise OtherVersion(version)
        if len(frame) != _HELLO.size:
            raise Stranger("no hello")
        self._hello = frame
        key = mac(self._token, b"talk", frame, self._nonce)
        self._sealed = _Sealed(key, b"coordinator", b"rank")
        return _CHALLENGE.pack(_MAGIC, Say.CHALLENGE, VERSION, self._nonce, mac(key, b"challenge"))

    @staticmethod
    def other_version() -> bytes:
        """Said to a caller of another version, before it ends."""
        return _OPENING.pack(_MAGIC, Say.OTHER_VERSION, VERSION)


class RankTalk:
    """A rank's side of its talk with the coordinator."""

    def __init__(self, token: bytes, terms: Terms, rank: int, nonce: bytes) -> None:
        self._token = token
        fields = (int(terms.curve), terms.generation, rank, terms.size, digest(terms.run_id.encode(), NONCE), nonce)
        self.hello = _HELLO.pack(_MAGIC, Say.HELLO, VERSION, *fields)
        self._sealed: _Sealed | None = None

    def hear(self, frame: bytes) -> tuple[Say, bytes]:
        """The message and its body. Raises Stranger, OtherVersion."""
        if self._sealed is not None:
            return self._sealed.open(frame)
        if len(frame) < _OPENING.size:
            raise Stranger("too short")
        magic, say, version = _OPENING.unpack_from(frame)
        if magic != _MAGIC:
            raise Stranger("no coordinator")
        if say == Say.OTHER_VERSION or version != VERSION:
            raise OtherVersion(version)
        if len(frame) != _CHALLENGE.size or say != Say.CHALLENGE:
            raise Stranger("no challenge")
        nonce, proof = _CHALLENGE.unpack(frame)[3:]
        key = mac(self._token, b"talk", self.hello, nonce)
        if not same(proof, mac(key, b"challenge")):
            raise Stranger("the coordinator does not hold the token")
        self._sealed = _Sealed(key, b"rank", b"coordinator")
        return Say.CHALLENGE, b""

    def say(self, say: Say, body: bytes = b"") -> bytes:
        """A sealed message to the coordinator, which has proved itself."""
        assert self._sealed is not None
        return self._sealed.seal(say, body)


class Ticket:
    """How two ranks of the group, each told of the other by the coordinator, know each other at a listener.

    salt: from WELCOME, fresh for each forming.
    """

    SIZE = _TICKET.size
    STUB = _MAC
    """Bytes of the answer."""

    def __init__(self, token: bytes, salt: bytes, terms: Terms) -> None:
        self._key = mac(token, b"links", salt, struct.pack("<II", terms.generation, terms.size))

    def write(self, rank: int, to: int, channel: int, nonce: bytes) -> bytes:
        """What rank ``rank`` sends first when it calls ``to``."""
        fields = struct.pack("<IIB16s", rank, to, channel, nonce)
        return _TICKET.pack(_MAGIC, Say.TICKET, rank, to, channel, nonce, mac(self._key, b"ticket", fields))

    def read(self, frame: bytes, to: int) -> tuple[int, int]:
        """The caller's rank and the channel. Raises Stranger."""
        if len(frame) != _TICKET.size:
            raise Stranger("no ticket")
        magic, say, rank, addressee, channel, nonce, proof = _TICKET.unpack(frame)
        fields = struct.pack("<IIB16s", rank, addressee, channel, nonce)
        if magic != _MAGIC or say != Say.TICKET or addressee != to:
            raise Stranger("no ticket for this rank")
        if not same(proof, mac(self._key, b"ticket", fields)):
            raise Stranger("a forged ticket")
        return rank, channel

    def stub(self, ticket: bytes) -> bytes:
        """The answer to a ticket, which shows that the rank that was called holds the token too."""
        return mac(self._key, b"stub", ticket)


def pack_places(places: Sequence[tuple[str, tuple[int, ...]]]) -> bytes:
    """Hosts and their ports, for WELCOME."""
    return b"".join(Place(host, ports).pack() for host, ports in places)


def unpack_places(data: bytes, count: int, channels: int) -> list[tuple[str, tuple[int, ...]]]:
    """Back again. Raises Stranger."""
    found, at = [], 0
    for _ in range(count):
        end = at + _PLACE.size + 2 * channels + (_PLACE.unpack_from(data, at)[0] if len(data) >= at + 4 else 0)
        place = Place.unpack(data[at:end])
        if len(place.ports) != channels:
            raise Stranger("no roster")
        found.append((place.host, place.ports))
        at = end
    return found
