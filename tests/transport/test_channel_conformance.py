"""Every kind of channel keeps the contract: the conformance suite, in one process and between several."""

from __future__ import annotations

import pytest

from cobre.testing.channels import ACROSS, CHECKS, Make, check_channel
from cobre.testing.ranks import RankHost
from cobre.transport import Channel
from cobre.transport.tcp_channel import TcpChannel

KINDS = pytest.mark.parametrize("make", [Channel, TcpChannel], ids=["shm", "tcp"])


@KINDS
def test_checks_in_one_process(make: Make) -> None:
    check_channel(make, list(CHECKS))


@KINDS
def test_checks_between_processes(make: Make, rank_host: RankHost) -> None:
    check_channel(make, list(ACROSS), host=rank_host)
