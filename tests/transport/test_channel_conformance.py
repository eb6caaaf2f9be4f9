"""Every kind of channel keeps the contract: the conformance suite, in one process and between several."""

from __future__ import annotations

import pytest

from cobre.testing.channels import ACROSS, CHECKS, Make, check_channel
from cobre.testing.ranks import RankHost
from cobre.transport import Channel
from cobre.transport.tcp_channel import TcpChannel
from tests.testing import channel_mutants
from tests.testing.channel_honest import Honest

KINDS = pytest.mark.parametrize("make", [Channel, TcpChannel], ids=["shm", "tcp"])


@KINDS
def test_checks_in_one_process(make: Make) -> None:
    check_channel(make, list(CHECKS))


@KINDS
def test_checks_between_processes(make: Make, rank_host: RankHost) -> None:
    check_channel(make, list(ACROSS), host=rank_host)


@pytest.mark.parametrize(
    ("mutant", "name"),
    [
        (channel_mutants.NoDeath, "a_killed_writer_leaves_whole_messages"),
        (channel_mutants.OnlyHere, "the_end_reaches_other_processes"),
    ],
)
def test_mutants_are_found_out_between_processes(mutant: type[Honest], name: str, rank_host: RankHost) -> None:
    assert channel_mutants.is_found(mutant, name, rank_host)
