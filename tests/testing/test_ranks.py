"""Functions run on ranks: what comes back, what is told of those that fail, and that nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from cobre.errors import CommError
from cobre.testing.leaks import assert_no_leaks, snapshot
from cobre.testing.ranks import RankGroup, RankHost, RanksFailed
from tests.testing import rank_deeds as deeds


@pytest.fixture(scope="module")
def host() -> Iterator[RankHost]:
    with RankHost(("tests.testing.rank_deeds",)) as started:
        yield started


def test_values_come_in_rank_order(host: RankHost) -> None:
    with RankGroup("shm", 3, host=host) as group:
        assert group.values(deeds.add, 10) == [[10, 11, 12]] * 3
        assert group.values("tests.testing.rank_deeds:add", 20) == [[20, 21, 22]] * 3
        outcomes = group.run(deeds.add, 0)
        assert [outcome.rank for outcome in outcomes] == [0, 1, 2]
        assert all(outcome.returned and outcome.seconds > 0.0 for outcome in outcomes)


def test_ranks_are_processes_that_stay(host: RankHost) -> None:
    with RankGroup(None, 3, host=host) as group:
        assert group.values(os.getpid) == group.pids
        assert len({os.getpid(), host.pid, *group.pids}) == 5
        assert group.values(deeds.count, [1, 2]) == [2, 2, 2]
        assert group.values(deeds.count, [3]) == [3, 3, 3]
        assert group.values(deeds.parent) == [host.pid] * 3
        assert group.values(deeds.threads) == [1, 1, 1]
    with RankGroup(None, 1, host=host) as group:
        assert group.values(deeds.count, [1]) == [1], "a rank inherited what another had done"


def test_a_group_may_have_a_host_of_its_own() -> None:
    before = snapshot()
    with RankGroup("local", 1) as group:
        assert group.values(deeds.add, 1) == [[1]]
    assert_no_leaks(before)


def test_communicators_may_come_from_anywhere(host: RankHost) -> None:
    with RankGroup(deeds.make_local, 2, host=host, timeout=7.0) as group:
        assert group.values(deeds.add, 5) == [[5], [5]]
        group.connect(generation=4)
        assert group.values("tests.testing.rank_deeds:add", 6) == [[6], [6]]
    with RankGroup("tests.testing.rank_deeds:make_local", 2, host=host) as group:
        assert group.values(deeds.add, 7) == [[7], [7]]


def test_what_a_rank_raises_arrives_whole(host: RankHost) -> None:
    with RankGroup("local", 1, host=host) as group:
        (outcome,) = group.run(deeds.fail_on, 0)
        assert isinstance(outcome.error, CommError)
        assert (outcome.error.kind, outcome.error.operation) == ("Odd", "fail_on")
        assert outcome.error.context == {"number": 7}
        assert "rank_deeds.py" in outcome.traceback
        assert not outcome.returned
        assert outcome.returncode is None
        with pytest.raises(RanksFailed, match=r"rank 0 raised\n(.*\n)*.*no luck") as caught:
            group.values(deeds.fail_on, 0)
        assert len(caught.value.outcomes) == 1
        assert group.values(deeds.fail_on, 1) == [0], "the rank did not survive its exception"


def test_errors_and_values_that_cannot_be_sent(host: RankHost) -> None:
    with RankGroup(None, 1, host=host) as group:
        (outcome,) = group.run(deeds.fail_stubbornly)
        assert isinstance(outcome.error, RuntimeError)
        assert "_Stubborn: 1 and 2" in str(outcome.error)
        (outcome,) = group.run(deeds.unpicklable)
        assert "pickle" in str(outcome.error)
        (outcome,) = group.run("tests.testing.rank_deeds:no_such_thing")
        assert isinstance(outcome.error, AttributeError)
        (outcome,) = group.run("no.such.module:thing")
        assert isinstance(outcome.error, ModuleNotFoundError)


@pytest.mark.parametrize("code", [0, 3])
def test_a_rank_that_leaves(host: RankHost, code: int) -> None:
    with RankGroup(None, 2, host=host) as group:
        group.start(deeds.leave, code, ranks=[1])
        (outcome,) = group.wait(ranks=[1])
        assert (outcome.rank, outcome.returncode, outcome.returned) == (1, code, False)
        assert group.run(os.getpid)[0].value == group.pids[0], "the other was lost too"


def test_a_rank_that_crashes_shows_where(host: RankHost) -> None:
    with RankGroup(None, 1, host=host) as group:
        (outcome,) = group.run(deeds.crash)
        assert outcome.returncode == -signal.SIGSEGV
        assert "in crash" in outcome.stacks
        assert "in crash" in outcome.describe()


def test_a_rank_that_is_killed(host: RankHost) -> None:
    with RankGroup(None, 2, host=host) as group:
        group.start(deeds.hang, "here")
        assert [group.hear(rank) for rank in range(2)] == ["here", "here"]
        group.kill(0)
        (outcome,) = group.wait(ranks=[0])
        assert (outcome.returncode, outcome.timed_out) == (-signal.SIGKILL, False)
        group.kill(0)  # nobody is hit by it


def test_a_rank_that_hangs_is_killed_and_shows_where(host: RankHost) -> None:
    with RankGroup(None, 2, host=host) as group:
        group.start(deeds.hang, "", ranks=[1])
        group.start(os.getpid, ranks=[0])
        outcomes = group.wait(timeout=0.3)
        assert outcomes[0].value == group.pids[0]
        assert (outcomes[1].timed_out, outcomes[1].returncode) == (True, -signal.SIGKILL)
        assert "wait_for_ever_and_a_day" in outcomes[1].stacks
        assert "hung and was killed" in outcomes[1].describe()


def test_a_stopped_rank_is_ended_too(host: RankHost) -> None:
    before = snapshot()
    with RankGroup(None, 2, host=host) as group:
        group.start(deeds.hang, "", ranks=[0])
        for rank in range(2):
            group.kill(rank, signal.SIGSTOP)
    assert_no_leaks(before)


def test_ranks_tell_while_they_run(host: RankHost) -> None:
    with RankGroup(None, 1, host=host) as group:
        group.start(deeds.say_twice, {"one": 1}, [2])
        assert group.hear(0) == {"one": 1}
        assert group.hear(0) == [2]
        assert group.wait()[0].value == "done"
        with pytest.raises(RanksFailed, match="returned 'done'"):
            group.hear(0)


def test_a_group_that_cannot_be_formed(host: RankHost) -> None:
    before = snapshot()
    with pytest.raises(RanksFailed, match="shm has no setting no_such_setting"):
        RankGroup("shm", 2, host=host, no_such_setting=1)
    assert_no_leaks(before)


def test_large_values_pass_both_ways(host: RankHost) -> None:
    with RankGroup(None, 2, host=host) as group:
        assert [len(value) for value in group.values(bytes, 30_000_000)] == [30_000_000] * 2
        assert group.values(len, b"x" * 30_000_000) == [30_000_000] * 2


def test_a_host_that_cannot_start() -> None:
    before = snapshot()
    with pytest.raises(RuntimeError, match="did not start"):
        RankHost(("no_such_module_at_all",))
    assert_no_leaks(before)


def test_modules_are_loaded_before_the_fork(host: RankHost) -> None:
    with RankGroup(None, 1, host=host) as group:
        names = ["numpy", "zmq", "cobre.transport.shm", "tests.testing.rank_deeds", "pytest", "pyarrow"]
        assert group.values(deeds.modules, names) == [[True, True, True, True, False, False]]


def test_nothing_outlives_the_process_that_asked_for_it() -> None:
    """It is killed amid everything: the host and its ranks notice, and end."""
    script = "from cobre.testing.ranks import RankGroup; import time; g = RankGroup(None, 2); "
    script += "g.start('time:sleep', 600, ranks=[0]); print(g._own_host.pid, *g.pids, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 3
        assert all(psutil.pid_exists(pid) for pid in pids)
        process.kill()
    deadline = time.monotonic() + 20.0
    while any(psutil.pid_exists(pid) and _lives(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in pids if psutil.pid_exists(pid) and _lives(pid)]


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
