"""Openings: what their distribution must be, and what they must not depend on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cobre.hydro.entities import Case, CorrelationGroup, SamplingMethod
from cobre.hydro.load import load_case
from cobre.hydro.noise import noise_entities, openings, spectral_factor
from cobre.hydro.outcomes import realise
from tests.hydro.cases import bus, case_files, hydro, source, with_openings, write_case

METHODS: tuple[SamplingMethod, ...] = ("saa", "lhs", "qmc_sobol", "qmc_halton")


def make(folder: Path, method: SamplingMethod = "saa", count: int = 4, stages: int = 2, plants: int = 2) -> Case:
    hydros = tuple(hydro(i) for i in range(plants))
    case = load_case(write_case(folder, case_files(hydros=hydros, stages=stages, openings=count, inflow_std=5.0)))
    return replace(case, stages=tuple(replace(spec, sampling=method) for spec in case.stages))


def correlated(case: Case, *groups: CorrelationGroup) -> Case:
    return replace(case, correlation=(groups,) * len(case.stages))


@pytest.mark.parametrize("method", METHODS)
def test_generated_openings_are_standard_normal(method: SamplingMethod, tmp_path: Path) -> None:
    eta = openings(make(tmp_path, method, count=2000))[0]
    assert eta.shape == (2000, 2)
    assert np.isfinite(eta).all()
    assert eta.mean(axis=0) == pytest.approx([0.0, 0.0], abs=0.06)
    assert eta.std(axis=0) == pytest.approx([1.0, 1.0], abs=0.05)
    assert (eta**3).mean(axis=0) == pytest.approx([0.0, 0.0], abs=0.2)
    assert np.corrcoef(eta.T)[0, 1] == pytest.approx(0.0, abs=0.06)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bits_and_another_one_others(method: SamplingMethod, tmp_path: Path) -> None:
    case = make(tmp_path, method)
    once, again, other = openings(case), openings(case), openings(replace(case, tree_seed=case.tree_seed + 1))
    assert [a.tobytes() for a in once] == [a.tobytes() for a in again]
    assert not np.array_equal(once[0], other[0])


@pytest.mark.parametrize("method", METHODS)
def test_more_stages_leave_the_openings_of_earlier_ones(method: SamplingMethod, tmp_path: Path) -> None:
    short, long = make(tmp_path / "short", method, stages=2), make(tmp_path / "long", method, stages=5)
    for one, other in zip(openings(short), openings(long), strict=False):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_stages_are_independent(method: SamplingMethod, tmp_path: Path) -> None:
    first, second = openings(make(tmp_path, method, count=1000))
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.1


def test_more_sampled_openings_begin_with_the_same(tmp_path: Path) -> None:
    few, many = (openings(make(tmp_path / str(n), "saa", count=n))[0] for n in (3, 9))
    assert np.array_equal(few, many[:3])


def test_a_latin_hypercube_has_one_point_in_each_stratum(tmp_path: Path) -> None:
    from scipy.special import ndtr

    eta = openings(make(tmp_path, "lhs", count=50))[0]
    for column in ndtr(eta).T:
        assert sorted((column * 50).astype(int).tolist()) == list(range(50))


@pytest.mark.parametrize("count", [1, 3, 8, 20])
@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_openings_can_be_asked_for(method: SamplingMethod, count: int, tmp_path: Path) -> None:
    assert all(eta.shape == (count, 2) for eta in openings(make(tmp_path, method, count=count)))


def test_the_factor_is_the_symmetric_root() -> None:
    matrix = np.array([[1.0, 0.6, 0.2], [0.6, 1.0, -0.3], [0.2, -0.3, 1.0]])
    factor = spectral_factor(matrix)
    assert factor == pytest.approx(factor.T)
    assert factor @ factor == pytest.approx(matrix)


def test_the_factor_of_a_matrix_that_is_not_quite_one_cuts_off_what_is_negative() -> None:
    matrix = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.9], [0.1, 0.9, 1.0]])
    values, vectors = np.linalg.eigh(matrix)
    assert values[0] < 0.0
    factor = spectral_factor(matrix)
    assert factor @ factor == pytest.approx((vectors * np.maximum(values, 0.0)) @ vectors.T)


def test_groups_correlate_their_members_only(tmp_path: Path) -> None:
    case = make(tmp_path, "saa", count=2000, plants=3)
    group = CorrelationGroup("inflow", np.array([2, 0]), np.array([[1.0, 0.8], [0.8, 1.0]]))
    plain, mixed = openings(case)[0], openings(correlated(case, group))[0]
    assert np.array_equal(plain[:, 1], mixed[:, 1])
    correlation = np.corrcoef(mixed.T)
    assert correlation[0, 2] == pytest.approx(0.8, abs=0.03)
    assert abs(correlation[0, 1]) < 0.05
    factor = spectral_factor(group.matrix)
    assert mixed[:, [2, 0]] == pytest.approx(plain[:, [2, 0]] @ factor.T)


def noisy_files() -> dict[str, object]:
    files = case_files(hydros=(hydro(7), hydro(3)), buses=(bus(0), bus(1), bus(2)), load=10.0, inflow_std=2.0,
                       sources=(source(0), source(1), source(2)))  # fmt: skip
    for row in files["scenarios/load_seasonal_stats.parquet"]:
        row["std_mw"] = 40.0 if row["bus_id"] == 1 and row["stage_id"] == 1 else 0.0
    files["scenarios/non_controllable_stats.parquet"] = [
        {"ncs_id": n, "stage_id": t, "mean": 0.5, "std": 0.3 * n} for n in (0, 2) for t in range(2)
    ]
    return with_openings(files, [[[1.0, -1.0, 2.0, 3.0, -2.0]], [[0.5, 0.0, -1.0, 0.0, 1.0]]])


def test_noise_stands_in_the_order_of_hydros_loads_and_sources(tmp_path: Path) -> None:
    case = load_case(write_case(tmp_path, noisy_files()))
    entities = noise_entities(case)
    assert entities.hydros.tolist() == [0, 1]
    assert entities.buses.tolist() == [1]  # random in some stage
    assert entities.sources.tolist() == [0, 2]  # with statistics, even without spread
    assert entities.count == 5
    first, second = openings(case)
    assert first.tolist() == [[1.0, -1.0, 2.0, 3.0, -2.0]]
    assert second.tolist() == [[0.5, 0.0, -1.0, 0.0, 1.0]]


def test_noise_becomes_inflow_load_and_availability(tmp_path: Path) -> None:
    case = load_case(write_case(tmp_path, noisy_files()))
    entities = noise_entities(case)
    early, late = (realise(case, t, entities, eta) for t, eta in enumerate(openings(case)))
    assert early.inflow.tolist() == [[22.0, 18.0]]
    assert early.load[0, :, 0].tolist() == [10.0, 10.0, 10.0]
    assert late.load[0, :, 0].tolist() == [10.0, 0.0, 10.0]  # 10 - 40, cut off at zero
    assert early.available[0, :, 0].tolist() == [20.0, 40.0, 0.0]  # 0.5 - 1.2, cut off at zero
    assert late.available[0, :, 0].tolist() == [20.0, 40.0, 40.0]  # 0.5 + 0.6, cut off at one


@pytest.mark.parametrize(
    ("method", "expected"),
    [("none", -2.0), ("penalty", -2.0), ("truncation", 0.0), ("truncation_with_penalty", 0.0)],
)
def test_truncation_raises_a_negative_inflow_to_zero(method: str, expected: float, tmp_path: Path) -> None:
    files = with_openings(
        case_files(hydros=(hydro(0),), inflow=8.0, inflow_std=5.0, method=method), [[[-2.0]], [[1.0]]]
    )
    case = load_case(write_case(tmp_path, files))
    eta = openings(case)
    assert realise(case, 0, noise_entities(case), eta[0]).inflow.tolist() == [[expected]]
    assert realise(case, 1, noise_entities(case), eta[1]).inflow.tolist() == [[13.0]]


def test_a_negative_mean_without_spread_is_no_noise_to_truncate(tmp_path: Path) -> None:
    case = load_case(write_case(tmp_path, case_files(hydros=(hydro(0),), inflow=-3.0, method="truncation")))
    assert realise(case, 0, noise_entities(case), openings(case)[0]).inflow.tolist() == [[-3.0]]


def test_openings_do_not_depend_on_how_many_threads_blas_has() -> None:
    script = (
        "import hashlib, numpy as np\n"
        "from types import SimpleNamespace as N\n"
        "from cobre.hydro.entities import CorrelationGroup\n"
        "from cobre.hydro.noise import openings\n"
        "k = 400\n"
        "matrix = np.corrcoef(np.random.default_rng(0).normal(size=(k, 2 * k)))\n"
        "group = CorrelationGroup('inflow', np.arange(k), matrix)\n"
        "none = np.zeros((1, 0))\n"
        "case = N(opening_file=None, hydros=N(ids=np.arange(k)), buses=N(load_std=none), tree_seed=1,\n"
        "  non_controllables=N(std=none, has_statistics=None), correlation=((group,),),\n"
        "  stages=(N(id=0, sampling='saa', openings=8),))\n"
        "print(hashlib.sha256(openings(case)[0].tobytes()).hexdigest())\n"
    )
    found = set()
    for threads in ("1", "2"):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1
