"""Evaporation of a reservoir, linear in its volume."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cobre.sddp.risk import FloatArray

__all__ = ["evaporation_line"]


def evaporation_line(
    coefficient_mm: ArrayLike, hours: ArrayLike, reference_hm3: ArrayLike, volume_hm3: ArrayLike, area_km2: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Intercept (m3/s) and slope (m3/s per hm3) of the evaporated flow in the stage's mean volume.

    The flow is ``c A(v) / (3.6 H)``: c mm over A km2 is ``1000 c A`` m3, spread over H hours. It is developed to
    first order around the reference volume; A is piecewise linear through the points of the reservoir's geometry.
    At a breakpoint the slope is that of the segment above, beyond the table that of its first or last segment is
    not used: the area is constant there.

    coefficient_mm, hours, reference_hm3: (T,), of each stage, in mm per stage, calendar hours and hm3.
    volume_hm3, area_km2: (points,), volumes rising.
    """
    c, h, v = (np.asarray(x, np.float64) for x in (coefficient_mm, hours, reference_hm3))
    volume, area = np.asarray(volume_hm3, np.float64), np.asarray(area_km2, np.float64)
    flow = c / (3.6 * h)
    slope = flow * _area_slope(v, volume, area)
    return flow * np.interp(v, volume, area) - slope * v, slope


def _area_slope(v: FloatArray, volume: FloatArray, area: FloatArray) -> FloatArray:
    slopes = np.concatenate([[0.0], np.diff(area) / np.diff(volume), [0.0]])
    return slopes[np.searchsorted(volume, v, side="right")]
