"""What a supervised process does before and beside its work: it dies with its parent, and hears when it is to end.

It imports as little as it can (no dataclasses, no subprocess, no numpy): a process is up in the time of a bare
interpreter and some ten milliseconds. ``launcher`` holds what runs before this.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from cobre.supervisor.board import Board
from cobre.supervisor.wiring import ASK, MESSAGE, READY, Frames, frame

__all__ = ["ORPHANED", "ChildEnd", "adopt", "die_with", "run"]

_SET_DEATH_SIGNAL, _SET_NAME = 1, 15  # PR_SET_PDEATHSIG, PR_SET_NAME
ORPHANED = 70  # the exit code of a process whose parent is gone; nobody is there to read it


class ChildEnd:
    """A process's own end of its supervision; its entry is called with it, in the main thread.

    name: as in the spec. calls: a stream socket to the owner in the parent, this process's to read and write. board:
    words that the supervisor reads. stop_asked: set when the process is to end in good order.
    """

    def __init__(self, name: str, calls: socket.socket, board: Board, control: socket.socket) -> None:
        self.name, self.calls, self.board = name, calls, board
        self.stop_asked = threading.Event()
        self._control = control
        self._lock = threading.RLock()  # a callback may set another one
        self._asked: Callable[[], object] | None = None
        self._heard: Callable[[bytes], object] | None = None
        self._early: list[bytes] = []
        threading.Thread(target=self._listen, name="cobre-control", daemon=True).start()

    def ready(self) -> None:
        """Tells the supervisor that the process can work, which ends its start limit."""
        self._control.sendall(frame(READY))

    def on_ask(self, callback: Callable[[], object]) -> None:
        """Has ``callback`` called in the control thread when the process is to end; at once where it is already."""
        with self._lock:
            self._asked = callback
            late = self.stop_asked.is_set()
        if late:
            callback()

    def on_message(self, callback: Callable[[bytes], object]) -> None:
        """Has ``callback`` called in the control thread with each message of the owner, in their order.

        What came before is handed over here, in the calling thread.
        """
        with self._lock:
            early, self._early = self._early, []
            for message in early:
                callback(message)
            self._heard = callback

    def _listen(self) -> None:
        frames = Frames()
        while True:
            try:
                data = self._control.recv(65536)
            except OSError:
                data = b""
            if not data:  # the parent is gone, and with it all reason to go on, whatever the other threads do
                names = sys.modules.get("cobre.transport.names")
                if names is not None:
                    names.remove()
                os._exit(ORPHANED)
            for kind, payload in frames.feed(data):
                try:
                    self._hear(kind, payload)
                except Exception:  # a callback's fault must not make the process deaf
                    sys.excepthook(*sys.exc_info())

    def _hear(self, kind: bytes, payload: bytes) -> None:
        if kind == ASK:
            with self._lock:
                self.stop_asked.set()
                asked = self._asked
            if asked is not None:
                asked()
        elif kind == MESSAGE:
            with self._lock:
                if self._heard is None:
                    self._early.append(payload)
                    return
            self._heard(payload)


def run(order: Mapping[str, Any], control: int, calls: int, board: int, parent: int) -> None:
    """The life of a process: ``order`` is what the launcher sent, the others are its descriptors and its parent's pid.

    An exception of the entry ends the process with its traceback on stderr and exit code 1.
    """
    die_with(parent, order["name"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, which decides
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    faulthandler.enable(2)
    faulthandler.register(signal.SIGUSR1, 2, all_threads=True)  # the supervisor's question where one that hangs stands
    page = Board(board, order["marks"])
    os.close(board)
    end = ChildEnd(order["name"], socket.socket(fileno=calls), page, socket.socket(fileno=control))
    module, _, function = order["entry"].partition(":")
    getattr(import_module(module), function)(end)


def adopt(order: Mapping[str, Any]) -> None:
    """What a fresh interpreter inherits and a forked one has from its fork server: path, directory, environment."""
    sys.path[:] = order["path"]
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])


def die_with(parent: int, name: str) -> None:
    """Has the system kill this process when ``parent`` (its thread that started us) ends; at once if it has ended.

    name: what the system's lists of processes are to call this one, as far as they have room.
    """
    if sys.platform == "linux":
        import ctypes

        control = ctypes.CDLL(None).prctl
        control(_SET_DEATH_SIGNAL, int(signal.SIGKILL))
        control(_SET_NAME, name.encode(errors="replace"))
    if os.getppid() != parent:
        os._exit(ORPHANED)
