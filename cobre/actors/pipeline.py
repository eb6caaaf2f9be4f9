"""Pipelines: which nodes there are, what is connected with what. Everything is checked before a process starts.

pipeline = Pipeline("speech")
pipeline.add_node("resample", Resample, rate=16_000).add_node("text", "recogniser")
pipeline.connect("resample", "text")
with pipeline.session() as session:
    for message in session.run(chunks):
        print(message.data)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from cobre.actors.graph import Connection, Graph, NodeSpec, check_types, order_of, outside
from cobre.actors.node import Node, registered
from cobre.actors.node_config import check_class, checked_config
from cobre.actors.node_failures import nearest, pipeline_error
from cobre.actors.ports import Port, check_name, parse_port, ports_of

if TYPE_CHECKING:
    from cobre.actors.session import Session
    from cobre.supervisor import Limits, RestartPolicy

__all__ = ["CAPACITY", "CHANNEL_BYTES", "Pipeline"]

CAPACITY = 10
CHANNEL_BYTES = 16 << 20


class Pipeline:
    """A directed acyclic graph of nodes. Its methods return it, so that calls can be chained.

    capacity: messages that a channel holds, and channel_bytes: what they may take together, where a connection does
    not say otherwise. A message must fit in the bytes of its channel; the memory of all channels is reserved when a
    session starts.

    Inputs of a node of which none is connected are entries: a session feeds them (``send``, ``run``). Outputs of a node
    of which none is connected are exits, which a session reads (``receive``, ``run``). Of a node with some connected
    ports, the others must be named with ``entry`` and ``exit``.

    Raises PipelineError of kind OutOfRange for numbers that are not above zero, BadConfig for a name that is none.
    """

    def __init__(self, name: str = "pipeline", *, capacity: int = CAPACITY, channel_bytes: int = CHANNEL_BYTES) -> None:
        self.name = check_name("a pipeline", name)
        self._capacity = _positive("capacity", capacity)
        self._bytes = _positive("channel_bytes", channel_bytes)
        self._nodes: dict[str, NodeSpec] = {}
        self._connections: dict[Port, Connection] = {}
        self._entries: dict[Port, Connection] = {}
        self._exits: dict[Port, Connection] = {}

    @property
    def nodes(self) -> Mapping[str, NodeSpec]:
        """The nodes by name, in the order in which they were added."""
        return dict(self._nodes)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """What was connected, one for each output port."""
        return tuple(self._connections.values())

    def add_node(
        self,
        name: str,
        kind: type[Node] | str,
        config: Mapping[str, Any] | None = None,
        /,
        *,
        limits: Limits | None = None,
        restart: RestartPolicy | None = None,
        **more: Any,
    ) -> Self:
        """Adds a node. kind: its class, or the name that ``register_node`` gave it. config, more: what its
        ``__init__`` is given, checked here (a mapping also takes names that this method has for itself).

        limits: what ends its process (memory_bytes, hang_seconds: no progress in its own code for that long).
        restart: whether it is started again where its process ends or its code raises; None: that ends the session.
        Raises PipelineError: DuplicateName, UnknownNode (no such type), BadConfig.
        """
        check_name("a node", name)
        if name in self._nodes:
            raise pipeline_error("DuplicateName", f"there is a node {name!r} already", "give another name", node=name)
        made = registered(kind) if isinstance(kind, str) else kind
        made = check_class(made, name)
        type_name = kind if isinstance(kind, str) else made.__name__
        settings = checked_config(made, {**(config or {}), **more}, name)
        inputs, outputs = ports_of(made.inputs, "inputs", name), ports_of(made.outputs, "outputs", name)
        self._nodes[name] = NodeSpec(name, type_name, made, settings, inputs, outputs, limits, restart)
        return self

    def connect(
        self,
        source: str,
        target: str | Iterable[str],
        *,
        capacity: int | None = None,
        bytes: int | None = None,
        to: Literal["all", "one"] | None = None,
    ) -> Self:
        """Connects an output with inputs. Each is ``node.port``, or ``node`` where it has one such port.

        An output has one channel: connecting it again adds inputs to it. to: whether each message goes to ``all`` of
        them (the default) or to ``one``, whichever is free. An input may be connected with several outputs.

        Raises PipelineError: UnknownNode, UnknownPort, TypeMismatch, Cycle, DuplicateName (a connection that is there
        already), OutOfRange, BadConfig (contradicts what was said of the output before).
        """
        output = self._port(source, "outputs")
        names = [target] if isinstance(target, str) else list(target)
        inputs = [self._port(name, "inputs") for name in names]
        kinds = self._nodes[output.node].outputs[output.name]
        for port in inputs:
            check_types(output, kinds, port, self._nodes[port.node].inputs[port.name])
        before = self._connections.get(output)
        made = self._merged(before, output, inputs, capacity, bytes, to)
        order_of(self._nodes, [*self._edges(), *((output.node, port.node) for port in inputs)])
        self._connections[output] = made
        return self

    def entry(self, port: str, *, capacity: int | None = None, bytes: int | None = None) -> Self:
        """Has the session feed an input, also one that is connected. Raises PipelineError as ``connect`` does."""
        found = self._port(port, "inputs")
        self._entries[found] = self._channel(None, (found,), capacity, bytes)
        return self

    def exit(self, port: str, *, capacity: int | None = None, bytes: int | None = None) -> Self:
        """Has the session read an output, also one that is connected (with ``capacity`` and ``bytes`` of that).

        Raises PipelineError as ``connect`` does.
        """
        found = self._port(port, "outputs")
        self._exits[found] = self._channel(found, (None,), capacity, bytes)
        return self

    def check(self) -> Graph:
        """The whole, checked. Raises PipelineError: BadConfig (no nodes), DanglingPort."""
        if not self._nodes:
            raise pipeline_error("BadConfig", f"{self.name} has no nodes", "add one with add_node")
        connected = {port for each in self.connections for port in each.targets if port is not None}
        entries = outside(self._nodes, "inputs", connected, self._entries)
        exits = outside(self._nodes, "outputs", {*self._connections}, self._exits)
        edges = self._edges()
        order = order_of(self._nodes, edges)
        fed = {name for name in self._nodes if not self._nodes[name].inputs}
        for name in order:
            fed.update(target for source, target in edges if source == name and name in fed)
        return Graph(
            self.name,
            self.nodes,
            self.connections,
            entries,
            exits,
            self._channels(entries, exits),
            order,
            frozenset(fed),
        )

    def diagram(self, format: str = "mermaid") -> str:
        """It drawn, as ``mermaid`` or ``text``. Raises PipelineError as ``check`` does, OutOfRange for others."""
        from cobre.actors.diagram import draw

        return draw(self.check(), format)

    def session(self, **options: Any) -> Session:
        """A session of it: see ``Session`` for the options. Raises PipelineError as ``check`` does."""
        from cobre.actors.session import Session

        return Session(self.check(), **options)

    def _channels(self, entries: Iterable[Port], exits: Iterable[Port]) -> tuple[Connection, ...]:
        found = [self._entries.get(port) or self._channel(None, (port,), None, None) for port in entries]
        joined = dict(self._connections)
        for port in exits:
            if port not in joined:
                joined[port] = self._exits.get(port) or self._channel(port, (None,), None, None)
                continue
            if joined[port].to == "one":
                told = f"{port} gives each message to one reader, and the session would be one more of them"
                raise pipeline_error("BadConfig", told, "give the exit a port of its own", node=port.node)
            joined[port] = replace(joined[port], targets=(*joined[port].targets, None))
        return (*found, *joined.values())

    def _edges(self) -> list[tuple[str, str]]:
        return [
            (output.node, port.node)
            for output, each in self._connections.items()
            for port in each.targets
            if port is not None
        ]

    def _port(self, text: str, side: Literal["inputs", "outputs"]) -> Port:
        node, port = parse_port(text)
        if node not in self._nodes:
            advice = nearest(node, self._nodes, "add it first; there are")
            raise pipeline_error("UnknownNode", f"there is no node {node!r}", advice, node=node)
        known = getattr(self._nodes[node], side)
        if port is None and len(known) == 1:
            return Port(node, next(iter(known)))
        if port is None or port not in known:
            word = side[:-1]
            told = f"{node} has no {word} {port!r}" if port is not None else f"{node} has {len(known)} {side}"
            advice = nearest(port or "", known, f"name one of its {side}") if known else f"it has no {side}"
            raise pipeline_error("UnknownPort", told, advice, node=node)
        return Port(node, port)

    def _channel(
        self, source: Port | None, targets: tuple[Port | None, ...], capacity: int | None, bytes: int | None
    ) -> Connection:
        return Connection(
            source,
            targets,
            self._capacity if capacity is None else _positive("capacity", capacity),
            self._bytes if bytes is None else _positive("bytes", bytes),
        )

    def _merged(
        self,
        before: Connection | None,
        output: Port,
        inputs: list[Port],
        capacity: int | None,
        bytes: int | None,
        to: Literal["all", "one"] | None,
    ) -> Connection:
        if to not in (None, "all", "one"):
            raise pipeline_error("OutOfRange", f"to is {to!r}", "give 'all' or 'one'", node=output.node)
        if before is None:
            made = replace(self._channel(output, tuple(inputs), capacity, bytes), to=to or "all")
        else:
            for name, now in (("capacity", capacity), ("bytes", bytes), ("to", to)):
                if now is not None and now != getattr(before, name):
                    told = f"{output} was connected with {name}={getattr(before, name)!r}, and now with {now!r}"
                    raise pipeline_error("BadConfig", told, "an output has one channel: say it once", node=output.node)
            made = replace(before, targets=(*before.targets, *inputs))
        if not inputs or len(set(made.targets)) != len(made.targets):
            told = f"{output} is connected with {', '.join(map(str, made.targets)) or 'nothing'}"
            raise pipeline_error("DuplicateName", told, "name each input once", node=output.node)
        return made


def _positive(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise pipeline_error("OutOfRange", f"{name} is {value!r}", "give a whole number above zero")
    return value
