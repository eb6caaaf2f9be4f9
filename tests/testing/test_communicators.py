"""The conformance suite notices what is wrong with a communicator, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from cobre.testing.communicators import BREAKING, CHECKS, check_communicator, check_group, random_script, run_check
from cobre.testing.communicators_data import (
    DTYPES,
    REDUCIBLE,
    contribution,
    digest,
    gathered,
    reduced,
    refusal,
    require_same,
)
from cobre.testing.ranks import RankGroup, RankHost
from cobre.transport import ReduceOp
from cobre.transport.local import LocalCommunicator
from tests.testing import mutants

# Each mutant with the check that must find it out.
FOUND_BY = {
    mutants.WrongOrder: "counts_of_all_kinds",
    mutants.SwallowedElement: "counts_of_all_kinds",
    mutants.RarelyWrong: "random_collectives",
    mutants.NativeBytes: "every_dtype_is_gathered",
    mutants.SharedResult: "results_belong_to_the_caller",
    mutants.StaleView: "views_in_use_stop_the_next_collective",
    mutants.WriteableView: "views_hold_until_the_next_collective",
    mutants.OwnOrder: "reductions_go_from_rank_zero_upward",
    mutants.NoNegativeZero: "extremes_are_reduced_alike",
    mutants.IgnoresNan: "extremes_are_reduced_alike",
    mutants.ClobbersSend: "reductions_keep_shapes",
    mutants.OutIsNotReturned: "reductions_into_out_and_in_place",
    mutants.FirstRootOnly: "broadcasts_from_every_root",
    mutants.ShortBroadcast: "broadcasts_from_every_root",
    mutants.NoBarrier: "barriers_in_a_row",
    mutants.EverybodyWrites: "regions_are_zero_and_only_the_leader_writes",
    mutants.NoFence: "what_the_leader_writes_is_read_after_a_fence",
    mutants.TakesAnyRoot: "bad_arguments_are_refused",
    mutants.RefusesAfterSending: "bad_arguments_of_one_rank_harm_nobody",
    mutants.NamelessErrors: "bad_arguments_are_refused",
    mutants.SplitsOff: "split_groups_work_beside_the_whole",
    mutants.NeverClosed: "closed_communicators_refuse",
    mutants.DeafToAbort: "abort_wakes_every_rank",
    mutants.CastsToBytes: "mismatch_of_dtype_of_a_gather",
}


@pytest.fixture(scope="module")
def host() -> Iterator[RankHost]:
    with RankHost(("cobre.testing.communicators", "tests.testing.mutants")) as started:
        yield started


@pytest.mark.parametrize("mutant", FOUND_BY, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_found_out(host: RankHost, mutant: type[mutants.Honest]) -> None:
    name = FOUND_BY[mutant]
    with RankGroup("shm", 3, host=host, wrapper=mutant, timeout=20.0) as group:
        with pytest.raises(AssertionError) as caught:
            check_group(group, [name], timeout=30.0)
        assert str(caught.value).startswith(f"{name}, 3 ranks:")
        assert "AssertionError" in str(caught.value), "it was found out by accident"
        if mutant is not mutants.NeverClosed:
            assert group.values(len_of_group) == [3, 3, 3], "the group was not formed anew"


def len_of_group(communicator: mutants.Honest) -> int:
    communicator.inner.barrier()
    return communicator.size


def test_nothing_is_found_where_nothing_is_wrong(host: RankHost) -> None:
    with RankGroup("shm", 2, host=host, wrapper=mutants.Honest, timeout=20.0) as group:
        check_group(group, [name for name in CHECKS if name != "random_collectives"])
        check_group(group, ["closed_communicators_refuse", "mismatch_of_count"])


def test_names_are_those_of_checks() -> None:
    assert not set(CHECKS) & set(BREAKING)
    assert set(FOUND_BY.values()) <= {*CHECKS, *BREAKING}
    assert all(check.__doc__ for check in CHECKS.values())


def test_it_runs_without_a_group_of_processes() -> None:
    with LocalCommunicator() as communicator:
        check_communicator(communicator, ["counts_of_all_kinds", "barriers_in_a_row"])


def test_a_failed_check_aborts_the_group() -> None:
    with mutants.FirstRootOnly(LocalCommunicator()) as communicator:
        run_check(communicator, "every_dtype_is_broadcast")  # with one rank, nothing is wrong with it
    with mutants.NativeBytes(LocalCommunicator()) as communicator:
        with pytest.raises(AssertionError, match="dtype"):
            run_check(communicator, "every_dtype_is_gathered")
        assert "the check every_dtype_is_gathered failed on rank 0" in str(refusal(communicator.barrier))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_contributions_tell_ranks_and_places_apart(dtype: np.dtype[np.generic]) -> None:
    one, other = contribution(dtype, 0, 40), contribution(dtype, 1, 40)
    assert one.shape == (40,)
    assert one.dtype == dtype
    assert digest([one]) != digest([other])
    assert digest([one]) != digest([one[::-1]])
    assert digest([one]) == digest([contribution(dtype, 0, 40)])
    assert len(gathered(dtype, [3, 0, 2])) == 5


@pytest.mark.parametrize("dtype", REDUCIBLE, ids=str)
def test_expected_reductions_keep_the_dtype(dtype: np.dtype[np.generic]) -> None:
    parts = [contribution(dtype, rank, 9) for rank in range(3)]
    for op in ReduceOp:
        assert reduced(op, parts).dtype == dtype


def test_arrays_are_compared_to_the_bit() -> None:
    require_same(np.array([np.nan, 0.0]), np.array([np.nan, 0.0]), "equal arrays")
    different = (np.array([np.nan, -0.0]), np.array([-np.nan, 0.0]), np.array([[np.nan, 0.0]]), np.array([1, 2]), 3.0)
    for found in different:
        with pytest.raises(AssertionError, match="not the same"):
            require_same(found, np.array([np.nan, 0.0]), "not the same")


def test_padding_does_not_count() -> None:
    wide = np.zeros(3, np.longdouble)
    other = wide.copy()
    other.view(np.uint8).reshape(3, -1)[:, 10:] = 1
    if np.finfo(np.longdouble).nmant == 63:
        require_same(other, wide, "extended floats")
    record = np.dtype([("small", "i1"), ("large", "f8")], align=True)
    one, two = np.zeros(2, record), np.zeros(2, record)
    one.view(np.uint8).reshape(2, -1)[:, 1:8] = 7
    require_same(one, two, "records")
    two["small"][1] = 1
    with pytest.raises(AssertionError, match="the first at 1"):
        require_same(one, two, "records")


def test_scripts_are_functions_of_their_seed() -> None:
    assert random_script(3, 4, 200) == random_script(3, 4, 200)
    assert random_script(3, 4, 200) != random_script(4, 4, 200)
    script = random_script(0, 4, 3000)
    assert len({step.name for step in script}) == 8
    assert {step.dtype for step in script} == set(DTYPES)
    assert max(max(step.counts) for step in script) > 1000
    assert min(min(step.counts) for step in script) == 0
