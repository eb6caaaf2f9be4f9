"""The openings of a case: standardised, correlated normals for every stage, from a file or generated.

Generated openings come from a counter-based generator keyed by what they are for (seed, stage, opening), so that
the openings of a stage depend neither on the other stages nor on the order in which they are asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cobre.hydro.entities import Case, CorrelationGroup
from cobre.sddp.risk import FloatArray

__all__ = ["NoiseEntities", "noise_entities", "openings", "spectral_factor"]

IntArray = NDArray[np.int64]

# Keys of the generator's streams: independent purposes never share a counter.
_NORMALS, _STRATA, _SCRAMBLE = 1, 2, 3


@dataclass(frozen=True, eq=False)
class NoiseEntities:
    """Which entities a column of the noise belongs to: hydros, then buses with random load, then sources."""

    hydros: IntArray  # positions
    buses: IntArray
    sources: IntArray

    @property
    def count(self) -> int:
        return self.hydros.size + self.buses.size + self.sources.size

    @property
    def hydro_part(self) -> slice:
        return slice(0, self.hydros.size)

    @property
    def load_part(self) -> slice:
        return slice(self.hydros.size, self.hydros.size + self.buses.size)

    @property
    def source_part(self) -> slice:
        return slice(self.hydros.size + self.buses.size, self.count)


def noise_entities(case: Case) -> NoiseEntities:
    """All hydros, the buses whose load is random in some stage, the sources that have statistics."""
    sources = case.non_controllables
    random = (sources.std > 0.0).any(axis=0) if sources.has_statistics is None else sources.has_statistics
    return NoiseEntities(
        np.arange(case.hydros.ids.size),
        np.flatnonzero((case.buses.load_std > 0.0).any(axis=0)),
        np.flatnonzero(random),
    )


def openings(case: Case) -> tuple[FloatArray, ...]:
    """Per stage (openings, noise entities): standard normals, correlated where the case says so.

    The case's own, as they stand, where it has them in a file; otherwise drawn by each stage's sampling method from
    the case's tree seed. All openings of a stage are equally probable.
    """
    if case.opening_file is not None:
        return case.opening_file
    entities = noise_entities(case)
    # the bits of a factorisation or product depend on how many threads share it (seen from 400 entities on)
    with threadpool_limits(1, user_api="blas"):
        return tuple(
            _correlated(
                _independent(case.tree_seed, spec.id, spec.sampling, spec.openings, entities.count), groups, entities
            )
            for spec, groups in zip(case.stages, case.correlation, strict=True)
        )


def spectral_factor(matrix: FloatArray) -> FloatArray:
    """The symmetric square root of a correlation matrix (k, k): unlike Cholesky's it depends on no order.

    Small negative eigenvalues, as in matrices estimated from data, count as zero.
    """
    values, vectors = np.linalg.eigh(matrix)
    factor: FloatArray = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return factor


def _generator(seed: int, purpose: int, stage: int, opening: int) -> np.random.Generator:
    key = np.random.SeedSequence([abs(seed), purpose, stage, opening])
    return np.random.Generator(np.random.Philox(key))


def _independent(seed: int, stage: int, method: str, count: int, dimension: int) -> FloatArray:
    """Uncorrelated standard normals (count, dimension)."""
    if dimension == 0:
        return np.zeros((count, 0))
    uniforms = _uniforms(seed, stage, method, count, dimension)
    # scipy's function differs in the last bits, and importing it takes longer than the inverse of a million numbers
    normals = np.fromiter(map(NormalDist().inv_cdf, uniforms.ravel().tolist()), np.float64, uniforms.size)
    return normals.reshape(uniforms.shape)


def _uniforms(seed: int, stage: int, method: str, count: int, dimension: int) -> FloatArray:
    if method == "saa":
        return np.stack([_open_unit(_generator(seed, _NORMALS, stage, o), dimension) for o in range(count)])
    if method == "lhs":
        return _latin_hypercube(seed, stage, count, dimension)
    from scipy.stats import qmc  # takes as long to import as all of cobre

    scramble = _generator(seed, _SCRAMBLE, stage, 0)
    if method == "qmc_sobol":
        # A Sobol' sequence is balanced over powers of two only: draw the next one, keep its beginning.
        points = qmc.Sobol(dimension, scramble=True, rng=scramble).random_base2(max(0, math.ceil(math.log2(count))))
    else:
        points = qmc.Halton(dimension, scramble=True, rng=scramble).random(count)
    # Scrambled anew, a sequence keeps much of its order: unshuffled, the o-th openings of two stages go together.
    points = np.asarray(points[:count], np.float64)[_generator(seed, _STRATA, stage, 0).permutation(count)]
    tiny = np.finfo(np.float64).eps
    return np.clip(points, tiny, 1.0 - tiny)


def _open_unit(generator: np.random.Generator, size: int) -> FloatArray:
    """Uniforms strictly inside (0, 1): the middle of one of 2**52 cells."""
    cells = generator.integers(0, 1 << 52, size=size, dtype=np.uint64)
    return (cells.astype(np.float64) + 0.5) / float(1 << 52)


def _latin_hypercube(seed: int, stage: int, count: int, dimension: int) -> FloatArray:
    """One point in each of ``count`` equal strata of every dimension, paired at random."""
    shuffle = _generator(seed, _STRATA, stage, 0)
    strata = np.stack([shuffle.permutation(count) for _ in range(dimension)], axis=1)
    within = np.stack([_open_unit(_generator(seed, _NORMALS, stage, o), dimension) for o in range(count)])
    return (strata + within) / count


def _correlated(eta: FloatArray, groups: tuple[CorrelationGroup, ...], entities: NoiseEntities) -> FloatArray:
    """Applies each group's factor to the columns of its entities that are random."""
    result = eta.copy()
    for group in groups:
        members, part = {
            "inflow": (entities.hydros, entities.hydro_part),
            "load": (entities.buses, entities.load_part),
            "ncs": (entities.sources, entities.source_part),
        }[group.kind]
        column = {int(position): part.start + i for i, position in enumerate(members)}
        inside = [i for i, position in enumerate(group.positions) if int(position) in column]
        columns = [column[int(group.positions[i])] for i in inside]
        result[:, columns] = eta[:, columns] @ spectral_factor(group.matrix)[np.ix_(inside, inside)].T
    return result
