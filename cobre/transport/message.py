"""Messages as their reader sees them: the memory itself, read-only, and for how long."""

from __future__ import annotations

import contextlib
import json
from sys import getrefcount
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cobre.errors import ChannelError
from cobre.transport.media import Audio, Video
from cobre.transport.message_header import BLOCK_AT, FRONT, INLINE_AT, SESSION_AT, Layout

__all__ = ["Lender", "Message", "Source"]

_new = object.__new__


class Lender(Protocol):
    """Whoever messages are received from."""

    name: str
    session: str

    def let_go(self, message: Message) -> None:
        """The message is to be released. Raises ChannelError ViewAlive, and leaves it as it is."""


class Source(Protocol):
    """Where messages stand: one writer's part of whatever the channel runs over. place: the writer's."""

    name: str
    session: str
    place: int
    header: Any
    memory: Any

    def let_go(self, message: Message) -> None:
        """As that of a lender."""


class _Own:
    """Source of a message that has its memory for itself, or from a lender."""

    __slots__ = ("_lender", "header", "memory", "name", "place", "session")

    def __init__(
        self, name: str, session: str, place: int, header: Any, memory: Any, lender: Lender | None = None
    ) -> None:
        self.name, self.session, self.place, self.header, self.memory = name, session, place, header, memory
        self._lender = lender

    def let_go(self, message: Message) -> None:
        if self._lender is None:
            message.forget()
        else:
            self._lender.let_go(message)


class Message:
    """One message as its reader sees it.

    data: a read-only array, str, bytes, Audio or Video, as it was published (a mark: its number). layout: what sort of
    message it is. In a channel in shared memory ``data`` and ``view`` are the memory itself until ``release()``, the
    end of a ``with`` block or the reader's next ``receive``; after that they raise ChannelError Released. ``copy()`` is
    what to keep. A message and what is made of its memory belong to the thread that received it.
    """

    # Those that are not set are made when they are asked for: see __getattr__.
    __slots__ = ("_array", "_metadata", "at", "data", "front", "layout", "port", "source")

    at: int  # where its header begins; -1: released
    data: Any
    front: tuple[int, ...]  # as FRONT unpacks it; front[1] is where the payload begins
    layout: Layout
    port: str  # whoever reads several channels says here where it came from; "" where nobody has
    source: Source
    _array: NDArray[Any]  # the one array over the payload, which all that is made of it refers to
    _metadata: dict[str, Any]

    def __init__(
        self, front: tuple[int, ...], layout: Layout, header: Any, at: int, memory: Any, lender: Lender, writer: int
    ) -> None:
        """front: as ``FRONT`` unpacks it; ``header[at:]`` begins with all of the header, ``memory[front[1]:]`` with
        the payload, and behind it the extension; nothing can be written through ``memory``. writer: its place."""
        self.front, self.layout, self.at = front, layout, at
        self.source = _Own(lender.name, lender.session, writer, header, memory, lender)

    @classmethod
    def of(cls, header: bytes, memory: Any, name: str = "", writer: int = 0) -> Message:
        """A message that owns its memory (not to be written to later): payload, then extension, as they followed
        ``header``. name: the channel's. writer: the place of its writer."""
        front = FRONT.unpack_from(header)
        session = header[SESSION_AT:INLINE_AT].rstrip(b"\0").decode()
        source = _Own(name, session, writer, header, memoryview(memory).toreadonly())
        return cls.found(front, source, 0)

    @classmethod
    def found(cls, front: tuple[int, ...], source: Source, at: int) -> Message:
        """A message of a layout that has to be read from its header."""
        message = _new(cls)
        size, offset, _, _, extension, *_ = front
        block = bytes(source.header[at + BLOCK_AT : at + SESSION_AT])
        extra = json.loads(bytes(source.memory[offset + size : offset + size + extension])) if extension else {}
        message.front, message.source, message.at = front, source, at
        message.layout = Layout.decoded(block, extra)
        if extension:
            message._metadata = extra["metadata"]
        return message

    @classmethod
    def lent(cls, front: tuple[int, ...], header: Any, at: int, memory: Any, lender: Lender, writer: int) -> Message:
        """A message as the constructor makes one, of a layout that has to be read from its header."""
        return cls.found(front, _Own(lender.name, lender.session, writer, header, memory, lender), at)

    @property
    def kind(self) -> str:
        """array, text, bytes, audio or video; mark, which only sessions use."""
        return self.layout.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array in it; of text and bytes, how many bytes."""
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.layout.dtype

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return self.front[0]

    @property
    def sequence(self) -> int:
        """0, 1, ... among the messages of its writer."""
        return self.front[2]

    @property
    def timestamp(self) -> int:
        """When it was published: nanoseconds since the epoch, rising strictly within a writer."""
        return self.front[3]

    @property
    def channel(self) -> str:
        return self.source.name

    @property
    def session(self) -> str:
        return self.source.session

    @property
    def writer(self) -> int:
        """The place of its writer."""
        return self.source.place

    @property
    def released(self) -> bool:
        return self.at < 0

    @property
    def view(self) -> NDArray[np.uint8]:
        """The bytes of the payload, read-only, without a copy. Raises ChannelError Released."""
        return self._array.reshape(-1).view(np.uint8)

    @property
    def metadata(self) -> dict[str, Any]:
        """What was published with it. Raises ChannelError Released where nobody asked before it was released."""
        return self._metadata

    def __getattr__(self, name: str) -> Any:
        """Makes what was not asked for before."""
        if name == "port":
            return ""
        if name not in ("_array", "_metadata", "data"):
            raise AttributeError(f"a message has no {name!r}")
        if name == "_metadata":
            made: Any = self._read_metadata()
        elif self.at < 0:
            raise self._is_released()
        elif name == "data":
            made = self._decoded()
        else:
            made = self.data if self.layout.kind == "array" else self._lent()
        setattr(self, name, made)
        return made

    def _lent(self) -> NDArray[Any]:
        layout = self.layout
        memory, offset = (self.source.memory, self.front[1]) if layout.size else (b"", 0)
        return np.ndarray(layout.shape, layout.dtype, memory, offset)

    def _decoded(self) -> Any:
        layout = self.layout
        if layout.kind == "array":
            return self._lent()
        if layout.kind == "mark":
            return self.front[1]
        if layout.kind == "text":
            return self._array.tobytes().decode()
        if layout.kind == "bytes":
            return self._array.tobytes()
        if layout.kind == "audio":
            return Audio(self._array, layout.rate)
        return Video(self._array, layout.rate, layout.format)

    def _read_metadata(self) -> dict[str, Any]:
        size, offset, _, _, extension, inline, *_ = self.front
        if not extension and not inline:
            return {}
        if self.at < 0:
            raise self._is_released()
        if inline:
            at = self.at + INLINE_AT
            return dict(json.loads(bytes(self.source.header[at : at + inline])))
        behind = offset + size
        return dict(json.loads(bytes(self.source.memory[behind : behind + extension]))["metadata"])

    def copy(self) -> Message:
        """The same message with memory of its own, to be kept at will. Raises ChannelError Released."""
        if self.at < 0:
            raise self._is_released()
        message = _new(Message)
        memory = self._array.tobytes() if self.layout.size else b""
        message.front = self.front if self.kind == "mark" else (self.front[0], 0, *self.front[2:])
        message.source = _Own(self.channel, self.session, self.writer, b"", memory)
        message.layout, message.at = self.layout, 0
        message._metadata = dict(self._metadata)
        return message

    def release(self) -> None:
        """Gives the memory back. May be called twice.

        Raises ChannelError ViewAlive where ``data``, ``view`` or anything made of them is still referred to (a slice,
        a memoryview): the message stays as it is, delete those and call again.
        """
        if self.at >= 0:
            self.source.let_go(self)

    def forget(self) -> NDArray[Any] | None:
        """From now on it is released. Returns the array over its memory, if it had made one."""
        array = self._made()
        self.at = -1
        for name in ("data", "_array"):
            with contextlib.suppress(AttributeError):
                delattr(self, name)
        return array

    def taken(self) -> bool:
        """Whether anything but this message refers to its memory."""
        array = self._made()
        if array is None:
            return False
        with contextlib.suppress(AttributeError):  # keep one reference: it is made again when asked for
            delattr(self, "_array" if self.layout.kind == "array" else "data")
        return getrefcount(array) != _KEPT

    def _made(self) -> NDArray[Any] | None:
        try:
            array: NDArray[Any] = object.__getattribute__(self, "data" if self.layout.kind == "array" else "_array")
        except AttributeError:
            return None
        return array

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An exception's frames hold views: what is said of them then would hide it. The next receive looks again.
        if error is None:
            self.release()

    def _is_released(self) -> ChannelError:
        return ChannelError(
            f"message {self.sequence} of channel {self.channel} has been released",
            operation="data",
            channel=self.channel,
            kind="Released",
            context={"sequence": self.sequence},
            suggestion="use data before the next receive, or keep message.copy()",
        )

    def __repr__(self) -> str:
        state = ", released" if self.released else ""
        return f"<Message {self.sequence} of {self.channel}: {self.kind} {self.shape} {self.dtype}{state}>"


class _Probe:
    """A message as far as counting references goes."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = object()

    def _made(self) -> object | None:
        array: object = object.__getattribute__(self, "data")
        return array

    def kept(self) -> int:
        array = self._made()
        return getrefcount(array)


_KEPT = _Probe().kept()  # however this Python counts
