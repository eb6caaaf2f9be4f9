"""One actor as its system knows it: which process it has, what its calls come to, when it is started again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from cobre.actors.blocks import OUT_OF_BAND
from cobre.actors.connection import Connection
from cobre.actors.envelopes import TooLarge
from cobre.actors.exceptions import load_exception
from cobre.actors.failures import actor_error, died
from cobre.actors.futures import CallFuture
from cobre.actors.host import DROP, INTERRUPT
from cobre.actors.line import Line
from cobre.actors.messages import Kind
from cobre.actors.pickling import Dumped, dump, dump_plain, plain
from cobre.errors import ActorError, CobreError
from cobre.supervisor import ExitReport, Grace, Limits, Process, ProcessSpec, RestartCount, RestartPolicy

if TYPE_CHECKING:
    from cobre.actors.replies import Replies
    from cobre.supervisor import Supervisor

__all__ = ["Actor", "ActorSpec"]

_log = logging.getLogger(__name__)
_ENTRY = "cobre.actors.host:main"
_ANY = (1 << 63) - 1  # more than the number of any call


@dataclass(frozen=True)
class ActorSpec:
    """What makes an actor: its name, the pickled class and arguments, and how it is to be looked after."""

    name: str
    made_from: Dumped
    restart: RestartPolicy
    limits: Limits
    mailbox: int
    most: int
    on_event: Callable[[Any], object] | None = None
    marks: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()


class Actor:
    """Its process, and a new one where the restart policy says so.

    over: set when it has no process and will have none. Calls may come from any thread; what workers say, and their
    ends, are dealt with in the reply thread.
    """

    def __init__(
        self, spec: ActorSpec, supervisor: Supervisor, replies: Replies, on_failed: Callable[[], None]
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.over = threading.Event()
        self.report: ExitReport | None = None
        self._supervisor, self._replies = supervisor, replies
        self.failed = on_failed
        self._count = RestartCount(spec.restart)
        self.restarts = 0
        self._lock = threading.Lock()
        self._failure: Callable[[str | None], BaseException] | None = None  # why it takes no calls any more
        self._made: CallFuture
        self._line: Line
        with self._lock:
            self._start()

    def _start(self) -> None:
        """Begins to start a process. Raises CobreError where the supervisor is closed."""
        spec, lines = self.spec, list[Line]()  # the end may be reported before there is a line
        process = self._supervisor.spawn(
            ProcessSpec(spec.name, _ENTRY, spec.environment, spec.limits, spec.marks, spec.imports),
            lambda report: self._replies.post(lambda: self._ended(lines[0], report)),
        )
        try:
            calls = process.calls
        except CobreError:  # the report says more
            calls = None
        line = Line(self, process, calls, spec.most, self._replies)
        lines.append(line)
        self._line, self._made = line, CallFuture(self, "__init__")
        if calls is not None:
            self._replies.listen(line)
        sealed = line.connection.sealed(Kind.CONSTRUCT, 0, spec.made_from)
        line.connection.submit(self._made, sealed, spec.made_from.shared)

    # Calls, from any thread.

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None) -> CallFuture:
        """Sends a call. Raises ActorError for one that cannot be sent; what the actor's state does to it is said by
        the future.
        """
        connection = self._line.connection
        pending = connection.pending
        if len(pending) >= self.spec.mailbox and len(pending) - (0 in pending) >= self.spec.mailbox:
            raise self._full(len(pending))
        future = CallFuture(self, method)
        if kwargs or not plain(args):
            self._submit(future, self._dumped(method, args, kwargs))
        else:
            payload = dump_plain((method, args, None))
            if len(payload) >= OUT_OF_BAND or not connection.submit_plain(future, payload):
                self._submit(future, Dumped(payload, [], []))
        if len(pending) > 1 and not self._line.armed:
            self._line.arm()
        if timeout is not None:
            self._replies.at(time.monotonic() + timeout, lambda: self._late(future, timeout))
        return future

    def _submit(self, future: CallFuture, dumped: Dumped) -> None:
        try:
            while not self._sent(future, dumped):
                with self._lock:  # its end is being dealt with: then there is a new process, or a reason
                    failure = self._failure
                if failure is not None:
                    future.finish(None, failure(future.method))
                    return
        except (TooLarge, OSError) as limit:
            raise actor_error(
                "TooLarge",
                f"the arguments of {future.method}() cannot be sent to {self.name}: {limit}",
                "send less at a time, or raise max_message",
                actor=self.name,
                method=future.method,
            ) from None

    def _sent(self, future: CallFuture, dumped: Dumped) -> bool:
        if self._failure is not None:
            return False
        connection = self._line.connection
        future.number = connection.number()
        return connection.submit(future, connection.sealed(Kind.CALL, future.number, dumped), dumped.shared)

    def _dumped(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Dumped:
        try:
            return dump((method, args, kwargs))
        except ActorError:
            raise
        except Exception as failure:
            raise actor_error(
                "NotSerializable",
                f"the arguments of {method}() cannot be sent to {self.name}: {type(failure).__name__}: {failure}",
                "pass plain data, arrays, or objects that can be pickled",
                actor=self.name,
                method=method,
            ) from failure

    def _full(self, pending: int) -> ActorError:
        return actor_error(
            "MailboxFull",
            f"{self.name} has {pending:,} calls without an answer, and its mailbox takes {self.spec.mailbox:,}",
            "wait for some of them first, or give the actor a larger mailbox",
            actor=self.name,
            mailbox=self.spec.mailbox,
        )

    def unwanted(self, future: CallFuture) -> None:
        """A call was cancelled, or is too late."""
        line = self._line
        if line.connection.dropped(future):
            line.process.send_control(DROP + future.number.to_bytes(8, "little"))

    def waits_for_itself(self) -> bool:
        """Whether this is the thread that answers."""
        return threading.get_ident() == self._replies.thread

    def later(self, demand: Callable[[], object]) -> None:
        """Has it called in the thread that answers."""
        self._replies.post(demand)

    def listen(self) -> None:
        """Has the thread that answers listen to the worker."""
        if not self._line.armed:
            self._line.arm()

    def read_for(self, future: CallFuture, deadline: float | None, stop: Callable[[], bool]) -> None:
        """Reads answers in the calling thread until this one has come, where that can be."""
        if self.spec.on_event is None:  # events are heard before the answers that follow them
            self._line.read_for(future, deadline, stop)

    @property
    def made(self) -> CallFuture:
        """Answered (with None) when the constructor has run."""
        with self._lock:
            if self._failure is not None and not self._made.done():
                failed = CallFuture(self, "__init__")
                failed.finish(None, self._failure(None))
                return failed
            return self._made

    @property
    def process(self) -> Process:
        """The one that it has, or had last."""
        return self._line.process

    @property
    def connection(self) -> Connection:
        """To that process."""
        return self._line.connection

    def interrupt(self) -> None:
        """Sets ``interrupted`` in the worker for the call that runs, or runs next."""
        line = self._line
        number = line.connection.oldest()
        if number is None:  # one that runs is one that nobody waits for any more
            number = _ANY
        line.process.send_control(INTERRUPT + number.to_bytes(8, "little"))

    def begin_end(self, grace: Grace | None, kill: bool = False) -> None:
        """No calls any more; the process is stopped in good order, or killed. Returns at once."""
        with self._lock:
            if self._failure is None:
                self._failure = self._closed
            process = self._line.process
        self.listen()  # a worker that cannot write its answer cannot stop
        if kill:
            process.kill()
        else:
            process.stop(grace)

    def _closed(self, method: str | None) -> ActorError:
        call = f"{method}() was not answered" if method else "it takes no calls any more"
        return actor_error("Closed", f"{self.name} was stopped by its owner; {call}", actor=self.name, method=method)

    # What the reply thread does.

    def heard(self, value: Any) -> None:
        """The worker emitted something."""
        if self.spec.on_event is None:
            return
        try:
            self.spec.on_event(value)
        except Exception:  # whoever watches must not take anything down
            _log.exception("on_event of %s raised", self.name)

    def not_made(self, raw: bytes) -> None:
        """The constructor raised: that is what all calls come to."""
        with self._lock:
            if self._failure is None:
                self._failure = lambda _: load_exception(raw)
            left = self._line.connection.end()
            process = self._line.process
        for future in left.values():
            future.finish(None, load_exception(raw))
        process.stop()

    def _late(self, future: CallFuture, timeout: float) -> None:
        error = actor_error(
            "Timeout",
            f"{self.name} did not answer {future.method}() within {timeout:g} s; if it runs, it runs on, "
            "and what it returns is discarded",
            "give it more time, or end the call with handle.interrupt()",
            actor=self.name,
            method=future.method,
            timeout=timeout,
        )
        if future.finish(None, error):
            self.unwanted(future)

    def _ended(self, line: Line, report: ExitReport) -> None:
        """The process is gone: what it had said is heard, those who wait for more are told, and it may start again."""
        line.drain()
        with self._lock:
            left = line.connection.end()
            again = self._failure is None and self._again(report)
            tell: Callable[[str | None], BaseException]
            if report.deliberate and report.cause != "fate" and self._failure is not None:
                tell = self._failure
            else:
                tell = partial(self._died, report, self._note(again))
            if not again:
                self.report = report
                self._failure = self._failure or tell
            elif not self._restarted():
                again = False
        line.close()
        for future in left.values():
            future.finish(None, tell(future.method))
        if not again:
            self.spec.made_from.clear()
            self.over.set()

    @staticmethod
    def _died(report: ExitReport, note: str, method: str | None) -> BaseException:
        return died(report, method, note)

    def _again(self, report: ExitReport) -> bool:
        deliberate = report.deliberate or report.cause == "not started"
        return self._count.allows(deliberate=deliberate, exit_code=report.exit_code, at=time.monotonic())

    def _note(self, again: bool) -> str:
        policy = self.spec.restart
        if again:
            return "; it starts again, without its state"
        if self._count.given_up:
            return f"; it was started again {policy.limit} times within {policy.period:g} s, and is given up"
        return ""

    def _restarted(self) -> bool:
        try:
            self._start()
        except (CobreError, TooLarge, OSError) as failure:
            told = f"{self.name} could not be started again: {failure}"
            self._failure = partial(self._not_again, told)
            return False
        self.restarts += 1
        return True

    def _not_again(self, told: str, method: str | None) -> BaseException:
        return actor_error("Died", told, actor=self.name, method=method)
