"""Workers that live as long as their block, and take one training or simulation after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from cobre.errors import CobreError
from cobre.settings import HANG_TIMEOUT, RESTART_PERIOD, check_restarts, fault_plan, resolve_pool

if TYPE_CHECKING:
    from cobre.engine.runners import Runner

__all__ = ["Workers"]


class Workers:
    """Worker processes for many trainings and simulations, of any cases; they start now, and end with the block.

    with cobre.Workers(4, backend="shm") as workers:
        for case in cases:
            result = cobre.train(case, workers=workers)

    num_workers, backend (``shm``, ``tcp`` or ``auto``), hang_timeout, memory_limit: as of ``cobre.train``. What they
    compute is what a run with workers of its own computes, to the bit. A run that fails leaves them usable: whoever
    died is replaced, the others keep their processes. One that ends while there is nothing to do is replaced with the
    next run. They do one thing at a time.

    Leaving the block ends them in good order, or at once when an exception leaves it. Raises ValidationError for
    arguments that make no sense, and where this machine has no room for so many.
    """

    def __init__(
        self,
        num_workers: int,
        backend: str = "auto",
        *,
        hang_timeout: float = HANG_TIMEOUT,
        memory_limit: int | None = None,
    ) -> None:
        placement = resolve_pool(backend, num_workers, hang_timeout=hang_timeout, memory_limit=memory_limit)
        from cobre.engine.runners import start_workers

        self.num_workers = placement.num_workers
        self.backend: Literal["local", "shm", "tcp"] = placement.backend
        self._busy = threading.Lock()
        self._closed = False
        self._executor = start_workers(
            placement.backend,
            placement.num_workers,
            hang_timeout=placement.hang_timeout,
            memory_limit=placement.memory_limit,
            faults=fault_plan(),
            lasting=True,
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """The process of each worker, in rank order. Raises CobreError: Closed; NotStarted where one has none."""
        self._check_open()
        return self._executor.pids

    @contextmanager
    def runner(self, max_restarts: int = 0, restart_period: float = RESTART_PERIOD) -> Iterator[Runner]:
        """The workers, for one piece of work, which may be tried again so often in so many seconds.

        Raises ValidationError for numbers that make no sense; CobreError: Busy where they do other work, Closed.
        """
        from cobre.engine.runners import OnWorkers, restart_policy

        check_restarts(max_restarts, restart_period)
        if not self._busy.acquire(blocking=False):
            raise CobreError(
                "the workers are at work already, and do one thing at a time",
                kind="Busy",
                suggestion="wait for the other run to end, or use cobre.Workers of its own for this one",
            )
        try:
            self._check_open()
            yield OnWorkers(self._executor, restart_policy(max_restarts, restart_period))
        finally:
            self._busy.release()

    def close(self) -> None:
        """Ends the workers, in good order, and waits until nothing is left of them. May be called twice.

        Raises CobreError (Busy) while they are at work.
        """
        self._end(at_once=False)

    def _end(self, at_once: bool) -> None:
        if not self._busy.acquire(blocking=False):
            raise CobreError("the workers are at work", kind="Busy", suggestion="wait for the run to end")
        try:
            if not self._closed:
                self._closed = True
                self._executor.close(at_once)
        finally:
            self._busy.release()

    def _check_open(self) -> None:
        if self._closed:
            raise CobreError("the workers have been ended", kind="Closed", suggestion="use them inside their block")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(at_once=error is not None)
