"""Where messages of a tcp channel are published."""

from __future__ import annotations

import contextlib
import itertools
import operator
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cobre.errors import ChannelError
from cobre.transport.channel_ports import ChannelWriter, Loan
from cobre.transport.message_header import (
    Data,
    Layout,
    Layouts,
    encode_metadata,
    mark_layout,
    pack_header,
)
from cobre.transport.tcp_channel_dispatch import ToOne
from cobre.transport.tcp_channel_sending import AT_ONCE, Sender, ToAll
from cobre.transport.tcp_channel_settings import Settings
from cobre.transport.tcp_channel_wire import NOTE_TEXT, Frame, pack_prefix

__all__ = ["TcpChannelWriter", "TcpLoan"]


class TcpChannelWriter(ChannelWriter):
    """A writer of a channel over tcp. It calls all readers, and hears them whenever it is called itself."""

    def __init__(self, settings: Settings, place: int) -> None:
        self.name = settings.name
        self.place = place
        self._settings = settings
        self._session = settings.session.encode()
        self._process = os.getpid()
        self._layouts = Layouts(settings.name, itertools.repeat(0))  # each header has its own
        self._sequence = self._time = 0
        self._loan: TcpLoan | None = None
        self._closed = False
        self._using = threading.RLock()  # against one who closes while another thread waits
        self._sender: Sender = (ToOne if settings.chooses else ToAll)(settings, place)

    def connect(self, timeout: float | None = None) -> None:
        """Returns when every reader has been reached, for which the first ``publish`` would wait.

        Raises ChannelError: TimedOut; Unreachable (nobody there for ``connect_timeout``); PlaceTaken; Closed; PeerDied.
        """
        with self._using:
            self._check("connect")
            if not self._sender.connect(_deadline(timeout)):
                raise self._timed_out("connect", timeout)

    def publish(self, data: Data, /, timeout: float | None = None, **metadata: Any) -> None:
        if not self._publish("publish", data, metadata, _deadline(timeout)):
            raise self._timed_out("publish", timeout)

    def try_publish(self, data: Data, /, **metadata: Any) -> bool:
        return self._publish("try_publish", data, metadata, AT_ONCE)

    def loan(
        self,
        shape: int | Sequence[int],
        dtype: DTypeLike = np.uint8,
        *,
        kind: str = "array",
        rate: float = 0.0,
        format: str = "",
        timeout: float | None = None,
    ) -> Loan:
        """As ``ChannelWriter.loan``: the room is memory of this process, and publishing it sends it without a copy.

        ``timeout`` holds for the room and once more for sending.
        """
        if kind not in ("array", "bytes", "audio", "video"):
            raise self._error("WrongType", "loan", f"{kind} cannot be lent", "lend an array, bytes, audio or video")
        extents = tuple(map(operator.index, shape if isinstance(shape, Sequence) else (shape,)))
        if min(extents, default=0) < 0:
            raise self._error("OutOfRange", "loan", f"shape is {extents}, but no extent may be negative")
        layout = self._layouts.get(kind, np.dtype(dtype), extents, rate, format, "loan")
        self._check_kind("loan", kind)
        with self._using:
            self._check("loan")
            if not self._room("loan", layout.size, _deadline(timeout)):
                raise self._timed_out("loan", timeout)
            self._loan = TcpLoan(self, layout, timeout)
            return self._loan

    def mark(self, number: int, timeout: float | None = None) -> None:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
            raise self._error("OutOfRange", "mark", f"number is {number!r}, but must be from 0 to 2**63 - 1")
        with self._using:
            self._check("mark")
            if not self._send("mark", mark_layout(), b"", {}, _deadline(timeout), number):
                raise self._timed_out("mark", timeout)

    def ready(self) -> bool:
        with self._using:
            return self._closed or self._sender.ready()

    def fileno(self) -> int:
        with self._using:
            self._check("fileno")
            return self._sender.fileno()

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._leave(Frame.LEAVING, "")

    def abandon(self, reason: str = "") -> None:
        self._leave(Frame.ABANDONING, f"gave up{': ' if reason else ''}{reason}")

    def end(self, reason: str) -> None:
        """The channel has ended: what waits here is woken. From any thread."""
        if not self._closed:
            self._sender.end(reason)

    def publish_loan(self, loan: TcpLoan, layout: Layout, timeout: float | None) -> None:
        """What ``loan.publish`` does."""
        with self._using:
            self._loan = None
            self._check("publish")
            if not self._send("publish", layout, _bytes_of(loan.array), loan.metadata, _deadline(timeout)):
                raise self._timed_out("publish", timeout)

    def drop_loan(self, loan: TcpLoan) -> None:
        """What ``loan.drop`` does."""
        if self._loan is loan:
            self._loan = None

    def _publish(self, operation: str, data: Data, metadata: Mapping[str, Any], deadline: float | None) -> bool:
        layout, source = self._layouts.of(data, operation)
        self._check_kind(operation, layout.kind)
        with self._using:
            self._check(operation)
            return self._send(operation, layout, _bytes_of(source), metadata, deadline)

    def _send(
        self,
        operation: str,
        layout: Layout,
        body: memoryview | bytes,
        metadata: Mapping[str, Any],
        deadline: float | None,
        number: int = 0,
    ) -> bool:
        """Sends one message, once there is room; False where the time is up before."""
        packed = encode_metadata(layout, metadata, operation, self.name)
        size = layout.size + len(packed[1])
        if not self._room(operation, size, deadline):
            return False
        now = max(time.time_ns(), self._time + 1)
        header = pack_header(layout, self._sequence, now, self._session, packed, number)
        opening = pack_prefix(Frame.MESSAGE, size, self._sender.blocked) + header
        parts = [memoryview(part) for part in (opening, body, packed[1])]
        if not self._sender.deliver(parts, size, layout.kind == "mark", operation, deadline):
            return False
        self._sequence += 1
        self._time = now
        return True

    def _room(self, operation: str, size: int, deadline: float | None) -> bool:
        if size > self._settings.limit:
            message = f"a message of {size} bytes is more than the {self._settings.limit} of the channel"
            raise self._error("TooLarge", operation, message, "make the channel with more bytes=", size=size)
        found = self._sender.room(size, operation, deadline)
        if self._closed:  # by another thread, meanwhile
            raise self._settings.closed(operation)
        return found

    def _check(self, operation: str) -> None:
        if self._closed:
            raise self._settings.closed(operation)
        if self._loan is not None:
            raise self._error("LoanOpen", operation, "room that was lent is still open", "publish it or drop it first")

    def _check_kind(self, operation: str, kind: str) -> None:
        allowed = self._settings.kinds
        if allowed is not None and kind not in allowed:
            message = f"it carries {' and '.join(sorted(allowed))}, not {kind}"
            raise self._error("WrongType", operation, message)

    def _leave(self, frame: Frame, words: str) -> None:
        if self._closed or os.getpid() != self._process:  # a forked process has the same streams: they are not its own
            return
        self._closed = True
        self._sender.wake()
        with self._using:
            self._sender.close(frame, words.encode("utf-8", "replace")[:NOTE_TEXT])

    def _timed_out(self, operation: str, timeout: float | None) -> ChannelError:
        seconds = timeout or 0.0
        advice = "see what the readers are doing, or give a larger timeout if they only need longer"
        message = f"no room for it within {seconds:g} s"
        return self._error("TimedOut", operation, message, advice, timeout=seconds)

    def _error(
        self, kind: str, operation: str, message: str, suggestion: str | None = None, **context: Any
    ) -> ChannelError:
        return self._settings.error(kind, operation, message, suggestion, **context)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # it may not have been made
            self.abandon("it was not closed")


class TcpLoan(Loan):
    """Memory of this process, from which the message is sent."""

    def __init__(self, writer: TcpChannelWriter, layout: Layout, timeout: float | None) -> None:
        self.array: NDArray[Any] = np.empty(layout.shape, layout.dtype)
        self.metadata: dict[str, Any] = {}
        self._writer: TcpChannelWriter | None = writer
        self._layout = layout
        self._timeout = timeout

    def publish(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            self.array.flags.writeable = False
            writer.publish_loan(self, self._layout, self._timeout)

    def drop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.drop_loan(self)


def _bytes_of(source: NDArray[Any]) -> memoryview:
    """The array's bytes, in C order; a copy only where they do not stand so."""
    flat = np.ascontiguousarray(source).reshape(-1).view(np.uint8)
    return memoryview(flat)  # type: ignore[arg-type]


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout
