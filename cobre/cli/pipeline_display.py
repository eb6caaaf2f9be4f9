"""A session as it runs: its nodes and channels, renewed on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cobre.cli.formats import duration
from cobre.cli.terminal import Terminal

if TYPE_CHECKING:
    from cobre.actors.session_records import NodeStatus
    from cobre.transport.channel_ports import ChannelStatistics

__all__ = ["Display", "Observed", "displayed"]

_SECONDS_BETWEEN_LINES = 3.0
_BAR = 10  # signs wide
_STYLES = {"processing": "green", "error": "bold red", "stopped": "dim", "initializing": "yellow"}


class Observed(Protocol):
    """What is looked at: a session."""

    def status(self) -> Mapping[str, NodeStatus]: ...

    def channels(self) -> Mapping[str, ChannelStatistics]: ...


@dataclass
class View:
    """What was seen last. starting: what each node last said of its preparation."""

    title: str
    began: float = field(default_factory=monotonic)
    starting: dict[str, tuple[str, float, str]] = field(default_factory=dict)
    nodes: Mapping[str, NodeStatus] = field(default_factory=dict)
    channels: Mapping[str, ChannelStatistics] = field(default_factory=dict)

    def look(self, session: Observed) -> None:
        self.nodes, self.channels = session.status(), session.channels()

    @property
    def elapsed(self) -> float:
        return monotonic() - self.began


class Display(Protocol):
    """Shows how a session starts and runs."""

    def starting(self, node: str, stage: str, fraction: float, message: str) -> None:
        """A node says how far its preparation is: a session's ``on_progress``."""

    def look(self, session: Observed, last: bool = False) -> None:
        """Shows it as it is now, where it is time for that. To be called a few times a second, and once at the end."""

    def say(self, text: str) -> None:
        """Prints what came out, on stdout."""

    def tell(self, text: str) -> None:
        """Shows what a signal handler has to say, from inside it."""


@contextmanager
def displayed(terminal: Terminal, title: str) -> Iterator[Display]:
    """The display that suits the terminal's stderr, for as long as the block lasts."""
    if terminal.quiet:
        yield _Silent(terminal)
    elif terminal.err.is_terminal and not terminal.err.is_dumb_terminal:
        live = _Live(terminal, View(title))
        with Live(live, console=terminal.err, refresh_per_second=5, transient=True):
            yield live
    else:
        yield _Lines(terminal, View(title))


class _Silent:
    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def starting(self, node: str, stage: str, fraction: float, message: str) -> None:
        pass

    def look(self, session: Observed, last: bool = False) -> None:
        pass

    def say(self, text: str) -> None:
        self._terminal.say(text)

    def tell(self, text: str) -> None:
        self._terminal.alert(text)


class _Lines:
    """Each new word of preparation once, then a line every few seconds, and the last."""

    def __init__(self, terminal: Terminal, view: View) -> None:
        self._terminal, self._view = terminal, view
        self._printed_at = view.began
        terminal.note(view.title)

    def starting(self, node: str, stage: str, fraction: float, message: str) -> None:
        known = self._view.starting.get(node)
        self._view.starting[node] = (stage, fraction, message)
        if known is None or (known[0], known[2]) != (stage, message):
            self._terminal.note(f"  {node}: {_preparing(stage, fraction, message)}")

    def look(self, session: Observed, last: bool = False) -> None:
        if last or monotonic() - self._printed_at >= _SECONDS_BETWEEN_LINES:
            self._view.look(session)
            self._terminal.note(_line(self._view))
            self._printed_at = monotonic()

    def say(self, text: str) -> None:
        self._terminal.say(text)

    def tell(self, text: str) -> None:
        self._terminal.alert(text)


class _Live:
    """Drawn anew several times a second by a thread of rich's, out of what ``look`` saw last."""

    def __init__(self, terminal: Terminal, view: View) -> None:
        self._terminal, self._view = terminal, view
        self._looked_at = 0.0
        self._notice: str | None = None

    def starting(self, node: str, stage: str, fraction: float, message: str) -> None:
        self._view.starting[node] = (stage, fraction, message)

    def look(self, session: Observed, last: bool = False) -> None:
        if last or monotonic() - self._looked_at >= 0.2:
            self._view.look(session)
            self._looked_at = monotonic()

    def say(self, text: str) -> None:
        if self._terminal.out.is_terminal and not self._terminal.json:
            self._terminal.note(text)  # by the console that draws, above what it draws: it is the same terminal
        else:
            self._terminal.say(text)

    def tell(self, text: str) -> None:
        # Drawing from inside a signal handler could meet a drawing half done; the thread's next one shows it.
        self._notice = text

    def __rich__(self) -> RenderableType:
        view = self._view
        parts: list[RenderableType] = [Text(f"{view.title}  {duration(view.elapsed)}", "bold")]
        parts.append(_node_table(view) if view.nodes else _starting_table(view))
        if view.channels:
            parts.append(_channel_table(view))
        if self._notice:
            parts.append(Text(self._notice, "bold yellow"))
        return Group(*parts)


def _starting_table(view: View) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, report in view.starting.items():
        table.add_row(Text(name), Text(_preparing(*report), "yellow"))
    return table


def _node_table(view: View) -> Table:
    table = _table("node", "state", "in", "out", "busy", "memory")
    for name, status in view.nodes.items():
        table.add_row(
            Text(name),
            Text(_state(status), _STYLES.get(status.state, "")),
            f"{status.processed:,}",
            f"{status.sent:,}",
            f"{status.busy_seconds:.1f} s",
            _megabytes(status.memory_bytes),
        )
    return table


def _channel_table(view: View) -> Table:
    table = _table("channel", "filled", "", "messages", "MB", "blocked")
    for name, channel in view.channels.items():
        full = round(_BAR * min(1.0, channel.occupancy / max(1, channel.capacity)))
        table.add_row(
            Text(name),
            Text.assemble(("█" * full, "red" if full == _BAR else "green"), ("░" * (_BAR - full), "dim")),
            f"{channel.occupancy}/{channel.capacity}",
            f"{channel.messages:,}",
            f"{channel.bytes / 1e6:,.1f}",
            f"{channel.blocked_seconds:.1f} s",
        )
    return table


def _table(first: str, second: str, *numbers: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    table.add_column(second, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _preparing(stage: str, fraction: float, message: str) -> str:
    done = f" {100.0 * fraction:.0f} %" if 0.0 < fraction < 1.0 else ""
    return f"{stage}{done}{', ' if message else ''}{message}"


def _state(status: NodeStatus) -> str:
    return f"{status.state}, start {status.restarts + 1}" if status.restarts else str(status.state)


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.0f} MB"


def _line(view: View) -> str:
    """``  0:03  mic: processing 120  asr: ready 118, 96 MB  mic.out: 2/10``."""
    parts = [duration(view.elapsed)]
    for name, status in view.nodes.items():
        memory = "" if status.memory_bytes is None else f", {_megabytes(status.memory_bytes)}"
        parts.append(f"{name}: {_state(status)}, {status.processed:,} in, {status.sent:,} out{memory}")
    parts += [f"{name}: {channel.occupancy}/{channel.capacity}" for name, channel in view.channels.items()]
    return "  " + "  ".join(parts)
