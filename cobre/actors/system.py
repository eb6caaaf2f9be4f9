"""The system of actors: starts them, answers for them, and ends them all with itself."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from cobre.actors.actor import Actor, ActorSpec
from cobre.actors.envelopes import TooLarge
from cobre.actors.failures import actor_error
from cobre.actors.futures import CallFuture
from cobre.actors.handle import ActorHandle
from cobre.actors.pickling import Dumped, dump
from cobre.actors.references import Ref
from cobre.actors.replies import Replies
from cobre.actors.waiters import Waiters
from cobre.errors import ActorError
from cobre.supervisor import Grace, HealthSample, Limits, ProcessStatistics, RestartPolicy, Supervisor

__all__ = ["ActorStatistics", "ActorSystem"]

_MAX_MESSAGE = 1 << 34


@dataclass(frozen=True)
class ActorStatistics:
    """What is known of one actor. pending: calls without an answer. answered: calls that its process answered.
    restarts: how often it was started again. process: memory, CPU, state, as sampled.
    """

    name: str
    pid: int | None
    alive: bool
    pending: int
    answered: int
    restarts: int
    process: ProcessStatistics

    @property
    def latest(self) -> HealthSample | None:
        """The last sample of the process's health, or None before the first one."""
        return self.process.latest

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most resident memory in any sample, or None before the first one."""
        return self.process.peak_memory_bytes


class ActorSystem:
    """Owns actors, their processes and the threads that look after them. Use it as a ``with`` block: leaving it
    normally stops the actors in good order, leaving it by an exception kills them at once.

    start_method: ``spawn`` or ``forkserver``; None is what multiprocessing was set to, else spawn; ``fork`` is refused
    (CobreError, IncompatibleSettings). together: the end of one actor's process that nobody asked for is the end of
    all. grace: seconds of the steps of stopping. sample_every: seconds between samples of the processes' health.
    history: samples kept. max_message: bytes that the arguments or the result of one call may have.
    """

    def __init__(
        self,
        *,
        start_method: str | None = None,
        together: bool = False,
        grace: Grace | None = None,
        sample_every: float = 1.0,
        history: int = 600,
        max_message: int = _MAX_MESSAGE,
    ) -> None:
        if not max_message > 0:
            raise actor_error("OutOfRange", f"max_message is {max_message!r}", "give bytes above zero")
        self._supervisor = Supervisor(
            start_method=start_method, together=together, grace=grace, sample_every=sample_every, history=history
        )
        self._replies = Replies()
        self._most = max_message
        self._actors: dict[str, Actor] = {}
        self._numbers, self._refs = itertools.count(), itertools.count(1)
        self._waiters = Waiters()
        self._lock = threading.Lock()
        self._closing = self._closed = False

    def spawn(
        self,
        made: Callable[..., Any],
        *args: Any,
        name: str | None = None,
        restart: RestartPolicy | None = None,
        limits: Limits | None = None,
        marks: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        imports: tuple[str, ...] = (),
        mailbox: int = 20_000,
        on_event: Callable[[Any], object] | None = None,
        **kwargs: Any,
    ) -> ActorHandle:
        """Makes an actor of a class, in a process of its own; returns at once. ``handle.ready()`` says when it is made.

        made: the class (or what makes the object), called with ``args`` and ``kwargs`` there. name: that of no actor of
        this system that lives; one that has ended is forgotten for it. restart: whether a process that ended is
        replaced (never, by default); the constructor runs again, calls that had no answer fail. limits: what ends the
        process. marks: words of its board. environment: variables added to its process's. imports: modules that a fork
        server imports, once, when it starts with its first actor; they must start no threads. mailbox: calls without
        an answer from which on further ones are refused. on_event: called, in the thread that answers calls, with each
        value that the actor emits.

        Raises ActorError: NotSerializable, TooLarge, OutOfRange, DuplicateName, Closed.
        """
        if not callable(made):
            raise actor_error("Unsupported", f"{made!r} is not a class", "give the class, and its arguments after it")
        if mailbox < 1:
            raise actor_error("OutOfRange", f"the mailbox takes {mailbox} calls", "give a number above zero")
        dumped = self._dumped(made, args, kwargs)
        with self._lock:
            self._check_open()
            chosen = self._free_name(name or f"{getattr(made, '__name__', 'actor')} {next(self._numbers)}")
            spec = ActorSpec(
                name=chosen,
                made_from=dumped,
                restart=restart or RestartPolicy(),
                limits=limits or Limits(),
                mailbox=mailbox,
                most=self._most,
                on_event=on_event,
                marks=marks,
                environment=dict(environment or {}),
                imports=imports,
            )
            try:
                actor = self._actors[chosen] = Actor(spec, self._supervisor, self._replies, self._waiters.failed)
            except TooLarge as limit:
                raise actor_error("TooLarge", f"the arguments of {chosen} cannot be sent: {limit}") from None
        return ActorHandle(actor)

    def _free_name(self, name: str) -> str:
        if name in self._actors and not self._actors[name].over.is_set():
            raise actor_error("DuplicateName", f"there is an actor {name!r} already", "give another name")
        return name

    def _dumped(self, made: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Dumped:
        try:
            return dump((self._most, made, args, kwargs))
        except ActorError:
            raise
        except Exception as failure:
            called = getattr(made, "__name__", repr(made))
            raise actor_error(
                "NotSerializable",
                f"{called} or its arguments cannot be sent: {type(failure).__name__}: {failure}",
                "open files, locks and the like in the constructor, which runs in the actor's process",
            ) from failure

    def _check_open(self) -> None:
        if self._closing:
            raise actor_error("Closed", "the system of actors is closed", "work inside its with block")

    def put(self, value: Any) -> Ref:
        """Stores a value once for all calls that take it. Raises ActorError: NotSerializable, TooLarge, Closed."""
        self._check_open()
        dumped = self._dumped_value(value)
        if dumped.size > self._most:
            raise actor_error("TooLarge", f"{dumped.size:,} bytes are more than max_message, {self._most:,}")
        try:
            return Ref(next(self._refs), dumped, partial(_unshare, weakref.ref(self)))
        except (OSError, MemoryError) as failure:
            raise actor_error("TooLarge", f"there is no memory for {dumped.size:,} bytes: {failure}") from None

    def _dumped_value(self, value: Any) -> Dumped:
        try:
            dumped = dump(value)
        except Exception as failure:
            told = f"a {type(value).__name__} cannot be stored: {type(failure).__name__}: {failure}"
            raise actor_error("NotSerializable", told) from failure
        if dumped.shared:
            raise actor_error("Unsupported", "a stored value cannot hold a Ref", "pass the Ref beside it")
        return dumped

    def unshare(self, number: int) -> None:
        """A Ref has died; called by its finaliser, in any thread."""
        self._replies.post(lambda: self._tell(number))

    def _tell(self, number: int) -> None:
        for actor in tuple(self._actors.values()):
            actor.connection.unshare(number)

    def get(self, wanted: Any, timeout: float | None = None) -> Any:
        """The result of a future, or the list of those of several; the value of a Ref.

        Of several, the first failure that is seen is raised, without waiting for the others. timeout: seconds, after
        which an ActorError of kind Timeout is raised; the calls go on. Raises what the calls raised.
        """
        if isinstance(wanted, Ref):
            return wanted.value()
        if isinstance(wanted, CallFuture):
            return self._waiters.wait([wanted], timeout)[0]
        return self._waiters.wait(list(wanted), timeout)

    def statistics(self) -> dict[str, ActorStatistics]:
        """What is known of each actor, by its name; those that ended are there too."""
        return {name: _statistics(actor) for name, actor in tuple(self._actors.items())}

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        """Has ``callback`` called after so many seconds, in the thread that answers calls, unless that has ended."""
        self._replies.at(time.monotonic() + seconds, callback)

    def kill(self) -> None:
        """Kills all actors' processes; returns at once. Calls without an answer fail with kind Closed."""
        for actor in tuple(self._actors.values()):
            actor.begin_end(None, kill=True)

    def close(self, *, kill: bool = False) -> None:
        """Stops the actors in good order (or kills them at once) and gives everything back. May be called twice.

        Raises ActorError of kind Unsupported in a callback, which runs in a thread that ends here.
        """
        if self._closed:
            return
        if threading.get_ident() == self._replies.thread:
            raise actor_error("Unsupported", "a callback cannot close its system", "close it in another thread")
        with self._lock:
            self._closing = True
            actors = tuple(self._actors.values())
        try:
            for actor in actors:
                actor.begin_end(None, kill)
            for actor in actors:
                actor.over.wait()
        finally:
            self._closed = True
            self._supervisor.close(kill=True)
            self._replies.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(kill=error is not None)


def _unshare(owner: weakref.ref[ActorSystem], number: int) -> None:
    """What a Ref calls at its end: it must not keep the system, which keeps actors, which may keep it."""
    system = owner()
    if system is not None:
        system.unshare(number)


def _statistics(actor: Actor) -> ActorStatistics:
    process = actor.process.statistics()
    return ActorStatistics(
        name=actor.name,
        pid=process.pid,
        alive=not actor.over.is_set(),
        pending=len(actor.connection.pending),
        answered=actor.connection.answered,
        restarts=actor.restarts,
        process=process,
    )
