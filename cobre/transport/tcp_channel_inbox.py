"""What arrives at a reader of a tcp channel, whatever its thread is doing: a thread of its own takes it in.

Without it a writer whose reader computes could not send what there is room for, nor hear that the channel has ended.
The thread never holds more than what the reader has granted. Who wants a message takes in what has arrived itself,
first; the thread is for those who do something else meanwhile.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.transport.tcp_channel_door import Door, Refused, Spot, Visit, Wish
from cobre.transport.tcp_channel_lane import Lane
from cobre.transport.tcp_channel_settings import Bell
from cobre.transport.tcp_door import Gone, Loop

__all__ = ["Arrival", "Inbox"]

_OWED = 0.01  # seconds between attempts to tell a writer what it does not read
_FOREVER = 3600.0

Arrival = tuple[Lane, bytes, NDArray[np.uint8]]
"""A message: who sent it, its header, its body. With an empty header: its writer was lost."""


class Inbox:
    """Owns the listening socket, the streams of all writers, and the thread.

    Messages are in ``queue``, in the order in which they became whole; ``bell`` stands for each of them, and once
    more when none will come. ``lanes``: by the place of their writer, the last one that was there.
    """

    def __init__(self, stream: socket.socket, spot: Spot, capacity: int, limit: int) -> None:
        """Takes over the socket. Raises OSError, and nothing is left then but the socket."""
        self.queue: deque[Arrival] = deque()
        self.lanes: dict[int, Lane] = {}
        self.ended: str | None = None
        self._writers = spot.writers
        self._capacity = capacity
        self._limit = limit
        self._lock = threading.Lock()
        self._halves: dict[int, tuple[str, Wish, socket.socket]] = {}
        self._stopping = False
        with contextlib.ExitStack() as made:
            self.bell = Bell()
            made.callback(self.bell.close)
            self._near, self._far = socket.socketpair()
            for end in (self._near, self._far):
                made.enter_context(end)
                end.setblocking(False)
            self._loop = Loop()
            made.callback(self._loop.close)
            self._loop.add(self._near, self._drain)
            self._door = Door(self._loop, stream, spot, self._free, self._arrived, self._asked)
            made.pop_all()
        self._thread = threading.Thread(target=self._run, name=f"cobre channel reader {spot.place}", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether nothing more will come: the channel has ended, or all writers have come and gone."""
        if self.ended is not None:
            return True
        return len(self.lanes) == self._writers and not any(lane.open for lane in self.lanes.values())

    def take_in(self) -> None:
        """Takes in what has arrived. From the reader's thread, which waits for it."""
        with self._lock:
            if not self._stopping:
                for lane in self.lanes.values():
                    self._advance(lane)

    def end(self, reason: str) -> None:
        """The channel has ended: what has arrived still counts, and all writers are told. From any thread."""
        with self._lock:
            if self.ended is not None or self._stopping:
                return
            for lane in self.lanes.values():
                self._advance(lane)
            self.ended = reason
            for lane in self.lanes.values():
                lane.end(reason)
            self.bell.ring()

    def close(self, abandoned: str | None = None) -> None:
        """Ends the thread, and lets go of everything. May be called twice."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        with contextlib.suppress(BlockingIOError):
            self._far.send(b"!")
        if threading.current_thread() is not self._thread:
            self._thread.join()
        for lane in self.lanes.values():
            lane.close(abandoned)
        for _, _, stream in self._halves.values():
            stream.close()
        self.queue.clear()
        self.bell.close()

    def _run(self) -> None:
        try:
            while not self._stopping:
                owing = [lane for lane in self.lanes.copy().values() if lane.owed]
                self._loop.once(_OWED if owing else _FOREVER)
                for lane in owing:
                    lane.tell()
        finally:
            self._door.close()
            self._loop.close()
            self._near.close()
            self._far.close()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._near.recv(64)

    def wake(self) -> None:
        """Has the thread look what is owed."""
        with contextlib.suppress(OSError):  # full: it rings already; closed: nobody is left to hear
            self._far.send(b"!")

    def _free(self, writer: int) -> None:
        """Raises Refused where there is such a writer, or was one that closed: that is for good."""
        found = self.lanes.get(writer)
        if found is not None and found.open:
            raise Refused("PlaceTaken", f"writer {writer} is there already")
        if found is not None and found.state == "left":
            raise Refused("Closed", f"writer {writer} has closed, which is for good")

    def _arrived(self, visit: Visit, stream: socket.socket, welcome: Callable[[], None]) -> None:
        """One of the two streams of a writer."""
        half = self._halves.pop(visit.writer, None)
        if half is None or half[:2] != (visit.name, Wish.NOTES if visit.wish is Wish.DATA else Wish.DATA):
            if half is not None:
                half[2].close()  # its writer went before it was there
            self._halves[visit.writer] = visit.name, visit.wish, stream
            with contextlib.suppress(Gone):
                welcome()
            return
        data, notes = (stream, half[2]) if visit.wish is Wish.DATA else (half[2], stream)
        lane = Lane(visit.writer, data, notes, self._capacity, self._limit)
        with self._lock:  # who looks for what a welcomed writer sends finds its lane
            try:
                welcome()
            except Gone:
                lane.close()
                return
            before, self.lanes[visit.writer] = self.lanes.get(visit.writer), lane
            if self.ended is not None:
                lane.end(self.ended)
        self.bell.ring()  # whoever waits may want to tell it so
        if before is not None:
            before.close()
        self._loop.add(data, lambda: self._heard(lane))

    def _asked(self, question: dict[str, Any]) -> dict[str, Any]:
        if "end" in question:
            self.end(str(question["end"]))
        return self.report()

    def _heard(self, lane: Lane) -> None:
        """There is something to read, or nothing will come any more."""
        with self._lock:
            if self._stopping:
                return
            self._advance(lane)
        if not lane.open:
            self._loop.remove(lane.data)

    def _advance(self, lane: Lane) -> None:
        """With the lock held."""
        if not lane.open:
            return
        wanted = lane.wanting
        lane.advance(self._take)
        if lane.wanting is not None and lane.wanting != wanted:
            self.bell.ring()  # the reader may hold what the writer waits for
        if lane.open:
            return
        if lane.state == "lost":
            self.queue.append((lane, b"", _NOTHING))
            self.bell.ring()
        if self.over:
            self.bell.ring()

    def _take(self, lane: Lane, header: bytes, body: NDArray[np.uint8]) -> None:
        if self.ended is None:
            self.queue.append((lane, header, body))
            self.bell.ring()

    def report(self) -> dict[str, Any]:
        """What is known of the traffic here. From any thread."""
        self.take_in()
        lanes = [lane.report() for lane in self.lanes.copy().values()]
        return {"closed": self._stopping, "ended": self.ended, "lanes": lanes}


_NOTHING = np.empty(0, np.uint8)
