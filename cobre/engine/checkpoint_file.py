"""A checkpoint's file: a header in JSON and plain arrays behind a checksum, so that reading it runs nothing.

    8 bytes    COBRE-CP
    4 bytes    version of this layout, little-endian as all numbers here
    4 bytes    bytes of the header
    8 bytes    bytes of the arrays, as they stand in the file
    32 bytes   SHA-256 of all other bytes of the file
    ...        the header: UTF-8 JSON; its "arrays" lists name, dtype and shape of each
    ...        the arrays, one after the other in C order, deflated where the header says "compressed"

A file appears under its name when all of it is on the disk, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Content", "Unreadable", "read", "write"]

Arrays = Sequence[tuple[str, NDArray[Any]]]

_MAGIC, _LAYOUT = b"COBRE-CP", 1
_LENGTHS = struct.Struct("<8sIIQ")
_DIGEST = 32  # bytes
_DTYPES = ("<f8", "<i8", "<i4", "|i1", "|b1")
_LONGEST_HEADER = 1 << 26  # bytes


class Unreadable(Exception):
    """The file is not, or is no longer, what was written. ``fault``: truncated, altered, foreign or another layout."""

    def __init__(self, fault: str, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, eq=False)
class Content:
    """What a file holds. digest: its checksum, in hexadecimal digits."""

    header: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    digest: str


def write(path: Path, header: Mapping[str, Any], arrays: Arrays, *, compress: bool, folder: int) -> tuple[str, int]:
    """Writes the file, in place of one that has its name; returns its checksum and its bytes.

    folder: a descriptor of the folder it is in. Raises OSError; then what was there is still there.
    """
    plain = [np.ascontiguousarray(array) for _, array in arrays]
    listed = [[name, array.dtype.str, list(array.shape)] for (name, _), array in zip(arrays, plain, strict=True)]
    body: list[Any] = [array.reshape(-1).view(np.uint8).data for array in plain if array.size]
    if compress:
        body = [zlib.compress(b"".join(body), 1)]
    told = json.dumps({**header, "arrays": listed, "compressed": compress}).encode()
    lengths = _LENGTHS.pack(_MAGIC, _LAYOUT, len(told), sum(len(piece) for piece in body))
    digest = hashlib.sha256(lengths + told)
    for piece in body:
        digest.update(piece)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb", buffering=1 << 20) as file:
            file.writelines([lengths, digest.digest(), told, *body])
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    os.fsync(folder)
    return digest.hexdigest(), size


def read(path: Path) -> Content:
    """What the file holds, checked. Raises Unreadable, OSError."""
    data = memoryview(path.read_bytes())
    begin = _LENGTHS.size + _DIGEST
    if data.nbytes < begin:
        raise Unreadable("truncated", f"it has {data.nbytes} bytes, fewer than a checkpoint's first lines")
    magic, layout, told, body = _LENGTHS.unpack_from(data)
    if magic != _MAGIC:
        raise Unreadable("foreign", "it is no checkpoint of cobre's")
    if layout != _LAYOUT:
        raise Unreadable("another layout", f"its layout is number {layout}, and this version of cobre reads {_LAYOUT}")
    if data.nbytes < begin + told + body:
        raise Unreadable("truncated", f"it has {data.nbytes} of its {begin + told + body} bytes")
    digest = hashlib.sha256(data[: _LENGTHS.size])
    digest.update(data[begin:])
    if digest.digest() != data[_LENGTHS.size : begin] or data.nbytes > begin + told + body:
        raise Unreadable("altered", "it is not what was written: its checksum is another")
    try:
        header = json.loads(bytes(data[begin : begin + told]))
        arrays = _arrays(header, data[begin + told :])
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise Unreadable("foreign", f"it is no checkpoint that cobre wrote ({error})") from error
    return Content(header, arrays, digest.hexdigest())


def _arrays(header: dict[str, Any], body: memoryview) -> dict[str, NDArray[Any]]:
    """The arrays on top of the file's bytes. Raises ValueError, KeyError, TypeError, zlib.error for what is none."""
    listed = [(str(name), str(dtype), tuple(map(int, shape))) for name, dtype, shape in header["arrays"]]
    if any(dtype not in _DTYPES or min(shape, default=0) < 0 for _, dtype, shape in listed):
        raise ValueError("an array of a kind that it never holds")
    sizes = [prod(shape) * np.dtype(dtype).itemsize for _, dtype, shape in listed]
    whole: Any = body
    if header["compressed"]:
        unpack = zlib.decompressobj()
        whole = unpack.decompress(body, sum(sizes) + 1)  # no more than was announced, whatever it would become
    if len(whole) != sum(sizes):
        raise ValueError("its arrays are not as long as its header says")
    found, at = {}, 0
    for (name, dtype, shape), size in zip(listed, sizes, strict=True):
        array = np.frombuffer(whole, np.uint8, size, at).view(dtype) if size else np.zeros(0, dtype)
        found[name] = array.reshape(shape)
        at += size
    return found
