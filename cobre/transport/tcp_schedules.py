"""Who sends what to whom in each collective of a tcp group.

Three shapes. *Direct*: everybody sends to everybody at once. *Star*: everybody sends to rank 0, which answers.
*Spread*: each rank is given a share of the work and passes its result on to all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.transport.communicator import ReduceOp
from cobre.transport.reductions import reduce_in_order
from cobre.transport.tcp_mesh import Mesh

__all__ = ["Schedules"]

_NOTHING = memoryview(b"")
_SHORT = 1 << 14  # bytes of a payload that may wait
_NO_WORK: Iterator[int] = iter(())


class Schedules:
    """The collectives of rank ``rank`` of ``size`` over ``mesh``, inside a running collective."""

    # Measured between ranks of one host (benchmarks/schedules.py); the same on all ranks.
    spread_from = 1 << 17
    """Bytes of a contribution from which a reduction among three or more ranks is spread."""

    star_up_to = 1 << 15
    """Bytes of a result up to which four or more ranks gather it through rank 0."""

    def __init__(self, mesh: Mesh, rank: int, size: int) -> None:
        self._mesh = mesh
        self._rank = rank
        self._others = [peer for peer in range(size) if peer != rank]
        self._size = size

    def barrier(self) -> None:
        """Star."""
        exchange = self._mesh.exchange
        nothing = [(peer, _NOTHING) for peer in self._others]
        if self._size == 2:
            exchange(nothing, nothing)
        elif self._rank == 0:
            exchange([], nothing)
            exchange(nothing, [])
        else:
            exchange([(0, _NOTHING)], [(0, _NOTHING)])

    def gather(self, own: memoryview, out: memoryview, spans: Sequence[slice], aside: Iterator[int] = _NO_WORK) -> None:
        """``out`` becomes everybody's bytes, rank r's at spans[r], but for this rank's ``own``.

        aside: puts ``own`` in its place, a piece at a time.
        """
        if self._size > 3 and len(out) <= self.star_up_to:
            self._gather_star(own, out, spans, aside)
        else:
            self._gather_direct(own, out, spans, aside)

    def _gather_direct(
        self, own: memoryview, out: memoryview, spans: Sequence[slice], aside: Iterator[int] = _NO_WORK
    ) -> None:
        self._mesh.exchange(
            [(peer, own) for peer in self._others], [(peer, out[spans[peer]]) for peer in self._others], aside
        )

    def _gather_star(
        self, own: memoryview, out: memoryview, spans: Sequence[slice], aside: Iterator[int] = _NO_WORK
    ) -> None:
        exchange = self._mesh.exchange
        if self._rank == 0:
            exchange([], [(peer, out[spans[peer]]) for peer in self._others], aside)
            exchange([(peer, out) for peer in self._others], [])
        else:
            exchange([(0, own)], [], aside)
            exchange([], [(0, out)])

    def broadcast(self, buf: memoryview, root: int) -> None:
        """The root sends to all. Everybody shows rank 0 its call, and nobody returns before that has seen all of them.

        A short payload of rank 0 waits until then; a long one is on its way meanwhile, and an empty message follows.
        """
        exchange = self._mesh.exchange
        everybody = [(peer, _NOTHING) for peer in self._others]
        payload = [(peer, buf) for peer in self._others]
        zero = [(0, _NOTHING)]
        if root == 0 and len(buf) <= _SHORT:
            if self._rank == 0:
                exchange([], everybody)
                exchange(payload, [])
            else:
                exchange(zero, [(0, buf)])
        elif root == 0:
            exchange(payload, everybody) if self._rank == 0 else exchange(zero, [(0, buf)])
            exchange(everybody, []) if self._rank == 0 else exchange([], zero)
        elif self._rank == 0:
            exchange([], everybody)
            exchange(everybody, [(root, buf)])
        else:
            exchange(zero, [])
            exchange(*(payload, zero) if self._rank == root else ([], [*zero, (root, buf)]))

    def reduce(self, op: ReduceOp, send: NDArray[Any], out: NDArray[Any]) -> None:
        """Puts everybody's ``send`` together in ``out``. send, out: one-dimensional, contiguous."""
        if self._size > 2 and send.nbytes >= self.spread_from:
            self._reduce_spread(op, send, out)
        else:
            self._reduce_direct(op, send, out)

    def _reduce_direct(self, op: ReduceOp, send: NDArray[Any], out: NDArray[Any]) -> None:
        """Direct: everybody reduces everything, in rank order."""
        parts = self._parts(send, out)
        views = [_bytes_of(part) for part in parts]
        self._mesh.exchange(
            [(peer, views[self._rank]) for peer in self._others], [(peer, views[peer]) for peer in self._others]
        )
        reduce_in_order(op, parts, out)

    def _reduce_spread(self, op: ReduceOp, send: NDArray[Any], out: NDArray[Any]) -> None:
        """Spread: each rank is sent its share of all contributions, reduces it in rank order and sends it to all."""
        shares = [slice(send.size * r // self._size, send.size * (r + 1) // self._size) for r in range(self._size)]
        mine = shares[self._rank]
        parts = self._parts(send[mine], out)
        self._mesh.exchange(
            [(peer, _bytes_of(send[shares[peer]])) for peer in self._others],
            [(peer, _bytes_of(parts[peer])) for peer in self._others],
        )
        reduce_in_order(op, parts, out[mine])
        self._mesh.exchange(
            [(peer, _bytes_of(out[mine])) for peer in self._others],
            [(peer, _bytes_of(out[shares[peer]])) for peer in self._others],
        )

    def _parts(self, own: NDArray[Any], out: NDArray[Any]) -> list[NDArray[Any]]:
        """This rank's contribution and room for those of the others; only that of rank 0 may stand in ``out``."""
        kept = own.copy() if self._rank and np.may_share_memory(own, out) else own
        return [kept if peer == self._rank else np.empty_like(own) for peer in range(self._size)]


def _bytes_of(flat: NDArray[Any]) -> memoryview:
    return flat.view(np.uint8).data if flat.size else _NOTHING
