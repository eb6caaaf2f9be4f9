"""The failures of one node that is started again, and what its successors are to know."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from cobre.actors.node_states import NUMBERS, NodeState
from cobre.errors import NodeError
from cobre.supervisor import RestartCount, RestartPolicy

__all__ = ["History"]

_SUMMED = ("received", "sent", "busy", "waiting", "blocked")
_STOPPING = "a node that fails while it stops is not started again"


class History:
    """restarts: so far. dropped: messages that it had begun with and not finished when it failed. inheritance: the
    board of the last one that worked, for the next one. ready: whether the present one is at work.
    """

    def __init__(self, policy: RestartPolicy | None) -> None:
        assert policy is not None
        self._policy = policy
        self._count = RestartCount(policy)
        self._before: Counter[str] = Counter()
        self._told: list[str] = []
        self.restarts = self.dropped = 0
        self.inheritance: dict[str, int] = {}
        self.ready = True

    def allows(self, state: NodeState, error: NodeError) -> bool:
        """Whether it is started again after this failure. state: that it was in."""
        code = 1 if error.inner is not None or error.signal is not None else error.exit_code
        if state is NodeState.STOPPING:
            return False
        return self._count.allows(deliberate=False, exit_code=code, at=time.monotonic())

    def add(self, marks: Mapping[str, int], error: NodeError, *, has_inputs: bool) -> None:
        """It failed, and is started again. marks: of its board."""
        self.restarts += 1
        self._told.append(error.message.partition("\n")[0])
        self._before.update({word: marks.get(word, 0) for word in _SUMMED})
        if self.ready:  # one that never worked has nothing to leave
            self.inheritance = dict(marks)
            if has_inputs and marks.get("state") == NUMBERS[NodeState.PROCESSING]:
                self.dropped += 1
        self.ready = False

    def complete(self, error: NodeError) -> None:
        """Has the error that ends the session tell of the failures before it."""
        error.context["restarts"] = list(self._told)
        if self._count.given_up and self._told:
            policy = self._policy
            before = "".join(f"\n  {each}" for each in self._told[-policy.limit :])
            allowed = f"{policy.limit} within {policy.period:g} s"
            error.message += f"\nit has been started again as often as its policy allows, {allowed}, after:{before}"
            error.suggestion = error.suggestion or "see what it failed of, or give its restart policy a higher limit"

    def totals(self, marks: Mapping[str, int]) -> dict[str, int]:
        """The words of the present one's board, with those of all before it."""
        return {word: value + self._before[word] for word, value in marks.items()}
