"""Making the links of a group that spans hosts: each rank calls those below it, with its key, and shows a ticket."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import zmq
from zmq.utils import z85

from cobre.transport.curve import CurveKeys
from cobre.transport.digests import same
from cobre.transport.handshake import Place, Stranger, Ticket
from cobre.transport.tcp_curve import CurveLink, CurveWaiter, Tuning, pair_socket
from cobre.transport.tcp_links import Link, Waiter
from cobre.transport.tcp_streams import CHANNELS, LinkMaker

__all__ = ["CurveMaker"]

_DOMAIN = b"cobre"
_ZAP = "inproc://zeromq.zap.01"
_SOCKETS_PER_LINK = 8  # two pairs, each with a monitor that has two ends, and some to spare

_Key = tuple[int, int]  # rank and channel


class CurveMaker(LinkMaker):
    """Two PAIR sockets for each pair of ranks; those above find one port open for each of their channels.

    host: where to listen. advertised: where the others call.
    """

    pace = 0.002

    def __init__(self, rank: int, size: int, host: str, advertised: str, keys: CurveKeys, tuning: Tuning) -> None:
        self._rank = rank
        self._size = size
        self._keys = keys
        self._tuning = tuning
        self._ticket: Ticket | None = None
        self._pairs: dict[_Key, zmq.Socket[bytes]] = {}
        self._awaited: dict[_Key, bytes] = {}  # the answer to be had from a rank that was called
        self._met: set[_Key] = set()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = zmq.Context(1)
        self._zap: zmq.Socket[bytes] | None = None
        try:
            self._context.set(zmq.MAX_SOCKETS, _SOCKETS_PER_LINK * size + 64)
            self._zap = self._context.socket(zmq.REP)
            self._zap.linger = 0
            self._zap.bind(_ZAP)
            ports = [self._open(above, channel, host) for above in range(rank + 1, size) for channel in CHANNELS]
        except BaseException:
            self.close()
            raise
        self.place = Place(advertised, tuple(ports))

    def _open(self, above: int, channel: int, host: str) -> int:
        """A socket that accepts one peer with the ranks' key; returns its port."""
        assert self._context is not None
        pair = self._pairs[above, channel] = pair_socket(self._context, self._tuning)
        secret = self._keys.coordinator_secret if self._rank == 0 else self._keys.rank_secret
        pair.curve_server = True
        pair.curve_secretkey = secret.encode()
        pair.zap_domain = _DOMAIN
        pair.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # nobody is let in while nobody answers at the ZAP socket
        pair.bind(f"tcp://{_bracketed(host)}:*")
        return int(pair.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    def start(self, ticket: Ticket, places: Sequence[tuple[str, tuple[int, ...]]], deadline: float) -> None:
        assert self._context is not None
        self._ticket = ticket
        for rank, (host, ports) in enumerate(places):
            for channel in CHANNELS:
                pair = self._pairs[rank, channel] = pair_socket(self._context, self._tuning)
                public = self._keys.coordinator_public if rank == 0 else self._keys.rank_public
                pair.curve_serverkey = public.encode()
                pair.curve_publickey = self._keys.rank_public.encode()
                pair.curve_secretkey = self._keys.rank_secret.encode()
                shown = ticket.write(self._rank, rank, channel, os.urandom(16))
                self._awaited[rank, channel] = ticket.stub(shown)
                pair.connect(f"tcp://{_bracketed(host)}:{ports[channel]}")
                pair.send(shown, zmq.NOBLOCK)

    def poke(self) -> None:
        """Lets in whom ZeroMQ asks about, reads tickets and answers to them. Raises Stranger."""
        self._answer_zap()
        if self._ticket is None:
            return
        for key, pair in self._pairs.items():
            if key in self._met or not pair.poll(0):
                continue
            message = pair.recv(zmq.NOBLOCK)
            if key in self._awaited:
                if not same(message, self._awaited[key]):
                    raise Stranger("a rank without the token")
            elif self._ticket.read(message, self._rank) != key:
                raise Stranger("a ticket of another rank")
            else:
                pair.send(self._ticket.stub(message), zmq.NOBLOCK)
            self._met.add(key)

    def _answer_zap(self) -> None:
        """Lets in those that hold the ranks' secret key, as libzmq has found, and nobody else."""
        public = z85.decode(self._keys.rank_public)
        while self._zap is not None and self._zap.poll(0):
            version, request, domain, _, _, mechanism, *credentials = self._zap.recv_multipart()
            known = domain == _DOMAIN and mechanism == b"CURVE" and len(credentials) == 1
            known = known and same(credentials[0], public)
            status = (b"200", b"OK") if known else (b"400", b"unknown key")
            self._zap.send_multipart([version, request, *status, b"", b""])

    def missing(self) -> list[int]:
        others = (rank for rank in range(self._size) if rank != self._rank)
        return [rank for rank in others if not all((rank, channel) in self._met for channel in CHANNELS)]

    def finish(self) -> tuple[Mapping[int, Link], Waiter]:
        assert self._context is not None
        if self._zap is not None:
            self._zap.close()
        ranks = sorted({rank for rank, _ in self._pairs})
        links = {rank: CurveLink(rank, *(self._pairs.pop((rank, channel)) for channel in CHANNELS)) for rank in ranks}
        waiter = CurveWaiter(self._context, links.values())
        self._context = self._zap = None
        return links, waiter

    def close(self) -> None:
        for pair in self._pairs.values():
            pair.close(linger=0)
        if self._zap is not None:
            self._zap.close()
        if self._context is not None:
            self._context.term()
        self._pairs, self._zap, self._context = {}, None, None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
