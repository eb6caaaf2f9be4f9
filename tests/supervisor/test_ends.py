"""How processes end, by real faults, and what the report of it says."""

from __future__ import annotations

import os
import signal
import threading

import psutil
import pytest

from cobre.supervisor import ExitReport, Limits, Supervisor
from tests.supervisor.conftest import HANG, spec, started, until

WAYS = [
    ("come_back", 0, None, "exited"),
    ("exit_at_once", 3, None, "exited"),
    ("exit_politely", 4, None, "exited"),
    ("fail", 1, None, "exited"),
    ("crash", None, "SIGSEGV", "crashed"),
    ("abort", None, "SIGABRT", "crashed"),
    ("kill_itself", None, "SIGKILL", "killed from outside"),
]


@pytest.mark.parametrize(("entry", "code", "name", "cause"), WAYS)
def test_how_it_ended(supervisor: Supervisor, entry: str, code: int | None, name: str | None, cause: str) -> None:
    reports: list[tuple[ExitReport, str]] = []
    process = supervisor.spawn(
        spec(entry, "worker 3"), lambda report: reports.append((report, threading.current_thread().name))
    )
    report = process.wait(HANG)
    assert report is not None
    assert (report.exit_code, report.signal, report.cause, report.deliberate) == (code, name, cause, False)
    assert (report.name, report.pid) == ("worker 3", process.pid)
    assert report.seconds > 0.0
    assert str(process.pid) in report.describe()
    assert not process.alive
    supervisor.close()
    assert reports == [(report, "cobre-supervisor")], "told once, in the supervisor's thread"


def test_a_real_time_signal_has_a_name_too(supervisor: Supervisor) -> None:
    report = supervisor.spawn(spec("real_time")).wait(HANG)
    assert report is not None
    assert report.signal == f"signal {signal.SIGRTMIN + 3}"


def test_a_traceback_is_in_the_tail_of_stderr(supervisor: Supervisor, capfd: pytest.CaptureFixture[str]) -> None:
    report = supervisor.spawn(spec("fail")).wait(HANG)
    assert report is not None
    assert report.stderr_tail.endswith("ValueError: what went wrong\n")
    supervisor.close()
    assert "ValueError: what went wrong" in capfd.readouterr().err


def test_a_crash_shows_where_it_stood(supervisor: Supervisor) -> None:
    report = supervisor.spawn(spec("crash")).wait(HANG)
    assert report is not None
    assert "in crash" in report.stderr_tail


def test_of_much_stderr_the_end_is_kept_and_all_is_passed_on(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    report = supervisor.spawn(spec("talk")).wait(HANG)
    assert report is not None
    assert report.exit_code == 5
    lines = report.stderr_tail.split("\n")
    assert lines[-1] == "the last wo"
    assert [int(line) for line in lines[:-1]] == list(range(16384 - len(lines) + 1, 16384)), "whole lines, in order"
    assert {len(line) for line in lines[:-1]} == {63}, "the first one too"
    assert 8192 <= len(report.stderr_tail) <= 65536
    supervisor.close()
    assert len(capfd.readouterr().err) == 64 * 16384 + len("the last wo")


def test_the_board_is_read_after_a_kill(supervisor: Supervisor) -> None:
    process = supervisor.spawn(spec("marking", marks=("stage", "iteration", "unused")))
    report = process.wait(HANG)
    assert report is not None
    assert report.marks == process.marks() == {"stage": 17, "iteration": -3, "unused": 0}
    assert report.waiting


def test_sigstop_then_sigkill_from_outside(supervisor: Supervisor) -> None:
    process = started(supervisor, "echo")
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGKILL)
    report = process.wait(HANG)
    assert report is not None
    assert (report.signal, report.cause, report.out_of_memory) == ("SIGKILL", "killed from outside", "possibly")


def test_a_stopped_process_is_killed_at_its_hang_limit(supervisor: Supervisor) -> None:
    process = started(supervisor, "echo", limits=Limits(hang_seconds=0.4))
    os.kill(process.pid, signal.SIGSTOP)
    report = process.wait(HANG)
    assert report is not None
    assert (report.signal, report.cause, report.deliberate) == ("SIGKILL", "hang", False)
    assert report.state == "stopped"
    assert report.out_of_memory is None


def test_one_that_is_busy_without_a_beat_is_killed_at_its_hang_limit(supervisor: Supervisor) -> None:
    report = supervisor.spawn(spec("spin", limits=Limits(hang_seconds=0.4))).wait(HANG)
    assert report is not None
    assert report.cause == "hang"
    assert report.seconds >= 0.4
    assert "in spin" in report.stderr_tail, "it says where it stood"


@pytest.mark.parametrize("entry", ["beating", "waiting", "echo"])
def test_one_that_goes_on_or_waits_is_not(supervisor: Supervisor, entry: str) -> None:
    process = started(supervisor, entry, limits=Limits(hang_seconds=0.3))
    until(lambda: len(process.samples) >= 12, "twelve samples, a quarter of the limit apart")
    assert process.alive


def test_one_that_takes_more_memory_than_its_limit_is_killed(supervisor: Supervisor) -> None:
    process = supervisor.spawn(spec("grow", limits=Limits(memory_bytes=120 << 20)))
    report = process.wait(HANG)
    assert report is not None
    assert (report.signal, report.cause, report.deliberate) == ("SIGKILL", "memory limit", False)
    assert report.memory_bytes is not None
    assert report.memory_bytes > 120 << 20
    assert supervisor.statistics()["worker"].peak_memory_bytes == report.memory_bytes


def test_one_that_is_not_ready_in_time_is_killed(supervisor: Supervisor) -> None:
    report = supervisor.spawn(spec("never_ready", limits=Limits(start_seconds=3.0))).wait(HANG)
    assert report is not None
    assert (report.cause, report.deliberate) == ("start limit", False)
    assert "in never_ready" in report.stderr_tail


@pytest.mark.parametrize("counts", [(3, 4, "yes"), (3, 3, "possibly"), (None, None, "possibly")])
def test_out_of_memory_is_said_where_the_system_counted_it(
    counts: tuple[int | None, int | None, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after, told = counts
    kills = iter([before, after])
    monkeypatch.setattr("cobre.supervisor.watch.memory_kills", lambda: next(kills))
    with Supervisor(start_method="spawn") as supervisor:
        report = supervisor.spawn(spec("kill_itself")).wait(HANG)
    assert report is not None
    assert report.out_of_memory == told


def test_a_process_left_behind_hides_no_death(supervisor: Supervisor) -> None:
    process = started(supervisor, "orphan")
    process.calls.settimeout(HANG)
    left_behind = psutil.Process(int(process.calls.recv(100)))
    try:
        process.ask()
        report = process.wait(HANG)
        assert report is not None
        assert report.exit_code == 6
        assert "still here" in report.stderr_tail
        assert left_behind.is_running(), "it holds both connections and the pipe all this time"
        supervisor.close()
    finally:
        left_behind.kill()
        until(lambda: not psutil.pid_exists(left_behind.pid), "the end of what was left behind")


def test_a_kill_takes_the_whole_tree(supervisor: Supervisor) -> None:
    process = started(supervisor, "family")
    process.calls.settimeout(HANG)
    pids = [int(pid) for pid in process.calls.recv(100).split()]
    assert len(pids) == 2
    process.kill()
    report = process.wait(HANG)
    assert report is not None
    assert (report.cause, report.deliberate) == ("killed", True)
    until(lambda: not any(alive(pid) for pid in pids), "the end of the tree")


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_owner_names_the_cause_of_its_kill(supervisor: Supervisor) -> None:
    first, second = started(supervisor, "echo", "a"), started(supervisor, "stubborn", "b")
    first.kill("no longer needed")
    supervisor.kill([second], "as well")
    reports = [first.wait(HANG), second.wait(HANG)]
    assert [(report.cause, report.deliberate) for report in reports if report] == [
        ("no longer needed", True),
        ("as well", True),
    ]


def test_a_failure_ends_all_that_live_together(start_method: str) -> None:
    ends: list[ExitReport] = []
    with Supervisor(start_method=start_method, together=True) as supervisor:
        processes = [supervisor.spawn(spec("stubborn", f"worker {rank}"), ends.append) for rank in range(3)]
        for process in processes:
            assert process.ready.wait(HANG)
        os.kill(processes[1].pid, signal.SIGKILL)
        reports = [process.wait(HANG) for process in processes]
    assert [(report.cause, report.deliberate) for report in reports if report] == [
        ("fate", True),
        ("killed from outside", False),
        ("fate", True),
    ]
    assert ends[0].name == "worker 1", "the failure is told before what followed from it"
    assert len(ends) == 3


def test_without_pidfds_a_thread_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(pid: int) -> int:
        raise OSError("no such call")

    monkeypatch.setattr(os, "pidfd_open", missing)
    with Supervisor(start_method="spawn") as supervisor:
        first, second = started(supervisor, "echo", "a"), started(supervisor, "echo", "b")
        os.kill(first.pid, signal.SIGKILL)
        second.kill()
        reports = [first.wait(HANG), second.wait(HANG)]
    assert [report.cause for report in reports if report] == ["killed from outside", "killed"]


def test_health_is_sampled_into_a_bounded_history(start_method: str) -> None:
    with Supervisor(start_method=start_method, sample_every=0.02, history=5) as supervisor:
        process = started(supervisor, "spin")
        first = process.samples[0].seconds if process.samples else -1.0
        until(lambda: len(process.samples) == 5 and process.samples[0].seconds > first, "a history that moves on")
        seen = supervisor.statistics()["worker"]
        assert seen.alive
        assert seen.pid == process.pid
        assert len(seen.samples) == 5
        latest = seen.latest
        assert latest is not None
        assert seen.peak_memory_bytes is not None
        assert seen.peak_memory_bytes >= latest.memory_bytes > 1 << 20
        assert latest.state in ("running", "sleeping")
        assert latest.threads == 2
        assert latest.children == 0
        until(lambda: any(sample.cpu_percent > 10.0 for sample in process.samples), "it is seen to be busy")
        process.kill()
        process.wait(HANG)
        assert not supervisor.statistics()["worker"].alive


def test_its_children_are_counted(supervisor: Supervisor) -> None:
    process = started(supervisor, "family")
    until(lambda: bool(process.samples) and process.samples[-1].children == 1, "its child is seen")
    process.kill()
    process.wait(HANG)


def test_many_spawns_and_kills_leave_nothing(supervisor: Supervisor) -> None:
    for turn in range(5):
        processes = [supervisor.spawn(spec("echo", f"{turn}.{number}")) for number in range(10)]
        for process in processes[::2]:
            process.calls.settimeout(HANG)
            process.calls.sendall(b"x")
            assert process.calls.recv(1) == b"x"
        supervisor.kill()
        for process in processes:
            report = process.wait(HANG)
            assert report is not None
            assert report.deliberate
            process.calls.close()
