"""The nodes of a session as its owner sees them: started together, watched, ended together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from cobre.actors.node_failures import pipeline_error
from cobre.actors.node_host import NodeHost
from cobre.actors.node_plan import Lost, NodePlan, Reached, Report, Traffic, marks_of
from cobre.actors.node_states import NodeState
from cobre.actors.session_failures import failed, late, lost_channel, over_memory, state_of
from cobre.actors.session_history import History
from cobre.actors.session_records import NodeStatus, SessionLimits
from cobre.actors.system import ActorSystem
from cobre.errors import ActorError, CobreError, NodeError
from cobre.supervisor import Grace, Limits

if TYPE_CHECKING:
    from cobre.actors.graph import Graph
    from cobre.actors.handle import ActorHandle
    from cobre.actors.session_channels import Wires

__all__ = ["Crew"]

_log = logging.getLogger(__name__)
_PATIENCE = 2.0  # seconds that the cause of a lost channel is given to show itself
_LOOK = 1.0  # seconds between looks at the memory of all
_SECOND = 1e9


class Crew:
    """One actor for each node, and another one where its restart policy says so. heard: what they said of their
    progress, and None for "look again".

    on_failure: called once, with the first failure, in the thread that answers calls or in the supervisor's.
    ended: set when every node has run to its end, or one has failed. patience: seconds that one that is started again
    may take to initialise.
    """

    def __init__(
        self,
        graph: Graph,
        wires: Wires,
        session: str,
        limits: SessionLimits,
        start_method: str | None,
        patience: float,
        on_failure: Callable[[NodeError], None],
    ) -> None:
        self._graph, self._wires, self._session, self._limits = graph, wires, session, limits
        self._patience, self._on_failure = patience, on_failure
        self.heard: SimpleQueue[tuple[str, Report] | None] = SimpleQueue()
        self.ended = threading.Event()
        self.error: NodeError | None = None
        self.ended_early = False  # the session has ended channels itself: who loses one has come to its end
        self._lock = threading.Lock()
        self._over = self._sources_ended = False
        self._faults: str | None = None
        self._handles: dict[str, ActorHandle] = {}
        self._running: set[str] = set()
        self._sinks = {name: 0 for name, spec in graph.nodes.items() if not spec.outputs and name not in graph.fed}
        self._reached = threading.Condition()
        self._started: dict[str, float] = {}
        self._histories = {name: History(spec.restart) for name, spec in graph.nodes.items() if spec.restarts}
        self._system = ActorSystem(start_method=start_method, grace=Grace(ask=1.0, terminate=1.0))

    def spawn(self, faults: str | None) -> None:
        """Starts all of them, and has them initialise. Raises PipelineError BadConfig for what cannot be sent."""
        self._faults = faults
        for name in self._graph.nodes:
            handle = self._spawned(name, name, None)
            self._hear(name, Report("starting", 0.0, ""))
            handle.initialize.remote().add_done_callback(partial(self._initialized, name))
        if self._limits.memory_bytes is not None:
            self._system.later(_LOOK, self._look)

    def _spawned(self, name: str, called: str, before: Mapping[str, int] | None) -> ActorHandle:
        spec, inputs = self._graph.nodes[name], self._wires.inputs_of(name)
        plan = NodePlan(
            name, spec.made, spec.config, tuple(port for port, _, _ in inputs), tuple(spec.outputs),
            self._wires.ends_of(name), self._limits.message_bytes, self._faults, spec.restarts, before,
        )  # fmt: skip
        self._started[name] = time.time()
        try:
            self._handles[name] = handle = self._system.spawn(
                NodeHost, plan, name=called, limits=spec.limits or Limits(),
                marks=marks_of(len(inputs), restarts=spec.restarts), on_event=partial(self._hear, name),
            )  # fmt: skip
        except ActorError as error:
            told = f"{name} cannot be sent to its process: {error.message}"
            raise pipeline_error("BadConfig", told, error.suggestion, node=name) from error
        return handle

    def connect(self) -> None:
        """Has them attach their outputs, after which they are ready."""
        for name, handle in self._handles.items():
            handle.connect.remote().add_done_callback(partial(self._connected, name))

    def run(self) -> None:
        """Has them work."""
        self._running.update(self._handles)
        for name in self._handles:
            self._run(name)

    def _run(self, name: str) -> None:
        self._handles[name].run.remote().add_done_callback(partial(self._ran, name))

    def await_sinks(self, mark: int) -> None:
        """Waits until nodes without outputs are done with all that came before the mark, or a node has failed."""
        with self._reached:
            self._reached.wait_for(
                lambda: self.error is not None or self._over or all(at >= mark for at in self._sinks.values())
            )

    def end_sources(self) -> None:
        """Has nodes that produce by themselves stop."""
        self._sources_ended = True
        for name, handle in self._handles.items():
            if not self._graph.nodes[name].inputs:
                handle.interrupt()

    def fail(self, error: NodeError) -> None:
        """The first failure ends all of them at once. Any thread."""
        with self._lock:
            if self.error is not None or self._over:
                return
            self.error = error
        self._on_failure(error)  # before the kills: the cores have some milliseconds of work with those that end
        self._system.kill()
        with self._reached:
            self._reached.notify_all()
        self.heard.put(None)
        self.ended.set()

    def close(self, *, kill: bool) -> None:
        """Ends the processes, and waits for that. What they come to now is no failure."""
        with self._lock:
            self._over = True
        self._system.close(kill=kill)

    # In the thread that answers.

    def _hear(self, name: str, value: object) -> None:
        if isinstance(value, Report):
            self.heard.put((name, value))
        elif isinstance(value, Reached):
            with self._reached:
                self._sinks[name] = value.mark
                self._reached.notify_all()
        elif isinstance(value, Traffic):
            self._wires.note(value)

    def _initialized(self, name: str, future: Future[Any]) -> None:
        if self._good(name, future):
            self.heard.put((name, Report("initialized", 1.0, "")))

    def _connected(self, name: str, future: Future[Any]) -> None:
        if self._good(name, future):
            self.heard.put((name, Report("ready", 1.0, "")))

    def _ran(self, name: str, future: Future[Any]) -> None:
        if not self._good(name, future):
            return
        lost = future.result()
        if isinstance(lost, Lost) and not self.ended_early:
            error = lost_channel(self._graph.name, name, lost)
            self._system.later(_PATIENCE, lambda: self.fail(error))
            return
        self._running.discard(name)
        if not self._running:
            self.ended.set()

    def _good(self, name: str, future: Future[Any]) -> bool:
        if future.cancelled():
            return False
        failure = future.exception()
        if failure is None:
            return True
        handle = self._handles[name]
        if isinstance(failure, ActorError) and failure.kind == "Closed":  # that is our own doing
            return False
        error = failed(self._graph.name, name, handle, failure)
        history = self._histories.get(name)
        if history is not None and self._again(history, name, handle, error):
            return False
        self.fail(error)
        return False

    def _again(self, history: History, name: str, handle: ActorHandle, error: NodeError) -> bool:
        """Whether the node is started again, which begins then."""
        if self._over or self.error is not None or name not in self._running:
            return False
        marks = handle.marks()
        if not history.allows(state_of(marks), error):
            history.complete(error)
            return False
        _log.warning("%s: %s; it is started again", self._session, error.message)
        history.add(marks, error, has_inputs=bool(self._graph.nodes[name].inputs))
        handle.kill()  # where it was an exception, its process lives
        self._system.later(0.0, partial(self._begin_again, history, name))
        return True

    def _begin_again(self, history: History, name: str) -> None:
        if self._over or self.error is not None:
            return
        number = history.restarts
        try:
            handle = self._spawned(name, f"{name}, start {number + 1}", history.inheritance)
            handle.resume.remote().add_done_callback(partial(self._resumed, name))
        except CobreError as error:
            self.fail(failed(self._graph.name, name, self._handles[name], error))
            return
        self._system.later(self._patience, partial(self._late, history, name, number))

    def _resumed(self, name: str, future: Future[Any]) -> None:
        if self._good(name, future):
            self._histories[name].ready = True
            self._run(name)
            if self._sources_ended and not self._graph.nodes[name].inputs:
                self._handles[name].interrupt()

    def _late(self, history: History, name: str, number: int) -> None:
        if history.restarts == number and not history.ready:
            self.fail(late(self._graph.name, {name: f"start {number + 1}"}, self._patience))

    def _look(self) -> None:
        """At the memory of all."""
        limit = self._limits.memory_bytes
        if limit is None or self._over or self.error is not None:
            return
        uses = {name: self._memory(name) or 0 for name in self._handles}
        if sum(uses.values()) > limit:
            self.fail(over_memory(self._graph.name, uses, limit))
        else:
            self._system.later(_LOOK, self._look)

    # What is known of them.

    def _memory(self, name: str) -> int | None:
        samples = self._handles[name].process.samples
        return samples[-1].memory_bytes if samples else None

    def status(self) -> dict[str, NodeStatus]:
        """Of each node."""
        return {name: self._status(name) for name in self._graph.nodes}

    def _status(self, name: str) -> NodeStatus:
        spec, handle = self._graph.nodes[name], self._handles.get(name)
        read, written = self._wires.names_of(name)
        if handle is None:
            return NodeStatus(name, spec.type_name, NodeState.IDLE, self._session, inputs=read, outputs=written)
        marks, report, error = handle.marks(), handle.process.report, self.error
        state, failure = state_of(marks), None
        if error is not None and error.node == name:
            state, failure = NodeState.ERROR, error.message
        elif self._is_coming(name):
            state, report = NodeState.INITIALIZING, None
        elif report is not None:
            state = NodeState.STOPPED
        statistics = handle.process.statistics()
        history = self._histories.get(name)
        if history is not None:
            marks = history.totals(marks)
        return NodeStatus(
            name=name,
            type_name=spec.type_name,
            state=state,
            session=self._session,
            pid=statistics.pid,
            started=self._started[name],
            memory_bytes=self._memory(name),
            processed=marks.get("received", 0),
            sent=marks.get("sent", 0),
            busy_seconds=marks.get("busy", 0) / _SECOND,
            waiting_seconds=marks.get("waiting", 0) / _SECOND,
            blocked_seconds=marks.get("blocked", 0) / _SECOND,
            exit=None if report is None else self._exit(name),
            failure=failure,
            inputs=read,
            outputs=written,
            restarts=0 if history is None else history.restarts,
            dropped=0 if history is None else history.dropped,
        )

    def _is_coming(self, name: str) -> bool:
        """Whether it failed and is being started again."""
        history = self._histories.get(name)
        return history is not None and not history.ready and not self._over and self.error is None

    def _exit(self, name: str) -> str:
        report = self._handles[name].process.report
        assert report is not None
        if report.deliberate and report.signal is None:
            return "normal"
        if report.signal is not None:
            if self.error is None and name in self._running:
                return "timeout"
            return f"killed({report.signal})"
        return f"error({report.exit_code})"
