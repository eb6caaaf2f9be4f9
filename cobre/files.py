"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cobre.errors import IOError

__all__ = ["new_directory", "new_file"]


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, moved onto it when the block ends well and removed when it does not.

    Raises cobre's IOError where the system cannot write; what stood at ``path`` then still stands.
    """
    with _as_io_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    part = Path(name)
    try:
        with _as_io_error(path):
            yield part
            os.chmod(part, 0o666 & ~_umask())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path``, renamed to it when the block ends well and removed when it does not.

    Raises cobre's IOError where ``path`` exists and is not empty, or the system cannot write.
    """
    with _as_io_error(path):
        if path.exists() and any(path.iterdir()):
            raise IOError(
                f"{path} exists and is not empty",
                kind="OutputExists",
                context={"path": str(path)},
                suggestion="choose another output directory, or remove this one",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        with _as_io_error(path):
            yield part
            os.chmod(part, 0o777 & ~_umask())
            if path.exists():
                path.rmdir()
            os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _as_io_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise IOError(
            f"{path} could not be written: {error.strerror or error}",
            kind="WriteFailed",
            context={"path": str(path), "errno": error.errno},
            suggestion="check the disk's free space and the folder's permissions; nothing that was there is lost",
        ) from error


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
