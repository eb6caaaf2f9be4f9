"""Named memory that processes share: made exclusively, reserved, mapped, and nameless as soon as all have it.

A segment is a file in /dev/shm. While it has a name, whoever made it holds a lock on its first byte (one that belongs
to the open file, which Linux alone has), and the system drops it with the process: a segment that nobody holds is left
over from a run that was killed, is removed by the next one, and is never attached to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import re
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from cobre.transport import names

__all__ = ["AVAILABLE", "DIRECTORY", "PREFIX", "Segment", "is_name", "page_rounded", "sweep"]

PREFIX = "cobre-"
DIRECTORY = Path("/dev/shm")
AVAILABLE = sys.platform == "linux"
_NAME = re.compile(r"cobre-[A-Za-z0-9_.+=:@-]{1,200}")
_GET_LOCK, _SET_LOCK, _WAIT_FOR_LOCK = 36, 37, 38  # F_OFD_...: some builds of Python do not name them
_FLOCK = "hhqqi4x"  # struct flock
_MAKER = 0  # the byte whose lock says that the maker of a segment lives


def is_name(name: str) -> bool:
    """Whether a segment can be called that."""
    return _NAME.fullmatch(name) is not None


def page_rounded(size: int) -> int:
    """The size in whole pages, at least one."""
    return max(1, -(-size // mmap.PAGESIZE)) * mmap.PAGESIZE


class Segment:
    """One rank's hold on a segment. ``memory`` stays valid for as long as anything refers to it.

    memory: the mapping, of the size asked for in whole pages, zero at first.
    """

    def __init__(self, name: str, descriptor: int, memory: mmap.mmap, made: bool) -> None:
        self.name = name
        self.memory = memory
        self._descriptor = descriptor
        self._made = made

    @classmethod
    def make(cls, name: str, size: int) -> Segment:
        """A new segment of at least ``size`` bytes, mode 0600, all of it reserved and in this process's page table.

        Raises FileExistsError where a living process holds one of that name, OSError (ENOSPC, ENOMEM) where there is
        no room; nothing is left then.
        """
        names.hold(_path(name))
        try:
            return cls._make(name, size)
        except BaseException:
            names.let_go(_path(name))
            raise

    @classmethod
    def _make(cls, name: str, size: int) -> Segment:
        path = _path(name)
        while True:
            sweep(name)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if not _locked(descriptor, _MAKER, wait=True) or not _is_same(path, descriptor):
                    os.close(descriptor)  # swept away between being made and being locked
                    continue
                _reserve(descriptor, page_rounded(size))
                return cls(name, descriptor, _mapped(descriptor, page_rounded(size)), made=True)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(path)
                os.close(descriptor)
                raise

    @classmethod
    def attach(cls, name: str) -> Segment | None:
        """The segment of that name, or None where there is none that a living process has made and filled.

        Raises PermissionError for one that belongs to somebody else, OSError where it cannot be mapped.
        """
        try:
            descriptor = os.open(_path(name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o600:
                raise PermissionError(errno.EACCES, "the segment belongs to somebody else, or is open to others", name)
            if found.st_size == 0 or not _is_locked(descriptor, _MAKER):
                os.close(descriptor)
                return None
            return cls(name, descriptor, _mapped(descriptor, found.st_size), made=False)
        except BaseException:
            os.close(descriptor)
            raise

    def claim(self, place: int) -> bool:
        """Takes place 0, 1, ... for this process, until it lets go of the name; False where another one has it."""
        return _locked(self._descriptor, _MAKER + 1 + place, wait=False)

    def is_claimed(self, place: int) -> bool:
        """Whether another process has the place, and lives."""
        return _is_locked(self._descriptor, _MAKER + 1 + place)

    def release_name(self) -> None:
        """Lets go of the name: whoever made the segment removes it, the memory stays. May be called twice."""
        if self._descriptor < 0:
            return
        if self._made:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_path(self.name))
            names.let_go(_path(self.name))
        _unlock_all(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1


def sweep(name: str | None = None) -> None:
    """Removes segments of this user that no living process holds: all of them, or the one of that name."""
    if not AVAILABLE:
        return
    for path in [_path(name)] if name is not None else _ours():
        with contextlib.suppress(OSError):
            _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        ours = os.fstat(descriptor).st_uid == os.geteuid()
        if ours and _locked(descriptor, _MAKER, wait=False) and _is_same(path, descriptor):
            os.unlink(path)
    finally:
        os.close(descriptor)


def _ours() -> Iterator[Path]:
    yield from (path for path in DIRECTORY.iterdir() if _NAME.fullmatch(path.name))


def _path(name: str) -> Path:
    if not is_name(name):
        raise ValueError(f"{name!r} cannot be the name of a segment")
    return DIRECTORY / name


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        named = os.lstat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def _locked(descriptor: int, place: int, *, wait: bool) -> bool:
    """Locks one byte for the open file; a lock of this kind goes when the last descriptor of the opening is closed."""
    request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
    try:
        fcntl.fcntl(descriptor, _WAIT_FOR_LOCK if wait else _SET_LOCK, request)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _unlock_all(descriptor: int) -> None:
    """Closing is not enough: Python's mapping keeps a duplicate of the descriptor, and with it the locks."""
    fcntl.fcntl(descriptor, _SET_LOCK, struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


def _is_locked(descriptor: int, place: int) -> bool:
    """Whether somebody else holds the byte."""
    request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
    answer = fcntl.fcntl(descriptor, _GET_LOCK, request)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _reserve(descriptor: int, size: int) -> None:
    """Makes room now: a hole in memory that is full would end the process at its first touch, much later."""
    os.posix_fallocate(descriptor, 0, size)


def _mapped(descriptor: int, size: int) -> mmap.mmap:
    """The mapping, all of it in the page table at once."""
    return mmap.mmap(descriptor, size, mmap.MAP_SHARED | mmap.MAP_POPULATE)
