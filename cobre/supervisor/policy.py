"""When a process that ended is started again, in OTP's words."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from cobre.supervisor.records import refused

__all__ = ["RestartCount", "RestartPolicy"]


@dataclass(frozen=True)
class RestartPolicy:
    """when: ``never``; after a ``failure``; or ``always``, after a clean exit too. A deliberate end is never undone.

    limit: restarts within ``period`` seconds; one more is refused, and so is every later one.
    Raises CobreError of kind ``OutOfRange`` for other values.
    """

    when: Literal["never", "failure", "always"] = "never"
    limit: int = 3
    period: float = 30.0

    def __post_init__(self) -> None:
        if self.when not in ("never", "failure", "always"):
            raise refused("the restart policy's when", self.when, "give 'never', 'failure' or 'always'")
        if not self.limit >= 0:
            raise refused("the restart policy's limit", self.limit, "give a number of restarts, 0 or more")
        if not self.period > 0:
            raise refused("the restart policy's period", self.period, "give a number of seconds above zero")


class RestartCount:
    """Counts the restarts of one process against its policy; knows no clock."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self.given_up = False
        self._times: deque[float] = deque()

    def allows(self, *, deliberate: bool, exit_code: int | None, at: float) -> bool:
        """Whether to start again after an end at ``at`` (seconds of any steady clock); a yes counts as a restart."""
        failed = exit_code != 0
        wanted = self.policy.when == "always" or (self.policy.when == "failure" and failed)
        if deliberate or not wanted or self.given_up:
            return False
        while self._times and at - self._times[0] >= self.policy.period:
            self._times.popleft()
        if len(self._times) >= self.policy.limit:
            self.given_up = True
            return False
        self._times.append(at)
        return True
