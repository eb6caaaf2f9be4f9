"""The life of a session: its nodes started together, waited for, and ended together."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from queue import Empty
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from cobre.actors.graph import Graph
from cobre.actors.node_failures import nearest, pipeline_error
from cobre.actors.node_plan import Report
from cobre.actors.node_states import NodeState, SessionState
from cobre.actors.session_channels import Wires
from cobre.actors.session_failures import late
from cobre.actors.session_nodes import Crew
from cobre.actors.session_records import SessionLimits
from cobre.actors.session_stream import Stream
from cobre.errors import ChannelError, NodeError
from cobre.transport.environment import fault_text

if TYPE_CHECKING:
    from cobre.transport.channel_ports import ChannelStatistics

__all__ = ["ProgressCallback", "SessionLife"]

_log = logging.getLogger(__name__)
_REPEAT = 1.5  # seconds of silence after which the last word of a node that is not ready is said again

ProgressCallback = Callable[[str, str, float, str], object]
"""Called with node, stage (``starting loading connecting ready failed``), fraction and message."""


class SessionLife:
    """One instance of a pipeline: a process for each node, and the channels between them. Made by
    ``Pipeline.session``, used as a ``with`` block: entering starts everything, leaving ends it.

    transport: what the messages pass through, ``shm`` or ``tcp``. addresses: over tcp, where inputs listen
    (``host:port``, of the loopback) by their ``node.port``; others choose a port.
    on_progress: called in the thread that starts the session, at every word of a node and at least every 2 s for each
    node that is not ready. on_failure: called once, with the NodeError, in a thread of its own. limits: of the session.
    initialize_timeout: seconds until all nodes must be ready. grace: seconds for stopping in good order. start_method:
    ``spawn`` or ``forkserver``.

    A node that fails ends the session: its NodeError is raised by the call that is under way, or the next one, or the
    end of the block. ``send`` and ``receive`` may be called in two different threads, each in one at a time.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        transport: Literal["shm", "tcp"] = "shm",
        on_progress: ProgressCallback | None = None,
        on_failure: Callable[[NodeError], object] | None = None,
        limits: SessionLimits | None = None,
        initialize_timeout: float = 30.0,
        grace: float = 5.0,
        start_method: str | None = None,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        _check_options(transport, initialize_timeout, grace)
        _check_places(graph, transport, addresses or {})
        self.graph = graph
        self.id = f"{graph.name[:24]}-{secrets.token_hex(4)}"
        self._transport, self._addresses = transport, dict(addresses or {})
        self._on_progress, self._on_failure = on_progress, on_failure
        self._limits = limits or SessionLimits()
        self._initialize_timeout, self._grace = float(initialize_timeout), float(grace)
        self._start_method, text = start_method, fault_text()
        self._faults = f"cobre.testing.faults_nodes:arm {text}" if text else None  # by name: only tests import it
        self._state = SessionState.CREATED
        self._began: float | None = None
        self._ready_seconds: float | None = None
        self._wires: Wires
        self._crew: Crew | None = None
        self._stream: Stream | None = None
        self._reading, self._ending = threading.Lock(), threading.RLock()
        self._told = False  # whether the failure was raised
        self._watcher: threading.Thread | None = None
        self._last: dict[str, ChannelStatistics] = {}

    # Beginning and end.

    def start(self) -> Self:
        """Starts all nodes at once and waits until they are ready.

        Raises PipelineError: TooManyProcesses, MemoryExhausted (before anything is started), NotStarted (it was
        started before); NodeError: InitFailed, InitTimedOut, Died, NotSpawned, ...; nothing is left then.
        """
        if self._state is not SessionState.CREATED:
            told = f"the session {self.id} was started before"
            raise pipeline_error("NotStarted", told, "make another one with pipeline.session()")
        most, count = self._limits.processes, len(self.graph.nodes)
        if most is not None and count > most:
            told = f"{self.graph.name} has {count} nodes, and this session may have {most} processes"
            raise pipeline_error("TooManyProcesses", told, "raise SessionLimits(processes=...), or join nodes")
        self._began = time.monotonic()
        self._state = SessionState.INITIALIZING
        try:
            self._wires = Wires(self.graph, self.id, self._transport, self._addresses, self._initialize_timeout)
        except BaseException:
            self._state = SessionState.STOPPED
            raise
        try:
            self._crew = Crew(
                self.graph,
                self._wires,
                self.id,
                self._limits,
                self._start_method,
                self._initialize_timeout,
                self._failed,
            )
            self._crew.spawn(self._faults)
            self._get_ready(self._crew)
        except BaseException:
            self._told = True
            self.kill()
            raise
        return self

    def _get_ready(self, crew: Crew) -> None:
        assert self._began is not None
        deadline = self._began + self._initialize_timeout
        words = {name: Report("starting", 0.0, "") for name in self.graph.nodes}
        self._await(crew, "initialized", words, deadline)
        self._wires.attach()
        crew.connect()
        self._await(crew, "ready", words, deadline)
        self._ready_seconds = time.monotonic() - self._began
        self._stream = Stream(self._wires)
        self._state = SessionState.READY
        crew.run()
        if any(not spec.inputs for spec in self.graph.nodes.values()):
            self._state = SessionState.RUNNING

    def _await(self, crew: Crew, stage: str, words: dict[str, Report], deadline: float) -> None:
        """Until every node has come to the stage; says meanwhile what they say."""
        waiting = set(words)
        said = dict.fromkeys(words, time.monotonic())
        while waiting:
            now = time.monotonic()
            heard = None
            with contextlib.suppress(Empty):
                limit = min([deadline, *(said[name] + _REPEAT for name in waiting)])
                heard = crew.heard.get(timeout=max(0.0, limit - now))
            if crew.error is not None:
                self._say(crew.error.node or "", Report("failed", 0.0, crew.error.message))
                raise crew.error
            if heard is not None:
                name, word = heard
                if word.stage == stage:
                    waiting.discard(name)
                if word.stage != "initialized":
                    words[name], said[name] = word, time.monotonic()
                    self._say(name, word)
            now = time.monotonic()
            if waiting and now >= deadline:
                raise self._late(crew, {name: _spelt(words[name]) for name in words if name in waiting})
            for name in waiting:
                if now - said[name] >= _REPEAT:
                    said[name] = now
                    self._say(name, words[name])

    def _late(self, crew: Crew, nodes: dict[str, str]) -> NodeError:
        crew.fail(late(self.graph.name, nodes, self._initialize_timeout))
        assert crew.error is not None
        self._say(crew.error.node or "", Report("failed", 0.0, crew.error.message))
        return crew.error

    def _say(self, name: str, word: Report) -> None:
        if self._on_progress is not None:
            self._on_progress(name, *word)

    def stop(self) -> None:
        """Ends the session in good order: nothing more goes in, what is under way is finished (what comes out is
        dropped), sources are told to stop; what still works after ``grace`` seconds is killed. May be called twice.

        Raises NodeError where a node failed, unless that was raised before.
        """
        with self._ending:
            crew = self._crew
            if crew is None or self._state is SessionState.STOPPED:
                self._state = SessionState.STOPPED
                return
            if crew.error is None:
                self._state = SessionState.STOPPING
                deadline = time.monotonic() + self._grace
                self._wires.end_input()
                crew.end_sources()
                self._drain(deadline)
                if not crew.ended.wait(max(0.0, deadline - time.monotonic())):
                    names = [name for name, each in crew.status().items() if each.state is not NodeState.STOPPED]
                    _log.warning("%s: killed after %g s of stopping: %s", self.id, self._grace, ", ".join(names))
            self._close(kill=not crew.ended.is_set() or crew.error is not None)
        self._raise_unless_told()

    def kill(self) -> None:
        """Ends the session at once: all processes are killed. May be called twice."""
        with self._ending:
            if self._crew is not None and self._state is not SessionState.STOPPED:
                self._state = SessionState.TERMINATING
                self._wires.end(f"the session {self.id} was killed")
                self._close(kill=True)
            elif self._crew is None and self._state is SessionState.INITIALIZING:
                self._wires.close()
            self._state = SessionState.STOPPED

    def _drain(self, deadline: float) -> None:
        """Takes what comes out, so that no node waits for room, until all exits have ended."""
        if self._stream is None or not self._reading.acquire(blocking=False):
            return  # another thread reads: it takes what comes
        try:
            self._stream.drain(deadline)
        except ChannelError as error:  # a view of a message is alive: no more can come, and nobody wants it
            assert self._crew is not None
            self._crew.ended_early = True
            self._wires.end(error.message)
        finally:
            self._reading.release()

    def _close(self, *, kill: bool) -> None:
        crew = self._crew
        assert crew is not None
        crew.close(kill=kill)
        self._last = self._wires.statistics()
        self._wires.close()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._state = SessionState.STOPPED
        watcher = self._watcher
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join()

    def _failed(self, error: NodeError) -> None:
        """In the thread that heard of it."""
        self._state = SessionState.TERMINATING
        if self._on_failure is not None:
            self._watcher = threading.Thread(
                target=self._tell_failure, args=(error,), name="cobre-on-failure", daemon=True
            )
            self._watcher.start()
        self._wires.end(f"node {error.node} failed")

    def _tell_failure(self, error: NodeError) -> None:
        assert self._on_failure is not None
        try:
            self._on_failure(error)
        except Exception:  # whoever watches must not take anything down
            _log.exception("on_failure of %s raised", self.id)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.stop()
        else:
            self.kill()

    def _raise_unless_told(self) -> None:
        """Raises the failure that ended the session, if nobody has seen it yet."""
        error = self._crew.error if self._crew is not None else None
        if error is not None and not self._told:
            self._told = True
            raise error


def _spelt(word: Report) -> str:
    said = f"{word.stage}, {word.fraction:.0%}" if word.fraction else word.stage
    return f"{said}: {word.message}" if word.message else said


def _check_options(transport: object, initialize_timeout: object, grace: object) -> None:
    if transport not in ("shm", "tcp"):
        raise pipeline_error("OutOfRange", f"the transport is {transport!r}", "give 'shm' or 'tcp'")
    for name, value, least in (("initialize_timeout", initialize_timeout, 1e-9), ("grace", grace, 0.0)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and least <= value < float("inf")):  # type: ignore[operator]
            raise pipeline_error("OutOfRange", f"{name} is {value!r}", "give a number of seconds")


def _check_places(graph: Graph, transport: str, addresses: Mapping[str, str]) -> None:
    """Whether the nodes can be where they are to be."""
    if addresses and transport != "tcp":
        raise pipeline_error("BadConfig", "addresses are of transport='tcp'", "leave them out, or use tcp")
    readers = Counter(str(target) for each in graph.channels for target in each.targets if target is not None)
    for port in addresses:
        if port not in readers:
            advice = nearest(port, readers, "give addresses of inputs; there are")
            raise pipeline_error("UnknownPort", f"{port!r} is no input of {graph.name}", advice)
        if readers[port] > 1:
            told = f"{port} reads {readers[port]} channels, which cannot all listen at {addresses[port]}"
            raise pipeline_error("BadConfig", told, "leave its address out: each then has a port of its own")
    again = [name for name, spec in graph.nodes.items() if spec.restarts]
    if again and transport == "tcp":
        told = f"{', '.join(again)} may be started again, which needs channels in shared memory"
        raise pipeline_error("NotSupported", told, "use 'shm', or leave their restart policy out", node=again[0])
