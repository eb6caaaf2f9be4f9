"""The link between two ranks on different hosts: two ZeroMQ PAIR sockets, encrypted and authenticated by CURVE.

A payload travels as messages of bounded size, so that neither side holds more than a few of them. ZeroMQ's heartbeats
tell of a network that was cut; monitors tell at once of a connection that broke.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Sequence

import zmq

from cobre.transport.tcp_links import Link, LinkDown, Waiter
from cobre.transport.wire import Notice, NoticeReader

__all__ = ["CHUNK", "CurveLink", "CurveWaiter", "Tuning", "pair_socket"]

CHUNK = 256 * 1024
"""Bytes of a message at most."""

_SEAL = 256  # bytes, at most, that encryption adds to a message
_QUEUE = 4  # messages that wait in each direction
_LINGER = 2000  # milliseconds that what was sent has to reach a peer after ``close``
_BEATS = 10  # heartbeats in the time after which silence means that the peer cannot be reached


class Tuning:
    """How long a silence is borne, in seconds."""

    def __init__(self, heartbeat: float) -> None:
        self.silence = max(1, int(heartbeat * 1000))
        self.interval = max(1, self.silence // _BEATS)


def pair_socket(context: zmq.Context[zmq.Socket[bytes]], tuning: Tuning) -> zmq.Socket[bytes]:
    """A PAIR socket with bounded queues and messages, which never connects a second time."""
    pair = context.socket(zmq.PAIR)
    for option, value in (
        (zmq.LINGER, _LINGER),
        (zmq.SNDHWM, _QUEUE),
        (zmq.RCVHWM, _QUEUE),
        (zmq.MAXMSGSIZE, CHUNK + _SEAL),
        (zmq.RECONNECT_IVL, -1),
        (zmq.HEARTBEAT_IVL, tuning.interval),
        (zmq.HEARTBEAT_TIMEOUT, tuning.silence),
        (zmq.HEARTBEAT_TTL, tuning.silence),
        (zmq.IPV6, 1),
    ):
        pair.setsockopt(option, value)
    return pair


class CurveLink(Link):
    """Two PAIR sockets that have a peer, and their monitors, which it owns."""

    def __init__(self, peer: int, payloads: zmq.Socket[bytes], notices: zmq.Socket[bytes]) -> None:
        self.peer = peer
        self.payloads = payloads
        self.side = notices
        self.monitors = [pair.get_monitor_socket(zmq.EVENT_DISCONNECTED) for pair in (payloads, notices)]
        self._reader = NoticeReader()
        self._rest: memoryview | None = None  # of the message that was received last

    def send(self, views: Sequence[memoryview | bytes]) -> int:
        sent = 0
        if len(views) > 1 and sum(map(len, views)) <= CHUNK:
            views = [memoryview(b"".join(views))]
        try:
            for view in views:
                for start in range(0, len(view), CHUNK):
                    piece = view[start : start + CHUNK]
                    self.payloads.send(piece, zmq.NOBLOCK)
                    sent += len(piece)
        except zmq.Again:
            pass
        except zmq.ZMQError as error:
            raise LinkDown(self.peer, f"cannot be reached any more ({error})") from None
        return sent

    def receive(self, views: Sequence[memoryview]) -> int:
        received = 0
        for view in views:
            at = 0
            while at < len(view):
                rest = self._message()
                if rest is None:
                    return received
                count = min(len(rest), len(view) - at)
                view[at : at + count] = rest[:count]
                self._rest = rest[count:] if count < len(rest) else None
                at += count
                received += count
        return received

    def _message(self) -> memoryview | None:
        if self._rest is None:
            try:
                self._rest = self.payloads.recv(zmq.NOBLOCK, copy=False).buffer
            except zmq.Again:
                return None
            except zmq.ZMQError as error:
                raise LinkDown(self.peer, f"cannot be reached any more ({error})") from None
        return self._rest

    def post(self, notice: bytes) -> None:
        with contextlib.suppress(zmq.ZMQError):
            self.side.send(notice, zmq.NOBLOCK)

    def notices(self) -> Iterable[Notice]:
        if self.finished:
            return
        broken = any(monitor.poll(0) for monitor in self.monitors)  # before the notices: they came before it
        try:
            while True:
                yield from self._reader.feed(self.side.recv(zmq.NOBLOCK))
        except zmq.Again:
            pass
        except (zmq.ZMQError, ValueError) as error:
            self.finished = True
            raise LinkDown(self.peer, f"sent a notice that cannot be read ({error})") from None
        if broken:
            self.finished = True
            raise LinkDown(self.peer, "closed the connection")

    def close(self) -> None:
        for pair, monitor in zip((self.payloads, self.side), self.monitors, strict=True):
            pair.disable_monitor()  # first: an event for a monitor that is closed would block the I/O thread for ever
            monitor.close(linger=0)
            pair.close()


class CurveWaiter(Waiter):
    """One ``zmq_poll`` over the sockets of all links. Owns the context."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], links: Iterable[CurveLink]) -> None:
        self._context = context
        self._bell, self._button = socket.socketpair()
        for end in (self._bell, self._button):
            end.setblocking(False)
        self._sides = {link.peer: [link.side, *link.monitors] for link in links}

    def wait(self, sending: Iterable[Link], receiving: Iterable[Link], seconds: float) -> bool:
        wanted: dict[zmq.Socket[bytes], int] = {}
        for link in receiving:
            wanted[link.payloads] = zmq.POLLIN  # type: ignore[attr-defined]
        for link in sending:
            pair = link.payloads  # type: ignore[attr-defined]
            wanted[pair] = wanted.get(pair, 0) | zmq.POLLOUT
        sides = [(side, zmq.POLLIN) for sides in self._sides.values() for side in sides]
        ready = zmq.zmq_poll([*wanted.items(), *sides, (self._bell, zmq.POLLIN)], max(int(seconds * 1000.0) + 1, 0))
        return any(isinstance(source, int) or source not in wanted for source, _ in ready)

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it rings already
            self._button.send(b"!")

    def forget(self, link: Link) -> None:
        self._sides.pop(link.peer, None)

    def close(self) -> None:
        self._bell.close()
        self._button.close()
        self._context.term()
