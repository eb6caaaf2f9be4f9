"""Multistage stochastic linear problems on a chain of stages: what the algorithm is given.

Stage t, with the incoming state ``s`` and the opening ``w`` seen before the decision:

    minimise (or maximise)   cost_w . x  +  incoming_cost . s  +  discount * cost_to_go(x[outgoing])
    subject to               A x + B s  (<=, ==, >=)  rhs_w ,     lower <= x <= upper

so that openings and trial points change nothing but right-hand sides and objective coefficients.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cobre.errors import Diagnostic, ValidationError
from cobre.sddp.risk import Expectation, FloatArray, RiskMeasure

__all__ = ["Openings", "Problem", "SparseRows", "Stage"]

IntArray = NDArray[np.int32]


def _floats(values: ArrayLike) -> FloatArray:
    return np.ascontiguousarray(values, dtype=np.float64)


def _ints(values: ArrayLike) -> IntArray:
    return np.ascontiguousarray(values, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A sparse matrix by rows: row i has ``value[start[i]:start[i+1]]`` at columns ``index[...]``."""

    start: IntArray  # (m + 1,)
    index: IntArray  # (nonzeros,)
    value: FloatArray  # (nonzeros,)

    @classmethod
    def from_triplets(
        cls, shape: tuple[int, int], rows: ArrayLike, columns: ArrayLike, values: ArrayLike
    ) -> SparseRows:
        """From coordinate lists; entries at one place are added up, zeros dropped.

        shape: (rows, columns). Raises ValidationError (OutOfRange) for a place outside it.
        """
        r, c, v = _ints(rows).ravel(), _ints(columns).ravel(), _floats(values).ravel()
        if r.size and (r.min() < 0 or c.min() < 0 or r.max() >= shape[0] or c.max() >= shape[1]):
            raise ValidationError(f"a matrix entry lies outside the shape {shape}", kind="OutOfRange")
        place, inverse = np.unique(r.astype(np.int64) * max(shape[1], 1) + c, return_inverse=True)
        total = np.bincount(inverse, weights=v, minlength=place.size) if v.size else np.zeros(0)
        place, total = place[total != 0.0], total[total != 0.0]
        row, column = np.divmod(place, max(shape[1], 1))
        start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
        return cls(_ints(start), _ints(column), _floats(total))

    @property
    def rows(self) -> int:
        return self.start.size - 1

    def triplets(self) -> tuple[IntArray, IntArray, FloatArray]:
        """Row, column and value of every entry, by rows."""
        return np.repeat(np.arange(self.rows, dtype=np.int32), np.diff(self.start)), self.index, self.value


@dataclass(frozen=True, eq=False)
class Openings:
    """The N outcomes of a stage's noise, seen before its decision.

    ``rhs[o]`` replaces the right-hand sides of ``rhs_rows`` under opening o, ``cost[o]`` the objective
    coefficients of ``cost_columns``. Rows and columns that are not listed keep the stage's own.
    """

    probability: FloatArray  # (N,), sums to 1
    rhs_rows: IntArray = field(default_factory=lambda: np.zeros(0, np.int32))  # (K,)
    rhs: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))  # (N, K)
    cost_columns: IntArray = field(default_factory=lambda: np.zeros(0, np.int32))  # (J,)
    cost: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))  # (N, J)

    def __post_init__(self) -> None:
        p = _floats(self.probability).ravel()
        object.__setattr__(self, "probability", p)
        object.__setattr__(self, "rhs_rows", _ints(self.rhs_rows).ravel())
        object.__setattr__(self, "cost_columns", _ints(self.cost_columns).ravel())
        for name, places in (("rhs", self.rhs_rows), ("cost", self.cost_columns)):
            values = _floats(getattr(self, name))
            if values.size == 0 and places.size == 0:
                values = np.zeros((p.size, 0))
            if values.shape != (p.size, places.size):
                raise ValidationError(
                    f"openings: {name} has the shape {values.shape}, not {(p.size, places.size)}",
                    kind="SchemaViolation",
                )
            object.__setattr__(self, name, values)
        if p.size == 0 or not np.all(p >= 0.0) or abs(float(p.sum()) - 1.0) > 1e-9:
            raise ValidationError(
                f"openings: probabilities must be at least one, non-negative and sum to 1, not {p.tolist()[:5]}",
                kind="OutOfRange",
            )

    def __len__(self) -> int:
        return self.probability.size


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage of a problem; n columns, m rows, S states. See the module's formula.

    sense: -1 for ``<=``, 0 for ``==``, +1 for ``>=``.
    incoming: (m, S) coefficients B of the incoming state on the left side of the rows.
    outgoing: the column that holds each state's outgoing value; its bounds bound the state.
    discount: factor on the cost-to-go after this stage.
    risk: the measure over this stage's openings, as the stage before it (or the bound) sees them.
    cost_to_go_bound: a valid bound on the discounted-free cost-to-go (below for a minimisation, above for a
        maximisation); unused in the last stage, whose cost-to-go is zero.
    """

    cost: FloatArray  # (n,)
    lower: FloatArray  # (n,)
    upper: FloatArray  # (n,)
    matrix: SparseRows  # (m, n)
    sense: NDArray[np.int8]  # (m,)
    rhs: FloatArray  # (m,)
    incoming: SparseRows  # (m, S)
    outgoing: IntArray  # (S,)
    openings: Openings
    discount: float = 1.0
    risk: RiskMeasure = field(default_factory=Expectation)
    incoming_cost: FloatArray | None = None  # (S,), zeros if None
    cost_to_go_bound: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cost", "lower", "upper", "rhs"):
            object.__setattr__(self, name, _floats(getattr(self, name)).ravel())
        object.__setattr__(self, "sense", np.ascontiguousarray(self.sense, dtype=np.int8).ravel())
        object.__setattr__(self, "outgoing", _ints(self.outgoing).ravel())
        if self.incoming_cost is None:
            object.__setattr__(self, "incoming_cost", np.zeros(self.outgoing.size))
        else:
            object.__setattr__(self, "incoming_cost", _floats(self.incoming_cost).ravel())

    @property
    def columns(self) -> int:
        return self.cost.size

    @property
    def rows(self) -> int:
        return self.rhs.size

    @property
    def states(self) -> int:
        return self.outgoing.size

    def faults(self) -> list[str]:
        """What is inconsistent in this stage, one sentence each; empty when nothing is."""
        n, m, s = self.columns, self.rows, self.states
        found = [
            f"{name} has length {array.size}, not {size}"
            for name, array, size in (
                ("lower", self.lower, n), ("upper", self.upper, n), ("sense", self.sense, m),
                ("matrix rows", self.matrix.start, m + 1), ("incoming rows", self.incoming.start, m + 1),
                ("incoming_cost", self.incoming_cost, s),
            )
            if array is not None and array.size != size
        ]  # fmt: skip
        for name, index, size in (
            ("matrix column", self.matrix.index, n), ("incoming state", self.incoming.index, s),
            ("outgoing column", self.outgoing, n), ("openings row", self.openings.rhs_rows, m),
            ("openings column", self.openings.cost_columns, n),
        ):  # fmt: skip
            if index.size and (index.min() < 0 or index.max() >= size):
                found.append(f"{name} {int(index.max())} is outside 0..{size - 1}")
        if np.unique(self.outgoing).size != s:
            found.append("two states share one outgoing column")
        finite = (self.cost, self.rhs, self.matrix.value, self.incoming.value, self.openings.rhs, self.openings.cost)
        if not all(np.isfinite(a).all() for a in finite):
            found.append("a cost, coefficient or right-hand side is not finite")
        if np.isnan(self.lower).any() or np.isnan(self.upper).any() or (self.lower > self.upper).any():
            found.append("a column's lower bound is above its upper bound, or not a number")
        if not np.isin(self.sense, (-1, 0, 1)).all():
            found.append("a row's sense is not -1, 0 or 1")
        if not (0.0 < self.discount < np.inf) or not np.isfinite(self.cost_to_go_bound):
            found.append("discount must be positive and cost_to_go_bound finite")
        return found


@dataclass(frozen=True, eq=False)
class Problem:
    """A chain of stages, the state it starts from and the direction of its objective.

    Raises ValidationError, with everything that is inconsistent, when built.
    """

    stages: tuple[Stage, ...]
    initial_state: FloatArray  # (S,)
    sense: Literal["min", "max"] = "min"
    state_names: tuple[str, ...] = ()
    name: str = "problem"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "initial_state", _floats(self.initial_state).ravel())
        states = self.initial_state.size
        if not self.state_names:
            object.__setattr__(self, "state_names", tuple(f"state{i}" for i in range(states)))
        found = [(t, fault) for t, stage in enumerate(self.stages) for fault in stage.faults()]
        found += [
            (t, f"has {stage.states} states where the problem has {states}")
            for t, stage in enumerate(self.stages)
            if stage.states != states
        ]
        if not self.stages:
            found.append((0, "a problem needs at least one stage"))
        if self.sense not in ("min", "max"):
            found.append((0, f"sense must be 'min' or 'max', not {self.sense!r}"))
        if found:
            raise ValidationError.of(
                [Diagnostic("SchemaViolation", self.name, text, entity=f"stage {t + 1}") for t, text in found],
                f"the problem {self.name!r}",
            )

    def fingerprint(self) -> str:
        """A SHA-256 over every number of the problem: a policy says which problem it belongs to by it."""
        digest = hashlib.sha256()
        digest.update(json.dumps([self.sense, len(self.stages), list(self.state_names)]).encode())
        digest.update(self.initial_state.tobytes())
        for stage in self.stages:
            digest.update(json.dumps(_scalars(stage), sort_keys=True).encode())
            for array in _arrays(stage):
                digest.update(str(array.shape).encode())
                digest.update(array.tobytes())
        return digest.hexdigest()


def _scalars(stage: Stage) -> dict[str, Any]:
    return {"discount": stage.discount, "bound": stage.cost_to_go_bound, "risk": stage.risk.describe()}


def _arrays(stage: Stage) -> list[NDArray[Any]]:
    assert stage.incoming_cost is not None
    o = stage.openings
    return [
        stage.cost, stage.lower, stage.upper, stage.matrix.start, stage.matrix.index, stage.matrix.value,
        stage.sense, stage.rhs, stage.incoming.start, stage.incoming.index, stage.incoming.value, stage.outgoing,
        stage.incoming_cost, o.probability, o.rhs_rows, o.rhs, o.cost_columns, o.cost,
    ]  # fmt: skip
