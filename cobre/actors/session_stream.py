"""Feeding the entries of a session and reading its exits in one thread, without either waiting for the other in vain.

A run ends with a mark, which every node hands on when it has come at all its inputs: at an exit it says that all that
came before it is there.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cobre.errors import ChannelError
from cobre.transport.channel_ports import wait

if TYPE_CHECKING:
    from cobre.actors.session_channels import Wires
    from cobre.transport.channel_ports import ChannelReader, ChannelWriter
    from cobre.transport.message import Message

__all__ = ["Stream"]

Piece = tuple["ChannelWriter", Any, Mapping[str, Any]]


class Stream:
    """The ends that a session has of its channels."""

    def __init__(self, wires: Wires) -> None:
        self._entries, self._exits = wires.entries, wires.exits
        self._port_of = {id(reader): str(port) for port, reader in wires.exits.items()}
        self._numbers = itertools.count(1)
        self._turns = deque(wires.exits.values())
        self._ended: set[int] = set()
        self._items: Iterator[Any] | None = None
        self._resolved: Callable[[Any], Iterator[Piece]]
        self._pieces: deque[Piece] = deque()
        self._feeding = False
        self._unmarked: deque[ChannelWriter] = deque()
        self.mark = 0
        """The number of the mark that ends the run; 0 for one that ends with the pipeline."""
        self._awaited: set[int] = set()

    # One message.

    def receive(self, readers: list[ChannelReader], timeout: float | None) -> Message:
        """The next message of these. Raises ChannelError: EndOfChannel when all of them have ended."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if len(readers) == 1:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                message: Message | None = readers[0].receive(left)
                reader = readers[0]
            else:
                reader, message = self._any(readers, deadline)
            if message is not None and message.kind != "mark":
                message.port = self._port_of[id(reader)]
                return message

    def _any(self, readers: list[ChannelReader], deadline: float | None) -> tuple[ChannelReader, Message | None]:
        while True:
            open_ones = [each for each in self._turns if each in readers and id(each) not in self._ended]
            if not open_ones:
                raise _end_of(readers)
            for reader in open_ones:
                try:
                    message = reader.try_receive()
                except ChannelError as error:
                    if error.kind != "EndOfChannel":
                        raise
                    self._ended.add(id(reader))
                    break
                if message is not None:
                    self._turns.remove(reader)
                    self._turns.append(reader)
                    return reader, message
            else:
                left = None if deadline is None else deadline - time.monotonic()
                if not wait(open_ones, left):
                    raise open_ones[0].timed_out("receive", left or 0.0)

    # A run.

    def begin(self, items: Iterator[Any] | None, resolved: Callable[[Any], Iterator[Piece]]) -> int:
        """Begins one: items to feed, and what says where each goes; None: nothing is fed, all is read to its end.
        Returns the number of its mark."""
        if self.mark and (self._feeding or self._unmarked or self._awaited):  # a run that was left early
            self._items, self._feeding = None, False
            self._pieces.clear()
            while self.next() is not None:
                pass
        self._items, self._resolved = items, resolved
        self._feeding = items is not None
        self._awaited = {id(reader) for reader in self._exits.values()} - self._ended
        self.mark = next(self._numbers) if items is not None else 0
        self._unmarked = deque(self._entries.values()) if items is not None else deque()
        return self.mark

    def next(self) -> Message | None:
        """What comes out next; None at the end of the run."""
        while True:
            fed = self._feed()
            message = self._read()
            if message is not None:
                return message
            if not self._awaited and not self._feeding and not self._unmarked:
                return None
            if not fed:
                self._wait()

    def _feed(self) -> bool:
        """Puts in one item if there is room for it. Whether anything was done."""
        if self._feeding and not self._pieces:
            assert self._items is not None
            try:
                self._pieces.extend(self._resolved(next(self._items)))
            except StopIteration:
                self._feeding = False
        done = False
        while self._pieces:
            writer, data, metadata = self._pieces[0]
            if not writer.try_publish(data, **metadata):
                return done
            self._pieces.popleft()
            done = True
        if not self._feeding:
            while self._unmarked and self._try_mark(self._unmarked[0]):
                self._unmarked.popleft()
                done = True
        return done

    def _try_mark(self, writer: ChannelWriter) -> bool:
        try:
            writer.mark(self.mark, timeout=0.0)
        except ChannelError as error:
            if error.kind != "TimedOut":
                raise
            return False
        return True

    def _read(self) -> Message | None:
        for reader in list(self._turns):
            if id(reader) not in self._awaited:
                continue
            try:
                message = reader.try_receive()
            except ChannelError as error:
                if error.kind != "EndOfChannel":
                    raise
                self._ended.add(id(reader))
                self._awaited.discard(id(reader))
                continue
            if message is None:
                continue
            if message.kind == "mark":
                if int(message.data) >= self.mark > 0:
                    self._awaited.discard(id(reader))
                continue
            self._turns.remove(reader)
            self._turns.append(reader)
            message.port = self._port_of[id(reader)]
            return message
        return None

    def _wait(self) -> None:
        """Until something comes out, or there is room for what is to go in."""
        waiting: list[ChannelReader | ChannelWriter] = [
            each for each in self._exits.values() if id(each) in self._awaited
        ]
        if self._pieces:
            waiting.append(self._pieces[0][0])
        elif self._unmarked:
            waiting.append(self._unmarked[0])
        wait(waiting)

    # The end.

    def close(self) -> None:
        """Holds nothing any more."""
        for held in (self._turns, self._pieces, self._unmarked):
            held.clear()

    def drain(self, deadline: float) -> None:
        """Takes what still comes out of all exits and drops it, until they end. Raises ChannelError ViewAlive."""
        while True:
            readers = [each for each in self._exits.values() if id(each) not in self._ended]
            if not readers:
                return
            for reader in readers:
                try:
                    while reader.try_receive() is not None:
                        pass
                except ChannelError as error:
                    if error.kind == "ViewAlive":
                        raise
                    self._ended.add(id(reader))
            left = deadline - time.monotonic()
            readers = [each for each in readers if id(each) not in self._ended]
            if readers and (left <= 0.0 or not wait(readers, left)):
                return


def _end_of(readers: list[ChannelReader]) -> ChannelError:
    names = ", ".join(reader.name for reader in readers)
    return ChannelError(
        f"receive: {names} ended, and all was read", operation="receive", channel=names, kind="EndOfChannel"
    )
