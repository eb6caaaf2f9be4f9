"""What collectives refuse, and that the refusal says what was wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cobre.errors import CommError
from cobre.transport import ReduceOp
from cobre.transport.checks import (
    check_counts,
    check_group,
    check_out,
    check_plain,
    check_reducible,
    check_region,
    check_root,
    check_send,
    check_writeable,
)


def refused(check: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(CommError) as caught:
        check(*args)
    error = caught.value
    assert error.kind == "InvalidArgument"
    assert error.operation is not None
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.kind, copy.operation, str(copy)) == (error.kind, error.operation, str(error))
    return str(error)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ((0, 0, 0), "at least one rank"),
        ((0, -1, 0), "size is -1"),
        ((2, 2, 0), "ranks of a group of 2 are 0 to 1"),
        ((-1, 2, 0), "rank is -1"),
        ((0.0, 2, 0), "rank is 0.0"),
        ((True, 2, 0), "rank is True"),
        ((0, "2", 0), "size is '2'"),
        ((0, 2, -1), "generation is -1"),
        ((0, 2, 2**32), "generation is 4294967296"),
        ((0, 2, None), "generation is None"),
    ],
)
def test_places_that_are_in_no_group(place: tuple[Any, ...], said: str) -> None:
    assert said in refused(check_group, *place)


def test_places_in_a_group_may_be_any_integers() -> None:
    found = check_group(np.int64(1), np.int32(2), np.uint8(3))
    assert found == (1, 2, 3)
    assert {type(number) for number in found} == {int}


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([1, 2], "2 entries, but the group has 3"),
        ([1, 2, 3, 4], "4 entries"),
        ([1, -2, 3], "none may be negative"),
        ([1, 2.0, 3], "whole numbers"),
        (None, "whole numbers"),
        (7, "whole numbers"),
        ("123", "whole numbers"),
        (np.ones(3), "whole numbers"),
        (np.ones((3, 2), int), "whole numbers"),
    ],
)
def test_counts_that_are_none(counts: Any, said: str) -> None:
    assert said in refused(check_counts, "allgatherv", counts, 3)


@pytest.mark.parametrize("counts", [[0, 2, 3], (0, 2, 3), np.array([0, 2, 3], np.uint8), [np.int64(0), 2, np.int8(3)]])
def test_counts_of_any_type_become_plain(counts: Any) -> None:
    found = check_counts("allgatherv", counts, 3)
    assert found == (0, 2, 3)
    assert {type(count) for count in found} == {int}


@pytest.mark.parametrize("array", [[1.0], 1.0, None, np.float64(1.0), memoryview(b"abc")])
def test_what_is_no_array(array: Any) -> None:
    assert "numpy array" in refused(check_plain, "broadcast", "buf", array)


@pytest.mark.parametrize("dtype", [object, [("number", int), ("thing", object)], np.dtype([])])
def test_dtypes_that_are_not_plain(dtype: Any) -> None:
    assert "not plain" in refused(check_plain, "broadcast", "buf", np.zeros(2, dtype))


def test_a_contribution_of_another_size_than_counted() -> None:
    assert "5 elements, but counts[1] is 4" in refused(check_send, "allgatherv", np.ones(5), (5, 4), 1)


def test_an_out_that_does_not_fit() -> None:
    kind = np.dtype(float)
    frozen = np.zeros(4)
    frozen.flags.writeable = False
    assert "shape (5,)" in refused(check_out, "allgatherv", np.zeros(5), (4,), kind)
    assert "float32" in refused(check_out, "allgatherv", np.zeros(4, np.float32), (4,), kind)
    assert "not contiguous" in refused(check_out, "allgatherv", np.zeros(8)[::2], (4,), kind)
    assert "cannot be written" in refused(check_out, "allgatherv", frozen, (4,), kind)
    assert "cannot be written" in refused(check_writeable, "broadcast", "buf", frozen)
    check_out("allgatherv", np.zeros(4), (4,), kind)


@pytest.mark.parametrize("op", ["sum", "SUM", None, np.add, sum, 0])
def test_what_is_no_reduction(op: Any) -> None:
    assert "ReduceOp.SUM" in refused(check_reducible, "allreduce", np.ones(3), op)


@pytest.mark.parametrize("dtype", ["S3", "U3", "M8[s]", "m8[s]", "V3", [("a", float)]])
def test_dtypes_that_cannot_be_reduced(dtype: Any) -> None:
    assert "can be reduced" in refused(check_reducible, "allreduce", np.zeros(3, dtype), ReduceOp.SUM)


@pytest.mark.parametrize("root", [-1, 3, 10**30, 1.0, "1", None, True, False, np.bool_(True)])
def test_what_is_no_root(root: Any) -> None:
    assert "ranks of this group are 0 to 2" in refused(check_root, "broadcast", root, 3)


def test_roots_may_be_any_integers() -> None:
    assert [check_root("broadcast", root, 3) for root in (0, np.int8(2), np.uint64(1))] == [0, 2, 1]


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        (-1, float, "no extent may be negative"),
        ((2, -3), float, "no extent may be negative"),
        (1.5, float, "whole numbers"),
        ((1, 1.5), float, "whole numbers"),
        ("12", float, "whole numbers"),
        (None, float, "whole numbers"),
        (3, object, "not plain"),
        (3, "nonsense", "no dtype"),
        (3, [("a", object)], "not plain"),
    ],
)
def test_regions_that_cannot_be(shape: Any, dtype: Any, said: str) -> None:
    assert said in refused(check_region, shape, dtype)


@pytest.mark.parametrize(
    ("shape", "extents"), [(3, (3,)), ((), ()), ([2, 3], (2, 3)), ((0, 4), (0, 4)), (np.int64(5), (5,))]
)
def test_shapes_of_regions(shape: Any, extents: tuple[int, ...]) -> None:
    assert check_region(shape, ">f4") == (extents, np.dtype(">f4"))
