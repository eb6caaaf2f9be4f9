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
    """The collectives of rank ``rank`` of ``size`` over ``mesh``, inside a running collective.

    spread_from: bytes from which a reduction or broadcast among three or more ranks is spread.
    """

    def __init__(self, mesh: Mesh, rank: int, size: int, spread_from: int = 1 << 16) -> None:
        self._mesh = mesh
        self._rank = rank
        self._others = [peer for peer in range(size) if peer != rank]
        self._size = size
        self._spread_from = spread_from

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
        """Direct: ``out`` becomes everybody's bytes, rank r's at spans[r], but for this rank's ``own``.

        aside: puts ``own`` in its place, a piece at a time.
        """
        self._mesh.exchange(
            [(peer, own) for peer in self._others], [(peer, out[spans[peer]]) for peer in self._others], aside
        )

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
        """Direct: everybody reduces everything, in rank order. send, out: one-dimensional, contiguous."""
        own = send.copy() if np.may_share_memory(send, out) and self._rank else send
        parts = [own if peer == self._rank else np.empty_like(send) for peer in range(self._size)]
        views = [part.view(np.uint8).data if part.size else _NOTHING for part in parts]
        self._mesh.exchange(
            [(peer, views[self._rank]) for peer in self._others], [(peer, views[peer]) for peer in self._others]
        )
        reduce_in_order(op, parts, out)
