"""The supervisor's thread: waits on everything at once, asks ``lifecycle`` what to do, and does it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable

from cobre.supervisor import lifecycle as life
from cobre.supervisor.health import memory_kills
from cobre.supervisor.launcher import Launcher
from cobre.supervisor.process import Process
from cobre.supervisor.records import ExitReport
from cobre.supervisor.stderr import Forward
from cobre.supervisor.wiring import READY

__all__ = ["Watch"]

_logger = logging.getLogger(__name__)
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
_LAST_PATIENCE = 5.0  # seconds that the ends of killed processes are waited for when nothing else can be done
_PIPE = 1 << 17  # bytes, twice of what a pipe holds: all that was written before an end, and little of what came after
_LONGEST = 3600.0  # seconds that one poll may take: the system counts its milliseconds in 32 bits
_STOPPED = "stopped"  # psutil's word


class Watch:
    """A thread with the processes that it watches; other threads give it work through ``submit``.

    error: the exception that ended the thread before its time; its processes are gone then.
    """

    def __init__(self, launcher: Launcher, *, together: bool, sample_every: float) -> None:
        self.error: BaseException | None = None
        self._launcher, self._sample_every = launcher, sample_every
        self._life = life.Lifecycle(together=together)
        self._members: dict[int, Process] = {}
        self._todo: deque[life.Instruction] = deque()
        self._doing = self._finished = self._abandoned = False
        self._next_sample = math.inf
        self._forward = Forward()
        self._poll, self._handlers = select.poll(), dict[int, Callable[[], object]]()
        self._inbox: deque[Callable[[], None]] = deque()
        self._bell_lock = threading.RLock()  # a signal handler may come in between
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)
        self._listen(self._bell, self._hear_bell)
        self.thread = threading.Thread(target=self._run, name="cobre-supervisor", daemon=True)
        try:
            self.thread.start()
        except RuntimeError:
            os.close(self._bell)
            os.close(self._ring)
            raise

    def submit(self, todo: Callable[[], None]) -> bool:
        """Has the thread call ``todo``; False, and nothing is done, where the thread has ended. Any thread."""
        with self._bell_lock:
            if self._ring < 0:
                return False
            self._inbox.append(todo)
            with contextlib.suppress(BlockingIOError):  # full: it is awake
                os.write(self._ring, b"!")
        return True

    def finish(self) -> None:
        """Ends the thread. Whatever still lives is killed."""

        def finish() -> None:
            self._finished = True

        self.submit(finish)
        self.thread.join()

    # All that follows runs in the thread.

    def add(self, process: Process) -> None:
        """Takes a process under supervision, and launches it."""
        self._members[process.key] = process
        if self._abandoned:  # it will be reported with the others
            return
        now = time.monotonic()
        self._next_sample = min(self._next_sample, now + self._period())
        self.feed(life.Added(now, process.key, process.spec.limits))

    def feed(self, event: life.Event) -> None:
        """Does what follows from an event."""
        if self._abandoned:
            return
        self._todo.extend(self._life.handle(event))
        if self._doing:
            return
        self._doing = True
        while self._todo:
            self._do(self._todo.popleft())
        self._doing = False

    def arm(self, process: Process) -> None:
        """Waits for room in a control connection that has none."""
        if process.key in self._members and process.wiring is not None and process.wiring.blocked:
            with contextlib.suppress(KeyError, OSError):
                self._poll.modify(process.wiring.control, select.POLLIN | select.POLLOUT)

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
        try:
            while not self._finished:
                self._turn()
        except BaseException as error:
            self.error = error
            _logger.exception("the supervisor failed; its processes are killed")
        finally:
            self._abandon()

    def _turn(self) -> None:
        due = min(self._life.deadline, self._next_sample) - time.monotonic()
        timeout = None if due == math.inf else max(0, math.ceil(1000.0 * min(due, _LONGEST)))
        for descriptor, _ in self._poll.poll(timeout):
            handler = self._handlers.get(descriptor)
            if handler is not None:
                handler()
        while self._inbox:
            self._inbox.popleft()()
        now = time.monotonic()
        if now >= self._life.deadline:
            self.feed(life.Tick(now))
        if now >= self._next_sample:
            self._sample()

    def _do(self, todo: life.Instruction) -> None:
        process = self._members[todo.key]
        match todo:
            case life.Launch():
                self._launch(process)
            case life.Ask():
                if process.wiring is not None and process.wiring.ask():
                    self.arm(process)
            case life.Show():
                assert process.launched is not None
                process.launched.show()
            case life.Terminate():
                assert process.launched is not None
                process.launched.terminate()
            case life.Kill():
                assert process.launched is not None
                process.launched.kill()
            case life.Report():
                self._report(process, todo)

    def _launch(self, process: Process) -> None:
        process.kills_before = memory_kills()
        try:
            if process.wiring is None:
                raise OSError(process.fault)
            launched = self._launcher.launch(process.wiring.order(process.spec))
        except Exception as error:  # a launcher may be anybody's
            process.fault = str(error) or type(error).__name__
            process.begun(None)
            self.feed(life.LaunchFailed(time.monotonic(), process.key))
            return
        wiring = process.wiring
        wiring.hand_over()
        process.begun(launched)
        self._listen(launched.descriptor, lambda: self._ended(process))
        self._listen(wiring.control.fileno(), lambda: self._hear(process))
        self._listen(wiring.stderr, lambda: self._read_stderr(process))
        if wiring.flush():
            self.arm(process)
        self.feed(life.Launched(time.monotonic(), process.key))

    def _ended(self, process: Process) -> None:
        outcome = process.launched.outcome() if process.launched is not None else None
        if outcome is not None:
            self.feed(life.Ended(time.monotonic(), process.key, *outcome))

    def _hear(self, process: Process) -> None:
        wiring = process.wiring
        assert wiring is not None
        if wiring.blocked and not wiring.flush():
            self._poll.modify(wiring.control, select.POLLIN)
        heard = wiring.receive()
        if heard is None:  # its end follows, unless it only closed it
            self._forget(wiring.control.fileno())
            return
        for kind, _ in heard:
            if kind == READY:
                self.feed(life.Ready(time.monotonic(), process.key))
                process.ready.set()

    def _read_stderr(self, process: Process) -> int:
        """Takes a piece of what the process wrote, and says how long it was; 0 where there is nothing (any more)."""
        wiring = process.wiring
        assert wiring is not None
        try:
            data = os.read(wiring.stderr, 65536)
        except BlockingIOError:
            return 0
        if not data:
            self._forget(wiring.stderr)
            return 0
        wiring.tail.add(data)
        self._forward.add(data)
        if self._forward.blocked and self._forward.descriptor not in self._handlers:
            self._listen(self._forward.descriptor, self._write_stderr, select.POLLOUT)
        return len(data)

    def _write_stderr(self) -> None:
        self._forward.flush()
        if not self._forward.blocked:
            self._forget(self._forward.descriptor)

    def _report(self, process: Process, end: life.Report) -> None:
        wiring, tail, marks, waiting = process.wiring, process.fault, dict.fromkeys(process.spec.marks, 0), False
        if wiring is not None:
            if process.launched is not None:
                left = _PIPE  # a process that it left behind may never stop writing
                while left > 0 and (taken := self._read_stderr(process)):
                    left -= taken
                tail = wiring.tail.text()
            marks, waiting = wiring.board.marks(), wiring.board.waiting
            self._forget(wiring.control.fileno())
            self._forget(wiring.stderr)
            wiring.close()
        pid = None
        if process.launched is not None:
            pid = process.launched.pid
            self._forget(process.launched.descriptor)
            process.launched.close()
        last = process.samples[-1] if process.samples else None
        del self._members[process.key]
        process.finish(
            ExitReport(
                process.name, pid, end.exit_code, end.signal, end.cause, end.deliberate,
                memory_bytes=None if last is None else last.memory_bytes,
                state=None if last is None else last.state,
                marks=marks, waiting=waiting, seconds=end.seconds, stderr_tail=tail,
                out_of_memory=_out_of_memory(end, process.kills_before),
            )
        )  # fmt: skip

    def _sample(self) -> None:
        for process in list(self._members.values()):
            sample = process.launched.sample() if process.launched is not None else None
            if sample is None or process.wiring is None:
                continue
            process.seen(sample)
            board = process.wiring.board
            self.feed(
                life.Sampled(
                    time.monotonic(), process.key, sample.memory_bytes,
                    board.beats, board.busy, board.waiting, sample.state == _STOPPED,
                )
            )  # fmt: skip
        self._next_sample = time.monotonic() + self._period() if self._members else math.inf

    def _period(self) -> float:
        """Seconds between samples: short enough for every hang limit to be met within a quarter of it."""
        hangs = [process.spec.limits.hang_seconds for process in self._members.values()]
        return min([self._sample_every, *(0.25 * hang for hang in hangs if hang is not None)])

    def _listen(self, descriptor: int, handler: Callable[[], object], events: int = select.POLLIN) -> None:
        self._handlers[descriptor] = handler
        self._poll.register(descriptor, events)

    def _forget(self, descriptor: int) -> None:
        if self._handlers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def _hear_bell(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, 65536)

    def _abandon(self) -> None:
        """Kills what still lives, reports it, and gives everything back."""
        self._abandoned = True
        with self._bell_lock:
            os.close(self._ring)
            os.close(self._bell)
            self._ring = -1
        while self._inbox:
            self._inbox.popleft()()
        for process in self._members.values():
            if process.launched is not None:
                process.launched.kill()
        limit = time.monotonic() + _LAST_PATIENCE
        for process in list(self._members.values()):
            outcome = None
            while process.launched is not None and outcome is None and time.monotonic() < limit:
                outcome = process.launched.outcome()
                time.sleep(0.0 if outcome else 0.001)
            with contextlib.suppress(Exception):
                code, name = outcome or (None, None)
                self._report(process, life.Report(process.key, "fate", True, code, name, 0.0))
        self._forward.flush(0.2)


def _out_of_memory(end: life.Report, before: int | None) -> str | None:
    if end.signal != "SIGKILL" or end.cause != "killed from outside":
        return None
    now = memory_kills()
    return "yes" if now is not None and before is not None and now > before else "possibly"
