"""Where messages of a tcp channel are received."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
import weakref
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cobre.errors import ChannelError
from cobre.transport.channel_ports import ChannelReader
from cobre.transport.message import Message
from cobre.transport.message_header import BLOCK_AT, FRONT, KIND_AT, KINDS, SESSION_AT, Layout
from cobre.transport.tcp_channel_inbox import Arrival, Inbox
from cobre.transport.tcp_channel_lane import Lane
from cobre.transport.tcp_channel_settings import Settings
from cobre.transport.tcp_channel_statistics import Report

__all__ = ["TcpChannelReader"]

_LAYOUTS = 64  # that are remembered
_MARK = KINDS.index("mark")


class _View(NamedTuple):
    """What is left of a message that was released while something referred to its memory."""

    sequence: int
    array: weakref.ref[NDArray[Any]]
    lane: Lane
    size: int
    text: str


class TcpChannelReader(ChannelReader):
    """A reader of a channel over tcp, which listens. Messages are in memory of its process; they count as taken until
    they are released all the same, so that a slow reader holds up its writers and not its host."""

    def __init__(self, settings: Settings, place: int, stream: socket.socket, known: dict[int, Report]) -> None:
        """Takes over the listening socket. known: where the last report stays when it closes."""
        self.name = settings.name
        self.session = settings.session
        self.place = place
        self.address = "{}:{}".format(*_shown(stream.getsockname()))
        self._settings = settings
        self._layouts: dict[bytes, Layout] = {}
        self._held: tuple[Message, Lane, int] | None = None
        self._views: list[_View] = []
        self._closed = False
        self._known = known
        self._process = os.getpid()
        self._using = threading.RLock()  # against one who closes while another thread waits
        self._inbox = Inbox(stream, settings.spot(place), settings.capacity, settings.limit)

    def receive(self, timeout: float | None = None) -> Message:
        with self._using:
            return self._receive(timeout)

    def _receive(self, timeout: float | None) -> Message:
        self._settle()
        message = self._next("receive")
        if message is not None:
            return message
        deadline = None if timeout is None else time.monotonic() + timeout
        bell, poll = self._inbox.bell, select.poll()
        poll.register(bell.fileno(), select.POLLIN)
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0) * 1000.0
            if not poll.poll(left):
                raise self.timed_out("receive", timeout or 0.0)
            message = self._next("receive")
            if message is not None:
                return message
            if not self._closed:
                bell.take()  # it was rung for something else

    def try_receive(self) -> Message | None:
        with self._using:
            self._settle()
            return self._next("try_receive")

    def ready(self) -> bool:
        with self._using:
            self._settle()
            inbox = self._inbox
            if self._closed:
                raise self._settings.closed("ready")
            if inbox.queue:
                return True
            inbox.bell.take()  # before the look: what it is rung for from now on stays
            inbox.take_in()
            if inbox.queue or inbox.over or self._held_up() is not None:
                return True
            self._want()
            return False

    def fileno(self) -> int:
        return self._inbox.bell.fileno()

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._leave(None)

    def abandon(self, reason: str = "") -> None:
        self._leave(reason or "abandoned its port")

    def end(self, reason: str) -> None:
        """The channel has ended. From any thread."""
        self._inbox.end(reason)

    def report(self) -> Report:
        """What is known of the traffic here, for statistics. From any thread."""
        return self._inbox.report()

    def let_go(self, message: Message) -> None:
        """Releases a message for its ``release()``. Raises ChannelError ViewAlive."""
        if self._held is None or self._held[0] is not message:
            message.forget()
        elif message.taken():
            raise self._view_alive("release", message.sequence, message.writer, _text(message))
        else:
            self._settle()

    def _leave(self, abandoned: str | None) -> None:
        if self._closed or os.getpid() != self._process:  # a forked process has the same streams: they are not its own
            return
        self._closed = True
        self._inbox.bell.ring()  # whoever waits in another thread
        with self._using:
            self._inbox.close(abandoned)
            self._known[self.place] = self.report()

    def _settle(self) -> None:
        """The message that was received last is over; it counts for as long as anything refers to its memory."""
        held, self._held = self._held, None
        if held is not None:
            message, lane, size = held
            done = lane.done
            try:
                array = message.forget()
                view = None if array is None else weakref.ref(array)
                del array
                if view is None or view() is None:
                    self._give_back(lane, size)
                else:
                    self._views.append(_View(message.sequence, view, lane, size, _text(message)))
            except BaseException:  # an interruption (Ctrl-C): what is not counted here would be in the way for good
                if lane.done == done and all(
                    message.sequence != each.sequence or lane is not each.lane for each in self._views
                ):
                    self._give_back(lane, size)
                raise
        if self._views:
            self._let_go_of_views()

    def _let_go_of_views(self) -> None:
        for view in [view for view in self._views if view.array() is None]:
            self._views.remove(view)
            self._give_back(view.lane, view.size)

    def _give_back(self, lane: Lane, size: int) -> None:
        lane.give_back(size)
        if lane.owed:
            self._inbox.wake()

    def _next(self, operation: str) -> Message | None:
        inbox = self._inbox
        if self._closed:
            raise self._settings.closed(operation)
        if not inbox.queue:
            inbox.take_in()
        if inbox.queue:
            inbox.bell.take()
            arrival = inbox.queue[0]
            try:
                message = self._message(operation, arrival)
                inbox.queue.popleft()
            except BaseException as error:
                if isinstance(error, ChannelError):
                    inbox.queue.popleft()
                elif inbox.queue and inbox.queue[0] is arrival:  # interrupted: it is still to come
                    self._held = None
                raise
            return message
        if inbox.ended is not None:
            raise self._settings.ended(operation, inbox.ended)
        if inbox.over:
            raise self._settings.error("EndOfChannel", operation, "all writers have closed, and all was read")
        if self._views:
            self._let_go_of_views()
            view = self._held_up()
            if view is not None:
                raise self._view_alive(operation, view.sequence, view.lane.writer, view.text)
        self._want()
        return None

    def _want(self) -> None:
        """Where each message goes to one reader: this one waits."""
        if self._settings.chooses:
            for lane in self._inbox.lanes.copy().values():
                lane.want()

    def _message(self, operation: str, arrival: Arrival) -> Message:
        lane, header, body = arrival
        if not header:
            raise self._lost(operation, lane)
        if self._settings.chooses:
            lane.take()
        front = FRONT.unpack_from(header)
        block = header[BLOCK_AT:SESSION_AT]
        body.flags.writeable = False
        at = front[1] if header[KIND_AT] == _MARK else 0  # of a mark, its number
        front = (front[0], at, *front[2:])
        layout = None if front[4] else self._layouts.get(block)
        if layout is None:
            message = Message.lent(front, header, 0, body, self, lane.writer)
            if not front[4] and len(self._layouts) < _LAYOUTS:
                self._layouts[block] = message.layout
        else:
            message = Message(front, layout, header, 0, body, self, lane.writer)
        self._held = message, lane, len(body)
        return message

    def _held_up(self) -> _View | None:
        """A view that is still in use, if the writer of its message waits for it."""
        settings = self._settings
        for view in self._views:
            lane = view.lane
            if lane.open and lane.wanting is not None:
                full = lane.received - lane.done >= settings.capacity
                if full or lane.received_bytes - lane.done_bytes + lane.wanting > settings.limit:
                    return view
        return None

    def _lost(self, operation: str, lane: Lane) -> ChannelError:
        return self._settings.error(
            "PeerDied",
            operation,
            f"writer {lane.writer} {lane.how}",
            "see what became of its process; what it had published was received",
            place=lane.writer,
            reason=lane.how,
        )

    def _view_alive(self, operation: str, sequence: int, writer: int, text: str) -> ChannelError:
        return self._settings.error(
            "ViewAlive",
            operation,
            f"a view of message {sequence} of writer {writer} ({text}) is still in use",
            "delete it and what was sliced from it, or keep a copy instead",
            sequence=sequence,
            place=writer,
        )

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # it may not have been made
            self.close()


def _text(message: Message) -> str:
    return f"{message.kind} {message.shape} {message.dtype}"


def _shown(name: tuple[Any, ...]) -> tuple[str, int]:
    host, port = name[:2]
    return (f"[{host}]" if ":" in host else host), port
