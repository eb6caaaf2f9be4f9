"""Pictures: what they show, how they fail, and that they leave matplotlib's global state alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cobre
from cobre.errors import CobreError, IOError
from cobre.plots import plot_convergence, plot_storages
from tests.drawing import ready_to_draw
from tests.sddp.small import cascade


@pytest.fixture(scope="session", autouse=True)
def _ready_to_draw() -> None:
    ready_to_draw()


def history(lower: list[float], upper: list[float], ci: float = 1.0) -> pa.Table:
    count = len(lower)
    return pa.table(
        {
            "iteration": pa.array(range(1, count + 1), pa.int32()),
            "lower_bound": lower,
            "upper_bound": upper,
            "ci_95": [ci] * count,
        }
    )


def simulated_hydros(folder: Path, stages: int = 3) -> Path:
    """Two blocks of two scenarios: hydro 4 keeps 10 times the scenario, hydro 9 is emptied."""
    for block in range(2):
        rows = [
            {
                "scenario_id": s, "stage_id": t, "block_id": k, "hydro_id": h,
                "storage_initial_hm3": 100.0 if t == 0 or h == 9 else 10.0 * s,
                "storage_final_hm3": 10.0 * s if h == 4 else 0.0,
            }
            for s in range(2 * block, 2 * block + 2) for t in range(stages) for k in range(2) for h in (4, 9)
        ]  # fmt: skip
        file = folder / "simulation" / "hydros" / f"scenario_block={block:04d}" / "data.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), file)
    return folder


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines()}


def test_convergence_shows_both_bounds_and_the_interval() -> None:
    figure = plot_convergence(history([50.0, 80.0, 90.0], [130.0, 110.0, 100.0]), title="brook")
    (axes,) = figure.axes
    assert set(lines(axes)) == {"lower bound", "estimate from forward passes"}
    assert lines(axes)["lower bound"].get_ydata().tolist() == [50.0, 80.0, 90.0]
    assert len(axes.collections) == 1
    assert axes.get_xlabel() == "iteration"
    assert axes.get_ylabel() == "cost ($)"
    assert "brook: bound 90 $ after 3 iterations" in axes.get_title(loc="left")


def test_first_iterations_far_off_do_not_flatten_the_rest() -> None:
    lower = [-1e12, *np.linspace(8e7, 1e8, 50)]
    upper = [9e13, *np.linspace(1.3e8, 1.1e8, 50)]
    (axes,) = plot_convergence(history(lower, upper, 2e6)).axes
    low, high = axes.get_ylim()
    assert 0.0 < low < high < 200.0  # million
    assert axes.get_ylabel() == "cost (million $)"


@pytest.mark.parametrize("count", [1, 2])
def test_convergence_of_the_shortest_runs(count: int, tmp_path: Path) -> None:
    plot_convergence(history([5.0] * count, [5.0] * count, 0.0), tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_an_exact_upper_bound_has_no_interval() -> None:
    (axes,) = plot_convergence(history([1.0, 2.0], [4.0, 3.0], 0.0)).axes
    assert set(lines(axes)) == {"lower bound", "upper bound"}
    assert not axes.collections


def test_of_a_maximisation_the_upper_bound_is_the_outer_one() -> None:
    (axes,) = plot_convergence(history([3.0, 5.0, 4.0], [9.0, 8.0, 8.0])).axes
    assert set(lines(axes)) == {"upper bound", "estimate from forward passes"}


def test_a_result_draws_itself(tmp_path: Path) -> None:
    rules = {"training.stopping_rules": [{"type": "iteration_limit", "limit": 4}]}
    result = cobre.train(cascade(), rules)
    result.plot_convergence(tmp_path / "c.svg")
    assert "<svg" in (tmp_path / "c.svg").read_text()


def test_storages_are_bands_of_the_scenarios(tmp_path: Path) -> None:
    figure = plot_storages(simulated_hydros(tmp_path), names={4: "Alto"})
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Alto", "hydro 9"]
    assert lines(first)["median"].get_ydata().tolist() == [100.0, 15.0, 15.0, 15.0]
    assert lines(second)["median"].get_ydata().tolist() == [100.0, 0.0, 0.0, 0.0]
    assert lines(first)["highest and lowest"].get_ydata().tolist() == [100.0, 30.0, 30.0, 30.0]
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["start", "0", "1", "2"]
    assert first.get_ylabel() == "storage (hm3)"


def test_storages_of_many_stages_have_ticks_that_can_be_read(tmp_path: Path) -> None:
    figure = plot_storages(simulated_hydros(tmp_path, stages=60), tmp_path / "s.png")
    assert len(figure.axes[0].get_xticks()) <= 12


def test_storages_without_a_simulation(tmp_path: Path) -> None:
    with pytest.raises(IOError, match="no simulated hydros"):
        plot_storages(tmp_path)


def test_storages_of_a_torn_file(tmp_path: Path) -> None:
    file = simulated_hydros(tmp_path) / "simulation" / "hydros" / "scenario_block=0001" / "data.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(IOError, match="cannot be read"):
        plot_storages(tmp_path)


def test_pyplot_stays_out_of_it() -> None:
    before = "matplotlib.pyplot" in sys.modules
    plot_convergence(history([1.0], [2.0]))
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(CobreError) as caught:
        plot_convergence(history([1.0], [2.0]))
    assert caught.value.kind == "MissingDependency"
    assert "cobre-actors[plot]" in str(caught.value.suggestion)


def test_a_format_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(IOError, match=r"c\.nix"):
        plot_convergence(history([1.0], [2.0]), tmp_path / "c.nix")
    assert list(tmp_path.iterdir()) == []
