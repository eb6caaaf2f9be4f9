"""The linear evaporation of a reservoir against numbers that the reference implementation (0.18.0) writes out."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from numpy.typing import NDArray

from cobre.hydro.evaporation import evaporation_line, month_hours

POINTS = ((0.0, 100.0, 200.0), (0.5, 10.0, 15.0))
SHORT = ((20.0, 100.0, 150.0), (0.5, 10.0, 15.0))
FLAT = ((0.0,), (0.5,))
JANUARY = 744.0


def line(points: tuple[tuple[float, ...], ...], reference: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return evaporation_line([100.0], [JANUARY], [reference], *points)


@pytest.mark.parametrize(
    ("points", "reference", "intercept", "slope"),
    [
        (POINTS, 50.0, 0.0186678614097969, 0.0035468936678614096),
        (POINTS, 99.0, 0.018667861409796815, 0.0035468936678614096),
        (POINTS, 100.0, 0.18667861409796893, 0.0018667861409796893),  # at a point: the segment above
        (POINTS, 0.0, 0.018667861409796892, 0.0035468936678614096),
        (POINTS, 200.0, 0.18667861409796893, 0.0018667861409796893),  # at the last point: the last segment
        (SHORT, 5.0, -0.0035002240143369168, 0.004433617084826762),  # outside: the nearest area and segment
        (SHORT, 190.0, -0.1493428912783752, 0.0037335722819593787),
        (FLAT, 100.0, 0.018667861409796892, 0.0),
    ],
)
def test_the_line_is_the_reference_s(
    points: tuple[tuple[float, ...], ...], reference: float, intercept: float, slope: float
) -> None:
    found = line(points, reference)
    assert found[0] == pytest.approx([intercept], rel=1e-12)
    assert found[1] == pytest.approx([slope], rel=1e-12, abs=0.0)


def test_the_line_touches_the_curve_at_the_reference_volume() -> None:
    intercept, slope = line(POINTS, 150.0)
    assert intercept + slope * 150.0 == pytest.approx([100.0 * 12.5 / (3.6 * JANUARY)])


def test_stages_stand_beside_each_other() -> None:
    intercept, slope = evaporation_line([100.0, 50.0], [744.0, 696.0], [50.0, 150.0], *POINTS)
    for t, (c, h, v) in enumerate(((100.0, 744.0, 50.0), (50.0, 696.0, 150.0))):
        alone = evaporation_line([c], [h], [v], *POINTS)
        assert (intercept[t], slope[t]) == (alone[0][0], alone[1][0])


def test_a_month_has_its_calendar_hours_wherever_the_stage_starts_in_it() -> None:
    assert month_hours(date(2024, 2, 19)) == 24.0 * 29
    assert month_hours(date(2023, 2, 1)) == 24.0 * 28
    assert month_hours(date(2024, 12, 31)) == JANUARY
