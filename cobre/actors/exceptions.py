"""Exceptions on their way from a worker to the caller: themselves where they can be pickled, their text in any case."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

from cobre.actors.failures import RemoteTraceback, actor_error
from cobre.actors.pickling import Dumped, dump, dump_plain, load

__all__ = ["dump_exception", "load_exception"]

_OURS = __name__.rpartition(".")[0]


def dump_exception(failure: BaseException) -> Dumped:
    """Its traceback's text (without the frames of this package that called the method) and the exception, pickled."""
    text = "".join(traceback.format_exception(type(failure), failure, _foreign(failure.__traceback__)))
    try:
        pickled, reason = dump(failure, in_band=True).payload, ""
    except Exception as refusal:
        pickled, reason = b"", f"{type(refusal).__name__}: {refusal}"
    raw = dump_plain((type(failure).__qualname__, text, pickled, reason))
    return Dumped(dump_plain(raw), [], [])  # bytes in bytes: kept as they are, made an exception each time it is raised


def _foreign(trace: Any) -> Any:
    """The traceback from the first frame on that is not of this package; all of it where there is none."""
    found = trace
    while found is not None and found.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        found = found.tb_next
    return found or trace


def load_exception(payload: bytes | memoryview) -> BaseException:
    """The exception, with a RemoteTraceback as its cause; an ActorError of kind NotSerializable in its place."""
    name, text, pickled, reason = pickle.loads(payload)
    failure = None
    if pickled:
        try:
            failure = load(pickled)
        except Exception as refusal:
            reason = f"{type(refusal).__name__}: {refusal}"
    if not isinstance(failure, BaseException):
        last = text.strip().splitlines()[-1]
        failure = actor_error(
            "NotSerializable",
            f"an actor raised {name}, which cannot be pickled ({reason}); it said: {last}",
            "its traceback is the cause of this error; an exception whose arguments are plain arrives as itself",
            exception=name,
            traceback=text,
        )
    failure.__cause__ = RemoteTraceback(text)
    return failure
