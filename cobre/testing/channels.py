"""The conformance suite for channels: what ``cobre.transport.channel_ports`` promises, as checks to be run.

For the author of a transport. Each check is a function of a ``Bench``, which opens channels; it raises AssertionError
where the contract is not kept.

    CHECKS   in one process, with threads for those who wait
    ACROSS   with processes of their own for writers and readers, some of which are killed

With a function ``make(name, **settings)`` that takes the keywords of ``cobre.transport.Channel`` and returns a channel
(a class will do), everything in a few lines:

    with RankHost() as host:
        check_channel(Channel, host=host)

Channels must be picklable for ``ACROSS``, and for one of ``CHECKS``.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence

from cobre.errors import ChannelError
from cobre.testing.channels_across import ACROSS_CHECKS
from cobre.testing.channels_data import AnyChannel, Bench, Make
from cobre.testing.channels_ends import END_CHECKS
from cobre.testing.channels_messages import MESSAGE_CHECKS
from cobre.testing.channels_room import ROOM_CHECKS
from cobre.testing.ranks import RankHost

__all__ = ["ACROSS", "CHECKS", "AnyChannel", "Bench", "Check", "Make", "check_channel", "run_check"]

Check = Callable[[Bench], None]


def _named(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.__name__.removeprefix("check_"): check for check in checks}


CHECKS: dict[str, Check] = _named([*MESSAGE_CHECKS, *ROOM_CHECKS, *END_CHECKS])
"""Checks by name, each of which makes the channels that it needs, in this process."""

ACROSS: dict[str, Check] = _named(ACROSS_CHECKS)
"""Checks by name that need a RankHost, which forks processes."""


def run_check(make: Make, name: str, *, host: RankHost | None = None, patience: float = 60.0) -> None:
    """Runs the check of this name. host: where processes come from, for ``ACROSS``. patience: seconds after which a
    call that should have come back counts as hanging.

    Raises AssertionError: the contract is not kept, a ChannelError where there should have been none among the reasons;
    ValueError where the check needs a host; KeyError where there is no such check.
    """
    check = CHECKS[name] if name in CHECKS else ACROSS[name]
    try:
        check(Bench(make, host, patience))
    except ChannelError as error:
        raise AssertionError(f"refused what must be granted: {error}") from error


def check_channel(
    make: Make, names: Sequence[str] | None = None, *, host: RankHost | None = None, patience: float = 60.0
) -> None:
    """Runs checks: those of these names, by default ``CHECKS`` and, where there is a host, ``ACROSS``.

    Raises AssertionError with every failed check and where it failed. Otherwise as ``run_check``.
    """
    failures = []
    for name in [*CHECKS, *(ACROSS if host is not None else ())] if names is None else names:
        try:
            run_check(make, name, host=host, patience=patience)
        except AssertionError as error:
            failures.append(f"{name}:\n" + "".join(traceback.format_exception(error, limit=-4)))
    if failures:
        raise AssertionError("\n".join(failures))
