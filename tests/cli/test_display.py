"""What progress says, from events alone: figures, time left, numbers as people read them."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from cobre.cli.display import Plan, Progress
from cobre.cli.formats import amount, count, duration, percent, seconds
from cobre.events import ProgressEvent


def trained(iteration: int, each_ms: int) -> ProgressEvent:
    return ProgressEvent(
        "training", iteration, 90.0, 100.0, 0.1, wall_time_ms=iteration * each_ms, iteration_time_ms=each_ms
    )


def simulated(complete: int, total: int, wall_ms: int) -> ProgressEvent:
    return ProgressEvent("simulation", scenarios_complete=complete, scenarios_total=total, wall_time_ms=wall_ms)


def test_time_left_is_that_of_the_iterations_to_come() -> None:
    progress = Progress(Plan("t", total=50))
    assert progress.left() is None
    progress.see(trained(1, 9000))
    for iteration in range(2, 41):
        progress.see(trained(iteration, 2000))
    assert progress.left() == pytest.approx(20.0, abs=0.5)  # the slow first iteration has been forgotten


def test_time_left_is_that_of_the_nearer_limit() -> None:
    progress = Progress(Plan("t", total=1000, time_limit=60.0))
    progress.see(trained(10, 1000))
    assert progress.left() == pytest.approx(50.0, abs=0.5)
    short = Progress(Plan("t", total=12, time_limit=60.0))
    short.see(trained(10, 1000))
    assert short.left() == pytest.approx(2.0, abs=0.5)


def test_nothing_is_left_and_nothing_said_at_the_end() -> None:
    progress = Progress(Plan("t", total=2))
    progress.see(trained(2, 1000))
    assert progress.left() is None


def test_time_left_of_a_simulation() -> None:
    progress = Progress(Plan("s"))  # enumerated scenarios are counted by the run, not by the plan
    progress.see(simulated(100, 400, 5000))
    assert progress.total == 400
    assert progress.left() == pytest.approx(15.0, abs=0.5)


def test_a_plan_without_limits_says_nothing_of_the_time_left() -> None:
    progress = Progress(Plan("t"))
    progress.see(trained(3, 1000))
    assert progress.left() is None


@pytest.mark.parametrize("event", [None, trained(3, 100), simulated(100, 400, 50)])
@pytest.mark.parametrize("total", [None, 400])
def test_the_live_display_fits_narrow_terminals(event: ProgressEvent | None, total: int | None) -> None:
    from cobre.cli.display import _Live

    progress = Progress(Plan("training brook", total=total))
    if event is not None:
        progress.see(event)
    live = _Live(progress)
    live.tell("stopping")
    console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    console.print(live)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("training brook")
    assert lines[-1] == "stopping"
    assert all(len(line) <= 40 for line in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234.50"), (123456789.6, "123,456,790"), (-0.5, "-0.50"), (2e15, "2.000000000e+15"), (None, "-"),
     (math.nan, "-"), (math.inf, "inf")],
)  # fmt: skip
def test_amounts(value: float | None, text: str) -> None:
    assert amount(value) == text


def test_an_interval_has_the_decimals_of_its_mean() -> None:
    assert amount(1234.56, beside=99_000_000.0) == "1,235"


def test_other_numbers() -> None:
    assert [percent(x) for x in (0.0, 0.01234, 12.0, None)] == ["0 %", "1.23 %", "1,200 %", "-"]
    assert [duration(x) for x in (-1.0, 7.4, 750.0, 10920.0)] == ["0:00", "0:07", "12:30", "3:02:00"]
    assert [seconds(x) for x in (0.0041, 0.52, 41.3, 750.0)] == ["4.1 ms", "0.52 s", "41.3 s", "12:30"]
    assert [count(1, "bus", "buses"), count(1200, "bus", "buses"), count(2, "cut")] == [
        "1 bus",
        "1,200 buses",
        "2 cuts",
    ]
