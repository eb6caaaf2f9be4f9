"""What a run's output folder holds, read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cobre.errors import IOError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RunRecord", "SimulatedCosts"]

FloatArray = NDArray[np.float64]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SUMS = {"total_cost", "immediate_cost", "future_cost"}
_PARTS_OF_A_SUM = {  # hydro_violation_cost is theirs
    "outflow_violation_below_cost",
    "outflow_violation_above_cost",
    "turbined_violation_cost",
    "generation_violation_cost",
    "evaporation_violation_cost",
    "withdrawal_violation_cost",
}


@dataclass(frozen=True)
class SimulatedCosts:
    """Discounted costs over the scenarios, weighted by their probabilities.

    deviation: of a sample, as the simulation reported it. categories: the mean of every kind of cost that occurs,
    dearest first; empty where the problem tells none apart.
    """

    scenarios: int
    mean: float
    deviation: float
    quantiles: dict[float, float]
    categories: dict[str, float]


class RunRecord:
    """The output folder ``path`` of a run.

    Raises cobre's IOError where it holds no manifest, or one that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        manifest = path / "manifest.json"
        try:
            self.manifest: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
            self.training: dict[str, Any] | None = self.manifest.get("training")
            self.simulation: dict[str, Any] | None = self.manifest.get("simulation")
        except FileNotFoundError as error:
            raise _unreadable(path, "it has no manifest.json") from error
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise _unreadable(path, f"manifest.json: {error}") from error

    def policy(self) -> dict[str, Any]:
        """``stages`` and ``states`` of the saved policy; empty where none is there."""
        try:
            data = json.loads((self.path / "policy" / "metadata.json").read_text(encoding="utf-8"))
            return {"stages": len(data["bounds"]), "states": len(data["state_names"])}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(self.path, f"policy/metadata.json: {error}") from error

    def convergence(self) -> pa.Table | None:
        """``training/convergence.parquet``, None where there was no training."""
        return self._table(self.path / "training" / "convergence.parquet") if self.training else None

    def costs(self) -> SimulatedCosts | None:
        """The costs of the simulated scenarios, None where there was no simulation."""
        if not self.simulation:
            return None
        try:
            return self._costs(self.simulation)
        except (KeyError, ValueError) as error:
            raise _unreadable(self.path, f"simulation/costs: {error}") from error

    def hydro_names(self) -> dict[int, str]:
        """Names of the hydros by id, from the case where it still stands; empty where it does not."""
        source = (self.simulation or self.training or {}).get("source", "")
        try:
            data = json.loads((Path(source) / "system" / "hydros.json").read_text(encoding="utf-8"))
            return {int(hydro["id"]): str(hydro["name"]) for hydro in data["hydros"]}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _costs(self, simulation: dict[str, Any]) -> SimulatedCosts:
        stages = self._parts("costs")
        scenario, place = np.unique(stages["scenario_id"], return_inverse=True)
        own = stages.get("immediate_cost", stages.get("stage_cost"))
        if own is None:
            raise KeyError("no column immediate_cost")
        count, discount = scenario.size, stages["discount_factor"]
        cost = np.bincount(place, weights=own * discount, minlength=count).astype(np.float64)
        probability = self._probability(stages, place, count)
        names = [name for name in stages if name.endswith("_cost") and name not in _SUMS | _PARTS_OF_A_SUM]
        means = {
            name.removesuffix("_cost"): float((stages[name] * discount * probability[place]).sum())
            for name in names
            if name != "stage_cost"
        }
        return SimulatedCosts(
            scenarios=count,
            mean=float(cost @ probability),
            deviation=float(simulation["std_cost"]),
            quantiles=_quantiles(cost, probability),
            categories=_occurring(means),
        )

    def _probability(self, stages: dict[str, FloatArray], place: NDArray[np.intp], count: int) -> FloatArray:
        probability = np.zeros(count)
        if "probability" in stages:
            probability[place] = stages["probability"]
        else:
            summary = self._parts("scenario_summary")
            probability[:] = summary["probability"][np.argsort(summary["scenario_id"])]
        normalised: FloatArray = probability / probability.sum()
        return normalised

    def _parts(self, name: str) -> dict[str, FloatArray]:
        """The columns of a simulation's table, all blocks of scenarios put together."""
        files = sorted((self.path / "simulation" / name).glob("*/data.parquet"))
        if not files:
            raise _unreadable(self.path, f"simulation/{name} is missing")
        tables = [self._table(file) for file in files]
        return {
            column: np.concatenate([table.column(column).to_numpy() for table in tables])
            for column in tables[0].column_names
        }

    def _table(self, file: Path) -> pa.Table:
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(file).read(use_threads=False)
        except (OSError, ValueError) as error:
            raise _unreadable(self.path, f"{file.relative_to(self.path)}: {error}") from error


def _occurring(means: dict[str, float]) -> dict[str, float]:
    """Those that are more than a solver's rounding, dearest first."""
    least = 1e-9 * sum(abs(mean) for mean in means.values())
    return {name: mean for name, mean in sorted(means.items(), key=lambda item: -item[1]) if abs(mean) > least}


def _quantiles(cost: FloatArray, probability: FloatArray) -> dict[float, float]:
    """The smallest cost that is not exceeded with each probability."""
    order = np.argsort(cost, kind="stable")
    reached = np.cumsum(probability[order])
    at = np.minimum(np.searchsorted(reached, np.array(QUANTILES) - 1e-12), cost.size - 1)
    return {q: float(cost[order[i]]) for q, i in zip(QUANTILES, at, strict=True)}


def _unreadable(path: Path, why: str) -> IOError:
    return IOError(
        f"{path} is no readable output of a run: {why}",
        kind="OutputUnreadable",
        context={"path": str(path)},
        suggestion="give the folder that 'cobre run' or 'cobre train' wrote",
    )
