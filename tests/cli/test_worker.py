"""Ranks that are started by hand, as a scheduler would; and the options that spread a run over workers."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import cobre
from tests.cli.commands import Cli, Outcome, environment, finish, start, wait_for

SIMULATED = ("--simulate", "--set", 'simulation.selection={"method": "sampled", "num_scenarios": 40}')
ENDLESS = ("--set", 'training.stopping_rules=[{"type": "iteration_limit", "limit": 100000000}]')


def free_port() -> int:
    """One that nobody had a moment ago; a scheduler's user chooses one as well."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def place(backend: str, size: int) -> list[dict[str, str]]:
    """What a scheduler sets for each rank."""
    if backend == "tcp":
        shared = {"COBRE_TCP_COORDINATOR": f"127.0.0.1:{free_port()}", "COBRE_TCP_TOKEN": secrets.token_hex(16)}
    else:
        shared = {"COBRE_SHM_NAME": f"test-{secrets.token_hex(6)}"}
    name = backend.upper()
    own = [{f"COBRE_{name}_RANK": str(rank), f"COBRE_{name}_SIZE": str(size)} for rank in range(size)]
    return [shared | mine for mine in own]


def start_rank(variables: dict[str, str], *arguments: object) -> subprocess.Popen[str]:
    return start("worker", *arguments, env=environment(**variables))


def files_of(folder: Path) -> dict[str, bytes]:
    parts = (folder / "policy", folder / "simulation")
    return {str(p.relative_to(folder)): p.read_bytes() for part in parts for p in part.rglob("*") if p.is_file()}


@pytest.mark.parametrize("backend", ["shm", "tcp"])
def test_three_ranks_by_hand_are_one_run(case: Path, tmp_path: Path, backend: str) -> None:
    out = tmp_path / "out"
    ranks = [start_rank(mine, case, "-o", out, *SIMULATED) for mine in place(backend, 3)]
    outcomes = [finish(rank) for rank in ranks]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes
    assert "after 6 iterations" in outcomes[0].out
    assert "simulated" in outcomes[0].out
    assert [(outcome.out, outcome.err) for outcome in outcomes[1:]] == [("", ""), ("", "")]
    settings = {"simulation.selection": {"method": "sampled", "num_scenarios": 40}}
    one = tmp_path / "one"
    cobre.simulate(case, cobre.train(case, output_directory=one).policy, settings, output_directory=one)
    assert files_of(out) == files_of(one)


def test_what_is_wrong_is_said_by_every_rank_before_any_work(case: Path, tmp_path: Path) -> None:
    (case_copy := tmp_path / "brook").mkdir()
    ranks = [start_rank(mine, case_copy, "-o", tmp_path / "out") for mine in place("shm", 2)]
    outcomes = [finish(rank) for rank in ranks]
    assert [outcome.code for outcome in outcomes] == [3, 3], outcomes
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_taken_ends_all_ranks(case: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    ranks = [start_rank(mine, case, "-o", tmp_path / "out") for mine in place("shm", 2)]
    outcomes = [finish(rank) for rank in ranks]
    assert [outcome.code for outcome in outcomes] == [5, 6], outcomes
    assert "not empty" in outcomes[0].err
    assert "not empty" in outcomes[1].err


def test_a_rank_that_is_killed_ends_the_others(case: Path, tmp_path: Path) -> None:
    ranks = [start_rank(mine, case, "-o", tmp_path / "out", *ENDLESS) for mine in place("shm", 3)]
    wait_for(ranks[0], "iteration ")
    ranks[1].kill()
    outcomes = [finish(rank) for rank in ranks]
    assert [outcome.code for outcome in outcomes] == [6, -signal.SIGKILL, 6], outcomes
    assert "rank 1" in outcomes[0].err
    assert not (tmp_path / "out").exists()


def test_a_signal_to_all_ranks_saves_the_run(case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ranks = [start_rank(mine, case, "-o", out, *ENDLESS) for mine in place("shm", 2)]
    wait_for(ranks[0], "iteration ")
    for rank in ranks:
        rank.send_signal(signal.SIGTERM)
    outcomes = [finish(rank) for rank in ranks]
    assert [outcome.code for outcome in outcomes] == [7, 7], outcomes
    assert (out / "policy").is_dir()


SHM = {"COBRE_SHM_NAME": "x", "COBRE_SHM_SIZE": "2"}
TCP = {"COBRE_TCP_COORDINATOR": "127.0.0.1", "COBRE_TCP_RANK": "0", "COBRE_TCP_SIZE": "2"}


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "COBRE_COMM_BACKEND"),
        ({"COBRE_COMM_BACKEND": "local"}, "COBRE_COMM_BACKEND"),
        (SHM, "COBRE_SHM_RANK"),
        (SHM | {"COBRE_SHM_RANK": "2"}, "rank"),
        (TCP | {"COBRE_TCP_PORT": "0"}, "COBRE_TCP_PORT"),
    ],
)
def test_an_environment_that_is_no_ranks_is_refused(
    cli: Cli, case: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for name in [name for name in os.environ if name.startswith("COBRE_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    outcome = cli("worker", case, "--json")
    assert outcome.code in (3, 6)
    assert says in outcome.err


def test_workers_of_the_command_line(case: Path, tmp_path: Path) -> None:
    """One of them is lost, and replaced."""
    placed = ("--workers", 2, "--backend", "tcp", "--max-restarts", 1)
    fault = json.dumps({"rank": 1, "how": "SIGKILL", "when": "backward", "iteration": 2})
    given = {"env": environment() | {"COBRE_FAULTS": fault}}
    outcome = finish(start("run", case, "-o", tmp_path / "two", *SIMULATED, *placed, **given))
    assert outcome.code == 0, outcome.err
    assert "restart 1 of at most 1: worker 1 (pid" in outcome.err
    assert "was ended by SIGKILL" in outcome.out
    assert "worker 0" in outcome.err
    assert "computing" in outcome.err
    assert finish(start("run", case, "-o", tmp_path / "one", *SIMULATED)).code == 0
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_saves_the_run(case: Path, tmp_path: Path, number: signal.Signals) -> None:
    """As a terminal or a scheduler sends it: the workers get it as well."""
    out = tmp_path / "out"
    process = start("train", case, "-o", out, "-w", 2, *ENDLESS, start_new_session=True)
    read = wait_for(process, "iteration ")
    os.killpg(process.pid, number)
    outcome: Outcome = finish(process, read)
    assert outcome.code == 7, outcome.err
    assert (out / "policy").is_dir()


def test_workers_that_cannot_be_are_refused_before_the_case_is_read(cli: Cli, tmp_path: Path) -> None:
    for arguments in (("--workers", 0), ("--backend", "mpi"), ("--workers", 10**7)):
        outcome = cli("train", tmp_path / "none", *arguments)
        assert outcome.code == 3
        assert str(arguments[1]) in outcome.err
    assert cli("train", tmp_path / "none", "--workers", "many").code == 2
    outcome = cli("train", tmp_path / "none", "--max-restarts", 2)
    assert (outcome.code, "this run has none" in outcome.err) == (3, True)
