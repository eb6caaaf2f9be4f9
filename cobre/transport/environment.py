"""How a rank that a scheduler started is told where its group meets: the variables COBRE_COMM_*, _TCP_* and _SHM_*."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cobre.transport.failures import invalid

__all__ = ["backend_of", "fault_text", "settings_of", "state_directory"]

_MILLISECONDS = 1e-3

# variable -> (setting, how its text is read); both backends share those of COBRE_COMM_.
_COMMON = {"COBRE_COMM_TIMEOUT_MS": ("timeout", "milliseconds"), "COBRE_COMM_GENERATION": ("generation", "whole")}
_VARIABLES: dict[str, dict[str, tuple[str, str]]] = {
    "local": {},
    "shm": {
        **_COMMON,
        "COBRE_SHM_NAME": ("name", "text"),
        "COBRE_SHM_RANK": ("rank", "whole"),
        "COBRE_SHM_SIZE": ("size", "whole"),
        "COBRE_SHM_CONNECT_TIMEOUT_MS": ("connect_timeout", "milliseconds"),
    },
    "tcp": {
        **_COMMON,
        "COBRE_TCP_COORDINATOR": ("coordinator", "text"),
        "COBRE_TCP_PORT": ("port", "whole"),
        "COBRE_TCP_RANK": ("rank", "whole"),
        "COBRE_TCP_SIZE": ("size", "whole"),
        "COBRE_TCP_BIND_ADDR": ("bind_address", "text"),
        "COBRE_TCP_CONNECT_TIMEOUT_MS": ("connect_timeout", "milliseconds"),
        "COBRE_TCP_TOKEN": ("token", "text"),
        "COBRE_TCP_KEYS": ("keys", "text"),
    },
}


def fault_text(environment: Mapping[str, str] | None = None) -> str | None:
    """The faults that COBRE_FAULTS asks for, unread, or None. environment: read instead of the process's."""
    return (os.environ if environment is None else environment).get("COBRE_FAULTS") or None


def backend_of(environment: Mapping[str, str] | None = None) -> str:
    """The backend that the environment asks for: COBRE_COMM_BACKEND, else the one whose meeting place is set.

    environment: read instead of the process's. Neither set: ``local``.
    """
    given = os.environ if environment is None else environment
    named = given.get("COBRE_COMM_BACKEND", "")
    if named and named != "auto":
        return named
    if given.get("COBRE_TCP_COORDINATOR"):
        return "tcp"
    return "shm" if given.get("COBRE_SHM_NAME") else "local"


def settings_of(backend: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The settings of ``backend`` that the environment gives, by the names of ``create_communicator``.

    environment: read instead of the process's; empty values count as unset. Raises CommError for a value that cannot
    be read.
    """
    given = os.environ if environment is None else environment
    return {
        setting: _read(variable, given[variable], how)
        for variable, (setting, how) in _VARIABLES[backend].items()
        if given.get(variable)
    }


def state_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Where programs keep what they know from one run to the next: ``XDG_STATE_HOME``, else ``~/.local/state``.

    environment: read instead of the process's. Raises RuntimeError for a user without a home.
    """
    given = os.environ if environment is None else environment
    named = given.get("XDG_STATE_HOME", "")
    return Path(named) if Path(named).is_absolute() else Path.home() / ".local" / "state"


def _read(variable: str, text: str, how: str) -> Any:
    if how == "text":
        return text
    try:
        number = int(text)
    except ValueError:
        raise invalid("connect", f"{variable} is {text!r}, but must be a whole number", value=text) from None
    if number < 0:
        raise invalid("connect", f"{variable} is {text!r}, but must not be negative", value=text)
    return number * _MILLISECONDS if how == "milliseconds" else number
