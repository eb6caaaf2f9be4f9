"""The conformance suite for channels finds what is wrong, and only that."""

from __future__ import annotations

import pytest

from cobre.testing.channels import ACROSS, CHECKS, check_channel, run_check
from tests.testing import channel_mutants as mutants
from tests.testing.channel_honest import Honest

FOUND_BY: dict[type[Honest], str] = {
    mutants.Loses: "a_waiting_reader_gets_what_comes",
    mutants.Doubles: "a_waiting_reader_gets_what_comes",
    mutants.Reorders: "every_message_once_and_in_order",
    mutants.Tears: "capacity_in_bytes",
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
}


def test_mutants_are_found_out() -> None:
    assert [mutant for mutant, name in FOUND_BY.items() if not mutants.is_found(mutant, name)] == []


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    check_channel(Honest, sorted(set(FOUND_BY.values()) - {"every_message_once_and_in_order"}))


def test_names_are_those_of_checks() -> None:
    assert not set(CHECKS) & set(ACROSS)
    assert all(check.__doc__ for check in [*CHECKS.values(), *ACROSS.values()])
    with pytest.raises(KeyError):
        run_check(Honest, "no such check")


def test_processes_are_asked_for() -> None:
    with pytest.raises(ValueError, match="RankHost"):
        run_check(Honest, "messages_between_processes")
