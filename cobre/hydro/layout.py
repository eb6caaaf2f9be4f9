"""Where the quantities of a stage stand in its linear program.

Arrays of column or row indices, shaped [entity] or [entity, block]; -1 where the stage has no such column or row
because it would be fixed at zero or could never bind. H hydros, R thermals, L lines, B buses, C non-controllable
sources, K blocks, G deficit segments (the longest list of any bus).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.risk import FloatArray

__all__ = ["Places", "StageColumns", "StageLayout", "StageRows", "take"]

Places = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class StageColumns:
    """Columns of a stage. Flows are m3/s, storage hm3, power MW; slacks carry the unit of what they relax."""

    storage: Places  # (H,) at the end of the stage
    turbined: Places  # (H, K)
    spillage: Places  # (H, K)
    diversion: Places  # (H, K)
    inflow_slack: Places  # (H,) water that makes up for a negative inflow
    evaporation: Places  # (H,)
    evaporation_under: Places  # (H,) less evaporated than the surface asks for
    evaporation_over: Places  # (H,) more
    withdrawal_under: Places  # (H,) less withdrawn than asked for
    withdrawal_over: Places  # (H,) more
    turbined_below: Places  # (H, K)
    outflow_below: Places  # (H, K)
    outflow_above: Places  # (H, K)
    generation_below: Places  # (H, K)
    thermal: Places  # (R, K)
    direct: Places  # (L, K) from source to target
    reverse: Places  # (L, K)
    deficit: Places  # (B, G, K)
    excess: Places  # (B, K)
    non_controllable: Places  # (C, K)


@dataclass(frozen=True, eq=False)
class StageRows:
    """Rows of a stage."""

    water: Places  # (H,) hm3
    balance: Places  # (B, K) MW
    evaporation: Places  # (H,) m3/s
    min_turbined: Places  # (H, K) m3/s
    min_outflow: Places  # (H, K) m3/s
    max_outflow: Places  # (H, K) m3/s
    min_generation: Places  # (H, K) MW
    availability: Places  # (C, K) MW, of the sources whose availability is random


@dataclass(frozen=True, eq=False)
class StageLayout:
    columns: StageColumns
    rows: StageRows


def take(values: FloatArray, places: Places) -> FloatArray:
    """Values (n, columns) at ``places`` of any shape: (n, *places.shape), zero where there is no such place."""
    found = values[:, np.where(places < 0, 0, places)] if values.shape[1] else np.zeros((len(values), *places.shape))
    return np.where(places < 0, 0.0, found)
