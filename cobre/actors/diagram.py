"""A pipeline drawn: as Mermaid, which many viewers of Markdown show as a picture, and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cobre.actors.node_failures import pipeline_error
from cobre.actors.ports import spell

if TYPE_CHECKING:
    from cobre.actors.graph import Connection, Graph
    from cobre.actors.ports import Port

__all__ = ["FORMATS", "draw"]

FORMATS = ("mermaid", "text")


def draw(
    graph: Graph,
    format: str = "mermaid",
    *,
    nodes: Mapping[str, str] | None = None,
    channels: Mapping[str, str] | None = None,
) -> str:
    """The graph, its lines joined by newlines. nodes, channels: what to say of them now, by their names.

    Raises PipelineError of kind OutOfRange for a format that is not one of FORMATS.
    """
    if format not in FORMATS:
        raise pipeline_error("OutOfRange", f"the format is {format!r}", f"give one of {', '.join(FORMATS)}")
    return (_mermaid if format == "mermaid" else _text)(graph, nodes or {}, channels or {})


def _mermaid(graph: Graph, nodes: Mapping[str, str], channels: Mapping[str, str]) -> str:
    # Names may hold what Mermaid takes for its own: they only stand in quotes, numbers name the boxes.
    numbers = {name: f"n{number}" for number, name in enumerate(graph.order)}
    lines = ["flowchart LR"]
    for name in graph.order:
        told = [_quoted(name), _quoted(graph.nodes[name].type_name), *([_quoted(nodes[name])] if name in nodes else [])]
        lines.append(f'    {numbers[name]}["{"<br/>".join(told)}"]')
    for count, each in enumerate(graph.channels):
        source = f'i{count}(["input"])' if each.source is None else numbers[each.source.node]
        arrow = "-.->" if each.to == "one" else "-->"
        for target in each.targets:
            end = f'o{count}(["output"])' if target is None else numbers[target.node]
            label = _quoted(_label(graph, each, target, channels.get(each.name)))
            lines.append(f'    {source} {arrow}|"{label}"| {end}')
    return "\n".join(lines)


def _label(graph: Graph, channel: Connection, target: Port | None, told: str | None) -> str:
    """What passes, between which ports where a node has several, and at most how many."""
    ends = []
    if channel.source is not None and len(graph.nodes[channel.source.node].outputs) > 1:
        ends.append(channel.source.name)
    if target is not None and len(graph.nodes[target.node].inputs) > 1:
        ends.append(f"to {target.name}")
    return ", ".join([*ends, spell(_kinds(graph, channel)), told or f"{channel.capacity} at most"])


def _kinds(graph: Graph, channel: Connection) -> frozenset[str]:
    if channel.source is not None:
        return graph.nodes[channel.source.node].outputs[channel.source.name]
    return frozenset().union(*(graph.nodes[to.node].inputs[to.name] for to in channel.targets if to is not None))


def _quoted(text: str) -> str:
    """``text`` as it may stand between quotes."""
    for sign in '#"<>|[]{}`':  # the first of them begins what stands for the others
        text = text.replace(sign, f"#{ord(sign)};")
    return text


def _text(graph: Graph, nodes: Mapping[str, str], channels: Mapping[str, str]) -> str:
    """Nodes in their order, each with its type and, under it, where its outputs go."""
    head, rows = f"{graph.name}: {len(graph.nodes)} nodes", list[tuple[str, str]]()
    for each in graph.channels:
        if each.source is None:
            rows.append((f"  (input) {_arrow(each)} {_ends(each)}", _told(graph, each, channels)))
    for name in graph.order:
        spec = graph.nodes[name]
        rows.append((f"  {name} [{spec.type_name}]", nodes.get(name, "")))
        for each in graph.channels:
            if each.source is not None and each.source.node == name:
                rows.append((f"    .{each.source.name} {_arrow(each)} {_ends(each)}", _told(graph, each, channels)))
    width = max(len(left) for left, _ in rows)
    return "\n".join([head, *(f"{left:{width}}  {right}".rstrip() for left, right in rows)])


def _arrow(channel: Connection) -> str:
    return "-1->" if channel.to == "one" else "--->"


def _ends(channel: Connection) -> str:
    return ", ".join("(output)" if target is None else str(target) for target in channel.targets)


def _told(graph: Graph, channel: Connection, channels: Mapping[str, str]) -> str:
    return f"{spell(_kinds(graph, channel))}, {channels.get(channel.name) or f'{channel.capacity} at most'}"
