"""The group of one: what it adds to, or leaves out of, what the conformance suite checks of every backend."""

from __future__ import annotations

import numpy as np
import pytest

from cobre.errors import CommError
from cobre.testing.communicators import check_communicator
from cobre.transport import ReduceOp, create_communicator
from cobre.transport.local import LocalCommunicator


def test_it_keeps_the_contract_in_the_calling_process() -> None:
    with LocalCommunicator() as communicator:
        check_communicator(communicator)


def test_it_is_rank_zero_of_one() -> None:
    with LocalCommunicator(generation=3, timeout=5.0) as communicator:
        found = communicator.backend, communicator.rank, communicator.size, communicator.generation
        assert found == ("local", 0, 1, 3)
        assert communicator.is_leader
        assert communicator.timeout == 5.0


@pytest.mark.parametrize(("rank", "size"), [(0, 2), (1, 1), (1, 2), (-1, 1), (0, 0), (0.0, 1), (0, True)])
def test_other_groups_are_refused(rank: int, size: int) -> None:
    with pytest.raises(CommError, match="connect") as caught:
        LocalCommunicator(rank=rank, size=size)
    assert caught.value.kind == "InvalidArgument"
    assert caught.value.operation == "connect"


def test_results_are_the_callers_own() -> None:
    """Nothing that comes back is what was put in, unless the caller asks for that."""
    with LocalCommunicator() as communicator:
        send = np.arange(6.0).reshape(2, 3)
        for found in (
            communicator.allgatherv(send, [6]),
            communicator.allgatherv(send, [6], copy=False),
            communicator.allreduce(send, ReduceOp.MAX),
        ):
            assert not np.shares_memory(found, send)
        assert communicator.allreduce(send, out=send) is send


def test_an_abort_needs_no_second_rank() -> None:
    with LocalCommunicator() as communicator:
        communicator.abort("enough")
        communicator.abort("and more")
        with pytest.raises(CommError, match="enough") as caught:
            communicator.barrier()
        assert caught.value.kind == "Aborted"
        assert caught.value.context["rank"] == 0


def test_it_is_what_is_made_where_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COBRE_COMM_BACKEND", "COBRE_TCP_COORDINATOR", "COBRE_SHM_NAME"):
        monkeypatch.delenv(name, raising=False)
    with create_communicator() as communicator:
        assert isinstance(communicator, LocalCommunicator)


def test_a_region_beyond_all_memory_is_refused() -> None:
    with LocalCommunicator() as communicator:
        with pytest.raises(CommError) as caught:
            communicator.create_shared_region((2**40, 2**40), "f8")
        assert caught.value.kind == "OutOfMemory"
        communicator.barrier()
