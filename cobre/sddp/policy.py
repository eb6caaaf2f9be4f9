"""A trained policy: the cuts on every stage's cost-to-go, kept, saved and evaluated."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cobre.errors import IOError, ValidationError
from cobre.files import new_directory
from cobre.sddp.problem import Problem
from cobre.sddp.risk import FloatArray
from cobre.sddp.training import TrainingOutcome

__all__ = ["Policy", "StageCuts"]

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class StageCuts:
    """Cuts on one stage's cost-to-go, in the problem's own sense: n of them on S states."""

    intercepts: FloatArray  # (n,)
    coefficients: FloatArray  # (n, S)
    active: NDArray[np.bool_]  # (n,)
    iterations: NDArray[np.int64]  # (n,)
    bound: float  # what the cost-to-go is bounded by without any cut; 0 in the last stage


@dataclass(frozen=True, eq=False)
class Policy:
    """The cuts of all stages. Stages are numbered from 1; the state is the one a stage is left with.

    fingerprint: of the problem it was trained on.
    """

    stages: tuple[StageCuts, ...]
    state_names: tuple[str, ...]
    sense: Literal["min", "max"]
    fingerprint: str
    problem_name: str
    iterations: int
    final_bound: float
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, outcome: TrainingOutcome) -> Policy:
        """The policy that a training ended with."""
        problem, last = outcome.problem, len(outcome.cuts) - 1
        sign = 1.0 if problem.sense == "min" else -1.0
        stages = tuple(
            StageCuts(
                intercepts=sign * pool.intercepts,
                coefficients=sign * pool.slopes,
                active=pool.active.copy(),
                iterations=pool.iterations.copy(),
                bound=0.0 if t == last else problem.stages[t].cost_to_go_bound,
            )
            for t, pool in enumerate(outcome.cuts)
        )
        return cls(
            stages=stages,
            state_names=problem.state_names,
            sense=problem.sense,
            fingerprint=problem.fingerprint(),
            problem_name=problem.name,
            iterations=len(outcome.records),
            final_bound=outcome.lower_bounds[-1],
        )

    def summary(self) -> dict[str, Any]:
        """stages, state_dimension, total_cuts, cuts_per_stage and active_cuts (lists, one entry a stage)."""
        counts = [int(stage.intercepts.size) for stage in self.stages]
        return {
            "stages": len(self.stages),
            "state_dimension": len(self.state_names),
            "total_cuts": sum(counts),
            "cuts_per_stage": counts,
            "active_cuts": [int(stage.active.sum()) for stage in self.stages],
        }

    def cuts(self, stage: int) -> dict[str, NDArray[Any]]:
        """``intercepts`` (n,), ``coefficients`` (n, S) and ``active`` (n,) of a stage, 1-based.

        Raises IndexError outside 1..stages.
        """
        cuts = self._stage(stage)
        return {
            "intercepts": cuts.intercepts.copy(),
            "coefficients": cuts.coefficients.copy(),
            "active": cuts.active.copy(),
        }

    def evaluate(self, stage: int, state: ArrayLike) -> float:
        """The outer approximation of the cost-to-go after ``stage`` (1-based), left with ``state`` (S,).

        Over every cut, active or not; undiscounted. Raises IndexError outside 1..stages, ValidationError for a state
        of the wrong length.
        """
        cuts, x = self._stage(stage), np.asarray(state, np.float64).ravel()
        if x.size != len(self.state_names):
            raise ValidationError(
                f"the state has {x.size} values, not the policy's {len(self.state_names)}", kind="SchemaViolation"
            )
        heights = cuts.intercepts.copy()
        for j in range(x.size):
            heights += cuts.coefficients[:, j] * x[j]
        if self.sense == "min":
            return float(max([cuts.bound, *heights.tolist()]))
        return float(min([cuts.bound, *heights.tolist()]))

    def check(self, problem: Problem, *, strict: bool = True) -> None:
        """Raise ValidationError (IncompatibleSettings) unless this is a policy of ``problem``.

        strict: every number must be the one trained on; otherwise stages, states and sense suffice.
        """
        faults = []
        if len(self.stages) != len(problem.stages):
            faults.append(f"it has {len(self.stages)} stages, not {len(problem.stages)}")
        if self.state_names != problem.state_names:
            faults.append(f"its states are {list(self.state_names)[:5]}, not {list(problem.state_names)[:5]}")
        if self.sense != problem.sense:
            faults.append(f"its sense is {self.sense}, not {problem.sense}")
        if strict and not faults and self.fingerprint != problem.fingerprint():
            faults.append("its stages and states agree, but it was trained on other numbers")
        if faults:
            raise ValidationError(
                f"the policy (of {self.problem_name!r}) is not one of {problem.name!r}: {'; '.join(faults)}",
                kind="IncompatibleSettings",
                context={"policy": self.problem_name, "problem": problem.name},
                suggestion="train on this case, or, to use it on changed numbers all the same, pass strict=False",
            )

    def save(self, path: str | Path) -> Path:
        """Write the policy to a new folder ``path``: ``metadata.json`` and one Parquet file a stage.

        Raises cobre's IOError where the folder is not empty or cannot be written; nothing half-written stays.
        """
        target = Path(path)
        with new_directory(target) as part:
            self.write(part)
        return target

    def write(self, folder: Path) -> None:
        """Write the files into an existing folder, without the care that ``save`` takes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        (folder / "cuts").mkdir()
        hashes = {}
        for number, cuts in enumerate(self.stages, start=1):
            coefficients = pa.FixedSizeListArray.from_arrays(
                pa.array(cuts.coefficients.ravel(), pa.float64()), len(self.state_names)
            ) if self.state_names else pa.nulls(cuts.intercepts.size)  # fmt: skip
            table = pa.table(
                {
                    "cut_id": pa.array(np.arange(cuts.intercepts.size), pa.int64()),
                    "iteration": pa.array(cuts.iterations, pa.int32()),
                    "active": pa.array(cuts.active, pa.bool_()),
                    "intercept": pa.array(cuts.intercepts, pa.float64()),
                    "coefficients": coefficients,
                }
            )
            file = folder / _cut_file(number)
            pq.write_table(table, file, compression="zstd")
            hashes[_cut_file(number)] = hashlib.sha256(file.read_bytes()).hexdigest()
        metadata = {
            "format": _FORMAT,
            "problem": self.problem_name,
            "fingerprint": self.fingerprint,
            "sense": self.sense,
            "state_names": list(self.state_names),
            "iterations": self.iterations,
            "final_bound": self.final_bound,
            "bounds": [cuts.bound for cuts in self.stages],
            "files": hashes,
            "metadata": self.metadata,
        }
        (folder / "metadata.json").write_text(json.dumps(metadata, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy that ``save`` wrote; it evaluates to the same bits.

        Raises cobre's IOError where a file is missing, torn or altered.
        """
        import pyarrow.parquet as pq

        folder = Path(path)
        try:
            data = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
            if data["format"] != _FORMAT:
                raise _unreadable(folder, f"format {data['format']}, where this version reads {_FORMAT}")
            names = tuple(data["state_names"])
            stages = []
            for number, bound in enumerate(data["bounds"], start=1):
                file = folder / _cut_file(number)
                if hashlib.sha256(file.read_bytes()).hexdigest() != data["files"][_cut_file(number)]:
                    raise _unreadable(folder, f"{_cut_file(number)} is not the file that was written (checksum)")
                table = pq.read_table(file)
                flat = table.column("coefficients").combine_chunks()
                coefficients = flat.flatten().to_numpy() if names else np.zeros(0)
                stages.append(
                    StageCuts(
                        intercepts=table.column("intercept").to_numpy().copy(),
                        coefficients=coefficients.reshape(table.num_rows, len(names)).copy(),
                        active=table.column("active").to_numpy().astype(bool),
                        iterations=table.column("iteration").to_numpy().astype(np.int64),
                        bound=float(bound),
                    )
                )
            return cls(
                stages=tuple(stages),
                state_names=names,
                sense=data["sense"],
                fingerprint=data["fingerprint"],
                problem_name=data["problem"],
                iterations=data["iterations"],
                final_bound=data["final_bound"],
                metadata=data["metadata"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(folder, str(error)) from error

    def _stage(self, stage: int) -> StageCuts:
        if not 1 <= stage <= len(self.stages):
            raise IndexError(f"stage {stage} is outside 1..{len(self.stages)}")
        return self.stages[stage - 1]


def _cut_file(number: int) -> str:
    return f"cuts/stage_{number:03d}.parquet"


def _unreadable(folder: Path, why: str) -> IOError:
    return IOError(
        f"{folder} holds no readable policy: {why}",
        kind="PolicyUnreadable",
        context={"path": str(folder)},
        suggestion="give the 'policy' folder of a training's output",
    )
