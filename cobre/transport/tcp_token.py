"""The secret that the ranks of a group share: given, or one that this user has on this host."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from cobre.errors import CommError
from cobre.transport.failures import invalid

__all__ = ["read_secret", "user_token", "write_secret"]

_FILE = "tcp-token"
_TOKEN = re.compile(r"[0-9a-f]{64}")
_LIMIT = 4096


def user_token(state: Path) -> bytes:
    """The token of this user on this host; made at the first call, by whichever process comes first.

    state: the directory for what programs keep (``~/.local/state``). It keeps other users of the host out, and lets
    ranks meet that were started apart by the same user. Raises CommError where it cannot be kept secret.
    """
    path = state / "cobre" / _FILE
    advice = "set COBRE_TCP_TOKEN to the same long random text on all ranks"
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create_once(path, os.urandom(32).hex())
        text = read_secret(path, advice)
    except OSError as error:
        raise invalid(
            "connect", f"the secret of this user cannot be kept in {path}: {error.strerror or error}", advice
        ) from None
    if not _TOKEN.fullmatch(text):
        raise invalid("connect", f"{path} does not hold a token", f"remove it: the next run makes another; or {advice}")
    return text.encode()


def read_secret(path: Path, advice: str) -> str:
    """The text of a file that only this user can read. Raises OSError; CommError where others could read it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _unfit(path, "is not a regular file", advice)
        if found.st_uid != os.geteuid():
            raise _unfit(path, f"belongs to user {found.st_uid}, not to user {os.geteuid()}, who runs this", advice)
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise _unfit(path, f"can be read by others (mode {mode:04o})", f"chmod 600 {path}, if nobody has read it")
        return os.read(descriptor, _LIMIT).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)


def write_secret(path: Path, text: str) -> None:
    """A new file that only this user can read. Raises OSError: FileExistsError where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")


def _create_once(path: Path, text: str) -> None:
    """The file appears whole, and only if there is none."""
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        write_secret(draft, text)
        with contextlib.suppress(FileExistsError):  # another rank was quicker: its token counts
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _unfit(path: Path, what: str, advice: str) -> CommError:
    return invalid("connect", f"{path} {what}", advice, path=str(path))
