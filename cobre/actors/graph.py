"""The graph of a pipeline as plain values, and what must hold of it. Knows no process and no channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cobre.actors.node_failures import pipeline_error
from cobre.actors.ports import Port, spell

if TYPE_CHECKING:
    from cobre.actors.node import Node
    from cobre.supervisor import Limits, RestartPolicy

__all__ = ["Connection", "Graph", "NodeSpec", "check_types", "order_of", "outside"]


@dataclass(frozen=True)
class NodeSpec:
    """One node. type_name: what the pipeline's author called its class. inputs, outputs: kinds by port."""

    name: str
    type_name: str
    made: type[Node]
    config: Mapping[str, Any]
    inputs: Mapping[str, frozenset[str]]
    outputs: Mapping[str, frozenset[str]]
    limits: Limits | None = None
    restart: RestartPolicy | None = None

    @property
    def restarts(self) -> bool:
        """Whether it may be started again when it fails."""
        return self.restart is not None and self.restart.when != "never"


@dataclass(frozen=True)
class Connection:
    """One channel: from an output (None: from the session) to inputs (an input of None: to the session).

    capacity: messages. bytes: of all messages in it. to: whether each message goes to ``all`` inputs or to ``one``.
    """

    source: Port | None
    targets: tuple[Port | None, ...]
    capacity: int
    bytes: int
    to: Literal["all", "one"] = "all"

    @property
    def name(self) -> str:
        """What errors and statistics call it: its output, or for what the session feeds ``> node.port``."""
        return str(self.source) if self.source is not None else f"> {self.targets[0]}"


@dataclass(frozen=True)
class Graph:
    """A pipeline that was checked. order: the nodes, each after all that it gets messages from.

    connections: between nodes, in the order in which they were made. entries: inputs that the session feeds. exits:
    outputs that the session reads. channels: all of them, the session's own included.
    """

    name: str
    nodes: Mapping[str, NodeSpec]
    connections: tuple[Connection, ...]
    entries: tuple[Port, ...]
    exits: tuple[Port, ...]
    channels: tuple[Connection, ...]
    order: tuple[str, ...]
    fed: frozenset[str] = field(default_factory=frozenset)
    """The nodes that what a source produces comes to, the sources included."""

    def after(self, name: str) -> tuple[str, ...]:
        """The nodes that a node sends to."""
        return tuple(
            dict.fromkeys(
                target.node
                for each in self.connections
                if each.source is not None and each.source.node == name
                for target in each.targets
                if target is not None
            )
        )


def check_types(source: Port, kinds: frozenset[str], target: Port, wanted: frozenset[str]) -> None:
    """Raises PipelineError of kind TypeMismatch where nothing that leaves ``source`` is taken by ``target``."""
    if not kinds & wanted:
        told = f"{source} gives {spell(kinds)}, and {target} takes {spell(wanted)}"
        raise pipeline_error("TypeMismatch", told, "connect other ports, or put a node between them", node=target.node)


def order_of(names: Iterable[str], edges: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The nodes in an order in which every edge points forward; among equals, the order that they came in.

    Raises PipelineError of kind Cycle, which names the nodes of one.
    """
    waiting = {name: set[str]() for name in names}
    for source, target in edges:
        waiting[target].add(source)
    found: list[str] = []
    while waiting:
        free = next((name for name, before in waiting.items() if before <= {*found}), None)
        if free is None:
            cycle = _cycle(waiting)
            told = f"the nodes {' -> '.join(cycle)} form a cycle"
            raise pipeline_error("Cycle", told, "a pipeline has a direction: leave one of these connections out",
                                 node=cycle[0], cycle=cycle)  # fmt: skip
        found.append(free)
        del waiting[free]
    return tuple(found)


def _cycle(waiting: Mapping[str, set[str]]) -> list[str]:
    """Every node of ``waiting`` waits for another of them: following that comes to one twice."""
    path = [next(iter(waiting))]
    while True:
        before = next(name for name in waiting if name in waiting[path[-1]])
        if before in path:
            return [before, *reversed(path[path.index(before) + 1 :]), before]
        path.append(before)


def outside(
    nodes: Mapping[str, NodeSpec], side: Literal["inputs", "outputs"], connected: set[Port], named: Iterable[Port]
) -> tuple[Port, ...]:
    """The ports that the session feeds or reads: all of a node of which none is connected, and those that are named.

    Raises PipelineError of kind DanglingPort for one that is neither connected nor the session's.
    """
    named = tuple(named)
    found, dangling = [], []
    for name, spec in nodes.items():
        ports = [Port(name, port) for port in getattr(spec, side)]
        alone = not any(port in connected for port in ports)
        for port in ports:
            if port in named or alone:
                found.append(port)
            elif port not in connected:
                dangling.append(port)
    if dangling:
        verb = "entry" if side == "inputs" else "exit"
        told = f"nothing is connected to {', '.join(map(str, dangling))}"
        advice = f'connect it, or have the session see to it: .{verb}("{dangling[0]}")'
        shown = [str(port) for port in dangling]
        raise pipeline_error("DanglingPort", told, advice, node=dangling[0].node, ports=shown)
    return tuple(found)
