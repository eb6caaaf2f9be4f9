"""Ending processes: in good order, by force, with their owner, and when the owner itself fails."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from cobre.errors import CobreError
from cobre.supervisor import ExitReport, Grace, ProcessSpec, Supervisor
from cobre.supervisor import process as process_module
from tests.supervisor.conftest import HANG, spec, started, until


def test_one_that_hears_ends_by_itself(supervisor: Supervisor) -> None:
    process = started(supervisor, "echo")
    reports = supervisor.stop()
    assert [(report.exit_code, report.cause, report.deliberate) for report in reports] == [(0, "stopped", True)]
    assert reports == [process.report]


def test_one_that_only_hears_signals_gets_one(supervisor: Supervisor) -> None:
    process = started(supervisor, "terminable")
    report = supervisor.stop([process], Grace(ask=0.1, terminate=HANG))[0]
    assert (report.signal, report.cause, report.deliberate) == ("SIGTERM", "stopped", True)


def test_one_that_hears_nothing_is_killed(supervisor: Supervisor) -> None:
    process = started(supervisor, "stubborn")
    report = supervisor.stop([process], Grace(ask=0.1, terminate=0.1))[0]
    assert (report.signal, report.cause, report.deliberate) == ("SIGKILL", "stopped", True)
    assert report.seconds >= 0.2


def test_one_that_is_stopped_by_a_signal_is_killed(supervisor: Supervisor) -> None:
    process = started(supervisor, "echo")
    os.kill(process.pid, signal.SIGSTOP)
    report = supervisor.stop([process], Grace(ask=0.1, terminate=0.1))[0]
    assert (report.signal, report.cause) == ("SIGKILL", "stopped")


def test_one_that_fails_when_it_is_asked_has_failed(supervisor: Supervisor) -> None:
    process = started(supervisor, "fail_when_asked")
    report = supervisor.stop([process])[0]
    assert (report.exit_code, report.cause, report.deliberate) == (1, "exited", False)
    assert "on the way out" in report.stderr_tail


def test_some_can_be_stopped_and_others_go_on(supervisor: Supervisor) -> None:
    first, second = started(supervisor, "echo", "a"), started(supervisor, "echo", "b")
    first.stop()
    assert first.wait(HANG) is not None
    assert second.alive
    second.calls.settimeout(HANG)
    second.calls.sendall(b"still there")
    assert second.calls.recv(100) == b"still there"


def test_the_answer_to_a_stop_is_there_while_another_takes_its_time(supervisor: Supervisor) -> None:
    slow, quick = started(supervisor, "stubborn", "slow"), started(supervisor, "echo", "quick")
    slow.stop(Grace(ask=HANG, terminate=HANG))
    quick.stop()
    assert quick.wait(HANG) is not None
    assert slow.alive
    slow.kill()
    report = slow.wait(HANG)
    assert report is not None
    assert report.cause == "killed"


def test_leaving_the_block_stops_in_good_order(start_method: str) -> None:
    with Supervisor(start_method=start_method) as supervisor:
        process = started(supervisor, "echo")
    assert process.report is not None
    assert (process.report.exit_code, process.report.cause) == (0, "stopped")


def test_leaving_the_block_by_an_exception_kills(start_method: str) -> None:
    supervisor = Supervisor(start_method=start_method, grace=Grace(HANG, HANG))
    process = started(supervisor, "stubborn")
    with pytest.raises(ZeroDivisionError), supervisor:
        raise ZeroDivisionError
    assert process.report is not None
    assert (process.report.signal, process.report.cause, process.report.deliberate) == ("SIGKILL", "killed", True)


def test_leaving_the_block_ends_what_was_not_even_launched(start_method: str) -> None:
    ends: list[ExitReport] = []
    with Supervisor(start_method=start_method, grace=Grace(HANG, HANG)) as supervisor:
        for number in range(4):
            supervisor.spawn(spec("echo", str(number)), ends.append)
    assert [(report.cause, report.deliberate) for report in ends] == [("stopped", True)] * 4


def test_closing_twice_and_asking_after_that(start_method: str) -> None:
    supervisor = Supervisor(start_method=start_method)
    process = started(supervisor, "echo")
    supervisor.close()
    supervisor.close()
    process.ask()
    process.kill()
    process.send_control(b"nobody is there")
    supervisor.kill()
    assert supervisor.stop() == []
    assert process.marks() == {}
    assert process.wait() is process.report
    with pytest.raises(CobreError) as caught:
        supervisor.spawn(spec("echo"))
    assert caught.value.kind == "Closed"


def test_a_callback_that_raises_ends_everything_and_is_told(
    start_method: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(report: ExitReport) -> None:
        raise ZeroDivisionError("in on_end")

    supervisor = Supervisor(start_method=start_method)
    other = started(supervisor, "stubborn", "other")
    failing = supervisor.spawn(spec("exit_at_once"), fail)
    assert failing.wait(HANG) is not None
    report = other.wait(HANG)
    assert report is not None
    assert report.signal == "SIGKILL"
    for call in (supervisor.stop, supervisor.kill, lambda: supervisor.spawn(spec("echo")), supervisor.close):
        with pytest.raises(CobreError, match="in on_end") as caught:
            call()
        assert caught.value.kind == "Internal"
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "the supervisor failed" in caplog.text


def test_what_was_asked_for_when_the_supervisor_fails_is_told_too() -> None:
    begun, go_on = threading.Event(), threading.Event()
    ends: list[ExitReport] = []

    def fail(report: ExitReport) -> None:
        begun.set()
        go_on.wait(HANG)
        raise ZeroDivisionError

    supervisor = Supervisor(start_method="spawn")
    try:
        supervisor.spawn(spec("exit_at_once"), fail)
        assert begun.wait(HANG)
        late = supervisor.spawn(spec("echo", "late"), ends.append)
    finally:
        go_on.set()
    report = late.wait(HANG)
    assert report is not None
    assert ends == [report]
    assert (report.pid, report.deliberate) == (None, True)
    with pytest.raises(CobreError):
        supervisor.close()


@pytest.mark.parametrize("deed", ["wait", "stop", "close"])
def test_its_own_thread_cannot_wait_for_itself(deed: str) -> None:
    raised: list[CobreError] = []

    def inside(report: ExitReport) -> None:
        try:
            {"wait": process.wait, "stop": supervisor.stop, "close": supervisor.close}[deed]()
        except CobreError as error:
            raised.append(error)

    with Supervisor(start_method="spawn") as supervisor:
        process = supervisor.spawn(spec("come_back"), inside)
        process.wait(HANG)
    assert [error.kind for error in raised] == ["WrongThread"]


def test_a_process_can_be_started_again_from_the_end_of_the_last(start_method: str) -> None:
    ends: list[ExitReport] = []
    third = threading.Event()

    def again(report: ExitReport) -> None:
        ends.append(report)
        if len(ends) < 3:
            supervisor.spawn(spec("exit_at_once"), again)
        else:
            third.set()

    with Supervisor(start_method=start_method) as supervisor:
        supervisor.spawn(spec("exit_at_once"), again)
        assert third.wait(HANG)
    assert [report.exit_code for report in ends] == [3, 3, 3]


def test_messages_arrive_in_order_whatever_their_size(supervisor: Supervisor) -> None:
    process = supervisor.spawn(spec("hear"))
    messages = [bytes([65 + number]) * size for number, size in enumerate((1, 5_000_000, 10, 300_000, 0, 7))]
    for message in messages:  # from before it is there; more than a socket holds
        process.send_control(message)
    process.calls.settimeout(HANG)
    with process.calls.makefile("rb") as heard:
        assert [heard.readline()[:-1] for _ in messages] == messages


def test_a_callback_that_fails_in_the_process_leaves_it_hearing(supervisor: Supervisor) -> None:
    process = started(supervisor, "deaf_once")
    process.send_control(b"one")
    process.send_control(b"two")
    process.calls.settimeout(HANG)
    assert process.calls.recv(100) == b"two"
    report = supervisor.stop()[0]
    assert report.exit_code == 0
    assert "not this one" in report.stderr_tail


def test_an_interrupt_while_it_waits_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor(start_method="spawn", grace=Grace(HANG, HANG))
    process = started(supervisor, "stubborn")
    wait = process_module.Process.wait
    interrupts = iter([KeyboardInterrupt])

    def interrupted(self: process_module.Process, timeout: float | None = None) -> ExitReport | None:
        for interrupt in interrupts:
            raise interrupt
        return wait(self, timeout)

    monkeypatch.setattr(process_module.Process, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        supervisor.close()
    assert process.report is not None
    assert process.report.cause == "killed"


def test_its_fork_server_gone_the_next_process_has_a_new_one(capfd: pytest.CaptureFixture[str]) -> None:
    with Supervisor(start_method="forkserver") as supervisor:
        first = started(supervisor, "tell", "first")
        first.calls.settimeout(HANG)
        first.calls.sendall(b"__import__('os').getppid()")
        os.kill(int(first.calls.recv(100)), signal.SIGKILL)
        report = first.wait(HANG)
        assert report is not None
        assert (report.cause, report.exit_code, report.signal, report.deliberate) == ("unknown", None, None, False)
        assert "did not say how" in report.describe()
        started(supervisor, "echo", "second")


def test_two_may_have_the_same_name_and_the_later_one_s_statistics_are_told(supervisor: Supervisor) -> None:
    first = supervisor.spawn(ProcessSpec("twin", "tests.supervisor.entries:echo"))
    second = supervisor.spawn(ProcessSpec("twin", "tests.supervisor.entries:echo"))
    assert first.pid != second.pid
    until(lambda: first.ready.is_set() and second.ready.is_set(), "both are ready")
    assert [seen.pid for seen in supervisor.statistics().values()] == [second.pid]
