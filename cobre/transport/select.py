"""Which backend a rank uses, and with what: the arguments, else the environment, else the group of one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cobre.transport.communicator import Communicator
from cobre.transport.environment import backend_of, settings_of
from cobre.transport.failures import invalid

__all__ = ["create_communicator"]

_BACKENDS = ("local", "shm", "tcp")


def create_communicator(kind: str | None = None, **settings: Any) -> Communicator:
    """Joins a group, and returns when all of its ranks have.

    kind: ``local``, ``shm`` or ``tcp``; by default ``COBRE_COMM_BACKEND``, else ``tcp`` or ``shm`` where
    ``COBRE_TCP_COORDINATOR`` or ``COBRE_SHM_NAME`` is set, else ``local``. settings: the keywords of
    ``LocalCommunicator``, ``ShmCommunicator`` or ``TcpCommunicator``; what is not given is taken from the
    environment (``COBRE_COMM_TIMEOUT_MS``, ``COBRE_SHM_*``, ``COBRE_TCP_*``), then from their defaults.

    Raises CommError: InvalidArgument for an unknown backend or setting or a bad value; what forming the group raises.
    """
    chosen = backend_of() if kind is None else kind
    if chosen not in _BACKENDS:
        source = "COBRE_COMM_BACKEND" if kind is None else "kind"
        raise invalid("connect", f"{source} is {chosen!r}, but must be one of {', '.join(_BACKENDS)}")
    backend = _backend(chosen)
    known = [name for name in inspect.signature(backend).parameters if name != "self"]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise invalid("connect", f"{chosen} has no setting {', '.join(unknown)}; it has {', '.join(known)}")
    merged = {**settings_of(chosen), **settings}
    missing = [name for name in ("rank", "size") if name not in merged and chosen != "local"]
    if missing:
        variables = " and ".join(f"COBRE_{chosen.upper()}_{name.upper()}" for name in missing)
        raise invalid("connect", f"{' and '.join(missing)} not given", f"pass them, or set {variables}")
    return backend(**merged)


def _backend(kind: str) -> Callable[..., Communicator]:
    """Imported when asked for: pyzmq and ctypes cost memory that a rank without them need not spend."""
    if kind == "shm":
        from cobre.transport.shm import ShmCommunicator

        return ShmCommunicator
    if kind == "tcp":
        from cobre.transport.tcp import TcpCommunicator

        return TcpCommunicator
    from cobre.transport.local import LocalCommunicator

    return LocalCommunicator
