"""A pipeline at work: fed, read and looked at while it lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from cobre.actors.node import Item
from cobre.actors.node_failures import nearest, pipeline_error, size_of, too_large
from cobre.actors.node_states import NodeState, SessionState
from cobre.actors.ports import Port, parse_port
from cobre.actors.session_life import SessionLife
from cobre.actors.session_records import NodeStatus, SessionMetrics
from cobre.errors import ChannelError, CobreError, NodeError
from cobre.transport.message import Message

if TYPE_CHECKING:
    from cobre.transport.channel_ports import ChannelReader, ChannelStatistics, ChannelWriter

__all__ = ["Session"]

_Result = TypeVar("_Result")
_PATIENCE = 3.0  # seconds that the cause of a lost channel is given to show itself


class Session(SessionLife):
    """One instance of a pipeline: a process for each node, and the channels between them. Made by
    ``Pipeline.session``, used as a ``with`` block: entering starts everything, leaving ends it.

    The options are those of ``SessionLife``. A node that fails ends the session: its NodeError is raised by the call
    that is under way, or the next one, or the end of the block. ``send`` may be called in one thread while another one
    receives.
    """

    def send(self, data: Any, to: str | None = None, timeout: float | None = None, **metadata: Any) -> None:
        """Gives data to an entry, waiting for room. to: ``node.port`` or ``node``, where there are several entries.

        timeout: seconds. Raises NodeError, PipelineError (Closed, UnknownPort, TooLarge), ChannelError (TimedOut,
        WrongType, TooLarge).
        """
        self._entry(to)
        self._check_size(data)
        self._state = SessionState.RUNNING
        self._called(self._entry(to).publish, data, timeout, **metadata)

    def receive(self, source: str | None = None, timeout: float | None = None) -> Message:
        """The next message of an exit (None: of any); ``message.port`` says of which. timeout: seconds.

        Its data is a view of shared memory, valid until the next ``receive``: copy what is to be kept.
        Raises NodeError, PipelineError (Closed, UnknownPort), ChannelError (TimedOut; EndOfChannel: no more will come;
        ViewAlive: views of earlier messages hold all the room).
        """
        return self._called(self._received, source, timeout)

    def _received(self, source: str | None, timeout: float | None) -> Message:
        readers, stream = self._exits(source), self._stream
        assert stream is not None
        with self._reading:
            return stream.receive(readers, timeout)

    def run(self, items: Iterable[Any] | None = None) -> Iterator[Message]:
        """Feeds all items in, and yields what comes out of the exits, until all that they led to has come.

        items: data for the only entry, Items with metadata, or ``{entry: data}``; None for a pipeline that produces by
        itself: then this ends with the pipeline. Each message is valid until the next one. The session can be run
        again after that. A loop that is left early leaves messages under way, which the next run drops.

        Raises NodeError, and PipelineError of kind NotSupported where sources and items would meet, Closed.
        """
        self._check_running()
        if items is None:
            if self.graph.entries:
                told = f"{self.graph.name} takes messages from its session"
                raise pipeline_error("NotSupported", told, "give run() the items, or call finish()")
            return self._yielded(None)
        if self.graph.fed:
            told = f"{', '.join(sorted(self.graph.fed))} get what sources produce, of which run cannot see the end"
            raise pipeline_error("NotSupported", told, "use send() and receive(), or run() without items")
        return self._yielded(iter(items))

    def _yielded(self, items: Iterator[Any] | None) -> Iterator[Message]:
        self._state = SessionState.RUNNING
        mark = self._called(self._begun, items)
        while (message := self._called(self._next)) is not None:
            yield message
            del message
        assert self._crew is not None
        self._crew.await_sinks(mark)
        self._raise_failure()

    def _begun(self, items: Iterator[Any] | None) -> int:
        self._check_running()
        assert self._stream is not None
        with self._reading:
            return self._stream.begin(items, self._resolved)

    def _next(self) -> Message | None:
        self._check_running()
        assert self._stream is not None
        with self._reading:
            return self._stream.next()

    def finish(self) -> Iterator[Message]:
        """Ends the input, and yields what still comes out, with what the nodes' ``finish`` returns, until their end."""
        self._check_running()
        self._wires.end_input()
        assert self._crew is not None
        return self._yielded(None)

    def end(self, *, sources: bool = True) -> None:
        """Ends the input and, with ``sources``, tells nodes that produce by themselves to stop. Does not wait.

        What is under way still comes out of the exits (``receive``), until their end. Raises NodeError, PipelineError
        of kind Closed.
        """
        self._check_running()
        self._wires.end_input()
        assert self._crew is not None
        if sources:
            self._crew.end_sources()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until all nodes have ended by themselves; False where that took more than ``timeout`` seconds.

        They end when sources are exhausted, or after ``finish``. Raises NodeError.
        """
        self._check_running()
        assert self._crew is not None
        done = self._crew.ended.wait(timeout)
        self._raise_failure()
        return done

    # What is known.

    @property
    def state(self) -> SessionState:
        """Where it stands."""
        return self._state

    @property
    def error(self) -> NodeError | None:
        """What ended it, if a node failed."""
        return self._crew.error if self._crew is not None else None

    def status(self) -> dict[str, NodeStatus]:
        """Of each node, by name; also when the session is over."""
        if self._crew is None:
            return {
                name: NodeStatus(name, spec.type_name, NodeState.IDLE, self.id)
                for name, spec in self.graph.nodes.items()
            }
        return self._crew.status()

    def channels(self) -> dict[str, ChannelStatistics]:
        """Of each channel, by name: that of an output is called ``node.port``, an entry's ``> node.port``."""
        if self._state is SessionState.CREATED or self._last:
            return dict(self._last)
        return self._wires.statistics()

    def diagram(self, format: str = "mermaid") -> str:
        """The pipeline drawn as it is now: the state of each node, how full each channel is. format: or ``text``.

        Raises PipelineError of kind OutOfRange for other formats.
        """
        from cobre.actors.diagram import draw

        nodes = {name: f"{each.state}, {each.processed} in, {each.sent} out" for name, each in self.status().items()}
        channels = {name: f"{each.occupancy} of {each.capacity}" for name, each in self.channels().items()}
        return draw(self.graph, format, nodes=nodes, channels=channels)

    def metrics(self) -> SessionMetrics:
        """Of the whole."""
        status, channels = self.status().values(), self.channels().values()
        return SessionMetrics(
            state=self._state,
            processes=sum(each.pid is not None and each.exit is None for each in status),
            memory_bytes=sum(each.memory_bytes or 0 for each in status if each.exit is None),
            channel_bytes=sum(each.capacity_bytes for each in channels),
            messages=sum(each.messages for each in channels),
            seconds=0.0 if self._began is None else time.monotonic() - self._began,
            ready_seconds=self._ready_seconds,
        )

    # What follows from names, and from failures.

    def _entry(self, to: str | None) -> ChannelWriter:
        self._check_running()
        return self._wires.entries[self._one(to, self.graph.entries, "entry", "entries", "to")]

    def _exits(self, source: str | None) -> list[ChannelReader]:
        self._check_running()
        if source is None and self.graph.exits:
            return [*self._wires.exits.values()]
        return [self._wires.exits[self._one(source, self.graph.exits, "exit", "exits", "source")]]

    def _one(self, text: str | None, ports: tuple[Port, ...], word: str, words: str, argument: str) -> Port:
        if text is None and len(ports) == 1:
            return ports[0]
        node, name = parse_port(text or "")
        found = [port for port in ports if port.node == node and name in (None, port.name)]
        if len(found) == 1:
            return found[0]
        known = [str(port) for port in ports]
        if text is None:
            told = f"{self.graph.name} has {len(ports)} {words}"
            advice = (
                f"say which with {argument}=: {', '.join(known)}" if known else "see Pipeline.entry and Pipeline.exit"
            )
        else:
            told = f"{text!r} is no {word} of {self.graph.name}, or more than one"
            advice = nearest(text, known, f"the {words} are") if known else "see Pipeline.entry and Pipeline.exit"
        raise pipeline_error("UnknownPort", told, advice, node=node or None)

    def _resolved(self, item: Any) -> Iterator[tuple[ChannelWriter, Any, Mapping[str, Any]]]:
        """What one item of ``run`` puts where."""
        pairs = item.items() if isinstance(item, Mapping) else [(None, item)]
        for to, value in pairs:
            metadata: Mapping[str, Any] = {}
            if isinstance(value, Item | Message):
                value, metadata = value.data, value.metadata
            writer = self._entry(to)
            self._check_size(value)
            yield writer, value, metadata

    def _check_size(self, data: Any) -> None:
        most = self._limits.message_bytes
        if most is not None and size_of(data) > most:
            raise too_large(size_of(data), most, "", None)

    def _check_running(self) -> None:
        self._raise_failure()
        if self._stream is None or self._state not in (SessionState.READY, SessionState.RUNNING):
            advice = "use it inside its with block"
            raise pipeline_error("Closed", f"the session {self.id} is {self._state}", advice)

    def _raise_failure(self) -> None:
        if self.error is not None:
            self._told = True
            raise self.error.with_traceback(None)

    def _called(self, act: Callable[..., _Result], *arguments: Any, **more: Any) -> _Result:
        """Has it done, and raises what the failure of a channel means. No traceback of that leads to a port: whoever
        keeps the error would keep the channel's memory."""
        try:
            return act(*arguments, **more)
        except ChannelError as error:
            meant = self._meant(error.with_traceback(None))
        meant.__context__ = meant.__traceback__ = None
        del act, arguments, more
        raise meant

    def _meant(self, error: ChannelError) -> CobreError:
        """The failure of a node, where that is why the channel is lost."""
        if error.kind not in ("PeerDied", "Closed"):
            return error
        assert self._crew is not None
        if self.error is None and self._state in (SessionState.READY, SessionState.RUNNING):
            self._crew.ended.wait(_PATIENCE)
        failure: NodeError | None = self.error
        if failure is not None:
            self._told = True
            return failure
        if self._state in (SessionState.STOPPING, SessionState.TERMINATING, SessionState.STOPPED):
            return pipeline_error("Closed", f"the session {self.id} has ended", "use it inside its with block")
        return error
