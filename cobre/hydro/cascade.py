"""Where water goes when plants of the cascade are out of service.

Before its entry and from its exit on a plant is a river: its reservoir keeps what it holds, and what reaches it, from
above or from its own catchment, less what is withdrawn there, reaches the plant below in the same block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.entities import Case, IntArray
from cobre.sddp.risk import FloatArray

__all__ = ["in_service", "receivers", "routed"]


def in_service(case: Case, t: int) -> NDArray[np.bool_]:
    """(H,) whether each plant operates in stage t."""
    present = case.hydros.in_service
    return np.ones(case.hydros.ids.size, bool) if present is None else present[t]


def receivers(case: Case, t: int, targets: IntArray) -> IntArray:
    """The first plant in service at or below each target, -1 where the water leaves the system."""
    present = np.append(in_service(case, t), True)  # the last place stands for -1
    below = np.append(case.hydros.downstream, -1)
    found = np.asarray(targets, np.int64)
    for _ in range(case.hydros.ids.size):
        if present[found].all():
            break
        found = np.where(present[found], found, below[found])
    return found


def routed(case: Case, t: int, flow: FloatArray) -> FloatArray:
    """Flows (N, H) that arise at each plant's place, moved to where they arrive: (N, H)."""
    arrive = receivers(case, t, np.arange(case.hydros.ids.size))
    result = np.where(in_service(case, t), flow, 0.0)
    for plant in np.flatnonzero(~in_service(case, t) & (arrive >= 0)):
        result[:, arrive[plant]] += flow[:, plant]
    return result
