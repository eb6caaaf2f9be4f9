"""The header of 256 bytes that every message has: what it carries, and where it stands among the others.

    0    front: sizes, place, sequence number, time (FRONT)
    56   layout: kind, rate, format, shape, dtype (what two messages of the same sort have in common)
    176  session
    216  metadata as JSON, up to 40 bytes

What does not fit (more metadata, nine dimensions, a structured dtype) stands in an extension, JSON behind the payload.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from cobre.errors import ChannelError
from cobre.transport.media import Audio, Video

__all__ = [
    "BLOCK_AT",
    "FRONT",
    "HEADER_BYTES",
    "INLINE_AT",
    "INLINE_BYTES",
    "KINDS",
    "KIND_AT",
    "SESSION_AT",
    "SESSION_BYTES",
    "Data",
    "Layout",
    "Layouts",
    "encode_metadata",
    "mark_layout",
    "pack_header",
    "unpack_header",
]

Data = NDArray[Any] | str | bytes | Audio | Video | int
"""What a message carries (an int: a mark)."""

KINDS = ("array", "text", "bytes", "audio", "video", "mark")
_NUMBER = {kind: number for number, kind in enumerate(KINDS)}

HEADER_BYTES, BLOCK_AT, SESSION_AT, INLINE_AT = 256, 56, 176, 216
KIND_AT = BLOCK_AT + 8
SESSION_BYTES, INLINE_BYTES = INLINE_AT - SESSION_AT, HEADER_BYTES - INLINE_AT

FRONT = struct.Struct("QQQqQQQ")
"""Bytes of the payload, where it begins, sequence number, time (ns), bytes of the extension, bytes of metadata in the
header, number of the layout (0: look at it). Of a mark, which has no payload, "where it begins" is its number."""

_BLOCK = struct.Struct("dBBBB4x16s8Q24s")
_ELSEWHERE = 255  # the shape or the dtype stands in the extension
_REMEMBERED = 1024  # layouts of a port
_LENGTHS = 256  # of these, lengths of text and bytes
_DIMENSIONS, _DTYPE_BYTES, _FORMAT_BYTES = 8, 24, 16
_BYTE = np.dtype(np.uint8)
_as_json = json.JSONEncoder(separators=(",", ":")).encode

assert FRONT.size == BLOCK_AT and BLOCK_AT + _BLOCK.size == SESSION_AT  # noqa: PT018


class Layout:
    """What is in a message, all but its bytes: equal layouts are the same object within a port.

    kind: one of ``KINDS``. dtype, shape: of the array in it; text and bytes are arrays of bytes. rate: samples or
    frames a second. format: of the frames. block: this in the header. extension: what of it the header has no room for.
    number: under which a reader may remember it, 0 for none. places: what the port
    has made before to have arrays of it quickly, by where they begin.
    """

    __slots__ = ("block", "dtype", "extension", "format", "kind", "number", "places", "rate", "shape", "size")

    def __init__(
        self, kind: str, dtype: np.dtype[Any], shape: tuple[int, ...], rate: float = 0.0, format: str = ""
    ) -> None:
        self.kind = kind
        self.dtype = dtype
        self.shape = shape
        self.rate = rate
        self.format = format
        size = dtype.itemsize
        for extent in shape:
            size *= extent
        self.size = size
        self.number = 0
        self.places: dict[int, Any] = {}
        self.extension: dict[str, Any] = {}
        self.block = self._encoded()

    def _encoded(self) -> bytes:
        name, ndim, shape = self.dtype.str.encode(), len(self.shape), self.shape
        length = len(name)
        if self.dtype.names is not None or self.dtype.subdtype is not None or length > _DTYPE_BYTES:
            self.extension["dtype"] = npy_format.dtype_to_descr(self.dtype)
            name, length = b"", _ELSEWHERE
        if ndim > _DIMENSIONS:
            self.extension["shape"] = list(shape)
            ndim, shape = _ELSEWHERE, ()
        label = self.format.encode()
        filled = (*shape, *(0,) * (_DIMENSIONS - len(shape)))
        return _BLOCK.pack(self.rate, _NUMBER[self.kind], ndim, length, len(label), label, *filled, name)

    @classmethod
    def decoded(cls, block: bytes, extension: Mapping[str, Any]) -> Layout:
        """The layout in a header."""
        rate, kind, ndim, length, labelled, label, *rest = _BLOCK.unpack(block)
        if length == _ELSEWHERE:
            dtype = npy_format.descr_to_dtype(_as_descr(extension["dtype"]))
        else:
            dtype = np.dtype(rest[-1][:length].decode())
        shape = tuple(extension["shape"]) if ndim == _ELSEWHERE else tuple(rest[:ndim])
        return cls(KINDS[kind], dtype, shape, rate, label[:labelled].decode())


def _as_descr(found: Any) -> Any:
    """What JSON made lists of is tuples again, as numpy wants them."""
    if not isinstance(found, list):
        return found
    fields = []
    for field in found:
        name = tuple(field[0]) if isinstance(field[0], list) else field[0]
        kind = _as_descr(field[1]) if isinstance(field[1], list) else field[1]
        fields.append((name, kind, tuple(field[2])) if len(field) == 3 else (name, kind))
    return fields


class Layouts:
    """The layouts that one port has met: equal ones are one object, up to a limit."""

    def __init__(self, channel: str, numbers: Iterator[int]) -> None:
        """numbers: those of new layouts."""
        self.channel = channel
        self._numbers = numbers
        self._known: dict[Any, Layout] = {}

    def of(self, data: Any, operation: str) -> tuple[Layout, Any]:
        """The layout of what is published, and the array to copy. Raises ChannelError WrongType."""
        if isinstance(data, np.ndarray):
            if isinstance(data, np.ma.MaskedArray):
                raise self._refusal(operation, "a masked array would lose its mask", "publish array.filled(value)")
            return self.get("array", data.dtype, data.shape, 0.0, "", operation), data
        if isinstance(data, str):
            source = np.frombuffer(data.encode(), _BYTE)
            return self._of_bytes("text", len(source)), source
        if isinstance(data, bytes | bytearray | memoryview):
            source = np.frombuffer(data, _BYTE)
            return self._of_bytes("bytes", len(source)), source
        if isinstance(data, Audio):
            samples = data.samples
            return self.get("audio", samples.dtype, samples.shape, data.rate, "", operation), samples
        if isinstance(data, Video):
            frame = data.frame
            return self.get("video", frame.dtype, frame.shape, data.fps, data.format, operation), frame
        raise self._refusal(
            operation,
            f"{type(data).__name__} cannot be published",
            "publish a numpy array, str, bytes, Audio or Video: numpy.asarray(x) of numbers, "
            "json.dumps(x) of records, pickle.dumps(x) of anything else",
        )

    def _of_bytes(self, kind: str, length: int) -> Layout:
        found = self._known.get((kind, length))
        if found is None:
            found = Layout(kind, _BYTE, (length,))
            if len(self._known) < _LENGTHS:
                self._known[kind, length] = found
                found.number = next(self._numbers)
        return found

    def get(
        self, kind: str, dtype: np.dtype[Any], shape: tuple[int, ...], rate: float, format: str, operation: str
    ) -> Layout:
        """The layout of an array. Raises ChannelError WrongType."""
        key = (kind, dtype, shape, rate, format)
        found = self._known.get(key)
        if found is not None:
            return found
        if dtype.hasobject:
            raise self._refusal(operation, f"an array of dtype {dtype} holds references", "use a dtype of plain values")
        if len(format.encode()) > _FORMAT_BYTES:
            raise self._refusal(
                operation, f"the format {format!r} has more than {_FORMAT_BYTES} bytes", "shorten it, or use metadata"
            )
        layout = Layout(kind, dtype, shape, rate, format)
        if len(self._known) < _REMEMBERED:
            self._known[key] = layout
            layout.number = 0 if layout.extension else next(self._numbers)
        return layout

    def _refusal(self, operation: str, problem: str, advice: str) -> ChannelError:
        return ChannelError(
            f"{operation} on channel {self.channel}: {problem}",
            operation=operation,
            channel=self.channel,
            kind="WrongType",
            suggestion=advice,
        )


def mark_layout() -> Layout:
    """That of a mark."""
    return Layout("mark", _BYTE, (0,))


def encode_metadata(layout: Layout, metadata: Mapping[str, Any], operation: str, channel: str) -> tuple[bytes, bytes]:
    """What goes into the header and what into the extension. Raises ChannelError WrongType for what is no JSON."""
    if not metadata and not layout.extension:
        return b"", b""
    try:
        inline = _as_json(metadata).encode() if metadata else b""
    except (TypeError, ValueError) as error:
        raise ChannelError(
            f"{operation} on channel {channel}: metadata must be JSON values: {error}",
            operation=operation,
            channel=channel,
            kind="WrongType",
            suggestion="use str, int, float, bool, None, lists and dictionaries of these; publish arrays as data",
        ) from None
    if len(inline) <= INLINE_BYTES and not layout.extension:
        return inline, b""
    return b"", _as_json({"metadata": metadata, **layout.extension}).encode()


def pack_header(
    layout: Layout, sequence: int, timestamp: int, session: bytes, metadata: tuple[bytes, bytes], number: int = 0
) -> bytes:
    """A whole header, for a stream. metadata: from ``encode_metadata``; session: at most 40 bytes; number: a mark's.

    What follows it: the payload (``layout.size`` bytes, an array in C order), then the extension (``metadata[1]``).
    """
    inline, extension = metadata
    front = FRONT.pack(layout.size, number, sequence, timestamp, len(extension), len(inline), 0)
    return front + layout.block + session.ljust(SESSION_BYTES, b"\0") + inline.ljust(INLINE_BYTES, b"\0")


def unpack_header(header: bytes) -> tuple[int, int]:
    """The bytes of the payload and of the extension that follow a header."""
    front = FRONT.unpack_from(header)
    return front[0], front[4]
