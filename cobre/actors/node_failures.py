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
