"""A run's output folder: each part of it appears whole, and nothing that stands there is overwritten.

manifest.json                                 versions, settings, hashes of the inputs, timings, results
training/convergence.parquet                  a row an iteration
training/timing/iterations.parquet            where each iteration's time went
policy/                                       see Policy.save
simulation/<what>/scenario_block=NNNN/data.parquet
failures/                                     the LP of a solve that stayed unsolved
checkpoints/iteration-NNNNNN.checkpoint       what an interrupted training goes on from
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cobre.errors import IOError
from cobre.files import new_directory, new_file
from cobre.results import milliseconds
from cobre.sddp.highs import highs_version
from cobre.sddp.plain import plain
from cobre.sddp.policy import Policy
from cobre.sddp.simulation import SimulatedBlock, SimulationOutcome
from cobre.sddp.training import IterationRecord, TrainingOutcome

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RunFolder", "problem_tables", "write_partition"]

MANIFEST = "manifest.json"
CHECKPOINTS, FAILURES = "checkpoints", "failures"


class RunFolder:
    """The folder at ``path``, checked before a run so that no run is lost at its end.

    parts: what the run will write (``training``, ``policy``, ``simulation``); none of them may be there yet, and a
    folder that holds anything else must be one of ours. Raises cobre's IOError where that is not so, or where the
    folder cannot be written; then nothing has been touched.
    """

    def __init__(self, path: str | Path, parts: Sequence[str]) -> None:
        self.path = Path(path)
        self._created = not self.path.exists()
        self._refuse_what_is_there(parts)
        with new_file(self.path / ".writable"):
            pass
        (self.path / ".writable").unlink()

    @property
    def failures(self) -> Path:
        return self.path / FAILURES

    def discard_if_empty(self) -> None:
        """Remove the folder again where this run made it and nothing came of the run."""
        if self._created and self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def write_training(self, outcome: TrainingOutcome, policy: Policy, described: dict[str, Any]) -> tuple[Path, ...]:
        """Write ``training/`` and ``policy/``, then the manifest; returns the files."""
        self._remove_leftovers()
        with new_directory(self.path / "policy") as part:
            policy.write(part)
        with new_directory(self.path / "training") as part:
            begun = sum(int(np.count_nonzero(pool.iterations == 0)) for pool in outcome.cuts)
            _write(_convergence(outcome.records, begun), part / "convergence.parquet")
            _write(_timing(outcome.records), part / "timing" / "iterations.parquet")
        last = outcome.records[-1]
        described = described | {
            "iterations": len(outcome.records),
            "termination_reason": outcome.reason,
            "lower_bound": last.lower_bound,
            "upper_bound": last.upper_bound,
            "gap": last.gap,
            "wall_time_ms": milliseconds(outcome.seconds),
            "solver": plain(outcome.statistics),
        }
        self._describe("training", described)
        return self._files("policy", "training")

    @contextmanager
    def simulation(self) -> Iterator[Path]:
        """The folder to write a simulation into; it appears as ``simulation/`` when the block ends well."""
        with new_directory(self.path / "simulation") as part:
            yield part

    def describe_simulation(self, outcome: SimulationOutcome, described: dict[str, Any]) -> tuple[Path, ...]:
        """Add a finished simulation to the manifest; returns its files."""
        described = described | {
            "scenarios": int(outcome.costs.size),
            "complete": not outcome.stopped,
            "mean_cost": outcome.mean,
            "std_cost": outcome.deviation,
            "wall_time_ms": milliseconds(outcome.seconds),
            "solver": plain(outcome.statistics),
        }
        self._describe("simulation", described)
        return self._files("simulation")

    def _refuse_what_is_there(self, parts: Sequence[str]) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise _taken(self.path, "is no folder")
        there = sorted(entry.name for entry in self.path.iterdir() if not _is_in_the_making(entry))
        if CHECKPOINTS in there and not self._holds("training"):
            there = [
                name for name in there if name not in ("policy", "training")
            ]  # of a run that ended as it wrote them
        if set(there) - {CHECKPOINTS, FAILURES} and MANIFEST not in there:
            raise _taken(self.path, f"is not empty (it holds {', '.join(there[:3])})")
        clash = sorted(set(there) & set(parts))
        if clash:
            raise _taken(self.path, f"already holds {' and '.join(clash)}")

    def refuse_checkpoints(self) -> None:
        """Raises cobre's IOError where an earlier run's checkpoints are here, for one that does not go on from them."""
        folder = self.path / CHECKPOINTS
        if folder.is_dir() and any(path.suffix == ".checkpoint" for path in folder.iterdir()):
            error = _taken(self.path, "holds the checkpoints of an earlier run")
            error.suggestion = "resume that run (--resume, resume=), choose another directory, or remove this one"
            raise error

    def _holds(self, part: str) -> bool:
        """Whether all of a part was written: the manifest, which comes last, says so."""
        manifest = self.path / MANIFEST
        return manifest.exists() and part in json.loads(manifest.read_text(encoding="utf-8"))

    def _remove_leftovers(self) -> None:
        """Of a run that was ended while it wrote its results, and that goes on here."""
        if not (self.path / CHECKPOINTS).is_dir() or self._holds("training"):
            return
        for entry in self.path.iterdir():
            if entry.is_dir() and (entry.name in ("policy", "training") or _is_in_the_making(entry)):
                shutil.rmtree(entry, ignore_errors=True)
            elif _is_in_the_making(entry):
                entry.unlink(missing_ok=True)

    def _describe(self, part: str, described: dict[str, Any]) -> None:
        manifest = self.path / MANIFEST
        known = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
        known[part] = {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "versions": _versions()} | described
        with new_file(manifest) as name:
            name.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")

    def _files(self, *parts: str) -> tuple[Path, ...]:
        found = (file for part in parts for file in sorted((self.path / part).rglob("*")) if file.is_file())
        return (self.path / MANIFEST, *found)


def problem_tables(block: SimulatedBlock, state_names: Sequence[str]) -> dict[str, pa.Table]:
    """``costs`` and ``states`` of a block of scenarios of any problem, a row a scenario and stage."""
    import pyarrow as pa

    count, stages = block.scenarios.size, len(block.stages)
    scenario = np.repeat(block.scenarios, stages).astype(np.int32)
    stage = np.tile(np.arange(1, stages + 1, dtype=np.int32), count)

    def by_scenario(name: str) -> Any:
        return np.stack([getattr(s, name) for s in block.stages], axis=1).ravel()

    keys = {"scenario_id": scenario, "stage": stage}
    costs = {
        "opening": by_scenario("opening").astype(np.int32),
        "probability": np.repeat(block.probability, stages),
        "stage_cost": by_scenario("stage_cost"),
        "cost_to_go": by_scenario("cost_to_go"),
        "discount_factor": np.tile([s.discount for s in block.stages], count),
    }
    incoming = np.stack([s.incoming for s in block.stages], axis=1).reshape(count * stages, -1)
    states = {name: incoming[:, i] for i, name in enumerate(state_names)}
    return {"costs": pa.table(keys | costs), "states": pa.table(keys | states)}


def write_partition(folder: Path, index: int, tables: dict[str, pa.Table]) -> None:
    """Write a block's tables as ``<name>/scenario_block=NNNN/data.parquet``."""
    for name, table in tables.items():
        _write(table, folder / name / f"scenario_block={index:04d}" / "data.parquet")


def _write(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")


def _convergence(records: list[IterationRecord], begun: int) -> pa.Table:
    """begun: how many cuts the training began with."""
    import pyarrow as pa

    active = np.array([r.cuts_active for r in records], np.int64)
    added = np.array([r.cuts_added for r in records], np.int64)
    removed = np.concatenate([[begun], active[:-1]]) + added - active
    return pa.table(
        {
            "iteration": pa.array([r.iteration for r in records], pa.int32()),
            "lower_bound": [r.lower_bound for r in records],
            "upper_bound": [r.upper_bound for r in records],
            "upper_bound_kind": ["exact" if r.exact else "statistical" for r in records],
            "upper_bound_std": [r.upper_bound_std for r in records],
            "ci_95": [r.ci_95 for r in records],
            "gap_percent": [100.0 * r.gap for r in records],
            "cuts_added": pa.array(added, pa.int32()),
            "cuts_removed": pa.array(removed, pa.int32()),
            "cuts_active": pa.array(active, pa.int64()),
            "time_forward_ms": pa.array([milliseconds(r.forward_seconds) for r in records], pa.int64()),
            "time_backward_ms": pa.array([milliseconds(r.backward_seconds) for r in records], pa.int64()),
            "time_total_ms": pa.array([milliseconds(r.iteration_seconds) for r in records], pa.int64()),
            "lp_solves": pa.array([r.solves for r in records], pa.int64()),
        }
    )


def _timing(records: list[IterationRecord]) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "iteration": pa.array([r.iteration for r in records], pa.int32()),
            "rank": pa.array([0] * len(records), pa.int32()),
            "forward_wall_ms": [1000.0 * r.forward_seconds for r in records],
            "backward_wall_ms": [1000.0 * r.backward_seconds for r in records],
            "solver_ms": [1000.0 * r.solver_seconds for r in records],
            "lp_solves": pa.array([r.solves for r in records], pa.int64()),
            "simplex_iterations": pa.array([r.simplex_iterations for r in records], pa.int64()),
        }
    )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = {name: version(name) for name in ("cobre-actors", "numpy", "pyarrow")}
    return packages | {"python": platform.python_version(), "highs": highs_version(), "platform": platform.platform()}


def _is_in_the_making(entry: Path) -> bool:
    """Whether it is something that appears under its own name when it is whole; see ``cobre.files``."""
    return entry.name.startswith(".") and entry.name.endswith((".part", ".writable"))


def _taken(path: Path, why: str) -> IOError:
    return IOError(
        f"the output directory {path} {why}",
        kind="OutputExists",
        context={"path": str(path)},
        suggestion="choose another output directory, or remove this one",
    )
