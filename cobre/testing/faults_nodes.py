"""What a node of a pipeline does to itself when a fault is injected; see ``cobre.testing.faults``.

A node's process imports this module where there are faults, and nothing of ours that it would not need otherwise.
"""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass

from cobre.testing.faults_deeds import DEEDS

__all__ = ["NODE_HOWS", "NODE_WHENS", "NodeFault", "arm", "node_faults"]

_log = logging.getLogger(__name__)

NODE_HOWS = tuple(how for how in DEEDS if how not in ("unpicklable-result", "broken-transport"))
NODE_WHENS = ("initializing", "processing", "waiting", "publishing", "stopping")
_LASTS = 0.05  # seconds after which a wait counts as one


@dataclass(frozen=True)
class NodeFault:
    """What one node does to itself, and where. message: at which of those that it processes, from 1; None is any."""

    node: str
    how: str
    when: str
    message: int | None = None

    def __str__(self) -> str:
        place = "" if self.message is None else f", message {self.message}"
        return f"node {self.node}: {self.how} at {self.when}{place}"


def node_faults(text: str) -> list[NodeFault]:
    """Those of a checked text that are of nodes."""
    told = json.loads(text)
    return [NodeFault(**each) for each in (told if isinstance(told, list) else [told]) if "node" in each]


def arm(name: str, text: str) -> Callable[..., None]:
    """What a node calls at every point that it comes to: a name of ``NODE_WHENS``, or "" where a wait is over."""
    return _Armed([fault for fault in node_faults(text) if fault.node == name])


class _Armed:
    def __init__(self, faults: list[NodeFault]) -> None:
        self._faults = faults
        self._timer = False

    def __call__(self, point: str, *, message: int = 0) -> None:
        if self._timer:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            self._timer = False
        for fault in self._faults:
            if fault.when == point and fault.message in (None, message):
                self._begin(fault)
                return

    def _begin(self, fault: NodeFault) -> None:
        if fault.when not in ("waiting", "publishing"):
            self._do(fault)
            return
        # A wait is interrupted in the middle, by a signal: its handler runs in the thread that waits.
        signal.signal(signal.SIGALRM, lambda *_: self._do(fault))
        signal.setitimer(signal.ITIMER_REAL, _LASTS)
        self._timer = True

    def _do(self, fault: NodeFault) -> None:
        self._timer = False
        self._faults.remove(fault)
        _log.warning("injected fault: %s", fault)
        DEEDS[fault.how]()
