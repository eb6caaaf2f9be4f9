"""Keys for groups that span hosts: made once, copied by the user, read by every rank.

Two CURVE pairs, one for rank 0 and one for all other ranks, and a token. A rank shows that it belongs to the group by
the secret of its pair; what is sent is encrypted. The token guards the door where the ranks meet.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from cobre.transport.failures import invalid
from cobre.transport.tcp_token import read_secret, write_secret

__all__ = ["CurveKeys", "make_keys", "new_keys", "read_keys"]

_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_TOKEN = re.compile(r"[0-9a-f]{64}")
_FILES = ("coordinator.public", "coordinator.secret", "rank.public", "rank.secret", "token")
_ADVICE = "make keys with 'cobre keys DIR', and copy DIR, with its permissions, to every host"


@dataclass(frozen=True)
class CurveKeys:
    """The keys of a group, as text (CURVE keys in Z85). A secret that this rank does not need may be empty."""

    coordinator_public: str
    coordinator_secret: str
    rank_public: str
    rank_secret: str
    token: str

    def __repr__(self) -> str:  # secrets do not belong into logs
        return f"CurveKeys(coordinator_public={self.coordinator_public!r}, rank_public={self.rank_public!r}, ...)"


def new_keys() -> CurveKeys:
    """Keys that nobody else has, in memory: for ranks whose parent hands them on."""
    import zmq

    coordinator, rank = zmq.curve_keypair(), zmq.curve_keypair()
    public, secret, rank_public, rank_secret = (part.decode("ascii") for part in (*coordinator, *rank))
    return CurveKeys(public, secret, rank_public, rank_secret, os.urandom(32).hex())


def make_keys(directory: str | Path) -> list[Path]:
    """Makes ``directory`` (mode 0700) with the files of new keys (mode 0600), and returns their paths.

    coordinator.secret is needed where rank 0 runs, rank.secret where others run, the rest everywhere. Raises
    FileExistsError if there is anything of that name; OSError.
    """
    folder = Path(directory)
    keys = new_keys()
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    paths = []
    for name in _FILES:
        write_secret(folder / name, getattr(keys, name.replace(".", "_")))
        paths.append(folder / name)
    return paths


def read_keys(directory: str | Path, rank: int) -> CurveKeys:
    """The keys that ``rank`` needs. Raises CommError, naming the file that is missing, loose or damaged."""
    folder = Path(directory)
    needless = "rank.secret" if rank == 0 else "coordinator.secret"
    texts = {name.replace(".", "_"): "" if name == needless else _read(folder / name) for name in _FILES}
    return CurveKeys(**texts)


def _read(path: Path) -> str:
    try:
        text = read_secret(path, _ADVICE)
    except FileNotFoundError:
        raise invalid("connect", f"the key file {path} is missing", _ADVICE, path=str(path)) from None
    except OSError as error:
        message = f"the key file {path} cannot be read: {error.strerror or os.strerror(error.errno or 0)}"
        raise invalid("connect", message, _ADVICE, path=str(path)) from None
    if not (_TOKEN if path.name == "token" else _KEY).fullmatch(text):
        raise invalid("connect", f"{path} does not hold a key", _ADVICE, path=str(path))
    return text
