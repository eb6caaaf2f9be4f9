"""The channels of a session: made before its nodes, ended with them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cobre.actors.node_failures import pipeline_error
from cobre.actors.ports import Port
from cobre.errors import ChannelError
from cobre.transport.channel import Channel

if TYPE_CHECKING:
    from cobre.actors.graph import Connection, Graph
    from cobre.transport.channel_ports import ChannelReader, ChannelStatistics, ChannelWriter

__all__ = ["Wires"]


class Wires:
    """All channels of one session, and the ends that the session itself has.

    entries, exits: by port; there once ``attach`` was called. Raises PipelineError: MemoryExhausted, NotSupported.
    """

    def __init__(self, graph: Graph, session: str) -> None:
        self._graph = graph
        self._channels: dict[Connection, Channel] = {}
        self.entries: dict[Port, ChannelWriter] = {}
        self.exits: dict[Port, ChannelReader] = {}
        try:
            for each in graph.channels:
                self._channels[each] = self._made(each, session)
        except BaseException:
            self.close()
            raise

    def _made(self, each: Connection, session: str) -> Channel:
        kinds = None
        if each.source is not None:
            kinds = tuple(sorted(self._graph.nodes[each.source.node].outputs[each.source.name]))
        elif each.targets[0] is not None:
            kinds = tuple(sorted(self._graph.nodes[each.targets[0].node].inputs[each.targets[0].name]))
        try:
            return Channel(
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

    def inputs_of(self, node: str) -> tuple[tuple[str, Any, int], ...]:
        """For each place that a node reads at, its port, the channel and the place."""
        return tuple(
            (target.name, channel, place)
            for each, channel in self._channels.items()
            for place, target in enumerate(each.targets)
            if target is not None and target.node == node
        )

    def outputs_of(self, node: str) -> dict[str, Any]:
        """The channel of each output of a node."""
        return {
            each.source.name: channel
            for each, channel in self._channels.items()
            if each.source is not None and each.source.node == node
        }

    def names_of(self, node: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of the channels that a node reads, and of those that it writes."""
        read = tuple(channel.name for _, channel, _ in self.inputs_of(node))
        return read, tuple(channel.name for channel in self.outputs_of(node).values())

    def attach(self) -> None:
        """Opens the session's own ends."""
        for each, channel in self._channels.items():
            if each.source is None and each.targets[0] is not None:
                self.entries[each.targets[0]] = channel.writer(0)
            if None in each.targets and each.source is not None:
                self.exits[each.source] = channel.reader(each.targets.index(None))

    def places(self, addresses: Mapping[tuple[str, int], str]) -> dict[str, Any]:
        """Channels that must be described anew to their writers, now that their readers have addresses; by name."""
        return {}

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
        """Gives everything back; may be called twice."""
        for port in (*self.entries.values(), *self.exits.values()):
            port.close()
        for channel in self._channels.values():
            channel.close()
