"""A supervised process as its owner holds it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from cobre.errors import CobreError
from cobre.supervisor.board import Board, new_page
from cobre.supervisor.records import ExitReport, Grace, HealthSample, ProcessSpec, ProcessStatistics
from cobre.supervisor.stderr import Tail
from cobre.supervisor.wiring import ASK, MESSAGE, Frames, frame

if TYPE_CHECKING:
    from cobre.supervisor.launcher import LaunchedProcess, Order

__all__ = ["Process"]


class Process:
    """One supervised process, from the demand for it to the report of its end. Made by ``Supervisor.spawn``.

    ready: set when it has said that it can work (and never where it ends before that). Its methods may be called from
    any thread, and none of them waits for the process, except ``wait`` and the first ``pid``.
    """

    def __init__(
        self,
        key: int,
        spec: ProcessSpec,
        on_end: Callable[[ExitReport], None] | None,
        owner: Owner,
        history: int,
    ) -> None:
        self.key, self.spec, self.name = key, spec, spec.name
        self.on_end, self._owner = on_end, owner
        self.ready = threading.Event()
        self.report: ExitReport | None = None
        self.samples: deque[HealthSample] = deque(maxlen=history)
        self.peak_memory: int | None = None
        self.launched: LaunchedProcess | None = None
        self.wiring: Wiring | None = None
        self.fault = ""  # why there is no process
        self.kills_before: int | None = None  # the count of processes killed for want of memory, at its launch
        self._pid: int | None = None
        self._begun, self._over = threading.Event(), threading.Event()

    @property
    def pid(self) -> int:
        """Its process id; waits until it was launched. Raises CobreError of kind ``NotStarted`` if it was not."""
        self._begun.wait()
        if self._pid is None:
            raise self._not_started()
        return self._pid

    @property
    def calls(self) -> socket.socket:
        """This side's end of the stream socket to the process: the owner's to read, write and close.

        What is written before the process is there waits for it. After its end the owner reads what it had written,
        without blocking: a process that it forked may hold the other end open. Raises CobreError of kind
        ``NotStarted`` where not even a socket could be made; the report of that comes as well.
        """
        if self.wiring is None:
            raise self._not_started()
        return self.wiring.calls

    @property
    def alive(self) -> bool:
        """Whether it has not ended, as far as the supervisor has seen."""
        return self.report is None

    def send_control(self, message: bytes) -> None:
        """Sends a message that its ``on_message`` callback gets; one that it cannot get any more is lost.

        Never blocks: what the connection does not take at once goes out from the supervisor's thread.
        """
        if self.wiring is not None and self.wiring.send(frame(MESSAGE, message)):
            self._owner.flush_soon(self)

    def ask(self) -> None:
        """Asks it to end in good order, and leaves it all the time that it takes."""
        self._owner.stop_soon(self, None)

    def stop(self, grace: Grace | None = None) -> None:
        """Begins to end it in good order: ask, SIGTERM, SIGKILL, each with its time (None: the supervisor's)."""
        self._owner.stop_soon(self, grace or self._owner.grace)

    def kill(self, cause: str = "killed") -> None:
        """Kills it and its descendants. The report's ``cause`` is this one."""
        self._owner.kill_soon(self, cause)

    def wait(self, timeout: float | None = None) -> ExitReport | None:
        """Its report, as soon as ``on_end`` has been called; None where that took more than ``timeout`` seconds."""
        self._owner.check_not_inside("wait for a process")
        self._over.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        return self.report if self._over.is_set() else None

    def marks(self) -> dict[str, int]:
        """The words that it marked on its board, as they are now or were at its end."""
        report = self.report
        if report is None and self.wiring is not None:
            with contextlib.suppress(ValueError):  # it ended meanwhile
                return self.wiring.board.marks()
            report = self.report
        return dict(report.marks) if report is not None else dict.fromkeys(self.spec.marks, 0)

    def stderr_tail(self) -> str:
        """The last of what it wrote to stderr, so far."""
        if self.report is not None:
            return self.report.stderr_tail
        return self.wiring.tail.text() if self.wiring is not None else self.fault

    def statistics(self) -> ProcessStatistics:
        """What was seen of it so far."""
        return ProcessStatistics(self.name, self._pid, self.alive, tuple(self.samples), self.peak_memory)

    def begun(self, launched: LaunchedProcess | None) -> None:
        """Called by the supervisor when the launch is over; None where it failed."""
        self.launched = launched
        self._pid = None if launched is None else launched.pid
        self._begun.set()

    def seen(self, sample: HealthSample) -> None:
        """Called by the supervisor with each sample."""
        self.samples.append(sample)
        self.peak_memory = max(self.peak_memory or 0, sample.memory_bytes)

    def abandon(self) -> None:
        """Called by the supervisor where nothing comes of it, not even a launch."""
        if self.wiring is not None:
            self.wiring.close()
            self.wiring.calls.close()

    def finish(self, report: ExitReport) -> None:
        """Called by the supervisor once, at the end. An exception of ``on_end`` passes through."""
        self.report = report
        self._begun.set()
        try:
            if self.on_end is not None:
                self.on_end(report)
        finally:
            self.on_end = None
            self._over.set()

    def _not_started(self) -> CobreError:
        told = f"{self.name} could not be started: {self.fault or 'the supervisor was closed before'}"
        return CobreError(told, kind="NotStarted", context={"process": self.name})


class Owner:
    """What a Process asks of its supervisor."""

    grace: Grace

    def flush_soon(self, process: Process) -> None:
        """Has what its control connection did not take sent when it does."""
        raise NotImplementedError

    def stop_soon(self, process: Process, grace: Grace | None) -> None:
        """Begins to end it in good order."""
        raise NotImplementedError

    def kill_soon(self, process: Process, cause: str) -> None:
        """Has it killed."""
        raise NotImplementedError

    def check_not_inside(self, doing: str) -> None:
        """Raises CobreError in the supervisor's own thread, which would wait for itself."""
        raise NotImplementedError


class Wiring:
    """What connects a process with its supervisor: two socket pairs, a board, and a pipe for its stderr.

    first: what the process reads first from its control connection. Raises OSError, and holds nothing then.
    """

    def __init__(self, spec: ProcessSpec, first: bytes) -> None:
        self._outgoing = bytearray(first)
        self._lock = threading.Lock()
        with contextlib.ExitStack() as undo:
            self.control, self._their_control = socket.socketpair()
            undo.callback(self.control.close)
            undo.callback(self._their_control.close)
            self.calls, self._their_calls = socket.socketpair()
            undo.callback(self.calls.close)
            undo.callback(self._their_calls.close)
            self.stderr, self._their_stderr = os.pipe()
            undo.callback(os.close, self.stderr)
            undo.callback(os.close, self._their_stderr)
            self._page = new_page()
            undo.callback(os.close, self._page)
            self.board = Board(self._page, spec.marks)
            self.control.setblocking(False)
            os.set_blocking(self.stderr, False)
            undo.pop_all()
        self.tail = Tail()
        self._frames = Frames()
        self._ours = True  # the child's ends are still open here

    def order(self, spec: ProcessSpec) -> Order:
        """What a launcher is given."""
        from cobre.supervisor.launcher import Order

        handed = self._their_control.fileno(), self._their_calls.fileno(), self._page, self._their_stderr
        return Order(spec, *handed)

    def hand_over(self) -> None:
        """Closes the child's ends here: it has them, or will never come."""
        if self._ours:
            self._ours = False
            self._their_control.close()
            self._their_calls.close()
            os.close(self._their_stderr)
            os.close(self._page)

    @property
    def blocked(self) -> bool:
        """Whether something waits until the control connection takes more."""
        return bool(self._outgoing)

    def ask(self) -> bool:
        return self.send(frame(ASK))

    def send(self, data: bytes) -> bool:
        """Sends now what can be sent now; True where some of it waits for ``flush``. Any thread."""
        with self._lock:
            idle = not self._outgoing
            self._outgoing += data
            return idle and self._flush()

    def flush(self) -> bool:
        """Sends what waits, as far as that goes; True where some of it still waits."""
        with self._lock:
            return self._flush()

    def receive(self) -> list[tuple[bytes, bytes]] | None:
        """The frames that came from the process; None where no more will come. Does not block."""
        try:
            data = self.control.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self._frames.feed(data) if data else None

    def _flush(self) -> bool:
        try:
            while self._outgoing:
                sent = self.control.send(self._outgoing[:65536], socket.MSG_DONTWAIT | _NO_SIGNAL)
                del self._outgoing[:sent]
        except BlockingIOError:
            return True
        except OSError:  # the process is gone
            self._outgoing.clear()
        return False

    def close(self) -> None:
        """Gives back everything but ``calls``, which is the owner's. May be called twice."""
        self.hand_over()
        with self._lock:
            self.control.close()
        if self.stderr >= 0:
            os.close(self.stderr)
            self.stderr = -1
        self.board.close()


_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
