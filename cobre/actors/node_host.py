"""The actor that a node is: makes it, has it initialise, and runs it from its first message to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from time import perf_counter_ns
from typing import Any

from cobre.actors.inside import context
from cobre.actors.node import Node
from cobre.actors.node_failures import pipeline_error
from cobre.actors.node_plan import Lost, NodePlan, Reached, Report
from cobre.actors.node_ports import Inlets, LostChannel, Outlets
from cobre.actors.node_results import Results
from cobre.actors.node_states import NUMBERS, NodeState

__all__ = ["NodeHost"]

_STAGES = ("loading", "connecting")
_READY, _PROCESSING = NUMBERS[NodeState.READY], NUMBERS[NodeState.PROCESSING]

Hook = Callable[..., object]


class NodeHost:
    """The actor. ``initialize``, then ``run``, each called once."""

    def __init__(self, plan: NodePlan) -> None:
        self._plan = plan
        self._board = context().board
        self._interrupted = context().interrupted
        self._hook: Hook | None = _hook(plan.faults, plan.name) if plan.faults else None
        self._node: Node
        self._inlets: Inlets | None = None
        self._outlets: Outlets | None = None
        self._received = self._busy = 0

    def initialize(self) -> dict[tuple[str, int], str]:
        """Makes the node, has it prepare itself, and attaches its ports. Returns where its readers can be reached."""
        self._state(NodeState.INITIALIZING)
        self._tell("loading", 0.0, "")
        plan = self._plan
        self._node = node = plan.made(**plan.config)
        self._reach("initializing")
        self._results = Results(plan.name)
        self._results.settled(node.initialize(self._progress))
        self._tell("connecting", 1.0, "")
        self._inlets = Inlets(plan, self._board, self._hook)
        return self._inlets.addresses()

    def connect(self, places: Mapping[str, Any]) -> None:
        """Attaches the outputs; places: where the readers of channels are, for those that do not know it themselves."""
        self._outlets = Outlets(self._plan, self._board, self._hook, places)
        self._node._outlet = self._outlets
        self._state(NodeState.READY)

    def run(self) -> Lost | None:
        """Works until all inputs have ended, or a source is exhausted or told to stop; then closes all ports."""
        try:
            self._run()
        except LostChannel as lost:
            return lost.told
        except BaseException:
            lost_before = self._lost()
            if lost_before is not None:  # it came out of the node's own code, perhaps as something else
                return lost_before
            raise
        return None

    def _run(self) -> None:
        assert self._inlets is not None
        assert self._outlets is not None
        if self._plan.inputs:
            self._read()
        else:
            self._produce()
        self._state(NodeState.STOPPING)
        self._reach("stopping")
        if self._plan.inputs:
            self._results.send(self._node.finish(), self._outlets)
        self._outlets.close()
        self._results.settled(self._node.cleanup())
        self._results.close()
        self._inlets.close()

    def _read(self) -> None:
        inlets, outlets, board = self._inlets, self._outlets, self._board
        assert inlets is not None
        assert outlets is not None
        process, send, hook = self._node.process, self._results.send, self._hook
        while True:
            message = inlets.receive()
            if message is None:
                return
            if message.kind == "mark":
                mark = inlets.marked(message)
                if mark is not None:
                    outlets.mark(mark)
                    if not self._plan.outputs:
                        context().emit(Reached(mark))
                continue
            board.mark("state", _PROCESSING)
            board.beat()
            self._received += 1
            board.mark("received", self._received)
            if hook is not None:
                hook("processing", message=self._received)
            published, began = outlets.spent, perf_counter_ns()
            result = process(message)
            if result is not None:
                send(result, outlets)
            self._busy += perf_counter_ns() - began - (outlets.spent - published)
            board.mark("busy", self._busy)
            del message, result  # views of this message must be gone before the next is received
            board.mark("state", _READY)

    def _produce(self) -> None:
        outlets = self._outlets
        assert outlets is not None
        self._state(NodeState.PROCESSING)
        began = perf_counter_ns()
        for number, item in enumerate(self._results.each(self._node.produce()), 1):
            self._board.beat()
            self._reach("processing", number)
            self._results.send(item, outlets)
            self._board.mark("busy", perf_counter_ns() - began - outlets.spent)
            if self._interrupted.is_set():
                break

    def _lost(self) -> Lost | None:
        for ports in (self._inlets, self._outlets):
            if ports is not None and ports.lost is not None:
                return ports.lost
        return None

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

    def _reach(self, point: str, message: int = 0) -> None:
        if self._hook is not None:
            self._hook(point, message=message)


def _hook(faults: str, name: str) -> Hook:
    entry, _, text = faults.partition(" ")
    module, _, function = entry.partition(":")
    armed: Hook = getattr(import_module(module), function)(name, text)
    return armed
