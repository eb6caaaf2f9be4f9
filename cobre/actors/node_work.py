"""A node at work, from its first message to its end. Imported beside its ``initialize``, with all that it needs."""

from __future__ import annotations

import pickle
from time import perf_counter_ns
from typing import TYPE_CHECKING

from cobre.actors.inside import context
from cobre.actors.node_plan import Lost, NodePlan, Reached, Traffic
from cobre.actors.node_ports import Inlets, LostChannel, Outlets
from cobre.actors.node_results import Results
from cobre.actors.node_states import NUMBERS, NodeState
from cobre.supervisor.board import BEATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from cobre.actors.node import Node
    from cobre.actors.node_coroutines import Coroutines

__all__ = ["Work"]

_READY, _PROCESSING = NUMBERS[NodeState.READY], NUMBERS[NodeState.PROCESSING]


class Work:
    """The ports of a node, and what passes between them. Making it attaches the inputs."""

    def __init__(self, plan: NodePlan, node: Node, coroutines: Coroutines, hook: Callable[..., object] | None) -> None:
        self._plan, self._node, self._coroutines, self._hook = plan, node, coroutines, hook
        self._board, self._interrupted = context().board, context().interrupted
        self._results = Results(plan.name, coroutines)
        places, self._channels = pickle.loads(plan.ends)
        self._inlets = Inlets(plan, places, self._board, hook)
        self._outlets: Outlets = None  # type: ignore[assignment]  # until it is connected

    def connect(self) -> None:
        """Attaches the outputs."""
        self._outlets = Outlets(self._plan, self._channels, self._board, self._hook)
        self._node._outlet = self._outlets

    def run(self) -> Lost | None:
        """See ``NodeHost.run``."""
        try:
            self._run()
        except LostChannel as lost:
            return lost.told
        except BaseException as error:
            lost_before = self._inlets.lost or self._outlets.lost
            if lost_before is not None:  # it came out of the node's own code, perhaps as something else
                return lost_before
            if self._plan.restarts:
                self.abandon(error)
            raise
        return None

    def abandon(self, error: BaseException) -> None:
        """Leaves its places in the channels to whoever comes next."""
        for ends in (self._inlets, self._outlets):
            if ends is not None:
                ends.abandon(f"{type(error).__name__}: {error}")

    def _run(self) -> None:
        if self._plan.before is not None:
            self._pass(self._inlets.passed)  # the one before may have come to its end before it could
        if self._plan.inputs:
            self._read()
        else:
            self._produce()
        self._board.mark("state", NUMBERS[NodeState.STOPPING])
        self._reach("stopping")
        if self._plan.inputs:
            self._results.send(self._node.finish(), self._outlets)
        self._outlets.close()
        self._coroutines.settled(self._node.cleanup())
        self._coroutines.close()
        reports = self._inlets.reports()
        if reports:
            context().emit(Traffic(reports))
        self._inlets.close()

    def _read(self) -> None:
        inlets, outlets, words = self._inlets, self._outlets, self._board.words
        state, received, busy = (self._board.place(name) for name in ("state", "received", "busy"))
        process, send, hook = self._node.process, self._results.send, self._hook
        restarts, count, worked = self._plan.restarts, 0, 0
        while True:
            message = inlets.receive()
            if message is None:
                return
            if message.kind == "mark":
                self._pass(inlets.marked(message))
                continue
            words[state] = _PROCESSING
            if restarts:
                inlets.begin(message)
            words[BEATS] += 1
            words[received] = count = count + 1
            if hook is not None:
                hook("processing", message=count)
            published, began = outlets.spent, perf_counter_ns()
            result = process(message)
            if result is not None:
                send(result, outlets)
            words[busy] = worked = worked + perf_counter_ns() - began - (outlets.spent - published)
            del message, result  # views of this message must be gone before the next is received
            words[state] = _READY

    def _pass(self, mark: int | None) -> None:
        """Hands on a mark that has come on all channels."""
        if mark is not None:
            self._outlets.mark(mark)
            if not self._plan.outputs:
                context().emit(Reached(mark))

    def _produce(self) -> None:
        outlets = self._outlets
        self._board.mark("state", _PROCESSING)
        began = perf_counter_ns()
        for number, item in enumerate(self._results.each(self._node.produce()), 1):
            self._board.beat()
            self._reach("processing", number)
            self._results.send(item, outlets)
            self._board.mark("busy", perf_counter_ns() - began - outlets.spent)
            if self._interrupted.is_set():
                break

    def _reach(self, point: str, message: int = 0) -> None:
        if self._hook is not None:
            self._hook(point, message=message)
