"""The conformance suite for communicators: what ``cobre.transport.communicator`` promises, as checks to be run.

For the author of a backend. Each check is a function of a communicator that all ranks of a group run together; it
raises AssertionError, on at least one rank, where the contract is not kept.

    CHECKS      leave the group as good as it was; any number of them can follow each other
    BREAKING    end in a group that is closed, aborted or otherwise broken; each needs a group of its own

With a function ``make(rank, size, **settings)`` that returns a communicator, everything on one page:

    with RankGroup(make, 4, host=host, timeout=30.0) as group:
        check_group(group)

which forms the group anew, with another ``generation=`` among the settings, for each check that breaks it. Where ranks
are started in another way (a scheduler, threads), each rank runs ``check_communicator(communicator)``, and then, for
each name in ``BREAKING``, ``run_check(communicator, name)`` on a new one. Sizes 1, 2, 4 and 7 find different faults.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

from cobre.testing.communicators_broken import BREAKING_CHECKS, MISMATCHES, check_mismatch
from cobre.testing.communicators_gather import GATHER_CHECKS
from cobre.testing.communicators_random import check_random_collectives, random_script, run_script
from cobre.testing.communicators_reduce import REDUCE_CHECKS
from cobre.testing.communicators_refusals import REFUSAL_CHECKS
from cobre.testing.communicators_regions import REGION_CHECKS
from cobre.testing.ranks import Outcome, RankGroup
from cobre.transport.communicator import Communicator

__all__ = [
    "BREAKING",
    "CHECKS",
    "Check",
    "check_communicator",
    "check_group",
    "check_random_collectives",
    "random_script",
    "run_check",
    "run_script",
]

Check = Callable[[Communicator], None]


def _named(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.__name__.removeprefix("check_"): check for check in checks}


CHECKS: dict[str, Check] = {
    **_named([*GATHER_CHECKS, *REDUCE_CHECKS, *REGION_CHECKS, *REFUSAL_CHECKS]),
    "random_collectives": check_random_collectives,
}
"""Checks by name; the group is usable afterwards."""

BREAKING: dict[str, Check] = {
    **_named(BREAKING_CHECKS),
    **{f"mismatch_of_{name.replace(' ', '_')}": functools.partial(check_mismatch, name=name) for name in MISMATCHES},
}
"""Checks by name, each of which needs a group of its own."""


def run_check(communicator: Communicator, name: str) -> None:
    """Collective. Runs the check of this name on this rank.

    Raises AssertionError, or what the communicator raised. A rank on which a check fails aborts the group, so that the
    others do not wait for it.
    """
    try:
        (CHECKS.get(name) or BREAKING[name])(communicator)
        if name in CHECKS:
            communicator.barrier()
    except BaseException as error:
        communicator.abort(f"the check {name} failed on rank {communicator.rank}: {type(error).__name__}: {error}")
        raise


def check_communicator(communicator: Communicator, names: Iterable[str] = tuple(CHECKS)) -> None:
    """Collective. Runs ``CHECKS``, or those of these names, on this rank, in order. Raises at the first failure."""
    for name in names:
        run_check(communicator, name)


def check_group(
    group: RankGroup, names: Sequence[str] | None = None, *, generation: int = 1, timeout: float = 120.0
) -> None:
    """Runs checks (by default all) on a group that has been formed, and forms it anew where a check has broken it.

    generation: of the first new forming; each has the next. timeout: seconds that one check may take. Raises
    AssertionError with every failed check and what happened on each rank. Afterwards the group is formed and usable.
    """
    failures: list[str] = []
    for name in [*CHECKS, *BREAKING] if names is None else names:
        outcomes = group.run(run_check, name, timeout=timeout)
        failed = [outcome for outcome in outcomes if not outcome.returned]
        if failed:
            failures.append(f"{name}, {group.size} ranks:\n" + "\n".join(map(Outcome.describe, _first(failed))))
        if any(outcome.returncode is not None for outcome in failed):
            raise AssertionError("\n\n".join([*failures, "ranks are gone: the checks that follow were not run"]))
        if failed or name in BREAKING:
            group.connect(generation=generation)
            generation += 1
    if failures:
        raise AssertionError("\n\n".join(failures))


def _first(failed: list[Outcome]) -> list[Outcome]:
    """Failures that say what is wrong; the others were only woken by them."""
    telling = [outcome for outcome in failed if isinstance(outcome.error, AssertionError) or outcome.returncode]
    return telling or failed
