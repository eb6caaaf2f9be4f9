"""Messages as their reader sees them: the memory itself, read-only, and for how long."""

from __future__ import annotations

import json
from sys import getrefcount
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cobre.errors import ChannelError
from cobre.transport.media import Audio, Video
from cobre.transport.message_header import BLOCK_AT, FRONT, INLINE_AT, SESSION_AT, Layout

__all__ = ["Lender", "Message"]


class Lender(Protocol):
    """Whoever a message was received from."""

    name: str
    session: str

    def let_go(self, message: Message) -> None:
        """The message is released: ``message.taken()`` says whether anything still refers to its memory."""


class _Owned:
    """Lender of messages that own their memory."""

    def __init__(self, name: str, session: str) -> None:
        self.name = name
        self.session = session

    def let_go(self, message: Message) -> None:
        message.forget()


class Message:
    """One message as its reader sees it.

    In a channel in shared memory ``data`` and ``view`` are the memory itself, read-only, until ``release()``, the end
    of a ``with`` block or the reader's next ``receive``; after that they raise ChannelError Released. ``copy()`` is
    what to keep. The message and what is made of its memory belong to the thread that received it.
    """

    __slots__ = (
        "_array", "_at", "_data", "_front", "_header", "_lender", "_memory", "_metadata", "layout", "port", "writer",
    )  # fmt: skip

    def __init__(
        self, front: tuple[int, ...], layout: Layout, header: Any, at: int, memory: Any, lender: Lender, writer: int
    ) -> None:
        """front: as ``FRONT`` unpacks it; ``header[at:]`` begins with all of the header, ``memory[front[1]:]`` with
        the payload, and behind it the extension. writer: place of its writer."""
        self._front = front
        self.layout = layout
        self._header = header
        self._at = at
        self._memory = memory
        self._lender = lender
        self.writer = writer
        self.port = ""  # whoever reads several channels says here where it came from
        self._array: NDArray[Any] | None = None
        self._data: Any = None
        self._metadata: dict[str, Any] | None = None

    @classmethod
    def of(cls, header: bytes, memory: Any, name: str = "", writer: int = 0) -> Message:
        """A message that owns its memory (not to be written to later): payload, then extension, as they followed
        ``header``. name: the channel's."""
        front = (*FRONT.unpack_from(header),)
        size, extension = front[0], front[4]
        number = front[1]
        found = json.loads(bytes(memory[size : size + extension])) if extension else {}
        layout = Layout.decoded(header[BLOCK_AT:SESSION_AT], found)
        session = header[SESSION_AT:INLINE_AT].rstrip(b"\0").decode()
        place = number if layout.kind == "mark" else 0
        message = cls((size, place, *front[2:]), layout, header, 0, memory, _Owned(name, session), writer)
        message._metadata = found.get("metadata") if extension else None
        return message

    @classmethod
    def lent(cls, front: tuple[int, ...], header: Any, at: int, memory: Any, lender: Lender, writer: int) -> Message:
        """A message in memory that is not its own, of a layout that has to be read from its header."""
        size, offset, _, _, extension, *_ = front
        behind = offset + size
        found = json.loads(bytes(memory[behind : behind + extension])) if extension else {}
        layout = Layout.decoded(bytes(header[at + BLOCK_AT : at + SESSION_AT]), found)
        message = cls(front, layout, header, at, memory, lender, writer)
        message._metadata = found.get("metadata")
        return message

    @property
    def offset(self) -> int:
        """Where the payload begins in the memory that it is lent from."""
        return self._front[1]

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
        return self._front[0]

    @property
    def sequence(self) -> int:
        """0, 1, ... among the messages of its writer."""
        return self._front[2]

    @property
    def timestamp(self) -> int:
        """When it was published: nanoseconds since the epoch, rising strictly within a writer."""
        return self._front[3]

    @property
    def channel(self) -> str:
        return self._lender.name

    @property
    def session(self) -> str:
        return self._lender.session

    @property
    def released(self) -> bool:
        return self._memory is None

    @property
    def data(self) -> Any:
        """A read-only array, str, bytes, Audio or Video, as it was published. Raises ChannelError Released."""
        layout = self.layout
        if layout.kind == "array":
            array = self._array
            return self._lent() if array is None else array
        if self._data is None:
            self._data = self._decoded(layout)
        return self._data

    def _lent(self) -> NDArray[Any]:
        """The one array over the payload, which all that is made of it refers to."""
        if self._array is None:
            if self._memory is None:
                raise self._is_released()
            layout = self.layout
            source, offset = (self._memory, self._front[1]) if layout.size else (b"", 0)
            array: NDArray[Any] = np.ndarray(layout.shape, layout.dtype, source, offset)
            if array.flags.writeable:
                array.flags.writeable = False
            self._array = array
        return self._array

    def _decoded(self, layout: Layout) -> Any:
        if layout.kind == "mark":
            return self._front[1]
        array = self._lent()
        if layout.kind == "text":
            return array.tobytes().decode()
        if layout.kind == "bytes":
            return array.tobytes()
        if layout.kind == "audio":
            return Audio(array, layout.rate)
        return Video(array, layout.rate, layout.format)

    @property
    def view(self) -> NDArray[np.uint8]:
        """The bytes of the payload, read-only, without a copy. Raises ChannelError Released."""
        return self._lent().reshape(-1).view(np.uint8)

    @property
    def metadata(self) -> dict[str, Any]:
        """What was published with it. Raises ChannelError Released where nobody asked before it was released."""
        if self._metadata is None:
            self._metadata = self._read_metadata()
        return self._metadata

    def _read_metadata(self) -> dict[str, Any]:
        size, offset, _, _, extension, inline, *_ = self._front
        if not extension and not inline:
            return {}
        if self._memory is None:
            raise self._is_released()
        if inline:
            at = self._at + INLINE_AT
            found: dict[str, Any] = json.loads(bytes(self._header[at : at + inline]))
            return found
        behind = offset + size
        kept: dict[str, Any] = json.loads(bytes(self._memory[behind : behind + extension]))["metadata"]
        return kept

    def copy(self) -> Message:
        """The same message with memory of its own, to be kept at will. Raises ChannelError Released."""
        payload = self._lent().tobytes() if self.kind != "mark" else b""
        place = self._front[1] if self.kind == "mark" else 0
        front = (self._front[0], place, *self._front[2:])
        lender = _Owned(self._lender.name, self._lender.session)
        message = Message(front, self.layout, b"", 0, payload, lender, self.writer)
        message._metadata = dict(self.metadata)
        return message

    def release(self) -> None:
        """Gives the memory back. May be called twice.

        Raises ChannelError ViewAlive where ``data``, ``view`` or anything made of them is still referred to (a slice,
        a memoryview): the message stays as it is, delete those and call again.
        """
        if self._memory is not None:
            self._lender.let_go(self)

    def taken(self) -> bool:
        """Whether anything but this message refers to its memory. What it had made of it is let go."""
        array = self._array
        if array is None:
            return False
        self._data = None
        return getrefcount(array) != _ALONE

    def forget(self) -> NDArray[Any] | None:
        """From now on it is released. Returns the array that was lent, if one was."""
        array, self._array, self._data, self._memory = self._array, None, None, None
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
            f"message {self.sequence} of channel {self._lender.name} has been released",
            operation="data",
            channel=self._lender.name,
            kind="Released",
            context={"sequence": self.sequence},
            suggestion="use data before the next receive, or keep message.copy()",
        )

    def __repr__(self) -> str:
        state = ", released" if self.released else ""
        return f"<Message {self.sequence} of {self._lender.name}: {self.kind} {self.shape} {self.dtype}{state}>"


class _Probe:
    """A message as far as counting references goes."""

    def __init__(self) -> None:
        self._array = object()

    def alone(self) -> int:
        array = self._array
        return getrefcount(array)


_ALONE = _Probe().alone()  # however this Python counts
