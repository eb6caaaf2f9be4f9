"""The parent's end of one worker's process: calls out, answers in, and who waits for them."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import threading
from collections.abc import Callable
from pickle import loads
from typing import TYPE_CHECKING, Any

from cobre.actors.blocks import Mappings, Pool
from cobre.actors.envelopes import Sealed, read_numbers, seal, unseal, write_numbers
from cobre.actors.exceptions import load_exception
from cobre.actors.failures import actor_error
from cobre.actors.messages import HEADER, Flags, Inbox, Kind, frame
from cobre.actors.outbox import Outbox
from cobre.actors.pickling import Dumped
from cobre.errors import CobreError

if TYPE_CHECKING:
    from cobre.actors.futures import CallFuture
    from cobre.actors.references import Ref

__all__ = ["Connection"]

_log = logging.getLogger(__name__)
_IN_FLIGHT = 4  # calls that are sent at once; those beyond wait for each other
_RESULT = int(Kind.RESULT)
_TOGETHER = 32  # of those, as many as this at most


class Connection:
    """Calls may be added from any thread; everything else is the reply thread's.

    calls: the stream to the worker, None where there is none. wake: has the reply thread look at this connection.
    """

    def __init__(self, calls: socket.socket | None, most: int, wake: Callable[[], None]) -> None:
        self.socket = calls
        self.pending: dict[int, CallFuture] = {}
        self.answered = 0
        self.over = False
        self.blocked = False  # what waits goes out when the socket can be written again
        self._most, self._wake = most, wake
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._queued = 0
        self._known: set[int] = set()
        self._pool, self._mappings = Pool(), Mappings(wake)
        if calls is not None:
            calls.setblocking(False)
            self._inbox, self._outbox = Inbox(calls), Outbox(calls)

    def number(self) -> int:
        """That of the next call."""
        return next(self._numbers)

    def sealed(self, kind: int, number: int, dumped: Dumped) -> Sealed:
        """A frame for this connection. Raises TooLarge."""
        return seal(kind, number, dumped, self._pool, self._most)

    def submit(self, future: CallFuture, sealed: Sealed, shared: list[Ref]) -> bool:
        """Sends a call, or puts it in line; False where this worker takes no more. Never waits for the worker.

        Raises OSError where a shared value cannot be handed over.
        """
        with self._lock:
            if self.over:
                return False
            self.pending[future.number] = future
            if self.socket is None:
                return True
            for ref in shared:
                if ref.number not in self._known:
                    self._outbox.add(ref.announcement())
                    self._known.add(ref.number)
            self._outbox.add(sealed)
            self._queued += 1
            early = len(self.pending) - self._queued < _IN_FLIGHT
            if not self.blocked and (early or self._queued >= _TOGETHER or sealed[1] is not None):
                self._flush()
        return True

    def submit_plain(self, future: CallFuture, payload: bytes) -> bool:
        """The same for a small call, in less time; False where it must be done in the other way."""
        with self._lock:
            if self.over or self.socket is None or self._mappings.released:
                return False
            pending = self.pending
            number = future.number = next(self._numbers)
            pending[number] = future
            data = HEADER.pack(len(payload), number, Kind.CALL, Flags.PLAIN) + payload
            if not self._outbox and len(pending) <= _IN_FLIGHT:
                with contextlib.suppress(OSError):
                    data = data[self.socket.send(data) :]
                if not data:
                    return True
            self._outbox.add((data, None))
            self._queued += 1
            if not self.blocked and (len(pending) - self._queued < _IN_FLIGHT or self._queued >= _TOGETHER):
                self._flush()
        return True

    def flush(self) -> None:
        """Sends what waits, with what is to be told besides."""
        with self._lock:
            if not self.over and self.socket is not None:
                self._flush()

    def _flush(self) -> None:
        released, forgotten = self._mappings.released, self._pool.forgotten
        while released:
            self._outbox.add((write_numbers(Kind.RELEASE, [released.popleft()]), None))
        while forgotten:
            self._outbox.add((write_numbers(Kind.FORGET, [forgotten.popleft()]), None))
        before = self.blocked
        try:
            self.blocked = not self._outbox.flush()
        except OSError:  # the worker is gone; the report of its end comes
            self._outbox.clear()
            self.blocked = False
        if not self.blocked:
            self._queued = 0
        if self.blocked != before:
            self._wake()

    def oldest(self) -> int | None:
        """The number of the call that runs or runs next; that of the constructor, 0, only while there is no other."""
        with self._lock:
            return next((number for number in self.pending if number), 0 if self.pending else None)

    def unshare(self, number: int) -> None:
        """A shared value has died."""
        with self._lock:
            if number in self._known and not self.over and self.socket is not None:
                self._known.discard(number)
                self._outbox.add((frame(Kind.UNSHARE, number, Flags.PLAIN, b""), None))

    def dropped(self, future: CallFuture) -> bool:
        """A call's answer is not wanted any more; False where it is not under way."""
        with self._lock:
            if self.pending.pop(future.number, None) is None:
                return False
            if not self.over and self.socket is not None and self._queued and not self.blocked:
                self._flush()  # those in line may have waited for that one
        return True

    def read(self, on_event: Callable[[Any], None], on_failed: Callable[[bytes], None]) -> bool | None:
        """Takes in what is there and answers futures; None where nothing is there, False at the stream's end.

        on_failed: called with the pickled exception of the constructor.
        """
        assert self.socket is not None
        try:
            if not self._inbox.receive():
                return False
        except BlockingIOError:  # another thread was faster
            return None
        except OSError:
            return False
        for kind, number, flags, body in self._inbox.frames():
            if kind == _RESULT:
                if flags:
                    self._answer(number, flags, body)
                    continue
                future = self.pending.pop(number, None)
                self.answered += 1
                try:
                    result = loads(body)
                except Exception as failure:
                    if future is not None:
                        future.finish(None, _unreadable(future.method, failure))
                    continue
                if future is not None:
                    future.finish(result)
            elif kind == Kind.ERROR:
                self._fail(number, flags, body, on_failed)
            elif kind == Kind.EVENT:
                self._event(flags, body, on_event)
            elif kind == Kind.RELEASE:
                for block in read_numbers(body):
                    self._pool.give_back(block)
            elif kind == Kind.FORGET:
                for block in read_numbers(body):
                    self._mappings.forget(block)
        if self._queued or self._mappings.released:
            self.flush()
        return True

    def _answer(self, number: int, flags: int, body: memoryview) -> None:
        future = self.pending.pop(number, None)
        self.answered += 1
        try:
            result = unseal(flags, body, self._inbox, self._mappings)
        except Exception as failure:
            if future is not None:
                future.finish(None, _unreadable(future.method, failure))
            return
        if future is not None:
            future.finish(result)

    def _fail(self, number: int, flags: int, body: memoryview, on_failed: Callable[[bytes], None]) -> None:
        future = self.pending.pop(number, None)
        self.answered += 1
        raw = unseal(flags, body, self._inbox, self._mappings)
        if number == 0:
            on_failed(raw)
        if future is not None:
            future.finish(None, load_exception(raw))

    def _event(self, flags: int, body: memoryview, on_event: Callable[[Any], None]) -> None:
        try:
            value = unseal(flags, body, self._inbox, self._mappings)
        except Exception:
            _log.exception("an event could not be read, and is lost")
            return
        on_event(value)

    def end(self) -> dict[int, CallFuture]:
        """Takes no more calls; those that have no answer. What the worker had written must have been read before."""
        with self._lock:
            self.over = True
            left, self.pending = self.pending, {}
        return left

    def close(self) -> None:
        """Gives everything back but views that somebody holds. May be called twice."""
        if self.socket is not None:
            with self._lock:
                self.over = True
                self._outbox.clear()
                self._inbox.close()
                self.socket.close()
        self._pool.close()
        self._mappings.close()


def _unreadable(method: str, failure: Exception) -> CobreError:
    error = actor_error(
        "NotSerializable",
        f"what {method}() sent could not be read here: {type(failure).__name__}: {failure}",
        "its class must survive pickling, and its module must be importable here",
        method=method,
    )
    error.__cause__ = failure
    return error
