"""What workers tell of a run, on its way to the user's callback, whichever attempt at the run it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from cobre.engine.dialogue import Finished, Notice
from cobre.engine.executor import Executor
from cobre.engine.progress import progress_event
from cobre.engine.restarts import Restarts
from cobre.events import ProgressCallback, ProgressEvent, WorkerRestarted
from cobre.sddp.simulation import FinishedBlock

__all__ = ["Listener"]


class Listener:
    """Hears the workers of one run. The callback sees each iteration of a worker's rank once, and each restart.

    finished: the blocks of scenarios that are simulated and written.
    """

    def __init__(
        self,
        executor: Executor,
        restarts: Restarts,
        callback: ProgressCallback | None,
        phase: Literal["training", "simulation"],
    ) -> None:
        self._executor, self._restarts = executor, restarts
        self._callback: Callable[[ProgressEvent], object] = callback or (lambda event: None)
        self._phase = phase
        self._seen = [0] * executor.size
        self._stopped = False
        self.finished: dict[int, FinishedBlock] = {}
        self.ears: dict[str, Any] = {"heard": None if callback is None else self._heard, "notice": self._notice}
        """Arguments of ``Executor.run``."""

    def _notice(self, notice: Notice) -> None:
        """In the thread that hears from workers."""
        if isinstance(notice, Finished):
            self.finished[notice.block.number] = notice.block
            return
        restart = self._restarts.resumed(notice)
        if restart is not None:
            self._executor.post(restart)

    def _heard(self, rank: int, told: Any) -> object:
        """In the thread that the user called from. Once the callback wants an end, so do all attempts."""
        if isinstance(told, WorkerRestarted):
            event = ProgressEvent(phase=self._phase, restart=told)
        else:
            event = self._event(rank, told)
            if event.iteration is not None and event.iteration <= self._seen[rank]:
                return not self._stopped
            self._seen[rank] = event.iteration or 0
        if self._callback(event) is False:
            self._stopped = True
        return not self._stopped

    def _event(self, rank: int, progress: Any) -> ProgressEvent:
        health = self._executor.health(rank)
        memory, state = (health.memory_bytes, health.state) if health else (None, None)
        return replace(progress_event(rank, progress), memory_bytes=memory, state=state)
