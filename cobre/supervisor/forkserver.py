"""Starting processes by forking one that has no threads and has imported what they need (Linux only)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time

from cobre.errors import CobreError
from cobre.supervisor.launcher import Order, boot_command, boot_order, whole_environment
from cobre.supervisor.local_process import LocalProcess, ended
from cobre.supervisor.records import ProcessSpec
from cobre.supervisor.zygote import ALIVE, ANSWER, FORK, LOST, REAP, REQUEST

__all__ = ["ForkserverLauncher"]

_START = 30.0  # seconds that the fork server may take to its first answer: it imports what the processes need
_ANSWER = 5.0  # seconds for any other
_END = 2.0  # seconds for its own end


class ForkserverLauncher:
    """Processes are forks of a fork server, which is started with the first of them and is a child of this process. It
    has imported what that first one's spec says.

    A process sees the environment and the directory of this one at its launch, not at the server's; variables that
    only count when an interpreter starts (PYTHONHASHSEED, LD_PRELOAD) are the server's. When the server dies, its
    processes die with it, and nobody can tell their exit codes.
    Raises CobreError of kind ``NotSupported`` where the system has no pidfds.
    """

    def __init__(self) -> None:
        if not hasattr(os, "pidfd_open"):
            raise CobreError(
                "the start method forkserver needs pidfds, which only Linux has",
                kind="NotSupported",
                suggestion="use 'spawn'",
            )
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def prepare(self, spec: ProcessSpec) -> bytes:
        return boot_order(spec, directory=os.getcwd(), environment=whole_environment(spec.environment))

    def launch(self, order: Order) -> LocalProcess:
        pid = self._fork(order)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        try:
            return _Forked(pid, os.pidfd_open(pid), self)
        except OSError:
            os.kill(pid, signal.SIGKILL)  # not reaped by the server before it is asked to: the number is still its own
            limit = time.monotonic() + _END
            while self.reap(pid) == ALIVE and time.monotonic() < limit:
                time.sleep(0.001)
            raise

    def _fork(self, order: Order) -> int:
        ends = [order.control, order.calls, order.board, order.stderr]
        if self._control is not None:
            with contextlib.suppress(ConnectionResetError):  # it was killed, and nobody has asked it since
                return self._ask(FORK, 0, ends, _ANSWER)
        self._start(order.spec)
        return self._ask(FORK, 0, ends, _START)

    def reap(self, pid: int) -> int:
        """How a process of the server ended, as ``subprocess`` says it, or ALIVE or LOST."""
        try:
            return self._ask(REAP, pid, [], _ANSWER)
        except OSError:
            return LOST

    def close(self) -> None:
        """Ends the server; processes that it forked and that still live are killed by the system."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            try:
                self._server.wait(_END)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None

    def _start(self, spec: ProcessSpec) -> None:
        control, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(control.close)
            self._server = subprocess.Popen(
                boot_command("zygote", theirs.fileno(), os.getpid()),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=whole_environment(spec.environment),  # libraries look at it when they are imported
            )
            undo.pop_all()
        self._control = control
        control.settimeout(_START)
        control.sendall(boot_order(spec, imports=(spec.entry.partition(":")[0], *spec.imports)))

    def _ask(self, verb: bytes, number: int, descriptors: list[int], patience: float) -> int:
        if self._control is None:
            raise ConnectionResetError("the fork server is gone")
        try:
            self._control.settimeout(patience)
            socket.send_fds(self._control, [REQUEST.pack(verb, number)], descriptors)
            answer = self._control.recv(ANSWER.size)
        except OSError:
            answer = b""
        if len(answer) < ANSWER.size:  # ended or stuck: a new one comes with the next launch
            assert self._server is not None
            self._server.kill()
            self.close()
            raise ConnectionResetError("the fork server ended or does not answer; what it wrote to stderr says why")
        return int(ANSWER.unpack(answer)[0])


class _Forked(LocalProcess):
    """A child of the fork server, which alone can tell how it ended."""

    def __init__(self, pid: int, descriptor: int, launcher: ForkserverLauncher) -> None:
        super().__init__(pid, descriptor)
        self._launcher = launcher

    def outcome(self) -> tuple[int | None, str | None] | None:
        ready = select.poll()
        ready.register(self.descriptor, select.POLLIN)
        if not ready.poll(0):
            return None
        self._reaped = True
        code = self._launcher.reap(self.pid)
        return (None, None) if code in (ALIVE, LOST) else ended(code)
