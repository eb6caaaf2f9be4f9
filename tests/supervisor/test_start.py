"""How processes start: with which interpreter, path and environment, from which script; and when they cannot."""

from __future__ import annotations

import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cobre.errors import CobreError
from cobre.supervisor import ExitReport, Limits, Process, ProcessSpec, Supervisor
from cobre.supervisor.launcher import Order, SpawnLauncher
from cobre.supervisor.local_process import LocalProcess
from tests.supervisor.conftest import HANG, spec, started

SCRIPT = """
import sys
from cobre.supervisor import ProcessSpec, Supervisor
print("the script runs")
import beside
with Supervisor(start_method=METHOD) as supervisor:
    process = supervisor.spawn(ProcessSpec("w", "beside:entry"))
    process.calls.settimeout(60)
    print(process.calls.recv(1000).decode())
print(process.report.cause, process.report.stderr_tail)
"""

BESIDE = """
def entry(end):
    import sys
    end.ready()
    flags = sys.flags.optimize, sys.flags.dev_mode, sys.warnoptions
    end.calls.sendall(repr((sys.modules["__main__"].__dict__.get("__file__"), *flags)).encode())
    end.stop_asked.wait()
"""


def told(process: Process, expression: str) -> Any:
    process.calls.settimeout(HANG)
    process.calls.sendall(expression.encode())
    return eval(process.calls.recv(1 << 20))


@pytest.fixture
def restored_method() -> Iterator[None]:
    before = multiprocessing.get_start_method(allow_none=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def test_fork_is_refused() -> None:
    with pytest.raises(CobreError, match="running threads") as caught:
        Supervisor(start_method="fork")
    assert caught.value.kind == "IncompatibleSettings"
    assert "spawn" in str(caught.value.suggestion)


@pytest.mark.usefixtures("restored_method")
def test_fork_is_refused_where_multiprocessing_was_set_to_it() -> None:
    multiprocessing.set_start_method("fork", force=True)
    with pytest.raises(CobreError) as caught:
        Supervisor()
    assert caught.value.kind == "IncompatibleSettings"
    with Supervisor(start_method="spawn") as supervisor:  # an argument wins
        started(supervisor, "echo")


@pytest.mark.usefixtures("restored_method")
def test_the_method_of_multiprocessing_is_used_and_none_is_pinned() -> None:
    multiprocessing.set_start_method(None, force=True)
    with Supervisor() as supervisor:
        assert told(started(supervisor, "tell"), "__import__('os').getppid()") == os.getpid()
    assert multiprocessing.get_start_method(allow_none=True) is None
    multiprocessing.set_start_method("forkserver", force=True)
    with Supervisor() as supervisor:
        assert told(started(supervisor, "tell"), "__import__('os').getppid()") != os.getpid()


def test_a_fork_server_imports_what_its_first_process_says() -> None:
    there = "'colorsys' in __import__('sys').modules"
    for method, expected in (("forkserver", True), ("spawn", False)):
        with Supervisor(start_method=method) as supervisor:
            first = started(supervisor, "tell", "first", imports=("colorsys", "no_such_module"))
            assert told(first, there) is expected
            assert told(started(supervisor, "tell", "second"), there) is expected


def test_a_method_that_is_none_is_refused() -> None:
    with pytest.raises(CobreError, match="'thread'"):
        Supervisor(start_method="thread")


@pytest.mark.parametrize("wrong", [{"memory_bytes": 0}, {"hang_seconds": -1.0}, {"start_seconds": float("nan")}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(CobreError) as caught:
        Limits(**wrong)  # type: ignore[arg-type]
    assert caught.value.kind == "OutOfRange"


def test_spawned_processes_are_the_only_children() -> None:
    before = set(psutil.Process().children(recursive=True))
    with Supervisor(start_method="spawn") as supervisor:
        processes = [started(supervisor, "echo", str(number)) for number in range(3)]
        children = set(psutil.Process().children(recursive=True)) - before
        assert {child.pid for child in children} == {process.pid for process in processes}


def test_it_has_this_environment_and_what_is_added(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    started(supervisor, "echo", "before")  # a fork server that knows nothing of what follows
    monkeypatch.setenv("OF_THE_PARENT", "1")
    monkeypatch.setenv("REPLACED", "2")
    process = started(supervisor, "tell", environment={"ADDED": "3", "REPLACED": "4"})
    names = ("OF_THE_PARENT", "REPLACED", "ADDED")
    assert told(process, f"[__import__('os').environ.get(n) for n in {names}]") == ["1", "4", "3"]
    assert told(started(supervisor, "tell", "after"), "__import__('os').environ.get('ADDED')") is None


def test_it_has_this_directory_and_path(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started(supervisor, "echo", "before")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "nowhere")
    process = started(supervisor, "tell")
    assert told(process, "__import__('os').getcwd()") == str(tmp_path)
    assert told(process, "__import__('sys').path") == sys.path


def test_it_inherits_nothing_that_it_was_not_given(supervisor: Supervisor) -> None:
    with socket.socket() as other:
        os.set_inheritable(other.fileno(), True)
        process = started(supervisor, "tell")
        listing = "__import__('os').listdir('/proc/self/fd')"
        assert len(told(process, listing)) == 7, "the usual three, two connections, a board, and the listing"


def test_it_loads_little() -> None:
    with Supervisor(start_method="spawn") as supervisor:
        loaded = set(told(started(supervisor, "tell"), "sorted(__import__('sys').modules)"))
    heavy = {"numpy", "psutil", "multiprocessing", "subprocess", "asyncio", "dataclasses", "logging", "pickle", "zmq"}
    assert not loaded & heavy


@pytest.mark.parametrize("how", ["script", "command", "stdin", "interactive"])
def test_from_every_kind_of_script_and_none_runs_twice(how: str, start_method: str, tmp_path: Path) -> None:
    text = SCRIPT.replace("METHOD", repr(start_method))
    (tmp_path / "beside.py").write_text(BESIDE)
    (tmp_path / "script.py").write_text(text)
    for shadow in ("socket", "marshal", "signal", "ctypes", "mmap", "threading"):
        (tmp_path / shadow).mkdir()  # what would shadow the standard library if an empty path came first
    if how == "interactive":
        text = f"exec({text!r})\n"
    arguments = {"script": ["script.py"], "command": ["-c", text], "stdin": ["-"], "interactive": ["-i", "-q"]}[how]
    done = subprocess.run(
        [sys.executable, *arguments], input=text, cwd=tmp_path, capture_output=True, text=True, timeout=HANG, check=True
    )
    assert done.stdout.splitlines() == ["the script runs", "(None, 0, False, [])", "stopped "]


def test_the_interpreter_s_flags_are_passed_on(start_method: str, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text(BESIDE)
    text = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + SCRIPT.replace("METHOD", repr(start_method))
    command = [sys.executable, "-I", "-O", "-W", "error::UserWarning", "-X", "dev", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=True)
    assert done.stdout.splitlines()[1] == "(None, 1, True, ['default', 'error::UserWarning'])"


def test_an_entry_that_is_not_there_ends_with_its_traceback(supervisor: Supervisor) -> None:
    report = supervisor.spawn(ProcessSpec("w", "no_such_module:entry")).wait(HANG)
    assert report is not None
    assert report.exit_code == 1
    assert "No module named 'no_such_module'" in report.stderr_tail


@pytest.mark.parametrize("executable", ["", "/no/such/python"])
def test_without_an_interpreter_the_report_says_so(
    executable: str, start_method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[ExitReport] = []
    with Supervisor(start_method=start_method) as supervisor:
        monkeypatch.setattr(sys, "executable", executable)
        process = supervisor.spawn(spec("echo", "worker 2"), ends.append)
        report = process.wait(HANG)
        assert report is not None
        assert (report.cause, report.pid, report.deliberate) == ("not started", None, False)
        assert (executable or "sys.executable") in report.stderr_tail
        assert "worker 2 could not be started" in report.describe()
        with pytest.raises(CobreError) as caught:
            process.pid  # noqa: B018
        assert caught.value.kind == "NotStarted"
        monkeypatch.undo()
        started(supervisor, "echo")
    assert ends[0] is report


@pytest.mark.parametrize("room", range(14))
def test_too_many_open_files_is_a_report_and_leaks_nothing(room: int, start_method: str) -> None:
    ends: list[ExitReport] = []
    with Supervisor(start_method=start_method) as supervisor:
        before = started(supervisor, "echo", "before")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = {int(name) for name in os.listdir("/proc/self/fd")}
        free = [number for number in range(max(used) + 20) if number not in used]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[room], hard))
        try:
            process = supervisor.spawn(spec("come_back"), ends.append)
            report = process.wait(HANG)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert report is not None
        assert ends == [report]
        if report.cause == "not started":
            assert "open files" in report.stderr_tail
        else:
            assert room >= 8
            assert (report.cause, report.exit_code) == ("exited", 0)
        before.calls.settimeout(HANG)
        before.calls.sendall(b"x")
        assert before.calls.recv(1) == b"x"
        if process.wiring is not None:
            process.calls.close()


class Failing(SpawnLauncher):
    """Somebody's launcher, with a fault of its own."""

    def launch(self, order: Order) -> LocalProcess:
        raise ZeroDivisionError("in the launcher")


def test_a_launcher_s_fault_is_a_report() -> None:
    with Supervisor(launcher=Failing()) as supervisor:
        report = supervisor.spawn(spec("echo")).wait(HANG)
    assert report is not None
    assert (report.cause, report.stderr_tail) == ("not started", "in the launcher")


def test_the_notebook_s_way() -> None:
    """Cells that run in a module called __main__ which has no file, with a loop running in the thread."""
    text = """
        import asyncio
        async def cell():
            from cobre.supervisor import ProcessSpec, Supervisor
            with Supervisor(start_method="spawn") as supervisor:
                process = supervisor.spawn(ProcessSpec("w", "tests.supervisor.entries:echo"))
                await asyncio.to_thread(process.ready.wait)
            print(process.report.cause)
        asyncio.run(cell())
    """
    command = [sys.executable, "-c", textwrap.dedent(text)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=True)
    assert (done.stdout, done.stderr) == ("stopped\n", "")
