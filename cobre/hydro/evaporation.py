"""Evaporation of a reservoir, linear in its volume."""

from __future__ import annotations

from calendar import monthrange
from datetime import date

import numpy as np
from numpy.typing import ArrayLike

from cobre.sddp.risk import FloatArray

__all__ = ["evaporation_line", "month_hours"]


def month_hours(day: date) -> float:
    """Hours of the calendar month of ``day``: what a coefficient in mm per month is spread over.

    Also where a stage is shorter or longer than its month: the coefficient is a rate.
    """
    return 24.0 * monthrange(day.year, day.month)[1]


def evaporation_line(
    coefficient_mm: ArrayLike, hours: ArrayLike, reference_hm3: ArrayLike, volume_hm3: ArrayLike, area_km2: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Intercept (m3/s) and slope (m3/s per hm3) of the evaporated flow in the stage's mean volume: two arrays (T,).

    The flow is ``c A(v) / (3.6 H)``: c mm over A km2 is ``1000 c A`` m3, spread over H hours. It is developed to
    first order around the reference volume; A is piecewise linear through the points of the reservoir's geometry.
    At a breakpoint the slope is that of the segment above. Outside the points the area is that of the nearest one
    and the slope that of the nearest segment.

    coefficient_mm, hours, reference_hm3: (T,), of the month each stage starts in: mm per month, hours, hm3.
    volume_hm3, area_km2: (points,), at least one, volumes rising.
    """
    c, h, v = (np.asarray(x, np.float64) for x in (coefficient_mm, hours, reference_hm3))
    volume, area = np.asarray(volume_hm3, np.float64), np.asarray(area_km2, np.float64)
    flow = c / (3.6 * h)
    slope = flow * _area_slope(v, volume, area)
    return flow * np.interp(v, volume, area) - slope * v, slope


def _area_slope(v: FloatArray, volume: FloatArray, area: FloatArray) -> FloatArray:
    if volume.size < 2:
        return np.zeros(v.shape)
    segment = np.searchsorted(volume, v, side="right") - 1
    slopes: FloatArray = np.diff(area) / np.diff(volume)
    return slopes[np.clip(segment, 0, slopes.size - 1)]
