"""Proof that a piece of work left nothing behind: processes, threads, descriptors, segments, temporary files.

before = snapshot()
...  # train, kill a worker, interrupt
assert_no_leaks(before)
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import psutil

__all__ = ["Snapshot", "assert_no_leaks", "snapshot"]

_PREFIX = "cobre"  # what the library calls everything that it makes outside a run's own directory
_SEGMENTS = Path("/dev/shm")
_DESCRIPTORS = Path("/proc/self/fd") if sys.platform == "linux" else Path("/dev/fd")


@dataclass(frozen=True)
class Snapshot:
    """What this process holds at one moment, each thing by a text that identifies it.

    processes: descendants, zombies too; those that the standard library's multiprocessing keeps for itself (its
        resource tracker and fork server) are not counted. threads: those that Python knows of.
    descriptors: open files, sockets and pipes with what they lead to; devices are not counted. Empty where
        the system does not list them.
    segments: entries of /dev/shm, files: entries of the directory for temporary files, that bear the library's name.
    """

    processes: frozenset[str]
    threads: frozenset[str]
    descriptors: frozenset[str]
    segments: frozenset[str]
    files: frozenset[str]

    def beyond(self, before: Snapshot) -> list[str]:
        """What is here and was not in ``before``, a line each."""
        return [
            f"{field.name}: {thing}"
            for field in fields(self)
            for thing in sorted(getattr(self, field.name) - getattr(before, field.name))
        ]


def snapshot() -> Snapshot:
    """What this process holds now."""
    return Snapshot(
        processes=frozenset(_processes()),
        threads=frozenset(f"{thread.name} ({thread.ident})" for thread in threading.enumerate()),
        descriptors=frozenset(_descriptors()),
        segments=frozenset(_ours(_SEGMENTS)),
        files=frozenset(_ours(Path(tempfile.gettempdir()))),
    )


def assert_no_leaks(before: Snapshot, timeout: float = 5.0, *, segment_timeout: float | None = None) -> None:
    """Raises AssertionError, listing every leak, if what is held does not come back to ``before``.

    timeout: seconds that endings under way are given. segment_timeout: seconds for segments, by default the same.
    Segments and files are found by their name, so that those of another run on the machine count until they are gone:
    where tests run side by side, give each process a directory for temporary files of its own, and segments the time
    that the longest test takes to sweep what it killed.
    """
    began, pause, leaks = time.monotonic(), 0.001, snapshot().beyond(before)
    while leaks:
        only_segments = all(leak.startswith("segments: ") for leak in leaks)
        patience = timeout if segment_timeout is None or not only_segments else max(timeout, segment_timeout)
        if time.monotonic() >= began + patience:
            raise AssertionError(f"left behind after {patience:g} s:\n" + "\n".join(f"  {leak}" for leak in leaks))
        gc.collect()  # what hangs in a cycle of references is late, not leaked
        time.sleep(pause)
        pause = min(2.0 * pause, 0.1)
        leaks = snapshot().beyond(before)


def _processes() -> Iterator[str]:
    kept = {getattr(resource_tracker._resource_tracker, "_pid", None)}
    kept.add(getattr(forkserver._forkserver, "_forkserver_pid", None))
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.pid not in kept:
                yield f"{child.name()} (pid {child.pid})"


def _descriptors() -> Iterator[str]:
    if not _DESCRIPTORS.is_dir():
        return
    kept = {getattr(resource_tracker._resource_tracker, "_fd", None)}
    kept.add(getattr(forkserver._forkserver, "_forkserver_alive_fd", None))
    for name in os.listdir(_DESCRIPTORS):
        try:
            target = os.readlink(_DESCRIPTORS / name)
        except OSError:  # the listing's own descriptor, closed by now
            continue
        device = target.startswith("/dev/") and not target.startswith(str(_SEGMENTS))
        if int(name) not in kept and not device:
            yield f"{name} -> {target}"


def _ours(directory: Path) -> Iterator[str]:
    try:
        names = os.listdir(directory)
    except OSError:
        return
    yield from (str(directory / name) for name in names if name.startswith((_PREFIX, f".{_PREFIX}")))
