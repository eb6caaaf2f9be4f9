"""The conformance suite's checks of shared regions: who writes, who reads, and how long they live."""

from __future__ import annotations

import numpy as np

from cobre.testing.communicators_data import (
    DTYPES,
    LARGE,
    agree,
    contribution,
    refusal,
    require_same,
    still_works,
)
from cobre.transport.communicator import Communicator

__all__ = ["REGION_CHECKS"]

_FLOAT = np.dtype(np.float64)


def check_regions_are_zero_and_only_the_leader_writes(communicator: Communicator) -> None:
    """A new region is zero everywhere, of the shape and dtype asked for, and read-only but for the leader."""
    for shape in (5, (), (3, 4), (0,), (2, 0, 3), [2, 3, 2], np.int64(4)):
        for dtype in (np.float64, "i2", ">f4", "S5", DTYPES[-1]):
            with communicator.create_shared_region(shape, dtype) as region:  # type: ignore[arg-type]
                extents = tuple(shape) if isinstance(shape, tuple | list) else (int(shape),)
                require_same(region.array, np.zeros(extents, dtype), "a new region")
                writeable = region.array.flags.writeable
                assert writeable == communicator.is_leader, f"writeable on rank {communicator.rank}: {writeable}"
                shared = communicator.allgatherv(np.array([region.is_shared]), [1] * communicator.size)
                assert len(set(shared.tolist())) == 1, "ranks do not agree on whether a region is shared"
                communicator.barrier()


def check_what_the_leader_writes_is_read_after_a_fence(communicator: Communicator) -> None:
    """Round after round, what was written before a fence is what all ranks read after it."""
    for count in (1, 1000, LARGE):
        with communicator.create_shared_region(count, np.float64) as region:
            for turn in range(15):
                expected = contribution(_FLOAT, 0, count, turn)
                if communicator.is_leader:
                    region.array[...] = expected
                region.fence()
                require_same(region.array, expected, f"a region of {count} in turn {turn}")
                region.fence()
            agree(communicator, [region.array], "a region")


def check_regions_are_read_after_any_fence_and_barrier(communicator: Communicator) -> None:
    """A barrier says as well as a second fence that everybody has read."""
    with communicator.create_shared_region((4, 5), np.int64) as region:
        for turn in range(30):
            if communicator.is_leader:
                region.array[...] = turn
            region.fence()
            found = region.array.copy()
            communicator.barrier()
            require_same(found, np.full((4, 5), turn, np.int64), f"a region read in turn {turn}")


def check_regions_stand_beside_each_other(communicator: Communicator) -> None:
    """Two regions at once, and collectives between their fences, do not touch each other."""
    with (
        communicator.create_shared_region(300, np.float64) as first,
        communicator.create_shared_region((7, 5), np.int32) as second,
    ):
        for turn in range(5):
            if communicator.is_leader:
                first.array[...] = turn
                second.array[...] = -turn
            second.fence()
            still_works(communicator, turn)
            first.fence()
            require_same(first.array, np.full(300, float(turn)), "the first of two regions")
            require_same(second.array, np.full((7, 5), -turn, np.int32), "the second of two regions")
            communicator.barrier()
        first.close()
        if communicator.is_leader:
            second.array[...] = 77
        second.fence()
        require_same(second.array, np.full((7, 5), 77, np.int32), "a region after another was closed")


def check_regions_that_are_closed(communicator: Communicator) -> None:
    """Closing is for each rank alone and may be repeated; a fence afterwards raises Closed and harms nothing."""
    region = communicator.create_shared_region(50, np.float64)
    if communicator.is_leader:
        region.array[...] = 3.0
    region.fence()
    kept = region.array
    if communicator.rank % 2 == 0:
        region.close()
        region.close()
    require_same(kept, np.full(50, 3.0), "an array taken from a region that some ranks have closed")
    communicator.barrier()
    region.close()
    error = refusal(region.fence)
    assert (error.kind, error.operation) == ("Closed", "fence"), f"a fence after close raised {error.kind}: {error}"
    require_same(kept, np.full(50, 3.0), "an array taken from a region that all ranks have closed")
    still_works(communicator, 1)
    del region
    again = communicator.create_shared_region(50, np.float64)
    require_same(again.array, np.zeros(50), "a region made after another was closed")
    require_same(kept, np.full(50, 3.0), "an array of a closed region after another was made")
    again.close()
    communicator.barrier()


def check_many_regions_come_and_go(communicator: Communicator) -> None:
    """Regions can be made and closed for as long as a run lasts."""
    for turn in range(60):
        with communicator.create_shared_region(1 + 97 * turn, np.uint8) as region:
            if communicator.is_leader:
                region.array[...] = turn
            region.fence()
            assert (region.array == turn).all(), f"region {turn} of many holds {set(region.array.tolist())}"
            communicator.barrier()


REGION_CHECKS = (
    check_regions_are_zero_and_only_the_leader_writes,
    check_what_the_leader_writes_is_read_after_a_fence,
    check_regions_are_read_after_any_fence_and_barrier,
    check_regions_stand_beside_each_other,
    check_regions_that_are_closed,
    check_many_regions_come_and_go,
)
