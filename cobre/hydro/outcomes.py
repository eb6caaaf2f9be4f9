"""Standardised noise turned into what it means: inflows, loads and the availability of sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cobre.hydro.entities import Case
from cobre.hydro.noise import NoiseEntities
from cobre.sddp.risk import FloatArray

__all__ = ["Outcomes", "realise"]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What each of a stage's N openings brings."""

    inflow: FloatArray  # (N, H) m3/s, of the catchment between a hydro and those above it
    load: FloatArray  # (N, B, K) MW
    available: FloatArray  # (N, C, K) MW, what the non-controllable sources can give


def realise(case: Case, t: int, entities: NoiseEntities, eta: FloatArray) -> Outcomes:
    """The outcomes of stage t under standardised noise (N, entities).

    Inflow is ``mean + std * eta``; the truncating methods raise a negative one to zero where std > 0. Load is
    ``max(0, mean + std * eta) * factor`` where it is random, availability is
    ``max_generation * clip(mean + std * eta, 0, 1) * factor``.
    """
    return Outcomes(_inflow(case, t, entities, eta), _load(case, t, entities, eta), _available(case, t, entities, eta))


def _inflow(case: Case, t: int, entities: NoiseEntities, eta: FloatArray) -> FloatArray:
    h = case.hydros
    values = np.tile(h.inflow_mean[t], (len(eta), 1))
    values[:, entities.hydros] += h.inflow_std[t, entities.hydros] * eta[:, entities.hydro_part]
    if case.inflow_method.startswith("truncation"):
        # It is the noise that is cut off: a negative mean without spread is data, and stays.
        return np.where(h.inflow_std[t] > 0.0, np.maximum(values, 0.0), values)
    return values


def _load(case: Case, t: int, entities: NoiseEntities, eta: FloatArray) -> FloatArray:
    b = case.buses
    values = np.tile(b.load_mean[t], (len(eta), 1))
    random = values[:, entities.buses] + b.load_std[t, entities.buses] * eta[:, entities.load_part]
    values[:, entities.buses] = np.maximum(random, 0.0)
    load: FloatArray = values[:, :, None] * b.load_factor[t]
    return load


def _available(case: Case, t: int, entities: NoiseEntities, eta: FloatArray) -> FloatArray:
    c = case.non_controllables
    share = np.tile(c.mean[t], (len(eta), 1))
    share[:, entities.sources] += c.std[t, entities.sources] * eta[:, entities.source_part]
    available: FloatArray = (c.max_generation[t] * np.clip(share, 0.0, 1.0))[:, :, None] * c.factor[t]
    return available
