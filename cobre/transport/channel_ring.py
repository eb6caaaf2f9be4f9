"""The ring of bytes of one writer: where messages stand, and where the next one could. Arithmetic only.

Payloads stand each in one piece, those of later messages behind those of earlier ones or in front of them all:

    straight   ........[first .... head)........    the next one goes to 0 where it fits before the first, since the
                                                    memory there is warm, and else to the head
    turned     [.. head)....[first .. end)......    it went to 0: the next ones follow it, up to the first
    resumed    [......).....[first .. end)[.. head) there was no room for one: it went to the end, and the next follow

That lasts until the messages before ``turn`` are out; what is left then is straight again.
"""

from __future__ import annotations

__all__ = ["Ring"]


class Ring:
    """``size`` bytes that at most ``capacity`` messages stand in: those with the numbers from ``done`` to ``tail``.

    Whoever uses it raises ``done``, which never falls, and ``tail``, by one after each ``put``.
    """

    def __init__(self, capacity: int, size: int) -> None:
        self.capacity = capacity
        self.size = size
        self.tail = 0
        self.done = 0
        self.head = 0  # behind the last message
        self.turn, self.end = 0, 0  # the last message that was put before others, and where those end
        self.starts = [0] * capacity

    def fit(self, need: int, done: int) -> int:
        """Where ``need`` bytes could stand if ``done`` messages were out; -1: nowhere."""
        if done == self.tail:
            return 0 if need <= self.size else -1
        if self.tail - done >= self.capacity:
            return -1
        first, head = self.starts[done % self.capacity], self.head
        if done < self.turn:
            if need <= first - head:
                return head
            head = max(head, self.end)
        elif need <= first:
            return 0
        return head if need <= self.size - head else -1

    def target(self, need: int) -> int:
        """How many messages must be out before ``need`` bytes fit."""
        for done in range(self.done + 1, self.tail):
            if self.fit(need, done) >= 0:
                return done
        return self.tail

    def put(self, sequence: int, start: int, head: int) -> None:
        """Message ``tail`` stands from ``start``, where ``fit`` said, up to ``head``."""
        if start < self.head:
            self.turn, self.end = sequence, self.head
        self.starts[sequence % self.capacity] = start
        self.head = head
