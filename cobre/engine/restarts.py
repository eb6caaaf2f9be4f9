"""A run that goes on when a worker is lost: what is tried again, how often, and what is told of it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from cobre.engine.dialogue import Notice, Resumed
from cobre.engine.executor import Executor
from cobre.engine.failures import is_echo_error
from cobre.errors import WorkerError
from cobre.events import WorkerRestarted
from cobre.supervisor import RestartCount, RestartPolicy

__all__ = ["Restarts"]

log = logging.getLogger(__name__)

_LOSSES = {"WorkerDied", "WorkerHung", "MemoryLimit", "StartTimeout", "NotStarted"}
_IN_A_ROW = 3  # failures at the same place from which on there is no other attempt
_REMEMBERED = 1000  # restarts of one run that are told in the end
_ANYWHERE = (None, "starting", "connecting")  # phases in which nothing of the run is computed


class Restarts:
    """The attempts of one run on these workers. policy: how many restarts it may have within a period."""

    def __init__(self, executor: Executor, policy: RestartPolicy) -> None:
        self._executor, self._policy = executor, policy
        self._count = RestartCount(policy)
        self._told: deque[WorkerRestarted] = deque(maxlen=_REMEMBERED)
        self._places: deque[object] = deque(maxlen=_IN_A_ROW)
        self._number = 0

    @property
    def all(self) -> tuple[WorkerRestarted, ...]:
        """Those so far, the last thousand of them."""
        return tuple(self._told)

    def run(self, attempt: Callable[[], list[Any]]) -> list[Any]:
        """What the attempt returns, made again after each loss of a worker. Raises WorkerError, or what it raises."""
        while True:
            try:
                self._executor.meet()
                return attempt()
            except WorkerError as error:
                self._note(error)

    def resumed(self, notice: Notice) -> WorkerRestarted | None:
        """All go on, or begin; the restart that this completes, if one does. In the thread that hears from workers."""
        if not isinstance(notice, Resumed) or not self._told or self._told[-1].seconds is not None:
            return None
        seconds = time.monotonic() - self._executor.failed_at
        last = self._told[-1] = replace(self._told[-1], resumed_after=notice.completed, seconds=seconds)
        log.info("restart %d: going on after %d, %.2f s later", last.number, notice.completed, seconds)
        return last

    def _note(self, error: WorkerError) -> None:
        """Raises the error where there is to be no other attempt."""
        if not self._policy.limit or not _is_loss(error):
            raise error
        self._places.append(_place(error))
        if len(self._places) == _IN_A_ROW and len(set(self._places)) == 1 and self._places[0] is not None:
            told = f"the {_IN_A_ROW}rd failure in a row at the same place, where another attempt would fail too"
            raise self._final(error, "same place", told, error.suggestion)
        if not self._count.allows(deliberate=False, exit_code=None, at=self._executor.failed_at):
            limit, period = self._policy.limit, self._policy.period
            told = f"the run was restarted {limit} times within {period:g} s, and is given up"
            raise self._final(error, "limit", told, f"{error.suggestion}; or allow more restarts (max_restarts)")
        self._number += 1
        place = {name: error.context.get(name) for name in ("phase", "iteration", "stage")}
        restart = WorkerRestarted(
            self._number, error.rank or 0, tuple(self._executor.replaced), error.kind, error.message, **place
        )
        self._told.append(restart)
        log.warning("restart %d of at most %d: %s", restart.number, self._policy.limit, error.message)

    def _final(self, error: WorkerError, why: str, told: str, advice: str | None) -> WorkerError:
        final = WorkerError(
            f"{error.message}; {told}",
            rank=error.rank,
            exit_code=error.exit_code,
            inner=error.inner,
            kind=error.kind,
            context={**error.context, "restarts": [asdict(restart) for restart in self._told], "given_up": why},
            suggestion=advice,
        )
        final.__cause__ = error.__cause__
        return final


def _is_loss(error: WorkerError) -> bool:
    """Whether a worker was lost, or only the connection between workers: no error of the run's own."""
    return error.kind in _LOSSES or is_echo_error(error.inner)


def _place(error: WorkerError) -> object:
    """Where it failed and how, None where that says nothing: whoever is killed before it computes was not at fault."""
    told = error.context
    if told.get("cause") == "killed from outside" and told.get("phase") in _ANYWHERE:
        return None
    return tuple(told.get(name) for name in ("phase", "iteration", "stage", "cause", "signal"))
