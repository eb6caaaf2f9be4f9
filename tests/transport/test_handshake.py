"""The talk between a rank and the coordinator: who is believed, and what becomes of everything else."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from cobre.transport import handshake
from cobre.transport.handshake import (
    FRAME_LIMIT,
    CoordinatorTalk,
    OtherVersion,
    Place,
    RankTalk,
    Say,
    Stranger,
    Terms,
    Ticket,
    pack_places,
    unpack_places,
)

TOKEN = b"the token of this run"
TERMS = Terms("run", 3, 4, curve=False)
HOME = Place("127.0.0.1", (4711,))


def talks(
    token: bytes = TOKEN, terms: Terms = TERMS, rank: int = 2, theirs: bytes = bytes(16)
) -> tuple[RankTalk, CoordinatorTalk]:
    return RankTalk(token, terms, rank, b"r" * 16), CoordinatorTalk(TOKEN, TERMS, theirs)


def proven(rank: RankTalk, coordinator: CoordinatorTalk) -> list[bytes]:
    """What the rank sent until it was believed."""
    _, challenge = coordinator.hear(rank.hello)
    assert rank.hear(challenge) == (Say.CHALLENGE, b"")
    proof = rank.say(Say.PROOF, HOME.pack())
    assert coordinator.hear(proof) == (Say.PROOF, b"")
    return [rank.hello, proof]


def test_a_rank_is_believed_with_all_that_it_said() -> None:
    rank, coordinator = talks()
    proven(rank, coordinator)
    caller = coordinator.caller
    assert caller is not None
    assert (caller.rank, caller.size, caller.generation) == (2, 4, 3)
    assert caller.same_run
    assert not caller.curve
    assert caller.place == HOME
    assert rank.hear(coordinator.say(Say.WELCOME, b"roster")) == (Say.WELCOME, b"roster")
    assert coordinator.hear(rank.say(Say.READY)) == (Say.READY, b"")
    assert rank.hear(coordinator.say(Say.GO)) == (Say.GO, b"")


def test_the_token_never_crosses_the_wire() -> None:
    rank, coordinator = talks()
    _, challenge = coordinator.hear(rank.hello)
    rank.hear(challenge)
    frames = [rank.hello, challenge, rank.say(Say.PROOF, HOME.pack()), coordinator.say(Say.GO)]
    assert all(TOKEN not in frame for frame in frames)


def test_a_rank_does_not_prove_itself_to_who_does_not_hold_the_token() -> None:
    rank, coordinator = talks(token=b"another")
    _, challenge = coordinator.hear(rank.hello)
    with pytest.raises(Stranger):
        rank.hear(challenge)


def test_a_rank_without_the_token_is_not_believed() -> None:
    rank, coordinator = talks(token=b"another")
    coordinator.hear(rank.hello)
    forged = handshake._Sealed(b"guess", b"rank", b"coordinator").seal(Say.PROOF, HOME.pack())
    with pytest.raises(Stranger):
        coordinator.hear(forged)
    assert coordinator.caller is None


def test_another_run_or_generation_is_told_apart() -> None:
    rank, coordinator = talks(terms=Terms("other run", 5, 4, curve=True))
    proven(rank, coordinator)
    assert coordinator.caller is not None
    assert not coordinator.caller.same_run
    assert coordinator.caller.generation == 5
    assert coordinator.caller.curve


def test_another_version_is_named_on_both_sides() -> None:
    rank, coordinator = talks()
    newer = bytearray(rank.hello)
    newer[9:11] = struct.pack("<H", 77)
    with pytest.raises(OtherVersion, match="77"):
        coordinator.hear(bytes(newer))
    with pytest.raises(OtherVersion, match=str(handshake.VERSION)):
        rank.hear(CoordinatorTalk.other_version())


def test_a_recorded_talk_cannot_be_replayed() -> None:
    recorded = proven(*talks())
    later = CoordinatorTalk(TOKEN, TERMS, b"n" * 16)
    later.hear(recorded[0])
    with pytest.raises(Stranger):
        later.hear(recorded[1])
    assert later.caller is None


def test_a_sealed_message_counts_once_and_in_its_turn() -> None:
    rank, coordinator = talks()
    proof = proven(rank, coordinator)[1]
    with pytest.raises(Stranger):
        coordinator.hear(proof)
    rank, coordinator = talks()
    proven(rank, coordinator)
    first, second = coordinator.say(Say.ROLL), coordinator.say(Say.GO)
    with pytest.raises(Stranger):
        rank.hear(second)
    assert rank.hear(first)[0] is Say.ROLL


def test_messages_do_not_turn_back_on_their_sender() -> None:
    rank, coordinator = talks()
    _, challenge = coordinator.hear(rank.hello)
    rank.hear(challenge)
    with pytest.raises(Stranger):
        rank.hear(rank.say(Say.PROOF))


def damaged(rng: random.Random, frame: bytes) -> bytes:
    """The frame with a bit turned, cut short, lengthened, or something else altogether."""
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: bytes(b ^ (1 << rng.randrange(8) if i == spot else 0) for i, b in enumerate(frame)),
        lambda: frame[: rng.randrange(len(frame))],
        lambda: frame + rng.randbytes(rng.randrange(1, FRAME_LIMIT - len(frame))),
        lambda: rng.randbytes(rng.randrange(FRAME_LIMIT)),
    )
    spot = rng.randrange(len(frame))
    return rng.choice(ways)()


def test_whatever_is_damaged_is_refused_and_nothing_else_happens() -> None:
    rng = random.Random(20240611)
    ticket = Ticket(TOKEN, b"salt", TERMS)
    for _ in range(3000):
        rank, coordinator = talks(theirs=rng.randbytes(16))
        hello = damaged(rng, rank.hello)
        try:
            _, challenge = coordinator.hear(hello)
        except (Stranger, OtherVersion):
            challenge = b""
        if challenge:  # it says something else, but it is a hello: its sender cannot go on
            with pytest.raises(Stranger):
                rank.hear(challenge)
        rank, coordinator = talks(theirs=rng.randbytes(16))
        _, challenge = coordinator.hear(rank.hello)
        with pytest.raises((Stranger, OtherVersion)):
            RankTalk(TOKEN, TERMS, 2, b"r" * 16).hear(damaged(rng, challenge))
        rank.hear(challenge)
        with pytest.raises(Stranger):
            coordinator.hear(damaged(rng, rank.say(Say.PROOF, HOME.pack())))
        with pytest.raises(Stranger):
            ticket.read(damaged(rng, ticket.write(3, 1, 0, rng.randbytes(16))), 1)
        with pytest.raises(Stranger):
            unpack_places(rng.randbytes(rng.randrange(12)), 3, 2)


def test_a_ticket_admits_one_rank_at_one_place_in_one_forming() -> None:
    ticket = Ticket(TOKEN, b"salt", TERMS)
    shown = ticket.write(3, 1, 1, bytes(16))
    assert ticket.read(shown, 1) == (3, 1)
    assert len(shown) == Ticket.SIZE
    assert len(ticket.stub(shown)) == Ticket.STUB
    with pytest.raises(Stranger):
        ticket.read(shown, 2)
    for other in (Ticket(TOKEN, b"pepper", TERMS), Ticket(b"other", b"salt", TERMS)):
        with pytest.raises(Stranger):
            other.read(shown, 1)
        assert other.stub(shown) != ticket.stub(shown)
    with pytest.raises(Stranger):
        Ticket(TOKEN, b"salt", Terms("run", 4, 4, curve=False)).read(shown, 1)


def test_places_come_back_as_they_were() -> None:
    places = [("10.0.0.1", (1, 2)), ("::1", (65535, 0)), ("", (7, 7))]
    assert unpack_places(pack_places(places), 3, 2) == places
    several = Place("h", (10, 11, 20, 21))
    assert Place.unpack(several.pack()) == several
    assert [several.ports_for(steps, 2) for steps in (1, 2)] == [(10, 11), (20, 21)]
    assert HOME.ports_for(3, 2) == (4711, 4711)
    with pytest.raises(Stranger):
        several.ports_for(3, 2)
