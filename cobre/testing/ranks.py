"""Functions run on the ranks of a group, each rank a process of its own, for tests of what ranks do together.

with RankGroup("shm", 4) as group:
    values = group.values(exchange, 1000)  # exchange(communicator, 1000) on each rank, in rank order
    group.start(exchange, 10**7)
    group.kill(2)
    outcomes = group.wait(timeout=30)  # an Outcome of each rank: what it returned or raised, or how it died

The functions must be importable by the name of their module, as for ``pickle``. Linux and macOS.
"""

from __future__ import annotations

import json
import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from types import TracebackType
from typing import IO, Any, Self

from cobre.testing.rank_process import tell

__all__ = ["Outcome", "RankGroup", "RankHost", "RanksFailed", "tell"]

Function = str | Callable[..., Any]

_CREATE = "cobre.transport.select:create_communicator"
_MAKE = "cobre.testing.rank_process:make_communicator"
_HOST = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from cobre.testing.rank_process import host; "
_HOST += "host(int(sys.argv[2]), tuple(sys.argv[3:]))"
_GRACE = 5.0  # seconds that the end of a rank, or of the host, may take


class RanksFailed(AssertionError):
    """Some ranks did not return. ``outcomes`` are those of all, in rank order."""

    def __init__(self, message: str, outcomes: Sequence[Outcome] = ()) -> None:
        super().__init__(message)
        self.outcomes = list(outcomes)


@dataclass(frozen=True)
class Outcome:
    """How one call ended on one rank.

    value: what it returned. error: what it raised, with ``traceback`` as text. returncode: None while the rank lives,
    else its exit code, or minus the signal that ended it. timed_out: it had to be killed. stacks: where its threads
    stood when it was, or when it crashed. seconds: how long the call took on the rank.
    """

    rank: int
    value: Any = None
    error: BaseException | None = None
    traceback: str = ""
    returncode: int | None = None
    timed_out: bool = False
    stacks: str = ""
    seconds: float = 0.0

    @property
    def returned(self) -> bool:
        """Whether the call came back with a value."""
        return self.error is None and self.returncode is None

    def describe(self) -> str:
        """The rank and what became of it, for a message."""
        if self.returncode is not None:
            how = "hung and was killed" if self.timed_out else f"ended with {self.returncode}"
            return f"rank {self.rank} {how}\n{self.stacks}".rstrip()
        return f"rank {self.rank} " + (
            f"raised\n{self.traceback}".rstrip() if self.error else f"returned {self.value!r}"
        )


class RankHost:
    """The process that forks ranks. Starting it costs what importing numpy and a transport costs; a rank does not.

    preload: further modules that the functions to be run need. One host serves any number of groups, from one thread
    at a time; close it (or leave its ``with``) when they are done. It ends when this process does, however that ends.
    """

    def __init__(self, preload: Iterable[str] = ()) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", _HOST, json.dumps(sys.path), str(theirs.fileno()), *preload]
            self._process = subprocess.Popen(
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._lock = threading.Lock()
        if self._control.recv(64) != b"ready":
            self.close()
            raise RuntimeError("the process that forks ranks did not start; what it wrote to stderr says why")

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, connection: int, stacks: int) -> int:
        """The process id of a new rank that has these two descriptors: its connection, and where crashes are told."""
        return self._ask(b"fork", [connection, stacks])

    def reap(self, pid: int) -> int:
        """How the rank ended: its exit code, or minus its signal. One that does not end within 5 s is killed."""
        return self._ask(b"reap %d" % pid)

    def _ask(self, request: bytes, descriptors: Sequence[int] = ()) -> int:
        with self._lock:
            socket.send_fds(self._control, [request], descriptors)
            answer = self._control.recv(64)
        if not answer:
            raise RuntimeError("the process that forks ranks is gone; what it wrote to stderr says why")
        return int(answer)

    def close(self) -> None:
        """Ends it, and every rank that is left. May be called twice."""
        self._control.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Rank:
    """This process's end of one rank."""

    def __init__(self, rank: int, host: RankHost) -> None:
        self.rank, self._host = rank, host
        self.heard: list[Any] = []
        self.outcome: Outcome | None = Outcome(rank)  # of the last call; None while it runs
        self.returncode: int | None = None
        self._stacks: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the rank
        self.connection, theirs = Pipe()
        with theirs:
            self.pid = host.fork(theirs.fileno(), self._stacks.fileno())

    def send(self, *message: Any) -> None:
        self.outcome = None
        try:
            self.connection.send_bytes(pickle.dumps(message))
        except OSError:
            self.bury()

    def take(self) -> None:
        """Takes one message, or learns of the end of the process."""
        try:
            verb, value, text, seconds = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self.bury()
            return
        if verb == "told":
            self.heard.append(value)
        elif verb == "returned":
            self.outcome = Outcome(self.rank, value, seconds=seconds)
        else:
            self.outcome = Outcome(self.rank, error=value, traceback=text, seconds=seconds)

    def bury(self, timed_out: bool = False) -> None:
        """Waits for the end of a process that is ending, and keeps how it ended."""
        if self.returncode is None:
            self.returncode = self._host.reap(self.pid)
        if self.outcome is None:
            code, stacks = self.returncode, self.stacks()
            self.outcome = Outcome(self.rank, returncode=code, timed_out=timed_out, stacks=stacks)

    def stacks(self) -> str:
        self._stacks.seek(0)
        return self._stacks.read().decode(errors="replace")

    def signal(self, number: int) -> None:
        if self.returncode is None:  # not reaped: the number is still this process's
            os.kill(self.pid, number)

    def give_up(self) -> None:
        """Kills a rank that does not come back, after it has shown where it stands."""
        self.signal(signal.SIGUSR1)
        deadline = time.monotonic() + 1.0
        while not self.stacks().endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.01)
        self.signal(signal.SIGKILL)
        self.bury(timed_out=True)

    def close(self) -> None:
        self.connection.close()
        self._stacks.close()


class RankGroup:
    """``size`` ranks, each in a process and with a communicator of its own, which they keep from call to call.

    kind: ``local``, ``shm`` or ``tcp``, as for ``create_communicator``; or a function ``(rank=..., size=...,
    **settings)`` that makes a communicator, itself or as ``module:name``; or None for ranks without one, whose
    functions get no communicator. wrapper: a function that is given the new communicator of a rank and returns the one
    to use instead. settings: further keywords of ``create_communicator``; where ranks meet, and their token, is
    made up unless it is given. host: the RankHost to fork them; by default one of the group's own. connect: False
    leaves the forming of the group to ``connect``.

    Raises RanksFailed where the group could not be formed. Leaving the ``with`` kills what is left of the ranks.
    """

    def __init__(
        self,
        kind: Function | None,
        size: int,
        *,
        wrapper: Function | None = None,
        host: RankHost | None = None,
        connect: bool = True,
        **settings: Any,
    ) -> None:
        self.kind, self.size, self._wrapper = kind, size, wrapper
        self._settings = {**self._meeting_place(), **settings}
        self._own_host = RankHost() if host is None else None
        self._ranks: list[_Rank] = []
        try:
            used = self._own_host or host
            assert used is not None
            self._ranks.extend(_Rank(rank, used) for rank in range(size))
            if connect and kind is not None:
                self.connect()
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        """The processes of the ranks, in rank order."""
        return [rank.pid for rank in self._ranks]

    def connect(self, timeout: float = 60.0, *, keep: bool = False, **settings: Any) -> None:
        """Forms the group, again if it was: every rank closes the communicator that it has and joins a new one.

        keep: the old communicators are closed when the ranks end, not before. settings: in place of, and beside, those
        of the group, from now on. Raises RanksFailed.
        """
        self._settings.update(settings)
        first, *others = range(self.size)
        told = self.kind == "tcp" and "coordinator" not in self._settings and self.size > 1
        self._join(first, "found" if told else "connect", {"keep": keep})
        place = {"keep": keep, **({"coordinator": self.hear(first, timeout)} if told else {})}
        for rank in others:
            self._join(rank, "connect", place)
        failed = [outcome for outcome in self.wait(timeout) if not outcome.returned]
        if failed:
            raise RanksFailed("\n".join(["the group was not formed", *(f.describe() for f in failed)]), failed)

    def _join(self, rank: int, verb: str, place: dict[str, Any]) -> None:
        chosen = {"rank": rank, "size": self.size, **self._settings, **place}
        if self.kind in ("local", "shm", "tcp"):
            chosen = {"kind": self.kind, **chosen}
        make = _CREATE if self.kind in ("local", "shm", "tcp") else self.kind
        self._ranks[rank].send(verb, _MAKE, (make, self._wrapper), chosen)

    def _meeting_place(self) -> dict[str, Any]:
        if self.kind == "shm":
            return {"name": f"test-{secrets.token_hex(6)}"}
        return {"port": 0, "token": secrets.token_hex(16)} if self.kind == "tcp" else {}

    def start(self, function: Function, *args: Any, ranks: Iterable[int] | None = None) -> None:
        """Begins ``function(communicator, *args)`` on these ranks (by default all that live), and returns at once.

        function: of a module, or ``module:name``. A rank takes one call after the other.
        """
        alive = [rank.rank for rank in self._ranks if rank.returncode is None]
        for rank in alive if ranks is None else ranks:
            self._ranks[rank].send("call", function, args, {})

    def wait(self, timeout: float = 60.0, ranks: Iterable[int] | None = None) -> list[Outcome]:
        """The outcomes of the last call on these ranks (by default all), in rank order.

        timeout: seconds after which ranks that have not come back are killed, their stacks in the outcome.
        """
        chosen = [self._ranks[rank] for rank in (range(self.size) if ranks is None else ranks)]
        self._take_until(lambda: all(rank.outcome for rank in chosen), timeout)
        for rank in chosen:
            if rank.outcome is None:
                rank.give_up()
        return [rank.outcome for rank in chosen if rank.outcome is not None]

    def run(self, function: Function, *args: Any, timeout: float = 60.0) -> list[Outcome]:
        """``start`` on all ranks, then ``wait``."""
        self.start(function, *args)
        return self.wait(timeout)

    def values(self, function: Function, *args: Any, timeout: float = 60.0) -> list[Any]:
        """What ``function(communicator, *args)`` returned on each rank. Raises RanksFailed unless all did return."""
        outcomes = self.run(function, *args, timeout=timeout)
        failed = [outcome for outcome in outcomes if not outcome.returned]
        if failed:
            raise RanksFailed("\n".join(outcome.describe() for outcome in failed), outcomes)
        return [outcome.value for outcome in outcomes]

    def hear(self, rank: int, timeout: float = 60.0) -> Any:
        """The next value that the function on this rank passes to ``tell``. Raises RanksFailed if none comes."""
        this = self._ranks[rank]
        self._take_until(lambda: bool(this.heard or this.outcome), timeout)
        if not this.heard:
            how = "is still silent" if this.outcome is None else this.outcome.describe()
            raise RanksFailed(f"rank {rank} told nothing within {timeout:g} s: {how}")
        return this.heard.pop(0)

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Sends a signal to a rank; nothing where it has been found dead already."""
        self._ranks[rank].signal(number)

    def stacks(self, rank: int) -> str:
        """Where the threads of a rank stood when it was asked by SIGUSR1, or when it crashed."""
        return self._ranks[rank].stacks()

    def _take_until(self, done: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            open_ends: dict[Any, _Rank] = {r.connection: r for r in self._ranks if r.returncode is None}
            ready = wait(list(open_ends), max(0.0, deadline - time.monotonic()))
            if not ready:
                return
            for end in ready:
                open_ends[end].take()

    def close(self) -> None:
        """Ends all ranks: idle ones close their communicators first, busy ones are killed. May be called twice."""
        for rank in self._ranks:
            rank.signal(signal.SIGCONT if rank.outcome else signal.SIGKILL)
            rank.connection.close()
        for rank in self._ranks:
            rank.bury()
            rank.close()
        self._ranks.clear()
        if self._own_host is not None:
            self._own_host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
