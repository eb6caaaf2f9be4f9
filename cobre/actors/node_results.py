"""What the methods of a node return: data, several, none; at one port or at many; now or when it was awaited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cobre.actors.node import Item
from cobre.actors.node_failures import pipeline_error
from cobre.transport.media import Audio, Video
from cobre.transport.message import Message

if TYPE_CHECKING:
    from cobre.actors.node_coroutines import Coroutines
    from cobre.actors.node_ports import Outlets

__all__ = ["Results"]

_DATA = frozenset({np.ndarray, str, bytes, Audio, Video})
_NONE: dict[str, Any] = {}


class Results:
    """Takes results apart and sends them."""

    def __init__(self, name: str, coroutines: Coroutines) -> None:
        self._name = name
        self._settled = coroutines.settled

    def each(self, result: Any) -> Iterator[Any]:
        """One after the other what a list, an iterator or an asynchronous one holds; nothing for None."""
        result = self._settled(result)
        if result is None:
            return
        if hasattr(result, "__aiter__"):
            iterator = result.__aiter__()
            while True:
                try:
                    item = self._settled(iterator.__anext__())
                except StopAsyncIteration:
                    return
                yield item
                del item
        else:
            yield from result

    def send(self, result: Any, outlets: Outlets) -> None:
        """Sends out all of it. Raises PipelineError: UnknownPort, WrongType; what publishing raises."""
        if type(result) in _DATA:
            outlets.emit(result)
            return
        result = self._settled(result)
        if isinstance(result, Mapping):
            for port, value in result.items():
                self._send_to(port, value, outlets)
        else:
            self._send_to(None, result, outlets)

    def _send_to(self, port: str | None, value: Any, outlets: Outlets) -> None:
        if value is None:
            return
        if isinstance(value, list) or hasattr(value, "__next__") or hasattr(value, "__aiter__"):
            for each in self.each(value):
                if port is None and isinstance(each, Mapping):
                    self.send(each, outlets)
                else:
                    self._send_one(port, each, outlets)
                del each
        else:
            self._send_one(port, value, outlets)

    def _send_one(self, port: str | None, value: Any, outlets: Outlets) -> None:
        if value is None:
            return
        if isinstance(value, Item | Message):
            outlets.emit(value.data, port, value.metadata)
        elif isinstance(value, tuple | set | frozenset | Mapping):
            told = f"{self._name} returned a {type(value).__name__}, which is neither data nor a list of them"
            advice = "return data, a list or generator of data, {port: data}, or None"
            raise pipeline_error("WrongType", told, advice, node=self._name)
        else:
            outlets.emit(value, port)
