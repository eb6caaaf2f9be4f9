"""What ``cobre pipeline`` does: read a pipeline, draw it or run it, and say what came of it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from cobre.actors.diagram import draw
from cobre.actors.graph import Graph
from cobre.actors.pipeline_file import RuntimeSettings, read_pipeline, read_runtime
from cobre.actors.session import Session
from cobre.actors.session_records import SessionLimits
from cobre.cli.failures import ExitCode
from cobre.cli.formats import count
from cobre.cli.interrupt import Interrupts
from cobre.cli.pipeline_data import Feed, Sink, feeds_of
from cobre.cli.pipeline_display import Display, displayed
from cobre.cli.terminal import Terminal
from cobre.errors import ChannelError, CobreError

__all__ = ["Request", "run", "show"]

_LOOK = 0.2  # seconds between looks at whether something else is to be done
_NOTHING = object()


@dataclass(frozen=True)
class Request:
    """What to run. runtime: None for the ``runtime.toml`` beside the file, where there is one. inputs: as typed."""

    file: Path
    runtime: Path | None = None
    inputs: tuple[str, ...] = ()
    output: Path | None = None
    check: bool = False

    @property
    def settings(self) -> RuntimeSettings:
        """Of the session. Raises IOError and ValidationError."""
        beside = self.file.parent / "runtime.toml"
        if self.runtime is None and not beside.exists():
            return RuntimeSettings()
        return read_runtime(self.runtime or beside)


def show(terminal: Terminal, file: Path, format: str) -> ExitCode:
    """Draw a pipeline."""
    graph = read_pipeline(file).check()
    terminal.say(draw(graph, format))
    terminal.emit({**_shape(graph), "diagram": draw(graph, format)})
    return ExitCode.DONE


def run(terminal: Terminal, request: Request) -> ExitCode:
    """Run a pipeline until its sources or its input end. The first signal ends both; what is under way comes out."""
    with Interrupts() as interrupts:
        graph = read_pipeline(request.file).check()
        settings = request.settings
        if request.check:
            terminal.say(
                f"{graph.name}: valid, {count(len(graph.nodes), 'node')}, {count(len(graph.channels), 'channel')}"
            )
            terminal.emit(_shape(graph))
            return ExitCode.DONE
        feeds = feeds_of(request.inputs, [str(port) for port in graph.entries])
        with (
            Sink(request.output, keep=terminal.json) as sink,
            interrupts.saving("what is under way", terminal.note),
            displayed(terminal, f"running {graph.name}") as display,
        ):
            interrupts.tell = display.tell
            with _session(graph, settings, display) as session:
                passed = _Passage(session, feeds, sink, display, interrupts)
                passed.work()
            display.look(session, last=True)
    return _conclude(terminal, request, session, sink, passed)


def _session(graph: Graph, settings: RuntimeSettings, display: Display) -> Session:
    """As the settings have it; where they are silent, the library's defaults stand."""
    given = {
        "transport": settings.transport,
        "start_method": settings.start_method,
        "initialize_timeout": settings.initialize_timeout,
        "grace": settings.grace,
        "addresses": settings.addresses or None,
    }
    limits = SessionLimits(settings.processes, settings.memory_bytes, settings.message_bytes)
    options = {name: value for name, value in given.items() if value is not None}
    return Session(graph, on_progress=display.starting, limits=limits, **options)  # type: ignore[arg-type]


class _Passage:
    """Everything that goes through one session: a thread feeds it, this one takes what comes out."""

    def __init__(
        self, session: Session, feeds: list[Feed], sink: Sink, display: Display, interrupts: Interrupts
    ) -> None:
        self._session, self._feeds, self._sink = session, feeds, sink
        self._display, self._interrupts = display, interrupts
        self._stopped = threading.Event()
        self._fed = not feeds
        self._failure: Exception | None = None
        self.received: Counter[str] = Counter()
        self.stopped_early = False

    def work(self) -> None:
        """Until the pipeline has ended by itself or was asked to stop. Raises what failed."""
        feeder = threading.Thread(target=self._feed, name="cobre-pipeline-input", daemon=True)
        if self._feeds:
            feeder.start()
        try:
            self._receive()
        finally:
            self._stopped.set()
            if self._feeds:
                feeder.join(_LOOK * 10)

    def _receive(self) -> None:
        session, ended = self._session, not self._feeds
        while True:
            if self._interrupts.requested and not self.stopped_early:
                self.stopped_early = True
                self._stopped.set()
                session.end()
            if self._fed and not ended:
                ended = True
                session.end(sources=False)
            if self._failure is not None:
                raise self._failure
            if not self._take():
                return
            self._display.look(session)

    def _take(self) -> bool:
        """What comes out next, if it comes soon; whether more may come."""
        if not self._session.graph.exits:
            return not self._session.wait(_LOOK)
        try:
            message = self._session.receive(timeout=_LOOK)
        except ChannelError as error:
            if error.kind == "EndOfChannel":
                return not self._session.wait(_LOOK)
            if error.kind == "TimedOut":
                return True
            raise
        self.received[message.port] += 1
        self._sink.take(message.port, message, self._display.say)
        return True

    def _feed(self) -> None:
        """In a thread of its own: a message for each input in turn, as long as there are any."""
        try:
            sources = [feed.read(self._stopped) for feed in self._feeds]
            for items in zip_longest(*sources, fillvalue=_NOTHING):
                for feed, item in zip(self._feeds, items, strict=True):
                    if self._stopped.is_set():
                        return
                    if item is not _NOTHING:
                        self._session.send(item, to=feed.port)
        except Exception as error:
            # Of a session that ended the other thread knows better why.
            if not (isinstance(error, CobreError) and self._session.error is not None) and not self._stopped.is_set():
                self._failure = error
        finally:
            self._fed = True


def _conclude(terminal: Terminal, request: Request, session: Session, sink: Sink, passed: _Passage) -> ExitCode:
    metrics, status = session.metrics(), session.status()
    if not terminal.quiet:
        came = ", ".join(f"{number:,} from {port}" for port, number in sorted(passed.received.items())) or "none"
        where = f", in {request.output}" if request.output else ""
        terminal.note(
            f"{session.graph.name} ended after {metrics.seconds:.1f} s; messages that came out: {came}{where}"
        )
    for name, each in status.items():
        if each.restarts:
            dropped = count(each.dropped, "message")
            terminal.note(f"{name} failed and was started again: {count(each.restarts, 'time')}; {dropped} dropped")
    terminal.emit(
        {
            **_shape(session.graph),
            "stopped_early": passed.stopped_early,
            "seconds": metrics.seconds,
            "received": dict(passed.received),
            "messages": sink.kept,
            "output": str(request.output) if request.output else None,
            "processed": {name: {"in": each.processed, "out": each.sent} for name, each in status.items()},
        }
    )
    return ExitCode.STOPPED if passed.stopped_early else ExitCode.DONE


def _shape(graph: Graph) -> dict[str, Any]:
    return {
        "pipeline": graph.name,
        "nodes": {name: graph.nodes[name].type_name for name in graph.order},
        "inputs": [str(port) for port in graph.entries],
        "outputs": [str(port) for port in graph.exits],
    }
