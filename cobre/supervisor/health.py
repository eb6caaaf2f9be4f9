"""Looks at processes: memory, processor time, state, threads, descendants, and the system's count of memory kills."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any

from cobre.supervisor.records import HealthSample

__all__ = ["Pulse", "descendants", "memory_kills"]


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
                return HealthSample(
                    seconds=time.monotonic() - self._began,
                    memory_bytes=self._process.memory_info().rss,
                    cpu_percent=self._process.cpu_percent(),
                    state=self._process.status(),
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
    path = _counter()
    try:
        lines = path.read_text().splitlines() if path is not None else []
        counts = dict(line.split(" ", 1) for line in lines)
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


@cache
def _counter() -> Path | None:
    """The file of this process's control group with the line ``oom_kill``; its second version first."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    groups = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    root = Path("/sys/fs/cgroup")
    places = []
    if "" in groups:
        places += [root / groups[""].lstrip("/") / "memory.events", root / "memory.events"]
    if "memory" in groups:
        first = root / "memory"
        places += [first / groups["memory"].lstrip("/") / "memory.oom_control", first / "memory.oom_control"]
    return next((place for place in places if place.is_file()), None)
