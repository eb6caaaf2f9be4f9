"""The worker's process: makes the actor, reads calls, runs them one after the other in the main thread, answers.

Answers to quick calls wait for each other while more calls are here already, so that a stream of calls costs one system
call for many; a thread sends what has waited for two milliseconds, whatever the call under way is doing.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from pickle import dumps, loads
from time import perf_counter
from typing import TYPE_CHECKING, Any

from cobre.actors.blocks import OUT_OF_BAND, Mappings, Pool
from cobre.actors.envelopes import TooLarge, add_block, read_block, read_numbers, seal, unseal, write_numbers
from cobre.actors.failures import actor_error
from cobre.actors.inside import Context, enter
from cobre.actors.messages import HEADER, Flags, Inbox, Kind, frame
from cobre.actors.outbox import Outbox
from cobre.actors.pickling import ATOMS, PROTOCOL, Dumped, dump
from cobre.actors.shared import drop, keep

if TYPE_CHECKING:
    from cobre.supervisor import ChildEnd

__all__ = ["DROP", "INTERRUPT", "TELL", "Host", "main"]

INTERRUPT = b"i"  # messages of the control stream, with a call's number: it should end early; it is not wanted any more
DROP = b"d"
TELL = b"t"  # with a pickled value: for the call that runs
_QUICK = 200e-6  # seconds; a call that took longer last time is not started before the answers so far are sent
_LATEST = 2e-3  # seconds that an answer may wait for others
_MOST = 1 << 16  # bytes of one answer that may wait
_CALL, _RESULT = int(Kind.CALL), int(Kind.RESULT)


def main(end: ChildEnd) -> None:
    """The entry of a worker's process."""
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # what is printed is seen now, and not lost with the process
    Host(end).run()


class Host:
    """The one actor of this process."""

    def __init__(self, end: ChildEnd) -> None:
        self._end, self._board = end, end.board
        self._inbox, self._outbox = Inbox(end.calls), Outbox(end.calls)
        self._pool, self._mappings = Pool(), Mappings()
        self._sending = threading.Lock()
        self._late = threading.Semaphore(0)
        self._flusher: threading.Thread | None = None
        self._armed = False
        self._interrupted = threading.Event()
        self._ending = False
        self._dropped: set[int] = set()
        self._quick: dict[str, bool] = {}
        self._most = 1 << 62
        self._running = 0
        self._active = False
        self._to_interrupt = -1
        self._changing = threading.Lock()  # an interruption is of the call that runs when it is looked at
        self._actor: Any = None
        self._context = Context(end.name, end.board, self._interrupted, self._emit)

    def run(self) -> None:
        """Until the owner wants no more of it."""
        enter(self._context)
        self._end.on_message(self._hear)
        self._end.on_ask(self._stop)
        self._end.ready()
        try:
            while not self._ending and self._inbox.receive():
                self._board.busy = True
                for kind, number, flags, body in self._inbox.frames():
                    if self._ending:
                        break
                    self._handle(kind, number, flags, body)
                if self._outbox or self._mappings.released or self._pool.forgotten:
                    self._flush()
                self._board.busy = False
        except ConnectionError:
            return  # nobody is there to be answered

    def _hear(self, message: bytes) -> None:
        if message[:1] == DROP:
            self._dropped.add(int.from_bytes(message[1:], "little"))
        elif message[:1] == INTERRUPT:
            self._interrupt(int.from_bytes(message[1:], "little"))
        elif message[:1] == TELL:
            self._context.told.put(loads(message[1:]))

    def _interrupt(self, oldest: int) -> None:
        """The call that runs is to end early, or else the one of that number, which the owner knows as the next.

        One that runs may be older than that: nobody waits for it any more, and it is in the way.
        """
        with self._changing:
            if not self._active:
                self._to_interrupt = oldest
            elif self._running <= oldest:
                self._interrupted.set()

    def _stop(self) -> None:
        self._ending = True  # before the flag: a call that clears it looks at this
        self._interrupted.set()
        self._end.calls.shutdown(socket.SHUT_RD)  # wakes the main thread where it waits for calls

    def _handle(self, kind: int, number: int, flags: int, body: memoryview) -> None:
        if kind == _CALL:
            self._call(number, flags, body)
            self._active = False
        elif kind == Kind.CONSTRUCT:
            self._construct(flags, body)
        elif kind == Kind.SHARE:
            self._share(number, flags, body)
        elif kind == Kind.UNSHARE:
            drop(number)
        elif kind == Kind.RELEASE:
            for block in read_numbers(body):
                self._pool.give_back(block)
        elif kind == Kind.FORGET:
            for block in read_numbers(body):
                self._mappings.forget(block)

    def _share(self, number: int, flags: int, body: memoryview) -> None:
        if flags == Flags.PLAIN:
            keep(number, bytes(body), [])
            return
        copy = memoryview(bytes(body))
        block = add_block(body, self._inbox, self._mappings)
        keep(number, *read_block(copy, self._mappings.lasting(block)))

    def _construct(self, flags: int, body: memoryview) -> None:
        self._board.beat()
        try:
            self._actor = self._constructed(flags, body)
        except Exception as failure:
            self._fail(0, failure)
            return
        self._answer(0, "__init__", None)

    def _constructed(self, flags: int, body: memoryview) -> Any:
        self._most, made, args, kwargs = unseal(flags, body, self._inbox, self._mappings)
        return made(*args, **kwargs)

    def _call(self, number: int, flags: int, body: memoryview) -> None:
        if self._dropped and self._is_dropped(number):
            self._skip(flags, body)
            return
        with self._changing:
            self._running, self._active = number, True
            if self._to_interrupt == number:
                self._interrupted.set()
            elif self._interrupted.is_set():  # meant for a call before this one, unless this is the end
                self._interrupted.clear()
        if self._ending:
            return
        self._board.beat()
        try:
            name, args, kwargs = unseal(flags, body, self._inbox, self._mappings) if flags else loads(body)
        except Exception as failure:
            self._fail(number, _unreadable(failure))
            return
        if self._outbox and not self._quick.get(name):
            self._flush()
        began = perf_counter()
        try:
            result = getattr(self._actor, name)(*args, **kwargs) if kwargs else getattr(self._actor, name)(*args)
        except (Exception, KeyboardInterrupt) as failure:
            del args, kwargs
            self._fail(number, failure)
            return
        del args, kwargs  # what was lent to this call goes back with its answer
        self._quick[name] = perf_counter() - began < _QUICK
        if type(result) in ATOMS:
            payload = dumps(result, PROTOCOL)
            if len(payload) < OUT_OF_BAND:
                self._answer_plain(number, payload)
                return
        self._answer(number, name, result)

    def _answer_plain(self, number: int, payload: bytes) -> None:
        """The way of most answers: at once, if nothing else waits and no other call is here already."""
        data = HEADER.pack(len(payload), number, _RESULT, 0) + payload
        alone = not self._inbox.more
        with self._sending:
            if alone and not self._outbox and not self._mappings.released:
                try:
                    sent = self._end.calls.send(data, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    sent = 0
                if sent == len(data):
                    return
                data = data[sent:]
            self._outbox.add((data, None))
        if not alone:
            self._wait_for_more(len(data))

    def _wait_for_more(self, size: int) -> None:
        """An answer was added, and another call is here: it may wait for the next answer."""
        if size > _MOST or len(self._outbox) >= 64:
            self._flush()
        elif not self._armed:
            self._arm()

    def _is_dropped(self, number: int) -> bool:
        for gone in [other for other in tuple(self._dropped) if other < number]:
            self._dropped.discard(gone)
        return number in self._dropped

    def _skip(self, flags: int, body: memoryview) -> None:
        """Nobody waits for this call; a block that came with it must be known and released all the same."""
        if flags == Flags.BLOCK:
            self._mappings.released.append(add_block(body, self._inbox, self._mappings))

    def _answer(self, number: int, name: str, result: Any) -> None:
        try:
            dumped = _dumped_result(name, result)
        except Exception as failure:
            self._fail(number, failure)
            return
        del result
        try:
            sealed = seal(Kind.RESULT, number, dumped, self._pool, self._most)
        except TooLarge as limit:
            self._fail(number, actor_error("TooLarge", f"what {name}() returned cannot be sent: {limit}", method=name))
            return
        with self._sending:
            self._outbox.add(sealed)
        if self._inbox.more:
            self._wait_for_more(len(sealed[0]))

    def _fail(self, number: int, failure: BaseException) -> None:
        from cobre.actors.exceptions import dump_exception

        dumped = dump_exception(failure)
        try:
            sealed = seal(Kind.ERROR, number, dumped, self._pool, self._most)
        except TooLarge as limit:
            short = actor_error("TooLarge", f"a {type(failure).__name__} cannot be sent: {limit}")
            sealed = frame(Kind.ERROR, number, Flags.PLAIN, dump_exception(short).payload), None
        with self._sending:
            self._outbox.add(sealed)
        self._flush()

    def _emit(self, value: Any) -> None:
        try:
            dumped = dump(value)
        except Exception as failure:
            raise actor_error("NotSerializable", f"an event cannot be sent: {failure}") from failure
        try:
            sealed = seal(Kind.EVENT, self._running, dumped, self._pool, self._most)
        except TooLarge as limit:
            raise actor_error("TooLarge", f"an event cannot be sent: {limit}") from None
        with self._sending:
            self._outbox.add(sealed)
        self._flush()

    def _flush(self) -> None:
        with self._sending:
            released, forgotten = self._mappings.released, self._pool.forgotten
            if released:
                self._outbox.add((write_numbers(Kind.RELEASE, _taken(released)), None))
            if forgotten:
                self._outbox.add((write_numbers(Kind.FORGET, _taken(forgotten)), None))
            if self._outbox.flush():
                return
            before, self._board.waiting = self._board.waiting, True  # for the owner, who is slow to read
            try:
                self._outbox.flush(wait=True)
            finally:
                self._board.waiting = before

    def _arm(self) -> None:
        self._armed = True
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_late, name="cobre-answers", daemon=True)
            self._flusher.start()
        self._late.release()

    def _flush_late(self) -> None:
        while True:
            self._late.acquire()
            time.sleep(_LATEST)
            self._armed = False
            try:
                self._flush()
            except OSError:
                return


def _taken(numbers: Any) -> list[int]:
    found = []
    while numbers:
        found.append(numbers.popleft())
    return found


def _unreadable(failure: Exception) -> Exception:
    error = actor_error(
        "NotSerializable",
        f"the arguments of a call could not be read in the worker: {type(failure).__name__}: {failure}",
        "their modules must be importable there, and their classes must survive pickling",
    )
    error.__cause__ = failure
    return error


def _dumped_result(name: str, result: Any) -> Dumped:
    """Raises ActorError of kind NotSerializable, or Unsupported for what only runs in an event loop."""
    if type(result).__name__ in ("coroutine", "async_generator"):
        if type(result).__name__ == "coroutine":
            result.close()
        raise actor_error(
            "Unsupported",
            f"{name}() is an async method; actors run plain methods, one after the other",
            "run the coroutine inside a plain method with asyncio.run",
            method=name,
        )
    try:
        return dump(result)
    except Exception as failure:
        raise actor_error(
            "NotSerializable",
            f"what {name}() returned (a {type(result).__name__}) cannot be sent: {failure}",
            "return plain data, arrays, or objects that can be pickled",
            method=name,
        ) from failure
