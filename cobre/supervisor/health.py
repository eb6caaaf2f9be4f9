"""Looks at processes: memory, processor time, state, threads, descendants, and the system's count of memory kills."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any

from cobre.supervisor.records import HealthSample

__all__ = ["Pulse", "descendants", "find_counter", "memory_kills"]


class Pulse:
    """Samples of one process of this host. psutil is imported with the first one, not before it is needed."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = time.monotonic()
        self._process: Any = None

    def sample(self) -> HealthSample | None:
        """How the process is, or None where it is no more or cannot be looked at."""
        import psutil

        try:
            if self._process is None:
                self._process = psutil.Process(self._pid)
            with self._process.oneshot():
                state = self._process.status()
                if state == psutil.STATUS_ZOMBIE:  # its end is about to be heard; it has no memory left to look at
                    return None
                return HealthSample(
                    seconds=time.monotonic() - self._began,
                    memory_bytes=self._process.memory_info().rss,
                    cpu_percent=self._process.cpu_percent(),
                    state=state,
                    threads=self._process.num_threads(),
                    children=len(_children(self._pid)),
                )
        except (psutil.Error, OSError):
            return None


def descendants(pid: int) -> list[int]:
    """The processes that this one started and those that they started, as far as they can be seen."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    if not _has_lists():
        return _children_by_search(pid)
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:  # the process or the thread has just ended
        pass
    return found


@cache
def _has_lists() -> bool:
    """Whether the system keeps a list of each thread's children: a thirtieth of the cost of a search."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def _children_by_search(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except (psutil.Error, OSError):
        return []


def memory_kills() -> int | None:
    """How many processes of this one's control group the system killed for want of memory; None where none counts."""
    path = find_counter(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    try:
        lines = path.read_text().splitlines() if path is not None else []
        counts = dict(line.split(" ", 1) for line in lines)
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


@cache
def find_counter(membership: Path, root: Path) -> Path | None:
    """The file with the line ``oom_kill`` of the control group that ``membership`` names, under ``root``.

    Where both versions of control groups are mounted, the one that has the file counts the memory.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    groups = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    places = []
    if "" in groups:
        places += [root / groups[""].lstrip("/") / "memory.events", root / "memory.events"]
    if "memory" in groups:
        first = root / "memory"
        places += [first / groups["memory"].lstrip("/") / "memory.oom_control", first / "memory.oom_control"]
    return next((place for place in places if place.is_file()), None)
