"""Checkpoints of a training, written beside it by a thread of the process that leads it.

A folder holds chains of files: the first of a chain is a whole state, each further one what came since the one before
it, whose checksum it names. The chain under way and the one before it are kept, so that whatever one file is damaged,
an earlier checkpoint is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cobre.engine.checkpoint_file import write
from cobre.engine.checkpoint_parts import parts
from cobre.errors import IOError
from cobre.sddp.continuing import Checkpointing
from cobre.sddp.state import TrainingState

__all__ = ["CheckpointPlan", "CheckpointWriter", "Keep", "checkpoints_in", "iteration_of", "keeping", "locked"]

Keep = Callable[[TrainingState], object]
Wants = Callable[[int], bool]

log = logging.getLogger(__name__)

_NAME = re.compile(r"iteration-(\d{6,})\.checkpoint")
_LONGEST = 50  # files in a chain
_SPARING = 200  # times as long as taking a state took, none is taken, unless it is due and can be written at once
_PATIENCE = 5.0  # seconds that whoever wrote last may take to be gone


@dataclass(frozen=True)
class CheckpointPlan:
    """Where checkpoints go, when, and what they say of the run: see ``cobre.engine.checkpoint.identity``.

    share: of a processor's time that writing them may take; beyond that, only the latest of those that are due is.
    """

    folder: Path
    checkpointing: Checkpointing
    identity: dict[str, Any]
    share: float = 0.0025


def checkpoints_in(folder: Path) -> list[Path]:
    """The files of checkpoints in the folder, the latest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=iteration_of, reverse=True)


def iteration_of(path: Path) -> int:
    """After how many iterations the checkpoint of this name was taken; -1 where that is no name of one."""
    named = _NAME.fullmatch(path.name)
    return int(named[1]) if named else -1


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """A descriptor of the folder, of which no other process uses the checkpoints while the block lasts.

    Raises cobre's IOError: Busy where one does for some seconds, ReadFailed.
    """
    try:
        found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise IOError(f"{folder} cannot be read: {error.strerror}", kind="ReadFailed") from error
    try:
        deadline = time.monotonic() + _PATIENCE  # workers of a run that was killed may take a second to end
        while not _lock(found):
            if time.monotonic() > deadline:
                raise IOError(
                    f"a run is at work with the checkpoints in {folder}",
                    kind="Busy",
                    context={"path": str(folder)},
                    suggestion="let it end, or end it",
                )
            time.sleep(0.02)
        yield found
    finally:
        os.close(found)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


@contextlib.contextmanager
def keeping(plan: CheckpointPlan | None, keep: Keep | None = None) -> Iterator[tuple[Keep | None, Wants | None]]:
    """What a training is to give its states to, and who says whether it wants one: ``keep`` (it wants all), and
    checkpoints where there is a plan for them.

    Raises what entering a ``CheckpointWriter`` does.
    """
    if plan is None:
        yield keep, None
        return
    with CheckpointWriter(plan) as writer:
        if keep is None:
            yield writer.keep, writer.wants
            return
        kept = keep

        def both(state: TrainingState) -> None:
            writer.keep(state)
            kept(state)

        yield both, None


class CheckpointWriter:
    """Writes the states that it is given when they are due; leaving its block writes the last one, due or not.

    One is written at a time: what becomes due meanwhile, or before writing has its share of time again, waits, and only
    the latest of it. A checkpoint that cannot be written is a warning in the log, and the training goes on. Entering
    the block raises cobre's IOError where the folder cannot be made or another run writes there.
    """

    def __init__(self, plan: CheckpointPlan) -> None:
        self._plan = plan
        self._changed = threading.Condition()
        self._latest: TrainingState | None = None
        self._due: TrainingState | None = None  # the latest of those that are
        self._tried: TrainingState | None = None  # the last that was written, or could not be
        self._idle = False
        self._ending = threading.Event()
        self._rest = 0.0  # until then, by time.monotonic()
        self._asked, self._sparing = 0.0, 0.0  # when wants was last called, and until when it says no
        self._reached: TrainingState | None = None  # that of the latest file
        self._digest: str | None = None  # of that file
        self._chain: list[Path] = []
        self._sizes: list[int] = []
        self._former: list[Path] = []
        self._thread = threading.Thread(target=self._work, name="cobre checkpoints", daemon=True)

    def wants(self, iteration: int) -> bool:
        """Whether it has a use for the state after this iteration.

        Where iterations are so short that to take their states would cost a share of them, most are not taken: what
        an interrupt can lose is then a fraction of a second.
        """
        self._asked = time.monotonic()
        at_once = self._idle and self._asked >= self._rest and self._plan.checkpointing.is_due(iteration)
        return at_once or self._asked >= self._sparing

    def keep(self, state: TrainingState) -> None:
        """The training's latest state, which stays valid."""
        now = time.monotonic()
        self._sparing = now + _SPARING * (now - (self._asked or now))
        self._latest = state
        if self._plan.checkpointing.is_due(state.iteration):
            self._due = state
            if self._idle:  # else the thread looks for itself, when it has written or rested
                with self._changed:
                    self._changed.notify()

    def __enter__(self) -> CheckpointWriter:
        folder = self._plan.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise IOError(
                f"{folder} cannot be made: {error.strerror}", kind="WriteFailed", context={"path": str(folder)}
            ) from error
        with contextlib.ExitStack() as stack:
            self._folder = stack.enter_context(locked(folder))
            for left in folder.glob(".iteration-*.part"):
                left.unlink(missing_ok=True)
            self._chain = checkpoints_in(folder)[::-1]
            self._thread.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ending.set()
            self._due = self._latest
            self._changed.notify()
        try:
            self._thread.join()
            with contextlib.suppress(OSError):
                self._plan.folder.rmdir()  # where nothing came of it
        finally:
            self._stack.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle = True
                self._changed.wait_for(lambda: self._due is not self._tried or self._ending.is_set())
                self._idle = False
            self._ending.wait(max(0.0, self._rest - time.monotonic()))
            if self._due is None or self._due is self._tried:
                return
            self._tried = self._due
            self._try(self._tried)

    def _try(self, state: TrainingState) -> None:
        began = time.thread_time()
        try:
            self._write(state)
        except Exception as error:  # a full disk, or too little memory for one more copy: hours of work go on
            log.warning("the checkpoint of iteration %d could not be written: %s", state.iteration, error)
        self._rest = time.monotonic() + (time.thread_time() - began) / self._plan.share

    def _write(self, state: TrainingState) -> None:
        whole = self._digest is None or len(self._sizes) >= _LONGEST or sum(self._sizes[1:]) > self._sizes[0]
        header, arrays = parts(state, None if whole else self._reached)
        if whole:
            header["run"] = self._plan.identity
        else:
            assert self._reached is not None
            header["on"] = {"iteration": self._reached.iteration, "sha256": self._digest}
        path = self._plan.folder / f"iteration-{state.iteration:06d}.checkpoint"
        compress = self._plan.checkpointing.compress
        digest, size = write(path, header, arrays, compress=compress, folder=self._folder)
        self._reached, self._digest = state, digest
        if whole:
            self._drop_former(path)
            self._sizes = []
        self._chain.append(path)
        self._sizes.append(size)

    def _drop_former(self, path: Path) -> None:
        """A new chain begins with ``path``: the one before it stays, what is older goes, and so does what is of later
        iterations, of a run that this one goes on from at an earlier place.
        """
        former = [old for old in self._chain if iteration_of(old) < iteration_of(path)]
        later = [old for old in self._chain if iteration_of(old) > iteration_of(path)]
        for old in (*self._former, *later):
            if old not in former and old != path:
                old.unlink(missing_ok=True)
        self._former, self._chain = former, []
