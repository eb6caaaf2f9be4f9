"""A hydrothermal case, read and checked: entities in columns, every per-stage value resolved.

Arrays are indexed [stage, entity] or [stage, entity, block]; entities stand in the order of their ids and refer
to each other by position, -1 where there is none. T stages, H hydros, R thermals, L lines, B buses, C
non-controllable sources (NCS). Units: MW, hm3, m3/s, hours; costs in $/MWh, or $ per m3/s and hour.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cobre.sddp.continuing import PolicySettings
from cobre.sddp.risk import RiskMeasure
from cobre.sddp.settings import SimulationSettings, TrainingSettings

__all__ = [
    "Buses",
    "ByStage",
    "Case",
    "CorrelationGroup",
    "Hydros",
    "InflowMethod",
    "Lines",
    "NonControllables",
    "SamplingMethod",
    "StageSpec",
    "Thermals",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
ByStage = FloatArray | tuple[FloatArray, ...]
"""Limits indexed by stage: (T, E), or, where some hold for single blocks, per stage (E, blocks)."""
InflowMethod = Literal["none", "truncation", "penalty", "truncation_with_penalty"]
SamplingMethod = Literal["saa", "lhs", "qmc_sobol", "qmc_halton"]


@dataclass(frozen=True, eq=False)
class StageSpec:
    """A stage's calendar, blocks and openings."""

    id: int
    start_date: date
    end_date: date  # exclusive
    season_id: int | None
    block_names: tuple[str, ...]
    block_hours: FloatArray  # (blocks,)
    openings: int
    sampling: SamplingMethod
    risk: RiskMeasure
    discount: float  # factor on the cost-to-go after this stage


@dataclass(frozen=True, eq=False)
class Buses:
    ids: IntArray  # (B,)
    names: tuple[str, ...]
    segment_depth: tuple[FloatArray, ...]  # per bus: MW of each deficit segment, inf for the last
    segment_cost: tuple[FloatArray, ...]  # per bus: $/MWh, rising
    excess_cost: FloatArray  # (T, B)
    load_mean: FloatArray  # (T, B) MW, zero where no statistics are given
    load_std: FloatArray  # (T, B) MW
    load_factor: tuple[FloatArray, ...]  # per stage: (B, blocks)


@dataclass(frozen=True, eq=False)
class Lines:
    ids: IntArray
    names: tuple[str, ...]
    source: IntArray  # bus positions
    target: IntArray
    direct_mw: tuple[FloatArray, ...]  # per stage: (L, blocks), exchange factors applied, zero out of service
    reverse_mw: tuple[FloatArray, ...]
    exchange_cost: FloatArray  # (T, L)
    losses_percent: FloatArray  # (L,), reported, not in the LP


@dataclass(frozen=True, eq=False)
class Hydros:
    """``min_*`` of 0 and ``max_outflow`` of inf mean: no such limit."""

    ids: IntArray
    names: tuple[str, ...]
    bus: IntArray
    downstream: IntArray  # hydro positions
    diversion: IntArray  # hydro that receives the diverted water
    initial_storage: FloatArray  # (H,) hm3
    min_storage: FloatArray  # (T, H) hm3
    max_storage: FloatArray
    min_turbined: ByStage  # (T, H) m3/s
    max_turbined: ByStage
    min_outflow: ByStage
    max_outflow: ByStage
    max_diversion: ByStage  # 0 where there is no channel
    min_generation: ByStage  # (T, H) MW
    max_generation: ByStage
    withdrawal: FloatArray  # (T, H) m3/s, negative adds water
    productivity: FloatArray  # (T, H) MW per m3/s
    # (T, H): Q_ev = intercept + slope * (v_in + v_out) / 2, in m3/s and m3/s per hm3; zero where there is none
    has_evaporation: NDArray[np.bool_]  # (H,)
    evaporation_intercept: FloatArray
    evaporation_slope: FloatArray
    # penalties, each (T, H)
    spillage_cost: FloatArray
    turbined_cost: FloatArray
    diversion_cost: FloatArray
    turbined_violation_below_cost: FloatArray
    outflow_violation_below_cost: FloatArray
    outflow_violation_above_cost: FloatArray
    generation_violation_below_cost: FloatArray
    evaporation_violation_pos_cost: FloatArray
    evaporation_violation_neg_cost: FloatArray
    withdrawal_violation_pos_cost: FloatArray
    withdrawal_violation_neg_cost: FloatArray
    inflow_nonnegativity_cost: FloatArray
    # noise: inflow = mean + std * eta, m3/s
    inflow_mean: FloatArray  # (T, H)
    inflow_std: FloatArray
    in_service: NDArray[np.bool_] | None = None  # (T, H), None: always; see rows.py for what an absent plant does


@dataclass(frozen=True, eq=False)
class Thermals:
    ids: IntArray
    names: tuple[str, ...]
    bus: IntArray
    min_mw: ByStage  # (T, R)
    max_mw: ByStage
    cost: FloatArray  # (T, R) $/MWh


@dataclass(frozen=True, eq=False)
class NonControllables:
    """Availability: ``max_generation * clip(mean + std * eta, 0, 1) * factor``, zero out of service."""

    ids: IntArray
    names: tuple[str, ...]
    bus: IntArray
    max_generation: FloatArray  # (T, C) MW, zero out of service
    curtailable: NDArray[np.bool_]  # (C,)
    curtailment_cost: FloatArray  # (T, C)
    mean: FloatArray  # (T, C)
    std: FloatArray
    factor: tuple[FloatArray, ...]  # per stage: (C, blocks)
    has_statistics: NDArray[np.bool_] | None = None  # (C,): takes part in the noise, even with std 0; None: std > 0


@dataclass(frozen=True, eq=False)
class CorrelationGroup:
    """Entities of one class whose standard normals are correlated by ``matrix``."""

    kind: Literal["inflow", "load", "ncs"]
    positions: IntArray  # (k,) into the class
    matrix: FloatArray  # (k, k)


@dataclass(frozen=True, eq=False)
class Case:
    """A case directory, read and valid. ``correlation[t]`` holds the groups of stage t."""

    path: Path
    name: str
    stages: tuple[StageSpec, ...]
    buses: Buses
    lines: Lines
    hydros: Hydros
    thermals: Thermals
    non_controllables: NonControllables
    correlation: tuple[tuple[CorrelationGroup, ...], ...]
    inflow_method: InflowMethod
    opening_file: tuple[FloatArray, ...] | None  # per stage: (openings, noise entities), where they come from a file
    tree_seed: int
    training: TrainingSettings
    simulation: SimulationSettings
    simulation_enabled: bool
    policy: PolicySettings = field(default_factory=PolicySettings)
    file_hashes: dict[str, str] = field(default_factory=dict)  # relative path -> SHA-256 of every file read
