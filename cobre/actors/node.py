"""Nodes of pipelines: the class to write, and the names under which classes are known.

class Resample(Node):
    inputs = {"audio": Audio}
    outputs = {"audio": Audio}

    def __init__(self, rate: int = 16_000):
        self.rate = rate

    def process(self, message):
        return Audio(resampled(message.data, self.rate), self.rate)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from cobre.actors.node_failures import nearest, pipeline_error

if TYPE_CHECKING:
    from cobre.transport import Message

__all__ = ["Item", "Node", "Outlet", "Progress", "register_node", "registered", "registered_names"]


class Progress(Protocol):
    """What ``initialize`` is given, to say how far it is."""

    def __call__(self, fraction: float, message: str = "", *, state: str = "loading") -> None:
        """fraction: from 0 to 1. state: ``loading`` or ``connecting``. Raises PipelineError of kind OutOfRange."""


class Outlet(Protocol):
    """What carries a node's messages out of it."""

    def emit(self, data: Any, port: str | None, metadata: Mapping[str, Any]) -> None:
        """Publishes data at a port; waits for room."""

    def loan(self, shape: Any, dtype: Any, port: str | None, metadata: Mapping[str, Any]) -> Any:
        """Lends a slot of a port."""


class Item:
    """Data with metadata: what a node returns, or is sent, where a message is to say more than its data.

    metadata: values that JSON can write; the reader finds them in ``message.metadata``.
    """

    __slots__ = ("data", "metadata")

    def __init__(self, data: Any, **metadata: Any) -> None:
        self.data, self.metadata = data, metadata


class Node:
    """A stage of a pipeline, which runs in a process of its own. Subclass it, with the methods that you need.

    inputs, outputs: the ports by name, each with the type that passes it: ``numpy.ndarray``, ``str``, ``bytes``,
    ``Audio``, ``Video``, ``Any``, or a tuple of them. The arguments of the class's ``__init__`` are its configuration.
    A class whose ``inputs`` are empty is a source: it has ``produce`` in place of ``process``. One whose ``outputs``
    are empty is a sink.

    Every method may be plain or ``async``. They run one after the other in the process's main thread; coroutines run
    in one event loop, which stands still while the node waits for a message. What one of them raises ends the session
    with a NodeError that has it as ``inner``.
    """

    inputs: ClassVar[Mapping[str, Any]] = {"in": Any}
    outputs: ClassVar[Mapping[str, Any]] = {"out": Any}

    _outlet: Outlet | None = None

    def initialize(self, progress: Progress) -> Any:
        """Prepares the work: loads a model, opens a file. Runs in all nodes at the same time, before any data flows."""

    def process(self, message: Message) -> Any:
        """Deals with one message; ``message.port`` says at which input it came.

        Returns what goes out: data (an array, text, bytes, Audio, Video), an Item of data and metadata, or a Message,
        at the only output; a list, an iterator or a generator (async ones too) of them; ``{port: data or list}``; or
        None. The message's data is a view of shared memory, valid until this returns: copy what is to be kept.
        """
        raise NotImplementedError

    def produce(self) -> Any:
        """Of a source: what it produces, iterated over once the session is ready (a generator, plain or async)."""
        raise NotImplementedError

    def finish(self) -> Any:
        """Called when all inputs have ended; what it returns goes out as that of ``process`` does."""

    def cleanup(self) -> Any:
        """Gives back what ``initialize`` took, at the end in good order. A node that is killed has no time for it."""

    def emit(self, data: Any, port: str | None = None, **metadata: Any) -> None:
        """Sends data out now, waiting for room: from within ``process``, ``produce`` or ``finish``.

        port: may be left out where there is one output. Raises PipelineError: UnknownPort, NotStarted; ChannelError.
        """
        (self._outlet or self._out()).emit(data, port, metadata)

    def loan(self, shape: Any, dtype: Any, port: str | None = None, **metadata: Any) -> Any:
        """A slot of shared memory to fill in place, which goes out without a copy when the ``with`` block is left.

        ``with self.loan((1080, 1920, 3), numpy.uint8) as loan: loan.array[...] = frame``. Nothing goes out where the
        block is left by an exception. Raises PipelineError: UnknownPort, NotStarted; ChannelError.
        """
        return (self._outlet or self._out()).loan(shape, dtype, port, metadata)

    def _out(self) -> Outlet:
        if self._outlet is None:
            told = f"{type(self).__name__} has no outputs to send to before its session is ready"
            raise pipeline_error("NotStarted", told, "send in process, produce or finish")
        return self._outlet


_Class = TypeVar("_Class", bound=type[Node])
_registered: dict[str, type[Node]] = {}


def register_node(name: str) -> Callable[[_Class], _Class]:
    """Registers a class of nodes under a name, by which ``add_node`` and pipeline files may call it.

    Raises PipelineError of kind DuplicateName where another class has it, BadConfig for what is no class of nodes.
    """

    def register(made: _Class) -> _Class:
        if not (isinstance(made, type) and issubclass(made, Node)):
            raise pipeline_error("BadConfig", f"{made!r} is no class of nodes", "derive it from cobre.actors.Node")
        known = _registered.get(name)
        same = known is not None and (known.__module__, known.__qualname__) == (made.__module__, made.__qualname__)
        if known is not None and not same:  # a module that is imported anew registers its classes again
            told = f"the type {name!r} is {known.__module__}.{known.__qualname__} already"
            raise pipeline_error("DuplicateName", told, "give the class another name", node=name)
        _registered[name] = made
        return made

    return register


def registered(name: str) -> type[Node]:
    """The class of that name. Raises PipelineError of kind UnknownNode, with the nearest name that there is."""
    found = _registered.get(name)
    if found is None:
        advice = nearest(name, _registered, "import the module that registers it, or give the class; there are")
        raise pipeline_error("UnknownNode", f"no type of nodes is called {name!r}", advice, node=name)
    return found


def registered_names() -> tuple[str, ...]:
    """All names that ``register_node`` gave, sorted."""
    return tuple(sorted(_registered))
