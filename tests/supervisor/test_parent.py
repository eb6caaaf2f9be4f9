"""What becomes of processes when the one that supervises them is no more, or is not what it was."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from tests.supervisor.conftest import HANG, until

PARENT = """
import os, signal, sys, time
from cobre.supervisor import ProcessSpec, Supervisor
supervisor = Supervisor(start_method=sys.argv[1])
entries = sys.argv[2:]
processes = [supervisor.spawn(ProcessSpec(e, "tests.supervisor.entries:" + e)) for e in entries]
for process in processes[:-1]:
    process.ready.wait()
stopped = supervisor.spawn(ProcessSpec("stopped", "tests.supervisor.entries:echo"))
stopped.ready.wait()
os.kill(stopped.pid, signal.SIGSTOP)
print(*[p.pid for p in processes], stopped.pid, flush=True)
"""


def run(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(text), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("end", ["time.sleep(600)", "os._exit(0)", "sys.exit()", "os.kill(os.getpid(), 11)"])
def test_processes_do_not_outlive_their_parent_however_it_ends(end: str, start_method: str) -> None:
    family: list[psutil.Process] = []
    # Children of children are nobody's here: only where they can be counted before the end are there any.
    entries = ["echo", "stubborn", "spin", "family" if "sleep" in end else "echo", "never_ready"]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT + end, start_method, *entries],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 6
        if "sleep" in end:
            family = psutil.Process(pids[3]).children(recursive=True)
            parent.send_signal(signal.SIGKILL)
        until(lambda: all(gone(pid) for pid in pids), "the end of all of them")
        assert parent.wait(HANG) is not None
    finally:
        for process in family:
            process.kill()
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()


def test_a_thread_that_spawns_and_ends_takes_nothing_with_it() -> None:
    done = run("""
        import threading, time
        from cobre.supervisor import ProcessSpec, Supervisor
        with Supervisor(start_method="spawn") as supervisor:
            made = []
            spawn = lambda: made.append(supervisor.spawn(ProcessSpec("w", "tests.supervisor.entries:echo")))
            thread = threading.Thread(target=spawn)
            thread.start()
            thread.join()
            made[0].ready.wait()
            time.sleep(0.2)
            assert made[0].alive
            made[0].calls.sendall(b"x")
            assert made[0].calls.recv(1) == b"x"
        print(made[0].report.cause)
    """)
    assert (done.stdout, done.stderr) == ("stopped\n", "")


def test_an_exit_status_that_somebody_else_took_is_not_called_a_success() -> None:
    done = run("""
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        from cobre.supervisor import ProcessSpec, Supervisor
        with Supervisor(start_method="spawn") as supervisor:
            report = supervisor.spawn(ProcessSpec("w", "tests.supervisor.entries:exit_at_once")).wait()
            print(report.cause, report.exit_code, report.deliberate)
            killed = supervisor.spawn(ProcessSpec("v", "tests.supervisor.entries:stubborn"))
            killed.ready.wait()
            killed.kill()
            print(killed.wait().cause)
    """)
    assert (done.stdout, done.stderr) == ("unknown None False\nkilled\n", "")


def test_a_fork_of_the_parent_owns_nothing() -> None:
    done = run("""
        import os, warnings
        warnings.simplefilter("ignore")
        from cobre.errors import CobreError
        from cobre.supervisor import ProcessSpec, Supervisor
        spec = ProcessSpec("w", "tests.supervisor.entries:echo")
        with Supervisor(start_method="spawn") as supervisor:
            process = supervisor.spawn(spec)
            process.ready.wait()
            child = os.fork()
            if child == 0:
                try:
                    supervisor.spawn(spec)
                except CobreError as error:
                    print(error.kind, flush=True)
                supervisor.close()
                process.kill()
                os._exit(0)
            os.waitpid(child, 0)
            process.calls.sendall(b"x")
            assert process.calls.recv(1) == b"x"
        print(process.report.cause)
    """)
    assert (done.stdout, done.stderr) == ("WrongProcess\nstopped\n", "")


def test_a_signal_to_the_parent_s_group_is_the_parent_s_business() -> None:
    done = run("""
        import os, signal, time
        os.setpgid(0, 0)
        from cobre.supervisor import ProcessSpec, Supervisor
        for method in ("spawn", "forkserver"):
            with Supervisor(start_method=method) as supervisor:
                process = supervisor.spawn(ProcessSpec("w", "tests.supervisor.entries:echo"))
                try:
                    os.kill(0, signal.SIGINT)  # as a terminal does, while it starts
                    time.sleep(1)
                except KeyboardInterrupt:
                    print("interrupted")
                process.ready.wait()
                try:
                    os.kill(0, signal.SIGINT)  # and while it works
                    time.sleep(1)
                except KeyboardInterrupt:
                    print("interrupted")
                process.calls.sendall(b"x")
                assert process.calls.recv(1) == b"x"
            print(process.report.cause, process.report.exit_code)
    """)
    assert done.stdout == "interrupted\ninterrupted\nstopped 0\n" * 2
    assert done.stderr == ""


RESTLESS = """
import sys
from cobre.supervisor import ProcessSpec, Supervisor
supervisor = Supervisor(start_method=sys.argv[1])
print("begun", flush=True)
while True:
    entries = ("echo", "stubborn", "spin")
    processes = [supervisor.spawn(ProcessSpec(e, "tests.supervisor.entries:" + e)) for e in entries]
    processes[0].ready.wait()
    supervisor.kill()
    for process in processes:
        process.wait()
"""


def marked(mark: str) -> list[int]:
    """The living processes with this in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and mark in process.environ():
                found.append(process.pid)
    return found


def test_nor_at_any_moment_of_starting_and_ending_them(start_method: str) -> None:
    moments = random.Random(2026)
    for turn in range(6):
        mark = f"MARK_{os.getpid()}_{turn}"
        parent = subprocess.Popen(
            [sys.executable, "-c", RESTLESS, start_method],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, mark: "1"},
        )
        with parent:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"begun\n"
            time.sleep(0.3 * moments.random())
            parent.kill()
        until(lambda mark=mark: not marked(mark), "the end of all of them")  # type: ignore[misc]
