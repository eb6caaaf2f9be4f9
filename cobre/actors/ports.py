"""Ports of nodes: their names, and what kinds of data pass them."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

from cobre.actors.node_failures import pipeline_error

__all__ = ["KINDS", "Port", "check_name", "kinds_of", "parse_port", "ports_of", "spell"]

KINDS = ("array", "text", "bytes", "audio", "video")
"""What a message may be, as ``Message.kind`` says it."""

_ANY = frozenset(KINDS)
# By their names: a process that only declares ports does not import numpy for that.
_TYPES = {
    ("builtins", "str"): "text",
    ("builtins", "bytes"): "bytes",
    ("numpy", "ndarray"): "array",
    ("cobre.transport.media", "Audio"): "audio",
    ("cobre.transport.media", "Video"): "video",
}


class Port(NamedTuple):
    """One port of one node; as text ``node.port``."""

    node: str
    name: str

    def __str__(self) -> str:
        return f"{self.node}.{self.name}"


def parse_port(text: str) -> tuple[str, str | None]:
    """``node.port`` or ``node`` as its parts; None for a port that is not named."""
    node, dot, port = text.partition(".")
    return node, port if dot else None


def check_name(what: str, name: object, *, node: str | None = None) -> str:
    """The name of a node or port, which may be any text without a dot and blanks at its ends.

    Raises PipelineError of kind BadConfig.
    """
    if not isinstance(name, str) or not name or name != name.strip() or "." in name or not name.isprintable():
        told = f"{name!r} is no name for {what}"
        raise pipeline_error("BadConfig", told, "give a text without dots, and without blanks at its ends", node=node)
    return name


def ports_of(declared: object, side: str, node: str) -> dict[str, frozenset[str]]:
    """The kinds that pass each port of a class's ``inputs`` or ``outputs``. Raises PipelineError of kind BadConfig."""
    if not isinstance(declared, Mapping):
        told = f"the {side} of {node} are {declared!r}, which is no mapping of port names to types"
        raise pipeline_error(
            "BadConfig", told, f'write {side} = {{"name": numpy.ndarray}}, or {{}} for none', node=node
        )
    for name in declared:
        check_name(f"one of the {side} of {node}", name, node=node)
    return {name: kinds_of(kind, f"{side[:-1]} {name!r} of {node}") for name, kind in declared.items()}


def kinds_of(declared: object, what: str = "a port") -> frozenset[str]:
    """The kinds of data that a declared type stands for: ``numpy.ndarray``, ``str``, ``bytes``, ``Audio``, ``Video``,
    ``Any``, a tuple or union of them, or the name of a kind. what: whose type it is, for the error.

    Raises PipelineError of kind BadConfig.
    """
    if declared is Any:
        return _ANY
    if isinstance(declared, types.UnionType) or typing.get_origin(declared) is typing.Union:
        declared = typing.get_args(declared)
    if isinstance(declared, tuple) and declared:
        return frozenset().union(*(kinds_of(each, what) for each in declared))
    origin = typing.get_origin(declared) or declared  # numpy.typing.NDArray[...] is an ndarray
    kind = declared if isinstance(declared, str) else _TYPES.get((_home(origin), getattr(origin, "__name__", "")))
    if kind not in KINDS:
        raise pipeline_error(
            "BadConfig",
            f"{declared!r} is no type of {what}",
            "give numpy.ndarray, str, bytes, Audio, Video, Any, or a tuple of them",
        )
    return frozenset({kind})


def _home(declared: object) -> str:
    return getattr(declared, "__module__", "")


def spell(kinds: frozenset[str]) -> str:
    """The kinds in words."""
    return "anything" if kinds == _ANY else " or ".join(kind for kind in KINDS if kind in kinds)
