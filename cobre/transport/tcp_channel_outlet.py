"""What a writer sends to one reader of a tcp channel: the way there, what may be sent, what is on its way."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Sequence

from cobre.transport.message_header import HEADER_BYTES
from cobre.transport.tcp_channel_door import Dial, Refused, Spot, Visit, Wish
from cobre.transport.tcp_channel_wire import (
    DROPPED,
    FILLER,
    PREFIX,
    TRAILER,
    Account,
    Frame,
    NoteReader,
    Say,
    pack_prefix,
)

__all__ = ["Outlet"]

_PIECES = 16  # views handed to one system call
_NOTES = 4096  # bytes read at once
_OPENING = PREFIX + HEADER_BYTES


class Outlet:
    """Two streams to one reader, which it owns. Nothing here waits: ``awaited`` says what to wait for.

    state: calling; open; left (in good order), lost or refused, once nothing more can be sent. published: messages
    since the beginning; account: where the reader is with them. ended: why the channel has, None while it has not.
    """

    def __init__(self, spot: Spot, writer: int, name: str, capacity: int, limit: int) -> None:
        self.spot = spot
        self.state = "calling"
        self.how = ""
        self.refusal: Refused | None = None
        self.ended: str | None = None
        self.published = self.published_bytes = 0
        self.account = Account()
        self._capacity = capacity
        self._limit = limit
        self._dials = {wish: Dial(spot, Visit(writer, wish, name)) for wish in (Wish.DATA, Wish.NOTES)}
        self._met: dict[Wish, socket.socket] = {}
        self._notes = NoteReader()
        self._parts: list[memoryview] = []  # what is to be sent, in order
        self._sent = 0  # bytes of the message that was begun last
        self._trailed = False

    @property
    def gone(self) -> bool:
        """Whether the reader will never take anything more."""
        return self.state in ("left", "lost", "refused")

    @property
    def held(self) -> int:
        """Messages that the reader has not given back."""
        return self.published - self.account.done

    @property
    def held_bytes(self) -> int:
        return self.published_bytes - self.account.done_bytes

    @property
    def busy(self) -> bool:
        """Whether something has yet to be sent."""
        return bool(self._parts)

    def room(self, size: int) -> bool:
        """Whether the reader has granted a message of so many bytes."""
        return self.held < self._capacity and self.held_bytes + size <= self._limit

    def last(self) -> str:
        """Why the reader has not been reached."""
        return next(iter(self._dials.values())).last if self._dials else ""

    def go_on(self) -> None:
        """Does what can be done at once: calls the reader, hears it, sends what is left over."""
        if self.state == "calling":
            self._call()
        if self.state == "open":
            self._hear()
        if self.state == "open" and self._parts:
            self.push()

    def awaited(self) -> list[tuple[socket.socket, int]]:
        """Streams and events (of ``selectors``) that ``go_on`` waits for."""
        if self.state == "calling":
            return [awaited for dial in self._dials.values() if (awaited := dial.awaited())]
        if self.state != "open":
            return []
        found = [(self._met[Wish.NOTES], selectors.EVENT_READ)]
        if self._parts:
            found.append((self._met[Wish.DATA], selectors.EVENT_WRITE))
        return found

    def pause(self) -> float | None:
        """Seconds after which to go on in any case, None where there is no need to."""
        pauses = [dial.pause() for dial in self._dials.values() if dial.awaited() is None]
        return min(pauses) if self.state == "calling" and pauses else None

    def _call(self) -> None:
        for wish, dial in list(self._dials.items()):
            try:
                connection = dial.step()
            except Refused as error:
                self.refusal = error
                self._leave("refused", error.message)
                return
            if connection is not None:
                self._met[wish] = connection.stream
                connection.stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                del self._dials[wish]
        if not self._dials:
            self.state = "open"

    def _hear(self) -> None:
        try:
            while True:
                data = self._met[Wish.NOTES].recv(_NOTES)
                if not data:
                    self._leave("lost", "has died, or its host cannot be reached any more")
                    return
                for note in self._notes.feed(data):
                    if note.say is Say.ACCOUNT:
                        self.account = note.account
                    elif note.say is Say.ENDED:
                        self.ended = note.text
                    else:
                        self._leave("left" if note.say is Say.LEAVING else "lost", note.text)
                        return
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._leave("lost", f"cannot be reached any more ({error.strerror or error})")
        except ValueError:
            self._leave("lost", "sent what no reader sends")

    def begin(self, parts: Sequence[memoryview], trailer: bytes = b"") -> None:
        """Sends a message without its trailer or with it, or a trailer; nothing may be left over from before.

        What ``parts`` refer to must not change until nothing is left. ``push`` goes on with it.
        """
        self._sent, self._trailed = 0, bool(trailer)
        self._parts = [part for part in (*parts, memoryview(trailer)) if len(part)]
        self.push()

    def push(self) -> None:
        """Sends what is taken at once."""
        parts = self._parts
        try:
            while parts:
                count = self._met[Wish.DATA].sendmsg(parts[:_PIECES])
                self._sent += count
                while parts and count >= len(parts[0]):
                    count -= len(parts.pop(0))
                if count:
                    parts[0] = parts[0][count:]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._hear()  # the reader may have said before that it leaves
            if self.state == "open":
                self._leave("lost", f"cannot be reached any more ({error.strerror or error})")
        except BaseException:  # an interruption (Ctrl-C): nobody knows how much of it was sent
            self._leave("lost", "was left in the middle of a message, by an interruption")
            raise

    def want(self, size: int | None, blocked: int) -> None:
        """Lets the reader know that a message of so many bytes waits for room, or (None) that none does any more."""
        if self.state == "open" and not self._parts:
            self.begin([memoryview(pack_prefix(Frame.WANTING, 0 if size is None else 1 + size, blocked))])

    def cancel(self) -> bool:
        """Takes back the message that was begun; False where it is too late. Nothing refers to its bytes any more.

        What is missing of it is filled up, and it is said that it does not count: ``go_on`` sends that.
        """
        left = sum(map(len, self._parts))
        if self._trailed:
            if left < TRAILER:
                return False
            left -= TRAILER
        if not self._sent:
            self._parts = []
            return True
        opening = max(_OPENING - self._sent, 0)
        whole, rest = divmod(left - opening, len(FILLER))
        missing = [*[memoryview(FILLER)] * whole, memoryview(FILLER)[:rest], memoryview(DROPPED)]
        self._parts = [*self._parts[: bool(opening)], *(part for part in missing if len(part))]
        return True

    def counted(self, size: int) -> None:
        """The message that was sent, of so many bytes, is published."""
        self.published += 1
        self.published_bytes += size

    def _leave(self, state: str, how: str) -> None:
        self.state, self.how = state, how
        self.close()

    def close(self) -> None:
        """Lets go of the streams; what was sent is still delivered."""
        for stream in self._met.values():
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_WR)  # seen by the reader even where a forked child holds the socket too
            stream.close()
        for dial in self._dials.values():
            dial.close()
        self._met, self._dials, self._parts = {}, {}, []
