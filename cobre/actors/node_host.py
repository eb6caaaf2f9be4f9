"""The actor that a node is: makes it, has it initialise, and then hands it over to its work.

Nothing is imported here that a node could do without before its ``initialize``: what passes messages (and numpy) is
imported by a thread meanwhile, so that nodes that wait for something in ``initialize`` wait for nothing else.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from cobre.actors.inside import context
from cobre.actors.node import Node
from cobre.actors.node_coroutines import Coroutines
from cobre.actors.node_failures import pipeline_error
from cobre.actors.node_plan import Lost, NodePlan, Report
from cobre.actors.node_states import NUMBERS, NodeState

if TYPE_CHECKING:
    from cobre.actors.node_work import Work

__all__ = ["NodeHost"]

_STAGES = ("loading", "connecting")
_NEEDED = ("cobre.actors.node_work", "cobre.transport.channel", "cobre.actors.exceptions")
_LATER = 0.15  # seconds: first let the other nodes' processes come to their ``initialize``

Hook = Callable[..., object]


class NodeHost:
    """The actor. ``initialize``, ``connect`` and ``run``, each called once; or ``resume`` in place of the first two."""

    def __init__(self, plan: NodePlan) -> None:
        self._plan = plan
        self._board = context().board
        self._coroutines = Coroutines()
        self._wanted = threading.Event()
        self._imports = threading.Thread(target=self._import, name="cobre-imports", daemon=True)
        self._hook: Hook | None = _hook(plan.faults, plan.name) if plan.faults else None
        self._node: Node
        self._work: Work

    def initialize(self) -> None:
        """Makes the node, has it prepare itself, and attaches its inputs."""
        self._state(NodeState.INITIALIZING)
        self._tell("loading", 0.0, "")
        plan = self._plan
        self._imports.start()
        os.register_at_fork(before=self._imported)  # a fork in the middle of an import could never import that again
        self._node = node = plan.made(**plan.config)
        if self._hook is not None:
            self._hook("initializing")
        self._coroutines.settled(node.initialize(self._progress))
        self._tell("connecting", 1.0, "")
        self._imported()
        from cobre.actors.node_work import Work

        self._work = Work(plan, node, self._coroutines, self._hook)

    def connect(self) -> None:
        """Attaches the outputs."""
        self._work.connect()
        self._state(NodeState.READY)

    def resume(self) -> None:
        """Takes the places of one that failed."""
        self.initialize()
        try:
            self.connect()
        except Exception as error:
            self._work.abandon(error)
            raise

    def run(self) -> Lost | None:
        """Works until all inputs have ended, or a source is exhausted or told to stop; then closes all ports."""
        return self._work.run()

    def _import(self) -> None:
        self._wanted.wait(_LATER)
        for name in _NEEDED:
            with contextlib.suppress(Exception):  # whoever needs it will meet the same, and say so
                import_module(name)

    def _imported(self) -> None:
        if threading.current_thread() is not self._imports:
            self._wanted.set()
            self._imports.join()

    def _progress(self, fraction: float, message: str = "", *, state: str = "loading") -> None:
        if not (isinstance(fraction, int | float) and 0.0 <= fraction <= 1.0):
            told = f"{self._plan.name} says that it is {fraction!r} ready"
            raise pipeline_error("OutOfRange", told, "give a fraction from 0 to 1", node=self._plan.name)
        if state not in _STAGES:
            told = f"{self._plan.name} says that it is in the state {state!r}"
            raise pipeline_error("OutOfRange", told, "give 'loading' or 'connecting'", node=self._plan.name)
        self._board.beat()
        self._tell(state, float(fraction), str(message))

    def _tell(self, stage: str, fraction: float, message: str) -> None:
        context().emit(Report(stage, fraction, message))

    def _state(self, state: NodeState) -> None:
        self._board.mark("state", NUMBERS[state])


def _hook(faults: str, name: str) -> Hook:
    entry, _, text = faults.partition(" ")
    module, _, function = entry.partition(":")
    armed: Hook = getattr(import_module(module), function)(name, text)
    return armed
