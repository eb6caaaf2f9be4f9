"""A process of this host, as its supervisor holds it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from typing import Self

from cobre.supervisor.health import Pulse, descendants
from cobre.supervisor.records import HealthSample

__all__ = ["LocalProcess", "ended"]


class LocalProcess:
    """A child of this process. Its end is waited for through a pidfd, or by a thread where there are none."""

    def __init__(self, pid: int, descriptor: int, *, waiter: bool = False) -> None:
        """descriptor: the pidfd, or with ``waiter`` a pipe that the thread closes at the end."""
        self.pid, self.descriptor = pid, descriptor
        self._waiter = waiter
        self._pulse = Pulse(pid)
        self._reaped = False

    @classmethod
    def child(cls, child: subprocess.Popen[bytes]) -> Self:
        """Takes over a child of subprocess. Raises OSError, and the child is gone, if it cannot be watched."""
        try:
            descriptor, waiter = _watch(child.pid)
        except OSError:
            child.kill()
            child.wait()
            raise
        child.returncode = 0  # subprocess has nothing more to do with it: it would call a lost exit status 0
        return cls(child.pid, descriptor, waiter=waiter)

    def outcome(self) -> tuple[int | None, str | None] | None:
        """Its exit code or its signal's name; (None, None) where somebody else took it; None while it lives."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            self._reaped = True
            return None, None
        if pid == 0:
            return None
        self._reaped = True
        return ended(os.waitstatus_to_exitcode(status))

    def show(self) -> None:
        """Has it write to stderr where its threads stand."""
        self._send(signal.SIGUSR1)

    def terminate(self) -> None:
        """Sends it SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Kills it and its descendants: those that can be seen, and whose parents still live."""
        family = descendants(self.pid) if not self._reaped else []
        self._send(signal.SIGKILL)
        for pid in family:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._reaped or self.descriptor < 0:
            return
        with contextlib.suppress(OSError):
            if self._waiter:
                os.kill(self.pid, number)
            else:  # hits this process, or nobody if somebody else has reaped it
                signal.pidfd_send_signal(self.descriptor, number)

    def sample(self) -> HealthSample | None:
        """How it is, or None where it has ended."""
        return None if self._reaped else self._pulse.sample()

    def close(self) -> None:
        """Gives back the descriptor; may be called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def ended(code: int) -> tuple[int | None, str | None]:
    """An exit code, or minus a signal, as the two of them."""
    if code >= 0:
        return code, None
    try:
        return None, signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return None, f"signal {-code}"


def _watch(pid: int) -> tuple[int, bool]:
    try:
        return os.pidfd_open(pid), False
    except (AttributeError, OSError):  # macOS, or a kernel before 5.3
        heard, ends = os.pipe()
        threading.Thread(target=_wait, args=(pid, ends), name=f"cobre-wait-{pid}", daemon=True).start()
        return heard, True


def _wait(pid: int, ends: int) -> None:
    """Waits for the end of a child, which stays to be reaped, and closes the descriptor."""
    with contextlib.suppress(OSError):
        if sys.platform == "darwin":  # it has no waitid before Python 3.13
            with contextlib.closing(select.kqueue()) as queue:
                end = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
                queue.control([end], 1)
        else:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.close(ends)
