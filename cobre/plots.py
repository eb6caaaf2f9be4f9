"""Pictures of a run, drawn with matplotlib, which the extra ``plot`` installs and nothing else here needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cobre.errors import CobreError, IOError
from cobre.files import new_file

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["plot_convergence", "plot_storages"]

FloatArray = NDArray[np.float64]

_OUTER, _ESTIMATE = "#0b5394", "#c55a11"
_BANDS = ((0.05, 0.95, 0.18, "5 to 95 %"), (0.25, 0.75, 0.38, "25 to 75 %"))


def plot_convergence(table: pa.Table, path: str | Path | None = None, *, title: str = "Convergence") -> Any:
    """The bounds by iteration, the estimate with its 95 % interval.

    table: a ``TrainingResult.convergence_history`` or a run's ``training/convergence.parquet``. path: where the figure
    is saved as well, in the format of its suffix. The axis shows where the bounds end up: values of the first
    iterations that are far off leave it.

    Returns matplotlib's Figure. Raises CobreError (MissingDependency) without matplotlib, cobre's IOError where
    ``path`` cannot be written.
    """
    figure = _new_figure(8.0, 4.5)
    axes = figure.add_subplot()
    columns = {name: table.column(name).to_numpy() for name in ("iteration", "lower_bound", "upper_bound", "ci_95")}
    iteration, ci = columns["iteration"], columns["ci_95"]
    outer_name, estimate_name = _roles(columns)
    outer, estimate = columns[outer_name], columns[estimate_name]
    low, high = _view(outer, estimate, ci)
    unit, power = _unit(low, high)
    # A single iteration is a point: lines alone would draw nothing.
    marker = "o" if iteration.size < 3 else None
    exact = not np.any(ci > 0.0)
    axes.plot(iteration, outer / unit, color=_OUTER, linewidth=2.0, marker=marker, label=_label(outer_name))
    label = _label(estimate_name) if exact else "estimate from forward passes"
    axes.plot(iteration, estimate / unit, color=_ESTIMATE, linewidth=1.2, marker=marker, label=label)
    if not exact:
        band = (estimate - ci) / unit, (estimate + ci) / unit
        axes.fill_between(iteration, *band, color=_ESTIMATE, alpha=0.18, linewidth=0, label="its 95 % interval")
    axes.set_ylim(low / unit, high / unit)
    axes.set_xlim(iteration[0], max(iteration[-1], iteration[0] + 1))
    axes.set_title(f"{title}: bound {outer[-1] / unit:,.6g} {power}$ after {iteration.size} iterations", loc="left")
    _dress(axes, "iteration", f"cost ({power}$)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return _saved(figure, path)


def plot_storages(output: str | Path, path: str | Path | None = None, *, names: Mapping[int, str] | None = None) -> Any:
    """The storage of every hydro over the stages of a simulation: median, quantile bands, lowest and highest.

    output: a run's folder, which must hold ``simulation/hydros``. names: of the hydros, by id.

    Returns matplotlib's Figure. Raises CobreError (MissingDependency) without matplotlib, cobre's IOError where there
    is no simulation of hydros or ``path`` cannot be written.
    """
    trajectories, stages = _storages(Path(output))
    columns = min(2, len(trajectories))
    rows = math.ceil(len(trajectories) / columns)
    figure = _new_figure(1.0 + 4.5 * columns, 0.8 + 2.6 * rows)
    ends = np.concatenate([[stages[0] - 1], stages])
    for position, (hydro, values) in enumerate(trajectories.items()):
        axes = figure.add_subplot(rows, columns, position + 1)
        for low, high, alpha, label in _BANDS:
            band = np.quantile(values, [low, high], axis=0)
            axes.fill_between(ends, *band, color=_OUTER, alpha=alpha, linewidth=0, label=label)
        axes.plot(ends, np.median(values, axis=0), color=_OUTER, linewidth=2.0, label="median")
        axes.plot(ends, values.max(axis=0), color=_OUTER, linewidth=0.7, linestyle=":", label="highest and lowest")
        axes.plot(ends, values.min(axis=0), color=_OUTER, linewidth=0.7, linestyle=":")
        axes.set_title((names or {}).get(hydro, f"hydro {hydro}"), loc="left")
        axes.set_ylim(bottom=0.0)
        axes.set_xlim(ends[0], ends[-1])
        _dress(axes, "after stage", "storage (hm3)")
        _stage_ticks(axes, ends)
    figure.suptitle(f"Storages in {values.shape[0]} simulated scenarios")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return _saved(figure, path)


def _storages(output: Path) -> tuple[dict[int, FloatArray], NDArray[np.int64]]:
    """Per hydro (scenarios, stages + 1): the storage at the start and after each stage; and the stages' ids."""
    import pyarrow.parquet as pq

    folder = output / "simulation" / "hydros"
    files = sorted(folder.glob("*/data.parquet"))
    columns = ["scenario_id", "stage_id", "block_id", "hydro_id", "storage_initial_hm3", "storage_final_hm3"]
    if not files:
        raise IOError(
            f"{folder} holds no simulated hydros",
            kind="MissingFile",
            context={"path": str(folder)},
            suggestion="simulate the case into this folder first",
        )
    try:
        tables = [pq.ParquetFile(file).read(columns=columns) for file in files]
    except (OSError, ValueError, KeyError) as error:
        raise IOError(f"{folder} cannot be read: {error}", kind="ReadFailed", context={"path": str(folder)}) from error
    data = {name: np.concatenate([table.column(name).to_numpy() for table in tables]) for name in columns}
    first_block = data["block_id"] == data["block_id"].min()  # storage stands beside every block of its stage
    data = {name: values[first_block] for name, values in data.items()}
    stages = np.unique(data["stage_id"]).astype(np.int64)
    found = {}
    for hydro in np.unique(data["hydro_id"]):
        own = np.flatnonzero(data["hydro_id"] == hydro)
        own = own[np.lexsort((data["stage_id"][own], data["scenario_id"][own]))]
        initial = data["storage_initial_hm3"][own].reshape(-1, stages.size)[:, :1]
        final = data["storage_final_hm3"][own].reshape(-1, stages.size)
        found[int(hydro)] = np.hstack([initial, final])
    return found, stages


def _stage_ticks(axes: Any, ends: NDArray[np.int64]) -> None:
    """At most a dozen stages, the first of them named for what it is: the moment before any."""
    step = math.ceil(ends.size / 12)
    axes.set_xticks(ends[::step], ["start", *(str(stage) for stage in ends[step::step])])


def _roles(columns: Mapping[str, FloatArray]) -> tuple[str, str]:
    """Which bound is the outer one: it moves one way only, down for a maximisation's upper bound."""
    lower, upper = columns["lower_bound"], columns["upper_bound"]
    rises, falls = bool(np.all(np.diff(lower) >= 0.0)), bool(np.all(np.diff(upper) <= 0.0))
    if falls and not rises:
        return "upper_bound", "lower_bound"
    return "lower_bound", "upper_bound"


def _label(name: str) -> str:
    return name.replace("_", " ")


def _view(outer: FloatArray, estimate: FloatArray, ci: FloatArray) -> tuple[float, float]:
    """The range to show: all of the later half, and of the earlier half what is not far outside it."""
    later = slice(outer.size // 2, None)
    end = np.concatenate([outer[later], (estimate - ci)[later], (estimate + ci)[later]])
    low, high = float(end.min()), float(end.max())
    span = max(high - low, 1e-6 * max(1.0, abs(high)))
    early = np.concatenate([outer, estimate])
    near = early[(early >= low - 1.5 * span) & (early <= high + 1.5 * span)]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.05 * max(high - low, span)
    return low - margin, high + margin


def _unit(low: float, high: float) -> tuple[float, str]:
    """A power of a thousand that leaves short numbers on the axis, and its name before the currency."""
    names: list[tuple[float, str]] = [(1e12, "trillion "), (1e9, "billion "), (1e6, "million "), (1e3, "thousand ")]
    largest = max(abs(low), abs(high))
    return next(((unit, name) for unit, name in names if largest >= unit), (1.0, ""))


def _new_figure(width: float, height: float) -> Any:
    """A figure of its own: pyplot's global state, its backends and their windows stay out of it."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CobreError(
            "drawing needs matplotlib, which is not installed",
            kind="MissingDependency",
            suggestion="pip install 'cobre-actors[plot]'",
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def _dress(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _saved(figure: Any, path: str | Path | None) -> Any:
    if path is None:
        return figure
    target = Path(path)
    try:
        with new_file(target) as part:
            figure.savefig(part, format=target.suffix.lstrip(".") or "png", dpi=150)
    except ValueError as error:  # a format that matplotlib does not write
        raise IOError(f"{target}: {error}", kind="WriteFailed", context={"path": str(target)}) from error
    return figure
