"""The channels of a session: made before its nodes, ended with them."""

from __future__ import annotations

import contextlib
import pickle
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cobre.actors.node_failures import pipeline_error
from cobre.actors.ports import Port
from cobre.errors import ChannelError
from cobre.transport.channel import Channel

if TYPE_CHECKING:
    from cobre.actors.graph import Connection, Graph
    from cobre.actors.node_plan import Traffic
    from cobre.transport.channel_ports import ChannelReader, ChannelStatistics, ChannelWriter
    from cobre.transport.tcp_channel import TcpChannel

__all__ = ["Wires"]

_ANYWHERE = "127.0.0.1:0"


class Wires:
    """All channels of one session, and the ends that the session itself has.

    transport: ``shm`` or ``tcp``; addresses: for tcp, where an input listens, by its ``node.port``. seconds: that
    writers over tcp call readers. entries, exits: by port; there once ``attach`` was called.
    Raises PipelineError: MemoryExhausted, NotSupported, OutOfRange, Unreachable.
    """

    def __init__(
        self, graph: Graph, session: str, transport: str, addresses: Mapping[str, str], seconds: float
    ) -> None:
        self._graph, self._addresses, self._seconds = graph, addresses, seconds
        self._channels: dict[Connection, Channel | TcpChannel] = {}
        self.entries: dict[Port, ChannelWriter] = {}
        self.exits: dict[Port, ChannelReader] = {}
        made = self._over_tcp if transport == "tcp" else self._in_memory
        try:
            for each in graph.channels:
                self._channels[each] = self._made(each, made, session)
        except BaseException:
            self.close()
            raise

    def _made(self, each: Connection, made: Callable[..., Channel | TcpChannel], session: str) -> Channel | TcpChannel:
        kinds: tuple[str, ...] | None = None
        if each.source is not None:
            kinds = tuple(sorted(self._graph.nodes[each.source.node].outputs[each.source.name]))
        elif each.targets[0] is not None:
            kinds = tuple(sorted(self._graph.nodes[each.targets[0].node].inputs[each.targets[0].name]))
        try:
            return made(
                each,
                name=each.name,
                writers=1,
                readers=len(each.targets),
                capacity=each.capacity,
                bytes=each.bytes,
                to=each.to,
                kinds=kinds,
                session=session,
            )
        except ChannelError as error:
            kind = "MemoryExhausted" if error.kind == "OutOfMemory" else error.kind
            told = f"the channel {each.name} could not be made: {error.message}"
            raise pipeline_error(kind, told, error.suggestion, channel=each.name) from error

    def _in_memory(self, each: Connection, **settings: Any) -> Channel:
        nodes = [port.node for port in (each.source, *each.targets) if port is not None]
        return Channel(**settings, succession=any(self._graph.nodes[node].restarts for node in nodes))

    def _over_tcp(self, each: Connection, **settings: Any) -> TcpChannel:
        from cobre.transport.tcp_channel import TcpChannel

        given = [self._addresses.get(str(target), _ANYWHERE) for target in each.targets]
        return TcpChannel(**settings, addresses=given, token=secrets.token_hex(), connect_timeout=self._seconds)

    def inputs_of(self, node: str) -> list[tuple[str, Channel | TcpChannel, int]]:
        """For each place that a node reads at, its port, the channel and the place."""
        return [
            (target.name, channel, place)
            for each, channel in self._channels.items()
            for place, target in enumerate(each.targets)
            if target is not None and target.node == node
        ]

    def outputs_of(self, node: str) -> dict[str, Channel | TcpChannel]:
        """The channel of each output of a node."""
        return {
            each.source.name: channel
            for each, channel in self._channels.items()
            if each.source is not None and each.source.node == node
        }

    def ends_of(self, node: str) -> bytes:
        """What a node attaches its ports with: ``NodePlan.ends``."""
        places = [(channel, place) for _, channel, place in self.inputs_of(node)]
        return pickle.dumps((places, self.outputs_of(node)))

    def names_of(self, node: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of the channels that a node reads, and of those that it writes."""
        channels = self._graph.channels
        read = (each.name for each in channels for port in each.targets if port is not None and port.node == node)
        written = (each.name for each in channels if each.source is not None and each.source.node == node)
        return tuple(read), tuple(written)

    def attach(self) -> None:
        """Opens the session's own ends. All nodes have opened their inputs. Raises ChannelError."""
        for each, channel in self._channels.items():
            if each.source is None and each.targets[0] is not None:
                self.entries[each.targets[0]] = writer = channel.writer(0)
                if hasattr(writer, "connect"):
                    writer.connect(self._seconds)
            if None in each.targets and each.source is not None:
                self.exits[each.source] = channel.reader(each.targets.index(None))

    def note(self, traffic: Traffic) -> None:
        """What a node's readers know is kept for the statistics."""
        for channel in self._channels.values():
            for (name, place), report in traffic.reports.items():
                if name == channel.name and not isinstance(channel, Channel):
                    channel.note(place, dict(report))

    def end_input(self) -> None:
        """Nothing more goes in: nodes that have read all will end."""
        for writer in self.entries.values():
            writer.close()

    def end(self, reason: str) -> None:
        """Ends all channels at once; whoever waits at one is woken. From any thread."""
        for channel in self._channels.values():
            with contextlib.suppress(ChannelError):
                channel.end(reason)

    def statistics(self) -> dict[str, ChannelStatistics]:
        """What went through each, by name."""
        return {channel.name: channel.statistics() for channel in self._channels.values()}

    def close(self) -> None:
        """Gives everything back; may be called twice. Whoever holds this, or a traceback that leads to it, holds no
        channel's memory after that."""
        for port in (*self.entries.values(), *self.exits.values()):
            port.close()
        for channel in self._channels.values():
            channel.close()
        for held in (self._channels, self.entries, self.exits):
            held.clear()
