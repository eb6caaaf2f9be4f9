"""All stages in one call of the kernel: the bits of one call a stage, whatever the kernel has to stop for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cobre.errors import CommError
from cobre.sddp import kernel_vertices, reuse, sweep
from cobre.sddp.contracts import Part, Serial, Shuffled
from cobre.sddp.kernel import KernelLP, kernel_is_there
from cobre.sddp.risk import CVaR, FloatArray
from cobre.sddp.settings import Enumerated, Sampled, TrainingSettings
from cobre.sddp.stopping import IterationLimit
from cobre.sddp.sweep import Sweep
from cobre.sddp.training import train
from tests.sddp.small import cascade
from tests.sddp.test_training import bits

pytestmark = pytest.mark.skipif(not kernel_is_there(), reason="the kernel was not compiled when cobre was installed")

SETTINGS = TrainingSettings(passes=Sampled(3), stopping=(IterationLimit(12),), dual_reuse="exact")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a sweep did what."""
    counts: dict[str, int] = {}

    def counted(name: str) -> None:
        original = getattr(Sweep, name)

        def call(self: Sweep, *arguments: Any) -> Any:
            counts[name] = counts.get(name, 0) + 1
            return original(self, *arguments)

        monkeypatch.setattr(Sweep, name, call)

    for name in ("forward", "backward", "_answer", "_make_room"):
        counted(name)
    return counts


def both_ways(settings: TrainingSettings, **problem: Any) -> tuple[Any, Any]:
    """Bits of a training by sweeps, and of one that visits stage by stage, its units in any order."""
    given = cascade(**problem)
    return bits(train(given, settings)), bits(train(given, settings, exchange=Shuffled(1)))


@pytest.mark.parametrize("problem", [{}, {"openings": 9}, {"stages": 2, "openings": 1}], ids=str)
def test_the_bits_are_those_of_one_call_a_stage(problem: dict[str, int], calls: dict[str, int]) -> None:
    swept, visited = both_ways(SETTINGS, **problem)
    assert swept == visited
    assert calls["backward"] == 12


def test_equal_trial_points_make_one_cut(calls: dict[str, int]) -> None:
    swept, visited = both_ways(replace(SETTINGS, passes=Sampled(9)), stages=3, openings=2)
    assert swept == visited
    assert calls["backward"] == 12


@pytest.mark.parametrize("unit", [1, 2, 5])
def test_units_of_work_are_those_of_the_settings(unit: int, calls: dict[str, int]) -> None:
    swept, visited = both_ways(replace(SETTINGS, openings_per_unit=unit), openings=5)
    assert swept == visited
    assert calls["backward"] == 12


def test_arrays_grow_on_the_way(calls: dict[str, int]) -> None:
    swept, visited = both_ways(replace(SETTINGS, stopping=(IterationLimit(60),)), openings=9)
    assert swept == visited
    assert calls["_make_room"] > 4


def test_pairs_that_the_kernel_loses_are_solved_otherwise(
    calls: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (kernel_vertices, reuse):
        monkeypatch.setattr(module, "MOST_PIVOTS", 2)
    swept, visited = both_ways(SETTINGS, openings=9)
    assert swept == visited
    assert calls["_answer"] > 0


def test_enumerated_passes_are_swept_back(calls: dict[str, int]) -> None:
    swept, visited = both_ways(replace(SETTINGS, passes=Enumerated()), stages=3, openings=3)
    assert swept == visited
    assert calls["backward"] == 12
    assert "forward" not in calls


def test_a_risk_measure_is_swept_forward_only(calls: dict[str, int]) -> None:
    swept, visited = both_ways(SETTINGS, risk=CVaR(0.3, 0.4))
    assert swept == visited
    assert calls == {"forward": 12}


def test_adaptive_iterations_are_swept_when_they_are_exact(calls: dict[str, int]) -> None:
    swept, visited = both_ways(replace(SETTINGS, dual_reuse="adaptive", stopping=(IterationLimit(40),)), openings=6)
    assert swept == visited
    assert (calls["forward"], calls["backward"]) == (40, 2)


def test_what_would_take_too_much_memory_goes_stage_by_stage(
    calls: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_NUMBERS", 10)
    swept, visited = both_ways(SETTINGS)
    assert swept == visited
    assert "backward" not in calls


def test_a_long_pass_pauses_for_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python hears them between calls of the kernel only."""
    pauses = []
    original = KernelLP.visit

    def visit(self: KernelLP, name: str, at: Any) -> int:
        found = original(self, name, at)
        if found == sweep._PAUSE:
            pauses.append(name)
        return found

    monkeypatch.setattr(KernelLP, "visit", visit)
    train(cascade(stages=12, openings=9), replace(SETTINGS, passes=Sampled(600), stopping=(IterationLimit(4),)))
    assert "cobre_backward" in pauses


@pytest.mark.parametrize("part", ["stage 4", "the passes"])
def test_shares_that_do_not_make_up_the_whole_are_an_error(part: str) -> None:
    """They always do; a bound from a part of the openings would be a wrong one."""

    class Half(Serial):
        place = (0, 2)

        def assigned(self, units: int) -> Sequence[int]:
            return range(units // 2 if part != "the passes" else units)

        def swap(self, mine: FloatArray) -> FloatArray:
            return np.concatenate([mine, np.zeros_like(mine)])

        def gather(self, *parts: Part) -> list[FloatArray]:
            raise AssertionError("everything is swept")

    with pytest.raises(CommError, match=f"of {part} does not make up") as caught:
        train(cascade(), SETTINGS, exchange=Half())
    assert caught.value.kind == "Mismatch"


@pytest.mark.parametrize("pairs", [1, 2, 3, 50])
def test_there_is_room_for_what_a_rank_brings(pairs: int) -> None:
    """Its size is rounded up to the next of 1, 2, 3, 4, 6, 8, 12, ..., and two new vertices always have a place."""
    sizes = sorted(n for k in range(24) for n in (2**k, 3 * 2**k))
    for width in range(1, 300):
        for fresh in {0, 1, 2, pairs}:
            part = 2 + pairs + fresh * width
            assert next(size for size in sizes if size >= part) <= sweep._send_size(pairs, width)
