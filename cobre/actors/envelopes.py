"""Dumped objects in frames: small ones whole, large memory in blocks, or in the frame where no block is to be had.

The body of a frame, by its flags: PLAIN, the bytes of the object. BLOCK, which block, where in it the object's bytes
(unless they follow) and its buffers are. INLINE, their sizes, the object's bytes and its buffers.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from cobre.actors.blocks import OUT_OF_BAND, Block, Mappings, Pool
from cobre.actors.messages import HEADER, Flags, Inbox, frame
from cobre.actors.pickling import Dumped, load

__all__ = [
    "Sealed",
    "TooLarge",
    "add_block",
    "fill",
    "read_block",
    "read_numbers",
    "seal",
    "unseal",
    "write_numbers",
]

_BLOCK = Struct(
    "<QQBQQI"
)  # block, its size, whether its descriptor comes along, where the bytes are, their size, buffers
_INLINE = Struct("<QI")  # size of the bytes, buffers
_SPAN = Struct("<QQ")
_SIZE = Struct("<Q")
_NOT_IN_BLOCK = (1 << 64) - 1
_ALIGNED = 63

Sealed = tuple[bytes, "Block | None"]  # a frame, and the block whose descriptor goes with it


class TooLarge(Exception):
    """There is no room for it; args[0] says what the limit was."""


def seal(kind: int, number: int, dumped: Dumped, pool: Pool, most: int) -> Sealed:
    """A frame with that object. most: bytes that it may have. Raises TooLarge."""
    payload, buffers = dumped.payload, dumped.buffers
    if not buffers and len(payload) < OUT_OF_BAND:
        return frame(kind, number, Flags.PLAIN, payload), None
    size = dumped.size
    if size > most:
        raise TooLarge(f"{size:,} bytes are more than max_message, {most:,}")
    try:
        block = pool.take(size + (len(buffers) + 1) * (_ALIGNED + 1))
        if block is None:
            return _inline(kind, number, payload, buffers), None
    except (OSError, MemoryError) as failure:
        raise TooLarge(f"there is no memory for {size:,} bytes: {failure}") from None
    new = not block.announced
    block.announced = True
    return frame(kind, number, Flags.BLOCK, fill(block, dumped, new)), block if new else None


def _inline(kind: int, number: int, payload: bytes, buffers: list[memoryview]) -> bytes:
    sizes = b"".join(_SIZE.pack(buffer.nbytes) for buffer in buffers)
    head = _INLINE.pack(len(payload), len(buffers)) + sizes
    length = len(head) + len(payload) + sum(buffer.nbytes for buffer in buffers)
    return b"".join((HEADER.pack(length, number, kind, Flags.INLINE), head, payload, *buffers))


def fill(block: Block, dumped: Dumped, new: bool) -> bytes:
    """Writes the object into a block; the body that says where."""
    spans, at = [], 0
    for buffer in dumped.buffers:
        block.view[at : at + buffer.nbytes] = buffer
        spans.append(_SPAN.pack(at, buffer.nbytes))
        at = (at + buffer.nbytes + _ALIGNED) & ~_ALIGNED
    payload, where, rest = dumped.payload, _NOT_IN_BLOCK, dumped.payload
    if len(payload) >= OUT_OF_BAND:
        block.view[at : at + len(payload)] = payload
        where, rest = at, b""
    head = _BLOCK.pack(block.number, block.size, new, where, len(payload), len(spans))
    return b"".join((head, *spans, rest))


def add_block(body: memoryview, inbox: Inbox, mappings: Mappings) -> int:
    """The block of a BLOCK body, mapped if its descriptor came along. Raises OSError."""
    number, size, new, *_ = _BLOCK.unpack_from(body)
    if new:
        mappings.add(number, size, inbox.descriptors.popleft())
    return int(number)


def unseal(flags: int, body: memoryview, inbox: Inbox, mappings: Mappings) -> Any:
    """The object in a frame's body. Raises whatever its unpickling raises, OSError where a block cannot be mapped."""
    if flags == Flags.PLAIN:
        return load(body)
    if flags == Flags.INLINE:
        return _unseal_inline(body)
    memory = mappings.view(add_block(body, inbox, mappings))
    payload, buffers = read_block(body, memory)
    del memory
    return load(payload, buffers)


def read_block(body: memoryview, memory: memoryview) -> tuple[memoryview, list[memoryview]]:
    """The object's bytes and its buffers, where a BLOCK body says that they are."""
    _, _, _, where, size, count = _BLOCK.unpack_from(body)
    at = _BLOCK.size
    buffers = []
    for _ in range(count):
        begin, length = _SPAN.unpack_from(body, at)
        buffers.append(memory[begin : begin + length])
        at += _SPAN.size
    return (body[at : at + size] if where == _NOT_IN_BLOCK else memory[where : where + size]), buffers


def _unseal_inline(body: memoryview) -> Any:
    size, count = _INLINE.unpack_from(body)
    at = _INLINE.size
    sizes = [_SIZE.unpack_from(body, at + index * _SIZE.size)[0] for index in range(count)]
    at += count * _SIZE.size
    payload = body[at : at + size]
    at += size
    buffers = []
    for length in sizes:
        buffers.append(memoryview(bytes(body[at : at + length])))  # the body is valid for a moment only
        at += length
    return load(payload, buffers)


def write_numbers(kind: int, numbers: list[int]) -> bytes:
    """A frame that is a list of numbers."""
    return frame(kind, 0, Flags.PLAIN, b"".join(map(_SIZE.pack, numbers)))


def read_numbers(body: memoryview) -> list[int]:
    """The list in it."""
    return [number for (number,) in _SIZE.iter_unpack(body)]
