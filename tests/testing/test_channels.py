"""The conformance suite for channels finds what is wrong, and only that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cobre.testing.channels import ACROSS, CHECKS, check_channel, run_check
from cobre.testing.ranks import RankHost
from tests.testing import channel_mutants as mutants
from tests.testing.channel_honest import Honest

FOUND_BY: dict[type[Honest], str] = {
    mutants.Loses: "every_message_once_and_in_order",
    mutants.Doubles: "every_message_once_and_in_order",
    mutants.Reorders: "every_message_once_and_in_order",
    mutants.Tears: "every_message_once_and_in_order",
    mutants.ForgetsMetadata: "metadata_goes_with_its_message",
    mutants.LeftoverMetadata: "metadata_goes_with_its_message",
    mutants.WriteableViews: "arrays_come_out_as_they_went_in",
    mutants.NativeBytes: "arrays_come_out_as_they_went_in",
    mutants.ReusesViews: "views_keep_what_they_show",
    mutants.NeverBlocks: "capacity_in_messages",
    mutants.Drops: "a_blocked_writer_goes_on_when_room_comes",
    mutants.IgnoresTimeouts: "timeouts_are_kept",
    mutants.OneMore: "capacity_in_messages",
    mutants.Endless: "capacity_in_bytes",
    mutants.AllInsteadOfOne: "to_one_nobody_waits_for_an_idle_reader",
    mutants.MarksOfOne: "marks",
    mutants.DeafToTheEnd: "the_end_wakes_who_waits",
    mutants.NoReason: "the_end_wakes_who_waits",
    mutants.EndsAtOnce: "the_end_wakes_who_waits",
    mutants.DiesQuietly: "a_writer_that_gives_up",
    mutants.PublishesDroppedLoans: "loans",
    mutants.ClosesTwice: "ports_that_were_closed",
    mutants.Miscounts: "states_and_statistics",
    mutants.WithoutAdvice: "what_is_no_data_is_refused",
    mutants.NoDeath: "a_killed_writer_leaves_whole_messages",
    mutants.OnlyHere: "the_end_reaches_other_processes",
}

SLOW = {"every_message_once_and_in_order"}


@pytest.fixture(scope="module")
def host() -> Iterator[RankHost]:
    with RankHost(("cobre.testing.channels", "tests.testing.channel_mutants")) as started:
        yield started


def missed(mutant: type[Honest], name: str, host: RankHost | None = None) -> bool:
    try:
        check_channel(mutant, [name], host=host, patience=0.3)
    except AssertionError as error:
        return not str(error).startswith(f"{name}:")
    return True


def test_mutants_are_found_out() -> None:
    assert [mutant for mutant, name in FOUND_BY.items() if name in CHECKS and missed(mutant, name)] == []


def test_mutants_are_found_out_between_processes(host: RankHost) -> None:
    assert [mutant for mutant, name in FOUND_BY.items() if name in ACROSS and missed(mutant, name, host)] == []


def test_nothing_is_found_where_nothing_is_wrong(host: RankHost) -> None:
    check_channel(Honest, sorted(set(FOUND_BY.values()) - SLOW), host=host)


def test_names_are_those_of_checks() -> None:
    assert not set(CHECKS) & set(ACROSS)
    assert all(check.__doc__ for check in [*CHECKS.values(), *ACROSS.values()])
    with pytest.raises(KeyError):
        run_check(Honest, "no such check")


def test_processes_are_asked_for() -> None:
    with pytest.raises(ValueError, match="RankHost"):
        run_check(Honest, "messages_between_processes")
