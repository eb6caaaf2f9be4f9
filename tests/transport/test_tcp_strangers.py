"""Strangers at the coordinator's door, before a run and during it: its result is unharmed, its memory bounded."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cobre.errors import CommError
from cobre.testing.ranks import RankGroup, RankHost
from cobre.transport import create_communicator
from cobre.transport.handshake import FRAME_LIMIT, RankTalk, Terms
from tests.transport import stranger_deeds as deeds

TOKEN = "f" * 32
PATIENCE = 120.0
BOUND = 64 << 20  # bytes by which a rank may grow
FRAMES = 100_000
AT_ONCE = 4  # frames sent by one connection, before it is looked whether they were refused
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)  # ZeroMQ's, as to a coordinator that were one
OPTIONS = {"token": TOKEN, "connect_timeout": PATIENCE, "timeout": PATIENCE}


class Run:
    """Two ranks in processes of their own, whose group forms when ``complete`` is called."""

    def __init__(self, host: RankHost, directory: Path, **settings: object) -> None:
        self.place, self.quiet = str(directory / "address"), str(directory / "quiet")
        self.settings = OPTIONS | settings
        self.ranks = RankGroup(None, 2, host=host)
        self._start(0)
        try:
            self.address = deeds.where(self.place)
        except BaseException:
            self.ranks.close()
            raise

    def _start(self, rank: int, **settings: object) -> None:
        arguments = (rank, self.place, self.settings | settings, self.quiet)
        self.ranks.start(deeds.take_part, *arguments, ranks=[rank])

    def complete(self, **settings: object) -> None:
        self._start(1, **settings)

    def end(self) -> list[tuple[int, int]]:
        Path(self.quiet).touch()
        outcomes = self.ranks.wait(timeout=PATIENCE)
        assert all(outcome.returned for outcome in outcomes), [outcome.describe() for outcome in outcomes]
        return [outcome.value for outcome in outcomes]


@pytest.fixture
def run(rank_host: RankHost, tmp_path: Path) -> Iterator[Run]:
    run = Run(rank_host, tmp_path)
    with run.ranks:
        yield run


def unharmed(run: Run) -> None:
    for gathers, growth in run.end():
        assert gathers > 0
        assert growth < BOUND


def connect(address: str, source: str = "127.0.0.1") -> socket.socket:
    host, port = address.split(":")
    stream = socket.socket()
    stream.settimeout(PATIENCE)
    # a connection that ends by a reset leaves no port behind that would have to rest
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.bind((source, 0))
    try:
        stream.connect((host, int(port)))
    except OSError:
        stream.close()
        raise
    return stream


def framed(message: bytes) -> bytes:
    return struct.pack("<I", len(message)) + message


def record(run: Run) -> list[bytes]:
    """What a genuine rank sends while a group forms, as somebody in between sees it. The run is under way then."""
    sent = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as middle:
        run.complete(coordinator=f"127.0.0.1:{middle.getsockname()[1]}")
        near, _ = middle.accept()
    with near, connect(run.address) as far:
        back = threading.Thread(target=relay, args=(far, near, bytearray()))
        back.start()
        relay(near, far, sent)
        back.join()
    frames = []
    while sent:
        length = 4 + struct.unpack_from("<I", sent)[0]
        frames.append(bytes(sent[:length]))
        del sent[:length]
    return frames


def relay(source: socket.socket, target: socket.socket, seen: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            seen += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def nonsense(rng: random.Random, genuine: list[bytes]) -> bytes:
    """A frame that no rank would send, or one that a rank once sent."""
    hello = RankTalk(
        b"guess", Terms("", rng.randrange(3), rng.randrange(9), False), rng.randrange(9), rng.randbytes(16)
    )
    match rng.randrange(8):
        case 0:
            return rng.randbytes(rng.randrange(1, 200))
        case 1:
            return GREETING[: rng.randrange(1, len(GREETING))]
        case 2:
            return framed(rng.randbytes(rng.randrange(1, FRAME_LIMIT)))
        case 3:
            return struct.pack("<I", rng.choice([0, FRAME_LIMIT + 1, 2**31, 2**32 - 1])) + rng.randbytes(50)
        case 4:
            return framed(hello.hello)
        case 5:
            return framed(hello.hello)[: rng.randrange(1, len(hello.hello))]
        case 6:
            broken = bytearray(rng.choice(genuine))
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
            return bytes(broken)
        case _:
            return rng.choice(genuine)


def throw(address: str, genuine: list[bytes], seed: int, frames: int) -> int:
    """Throws so many frames; how many connections were turned away at once."""
    rng = random.Random(seed)
    refused = 0
    for thrown in range(0, frames, AT_ONCE):
        frames_now = b"".join(nonsense(rng, genuine) for _ in range(AT_ONCE))
        try:
            with connect(address, f"127.0.{1 + seed}.{1 + thrown // AT_ONCE % 200}") as stream:
                stream.sendall(frames_now)
                if rng.random() < 0.1:  # to the end: an answer, or none
                    stream.shutdown(socket.SHUT_WR)
                    stream.recv(65536)
        except ConnectionRefusedError:
            refused += 1
        except OSError:
            pass
    return refused


def test_frames_thrown_while_the_group_forms_and_during_the_run(rank_host: RankHost, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = Run(rank_host, tmp_path / "first")
    with first.ranks:
        genuine = record(first)
        unharmed(first)
    assert len(genuine) >= 3
    second = Run(rank_host, tmp_path / "second")  # of the same token and generation as what was recorded
    with second.ranks:
        assert throw(second.address, genuine, 1, FRAMES // 2) == 0
        second.complete()
        assert throw(second.address, genuine, 2, FRAMES // 2) > 0.9 * FRAMES / 2 / AT_ONCE  # the door is gone
        unharmed(second)


def test_strangers_that_connect_and_say_nothing(run: Run) -> None:
    with contextlib.ExitStack() as held:
        for number in range(5):
            stream = held.enter_context(connect(run.address))
            stream.sendall(framed(b"x" * 100)[: 20 * number])  # nothing at all, or not all of a frame
        run.complete()
        unharmed(run)


def test_a_thousand_connections_at_once(run: Run) -> None:
    with contextlib.ExitStack() as held:
        for number in range(1000):
            if number == 900:
                run.complete()
            with contextlib.suppress(ConnectionRefusedError):  # the group has formed meanwhile
                held.enter_context(connect(run.address, "127.0.9.9"))
        unharmed(run)


def test_a_rank_with_another_token_is_told_so_and_harms_nobody(run: Run) -> None:
    with pytest.raises(CommError) as caught:
        create_communicator("tcp", rank=1, size=2, coordinator=run.address, token="e" * 32, connect_timeout=PATIENCE)
    assert caught.value.kind == "Refused"
    assert run.address in caught.value.message
    assert TOKEN not in str(caught.value)
    run.complete()
    unharmed(run)


def test_a_squatter_learns_nothing_and_is_not_believed() -> None:
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        address = f"127.0.0.1:{squatter.getsockname()[1]}"

        def squat() -> None:
            stream, _ = squatter.accept()
            with stream, contextlib.suppress(OSError):
                heard.extend(stream.recv(65536))
                stream.sendall(framed(b"cobretcp\x02\x01\x00" + bytes(48)))
                heard.extend(stream.recv(65536))

        thread = threading.Thread(target=squat)
        thread.start()
        with pytest.raises(CommError) as caught:
            create_communicator("tcp", rank=1, size=2, coordinator=address, token=TOKEN, connect_timeout=PATIENCE)
        thread.join()
    assert caught.value.kind == "Refused"
    assert len(heard) == len(framed(RankTalk(b"", Terms("", 0, 2, False), 1, bytes(16)).hello))  # a hello, no proof
    assert TOKEN.encode() not in heard
