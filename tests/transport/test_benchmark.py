"""The benchmark of collectives runs, checks what it measures, and says when a system did not get to the end."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SECONDS = 240.0  # a guard against a hang

OPERATIONS = {
    "barrier",
    *(f"allreduce, {size}" for size in ("8 B", "1 KB", "1 MB")),
    *(f"broadcast, {size}" for size in ("1 MB", "10 MB")),
    *(f"allgatherv{how}, {size}" for how in ("", " in place") for size in ("1 KB", "64 KB", "1 MB", "10 MB")),
}
PAGE = "# Title\n\n<!-- figures: made by benchmarks/collectives.py -->\nold\n<!-- end of figures -->\n\nafter\n"


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "collectives.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a quick run over shared memory prints, and its file of figures."""
    path = tmp_path_factory.mktemp("benchmark") / "figures.json"
    done = benchmark("--quick", "--only", "shm,local", "--ranks", "2", "--json", str(path))
    assert done.returncode == 0, done.stderr
    return done.stdout, path


def test_every_operation_of_every_group_has_its_figures(run: tuple[str, Path]) -> None:
    groups = json.loads(run[1].read_text())["groups"]
    assert {(group["system"], group["ranks"]) for group in groups} == {("shm", 2), ("local", 1)}
    for group in groups:
        assert set(group["figures"]) == OPERATIONS
        for figure in group["figures"].values():
            assert 0.0 < figure["best_us"] <= figure["median_us"] < math.inf


@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
def test_memory_of_a_rank_is_told_apart(run: tuple[str, Path]) -> None:
    groups = {group["system"]: group["memory"] for group in json.loads(run[1].read_text())["groups"]}
    # Both ranks' 10 MB pass through the segment.
    assert groups["shm"]["after"]["shared"] > 10.0
    assert groups["local"]["after"]["shared"] == 0.0


def test_the_table_has_a_row_for_each_operation(run: tuple[str, Path]) -> None:
    rows = [line.split("  ")[0] for line in run[0].splitlines()]
    assert all(rows.count(operation) == 2 for operation in OPERATIONS)
    assert "2 ranks: microseconds, median (best)" in rows


def test_figures_replace_those_of_a_page(run: tuple[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page, picture = tmp_path / "page.md", tmp_path / "images" / "picture.svg"
    page.write_text(PAGE)
    picture.parent.mkdir()
    done = benchmark("--from", str(run[1]), "--page", str(page), "--picture", str(picture))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("# Title\n")
    assert text.endswith("<!-- end of figures -->\n\nafter\n")
    assert "(images/picture.svg)" in text
    assert "\n| allgatherv, 10 MB | " in text
    assert "old" not in text
    drawn = picture.read_bytes()
    assert b"<svg" in drawn
    assert len(drawn) < 200_000


def test_a_page_without_a_place_for_figures_stays_as_it_is(run: tuple[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n")
    done = benchmark("--from", str(run[1]), "--page", str(page))
    assert done.returncode != 0
    assert "lacks the lines" in done.stderr
    assert page.read_text() == "# Title\n"


def test_a_system_that_fails_is_told_and_costs_the_others_nothing(tmp_path: Path) -> None:
    mpiexec, page = tmp_path / "mpiexec", tmp_path / "page.md"
    mpiexec.write_text("#!/bin/sh\necho no such host >&2\nexit 3\n")
    mpiexec.chmod(0o700)
    page.write_text(PAGE)
    python = str(tmp_path / "python")
    done = benchmark("--quick", "--only", "local,openmpi", "--ranks", "2", "--openmpi", python, "--page", str(page))
    assert done.returncode == 1
    assert "openmpi with 2 ranks failed: exit codes [3]\nno such host" in done.stderr
    assert "One rank: microseconds" in done.stdout
    assert page.read_text() == PAGE


def rank_program() -> ModuleType:
    specification = importlib.util.spec_from_file_location("collectives_rank", BENCHMARKS / "collectives_rank.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    try:
        specification.loader.exec_module(module)
    finally:
        del sys.modules[specification.name]
    return module


@pytest.mark.parametrize("kind", ["allreduce", "broadcast", "allgatherv", "allgatherv in place"])
def test_a_wrong_result_is_no_figure(kind: str) -> None:
    program = rank_program()

    def nothing(*_: Any) -> None:
        """An exchange that leaves out what the other rank has."""

    idle = program.Group(
        rank=1,
        size=2,
        versions={},
        barrier=nothing,
        allreduce=nothing,
        broadcast=nothing,
        allgatherv=lambda *_: nothing,
        view=nothing,
        close=nothing,
    )
    with pytest.raises(SystemExit, match="wrong result of it on rank 1 of 2"):
        program.prepared(idle, {"name": "it", "kind": kind, "bytes": 1024})
