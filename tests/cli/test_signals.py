"""Ctrl-C and SIGTERM, sent to real processes: results are saved, or the process ends at once and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cobre
from cobre.cli.interrupt import Interrupts
from tests.cli.commands import Outcome, environment, finish, start, wait_for
from tests.hydro.cases import case_files, write_case

ENDLESS = ("--set", 'training.stopping_rules=[{"type": "iteration_limit", "limit": 100000000}]')
LONG_ITERATIONS = ("--set", "training.selection.forward_passes=3000", "--set", "training.dual_reuse.mode=off")
MANY_SCENARIOS = ("--set", 'simulation.selection={"method": "sampled", "num_scenarios": 2000000}')


def stopped(outcome: Outcome, out: Path) -> None:
    """It said so, and what it saved is whole."""
    assert outcome.code == 7
    assert "stopping after" in outcome.err
    assert "Traceback" not in outcome.err
    assert sorted(entry.name for entry in out.iterdir()) in (
        ["manifest.json", "policy", "training"],
        ["manifest.json", "policy", "simulation", "training"],
    )


def aborted(process: subprocess.Popen[str], out: Path, read: str = "") -> None:
    """It left at once, and nothing stays."""
    outcome = finish(process, read)
    assert outcome.code == 130, outcome.err
    assert "stopped at once" in outcome.err
    assert "Traceback" not in outcome.err
    assert not out.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_a_training_and_saves_it(case: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    process = start("run", case, "-o", out, "--simulate", *ENDLESS, *MANY_SCENARIOS)
    read = wait_for(process, "iteration ")
    process.send_signal(number)
    outcome = finish(process, read)
    stopped(outcome, out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["training"]["termination_reason"] == "shutdown"
    assert "simulation" not in manifest  # whoever asks to stop has no wish for hours of that
    assert cobre.Policy.load(out / "policy").iterations == manifest["training"]["iterations"]


def test_a_signal_before_the_first_iteration_ends_saves_that_one(case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("train", case, "-o", out, "--json", *ENDLESS, *LONG_ITERATIONS)
    read = wait_for(process, "training brook")
    process.send_signal(signal.SIGINT)
    outcome = finish(process, read)
    stopped(outcome, out)
    assert outcome.document["training"]["iterations"] == 1
    assert outcome.document["stopped_early"] is True


def test_the_second_interrupt_ends_at_once(case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for_minutes = ("--set", "training.selection.forward_passes=300000")
    process = start("train", case, "-o", out, *ENDLESS, *LONG_ITERATIONS, *for_minutes)
    read = wait_for(process, "training brook")
    process.send_signal(signal.SIGINT)
    read += wait_for(process, "stopping after")
    process.send_signal(signal.SIGINT)
    aborted(process, out, read)


def test_an_interrupt_within_the_execution_of_a_text_ends_with_the_code_too(tmp_path: Path) -> None:
    """As where it falls into the making of a dataclass by a late import."""
    (tmp_path / "interrupted.py").write_text(
        "import sys\nfrom cobre.cli import app, main\n"
        "def call(arguments):\n"
        "    try:\n        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n        return 130\n"
        "app.call = call\nsys.exit(main())\n"
    )
    ended = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, env=environment(), check=False)
    assert ended.returncode == 130


def test_a_second_sigterm_asks_for_nothing_new(case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("train", case, "-o", out, *ENDLESS, *LONG_ITERATIONS)
    read = wait_for(process, "training brook")
    process.send_signal(signal.SIGTERM)
    read += wait_for(process, "stopping after")
    process.send_signal(signal.SIGTERM)
    stopped(finish(process, read), out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_case_is_read_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    folder, out = write_case(tmp_path / "case", case_files()), tmp_path / "out"
    (folder / "stages.json").unlink()
    os.mkfifo(folder / "stages.json")
    process = start("run", folder, "-o", out)
    writer = os.open(folder / "stages.json", os.O_WRONLY)  # returns when the process has opened it, and waits for us
    try:
        process.send_signal(number)
        aborted(process, out)
    finally:
        os.close(writer)


def test_a_signal_in_a_simulation_keeps_what_is_done(case: Path, output: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("simulate", case, "--policy", output, "-o", out, "--json", *MANY_SCENARIOS)
    read = wait_for(process, "scenario ")
    process.send_signal(signal.SIGINT)
    outcome = finish(process, read)
    assert outcome.code == 7
    assert outcome.document["simulation"]["complete"] is False
    assert outcome.document["simulation"]["scenarios"] % 100 == 0
    assert sorted(entry.name for entry in out.iterdir()) == ["manifest.json", "simulation"]


def test_quiet_runs_say_that_they_stop(case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("train", case, "-o", out, "--verbose", "--quiet", *ENDLESS)
    read = wait_for(process, "training brook")  # the log's line
    process.send_signal(signal.SIGINT)
    stopped(finish(process, read), out)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
