"""A worker's process with the connection to it, and the threads that take turns in reading from it.

Usually the reply thread reads. A thread that waits for an answer reads it itself where it can: that spares the way
through the other thread, which costs more than all else in a small call. After that nobody listens until there is a
reason to: a second call without an answer, or anybody who looks at a future in another way than by waiting like that.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cobre.actors.connection import Connection

if TYPE_CHECKING:
    from cobre.actors.actor import Actor
    from cobre.actors.futures import CallFuture
    from cobre.actors.replies import Replies
    from cobre.supervisor import Process

__all__ = ["Line"]


class Line:
    """One process, from its start to its end; an actor that is started again gets a new one."""

    def __init__(
        self, actor: Actor, process: Process, calls: socket.socket | None, most: int, replies: Replies
    ) -> None:
        self.actor, self.process = actor, process
        self.connection = Connection(calls, most, lambda: replies.post(self._look))
        self._replies = replies
        self._descriptor = -1 if calls is None else calls.fileno()
        self._reading = threading.Lock()
        self._turns = threading.Lock()  # guards the next two; never held while anything is waited for
        self.armed = True  # whether the reply thread listens
        self._reader = 0  # the thread that reads in the reply thread's place
        self._leaving = calls is None
        self._pokes = -1
        if hasattr(os, "eventfd") and hasattr(select, "epoll") and calls is not None:
            self._pokes = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._here = select.poll()
            self._here.register(calls, select.POLLIN)
            self._here.register(self._pokes, select.POLLIN)

    def fileno(self) -> int:
        """The descriptor of the stream to the worker."""
        return self._descriptor

    @property
    def blocked(self) -> bool:
        """Whether calls wait to be written."""
        return self.connection.blocked

    def readable(self) -> bool:
        """Takes in what the worker said, unless another thread is at it; False at the end of the stream."""
        if not self._reading.acquire(blocking=False):
            return True
        try:
            return self._read() is not False
        finally:
            self._reading.release()

    def _read(self) -> bool | None:
        return self.connection.read(self.actor.heard, self.actor.not_made)

    def writable(self) -> None:
        """Writes what waits."""
        self.connection.flush()

    def _look(self) -> None:
        """In the reply thread: there is something to write, or to wait for."""
        self.connection.flush()
        with self._turns:
            if not self._reader:
                self._replies.expect(self)
                self.armed = True
                return
        self.poke()

    def arm(self) -> None:
        """Has the reply thread listen, unless a thread reads in its place: that one arms it at its end if need be."""
        with self._turns:
            if not self.armed and not self._reader:
                self.armed = self._replies.spare(self._descriptor, False, self.connection.blocked)

    def read_for(self, future: CallFuture, deadline: float | None, stop: Callable[[], bool]) -> None:
        """Reads in the calling thread until ``future`` is answered; returns at once where that cannot be."""
        if self._pokes < 0 or not self._reading.acquire(blocking=False):
            return
        try:
            if not self._leaving and self._take_turn():
                future.reader = self
                try:
                    self._read_until(future, deadline, stop)
                finally:
                    future.reader = None
                    self._end_turn()
        finally:
            self._reading.release()

    def _take_turn(self) -> bool:
        with self._turns:
            if self.armed and not self._replies.spare(self._descriptor, True):
                return False
            self.armed = False
            self._reader = threading.get_ident()
        return True

    def _end_turn(self) -> None:
        with self._turns:
            self._reader = 0
        if self.connection.pending or self.connection.blocked:
            self.arm()

    def _read_until(self, future: CallFuture, deadline: float | None, stop: Callable[[], bool]) -> None:
        wait: float | None = None
        wanted = select.POLLIN
        while future.pending and not self._leaving and not stop():
            if deadline is not None:
                wait = 1e3 * (deadline - time.monotonic())
                if wait <= 0:
                    return
            if self.connection.blocked or wanted != select.POLLIN:
                wanted = select.POLLIN | (select.POLLOUT if self.connection.blocked else 0)
                self._here.modify(self._descriptor, wanted)
            for descriptor, event in self._here.poll(wait):
                if descriptor == self._pokes:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(self._pokes)
                    continue
                if event & select.POLLOUT:
                    self.connection.flush()
                if event & ~select.POLLOUT and self._read() is False:
                    return

    def poke(self) -> None:
        """Has the thread that reads in the reply thread's place look whether it still should."""
        if self._reader not in (0, threading.get_ident()):
            os.eventfd_write(self._pokes, 1)

    def drain(self) -> None:
        """After the end of the process, in the reply thread: takes in all that it had said."""
        self._leaving = True
        self.poke()
        with self._reading:
            if self._descriptor >= 0:
                self._replies.leave(self)
                while self._read():
                    pass

    def close(self) -> None:
        """Gives everything back but views that somebody holds; after ``drain``."""
        with self._reading:
            self.connection.close()
            self._descriptor = -1
            if self._pokes >= 0:
                os.close(self._pokes)
                self._pokes = -1
