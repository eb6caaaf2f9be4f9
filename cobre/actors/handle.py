"""What the owner of an actor holds: methods to call, and the actor's life."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NoReturn

from cobre.actors.failures import actor_error
from cobre.actors.host import TELL

if TYPE_CHECKING:
    from cobre.actors.actor import Actor
    from cobre.actors.futures import CallFuture
    from cobre.supervisor import ExitReport, Grace, Process

__all__ = ["ActorHandle", "RemoteMethod"]


class RemoteMethod:
    """A method of an actor, to be called with ``remote``."""

    __slots__ = ("_actor", "_name", "_timeout")

    def __init__(self, actor: Actor, name: str, timeout: float | None = None) -> None:
        self._actor, self._name, self._timeout = actor, name, timeout

    def remote(self, *args: Any, **kwargs: Any) -> CallFuture:
        """Calls it; returns the future of its answer at once.

        Raises ActorError for what the caller can mend: NotSerializable arguments, TooLarge ones, MailboxFull. That the
        actor is gone (Died, Closed), that it has no such method (AttributeError), is late (Timeout) or raised
        something is said by the future.
        """
        return self._actor.call(self._name, args, kwargs, self._timeout)

    def options(self, *, timeout: float | None = None) -> RemoteMethod:
        """The method with other ways of calling it. timeout: seconds from the call to its answer.

        Raises ActorError of kind OutOfRange for a timeout that is not above zero.
        """
        if timeout is not None and not timeout > 0:
            raise actor_error("OutOfRange", f"the timeout is {timeout!r}", "give seconds above zero, or None")
        return RemoteMethod(self._actor, self._name, timeout)

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        raise actor_error(
            "Unsupported",
            f"{self._name}() of {self._actor.name} runs in another process",
            f"call handle.{self._name}.remote(...), which returns a future",
        )

    def __reduce__(self) -> NoReturn:
        raise _not_sendable(self._actor.name)


class ActorHandle:
    """An actor: ``handle.method.remote(...)`` calls a method of it. Calls of one thread are answered in their order.

    A method of the class whose name is one of the handle's own is called as ``handle.method("stop").remote(...)``.
    """

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> RemoteMethod:
        if name.startswith("_"):
            raise AttributeError(f"an actor's private {name!r} cannot be called from outside")
        method = RemoteMethod(self._actor, name)
        self.__dict__[name] = method  # found at once the next time
        return method

    def method(self, name: str) -> RemoteMethod:
        """The method of that name, whatever the handle's own attributes are called."""
        return RemoteMethod(self._actor, name)

    @property
    def name(self) -> str:
        """What errors and statistics call it."""
        return self._actor.name

    @property
    def process(self) -> Process:
        """Its process, as the supervisor knows it; after a restart, the new one."""
        return self._actor.process

    @property
    def pid(self) -> int:
        """Its process id; waits until there is a process. Raises CobreError of kind NotStarted."""
        return self._actor.process.pid

    def ready(self) -> CallFuture:
        """Answered (with None) when the constructor has run, and with its exception where it raised one."""
        return self._actor.made

    def marks(self) -> dict[str, int]:
        """The words that the worker marked on its board."""
        return self._actor.process.marks()

    def interrupt(self) -> None:
        """Sets ``context().interrupted`` in the worker for the oldest call without an answer, started or not.

        Without such a call it does nothing.
        """
        self._actor.interrupt()

    def tell(self, value: Any) -> None:
        """Gives a value to the call that runs, which may take it with ``context().hear()``; returns at once.

        value: plain data, less than a message of many megabytes; it goes past the calls that wait in line. What nobody
        hears stays for later calls. Raises what pickling raises.
        """
        self._actor.process.send_control(TELL + pickle.dumps(value))

    def stop(self, grace: Grace | None = None) -> ExitReport | None:
        """Ends it in good order and waits for that: calls in line fail, the one that runs is interrupted.

        grace: seconds of each step; None is the system's. Raises ActorError of kind Unsupported in a callback.
        """
        if self._actor.waits_for_itself():
            raise actor_error("Unsupported", "a callback cannot wait for the end of an actor", "use kill()")
        self._actor.begin_end(grace)
        self._actor.over.wait()
        return self._actor.report

    def kill(self) -> None:
        """Kills its process; returns at once. It is not started again."""
        self._actor.begin_end(None, kill=True)

    def __repr__(self) -> str:
        return f"<ActorHandle of {self._actor.name}>"

    def __reduce__(self) -> NoReturn:
        raise _not_sendable(self._actor.name)


def _not_sendable(name: str) -> Exception:
    return actor_error(
        "Unsupported",
        f"the handle of {name} belongs to the process that spawned the actor, and cannot be sent",
        "have the owner pass on what the actor answers",
    )
