"""What users of pipelines are told when something is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cobre.errors import PipelineError

__all__ = ["nearest", "pipeline_error"]


def pipeline_error(
    kind: str, message: str, suggestion: str | None = None, *, node: str | None = None, **context: Any
) -> PipelineError:
    """A PipelineError."""
    from cobre.errors import PipelineError

    return PipelineError(message, node=node, kind=kind, context=context, suggestion=suggestion)


def nearest(name: object, known: Iterable[str], otherwise: str) -> str:
    """Advice for a name that is not known: the one that was probably meant, or ``otherwise`` with all of them."""
    from difflib import get_close_matches  # a node's process has no need of it

    names = sorted(known)
    close = get_close_matches(str(name), names, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"{otherwise}: {', '.join(names)}" if names else otherwise


def size_of(data: Any) -> int:
    """Bytes of the payload that some data makes; 0 for what cannot be published anyway."""
    if isinstance(data, str):
        return len(data.encode())
    if isinstance(data, bytes):
        return len(data)
    array = getattr(data, "samples", getattr(data, "frame", data))
    return int(getattr(array, "nbytes", 0))


def too_large(size: int, most: int, port: str, node: str | None) -> PipelineError:
    """The error for a message beyond the session's limit."""
    told = f"a message of {size:,} bytes is more than the {most:,} that the limits of this session allow"
    advice = "raise SessionLimits(message_bytes=...), or send less at a time"
    return pipeline_error("TooLarge", told, advice, node=node, size=size, port=port)
