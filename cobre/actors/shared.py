"""The worker's side of shared values: what a number in a call stands for."""

from __future__ import annotations

from cobre.actors.pickling import load

__all__ = ["drop", "keep", "shared_value"]

_kept: dict[int, tuple[bytes | memoryview, list[memoryview]]] = {}


def keep(number: int, payload: bytes | memoryview, buffers: list[memoryview]) -> None:
    """Has ``number`` stand for this object, whose buffers are mapped memory."""
    _kept[number] = (payload, buffers)


def drop(number: int) -> None:
    """It will not be named again; objects made from it stay valid."""
    _kept.pop(number, None)


def shared_value(number: int) -> object:
    """The object, made anew on top of the same memory: what one call does to it no other call sees."""
    payload, buffers = _kept[number]
    return load(payload, buffers)
