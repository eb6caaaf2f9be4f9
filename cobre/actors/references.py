"""Values that many calls take: stored once, mapped by every actor that is given them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from cobre.actors.blocks import OUT_OF_BAND, Block, make_block
from cobre.actors.envelopes import fill, read_block
from cobre.actors.failures import actor_error
from cobre.actors.messages import Flags, Kind, frame
from cobre.actors.outbox import Descriptor
from cobre.actors.pickling import Dumped, Shareable, load
from cobre.actors.shared import shared_value

__all__ = ["Ref"]


class Ref(Shareable):
    """A value that ``ActorSystem.put`` stored. An actor that is given it, wherever it stands in the arguments of a
    call, gets the value: its large arrays are read-only views of the one copy, all else is made anew for each call.

    The memory goes when the Ref has died and no actor uses it any more. size: bytes that it takes.
    """

    def __init__(self, number: int, dumped: Dumped, on_end: Callable[[int], None]) -> None:
        self.number = number
        self.size = dumped.size
        self._payload: bytes | None = dumped.payload
        self._block: Block | None = None
        if dumped.buffers or len(dumped.payload) >= OUT_OF_BAND:
            self._block = make_block(number, _page_rounded(dumped.size + 64 * (len(dumped.buffers) + 1)))
            body, self._payload = fill(self._block, dumped, new=True), None
            self._frame = frame(Kind.SHARE, number, Flags.BLOCK, body)
            self._body = memoryview(body)
        else:
            self._frame = frame(Kind.SHARE, number, Flags.PLAIN, dumped.payload)
        weakref.finalize(self, _close, self._block, number, on_end).atexit = False

    def announcement(self) -> tuple[bytes, Descriptor | None]:
        """The frame that makes a worker know it, and the descriptor that goes with it. Raises OSError."""
        if self._block is None:
            return self._frame, None
        return self._frame, Descriptor(os.dup(self._block.descriptor))

    def reduced(self) -> tuple[Any, ...]:
        """What a worker makes of it."""
        return shared_value, (self.number,)

    def value(self) -> Any:
        """The value, in this process; its large arrays are read-only views."""
        if self._block is None:
            return load(self._payload or b"")
        payload, buffers = read_block(self._body, memoryview(self._block.memory).toreadonly())
        return load(payload, buffers)

    def __repr__(self) -> str:
        return f"<Ref {self.number}: {self.size:,} bytes>"

    def __reduce__(self) -> NoReturn:
        raise actor_error("Unsupported", "a Ref can only be sent to an actor, as an argument of a call")


def _page_rounded(size: int) -> int:
    return -(-size // 4096) * 4096


def _close(block: Block | None, number: int, on_end: Callable[[int], None]) -> None:
    if block is not None:
        block.close()
    on_end(number)
