"""The whole tree of a problem as one linear program: an answer that owes nothing to the algorithm it checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from cobre.errors import SolverError, ValidationError
from cobre.sddp.problem import Problem, Stage
from cobre.sddp.risk import CVaR, Expectation, FloatArray

__all__ = ["nodes", "solve"]

IndexArray = NDArray[np.int64]


def nodes(problem: Problem) -> int:
    """Nodes of the problem's scenario tree: the openings of stage 1, times those of stage 2, ..., added up."""
    total, width = 0, 1
    for stage in problem.stages:
        width *= len(stage.openings)
        total += width
    return total


def solve(problem: Problem, limit: int = 50_000) -> float:
    """The optimum of ``problem``, in its own sense and unit, from its extensive form.

    One copy of a stage's columns and rows stands for every node of the tree. The variable z of a node is its cost
    with everything after it; a stage's risk measure over the nodes that share a parent enters by its linear
    programming form (Rockafellar and Uryasev, 2000): ``eta + E[max(z - eta, 0)] / alpha`` for CVaR.
    ``cost_to_go_bound`` is not used: a problem whose bound cuts off its optimum shows by the difference.

    limit: nodes that are still solved. Raises ValidationError: OutOfRange for a larger tree, NotSupported for a risk
    measure without a linear programming form here; SolverError where the program is infeasible or unbounded.
    """
    size = nodes(problem)
    if size > limit:
        raise ValidationError(
            f"the extensive form of {problem.name!r} has {size} nodes, more than {limit}",
            kind="OutOfRange",
            suggestion="use fewer openings or stages, or raise the limit",
        )
    program = _Program(problem)
    for t in range(len(problem.stages)):
        program.add_stage(t)
    answer = program.optimise()
    return -answer if problem.sense == "max" else answer


@dataclass(frozen=True)
class _Level:
    """Where the columns of one stage's nodes stand; node k's parent is node ``k // openings`` of the level above."""

    stage: Stage
    count: int  # nodes
    x: int  # node k's first column is x + k * stage.columns
    z: int  # then one per node
    eta: int  # one per parent; -1 without CVaR
    excess: int  # one per node; -1 without CVaR
    end: int


def _tail(stage: Stage) -> tuple[float, float]:
    """The measure as ``(lambda, alpha)`` of ``(1 - lambda) E + lambda CVaR_alpha``."""
    if isinstance(stage.risk, Expectation):
        return 0.0, 1.0
    if isinstance(stage.risk, CVaR):
        return stage.risk.lambda_, stage.risk.alpha
    raise ValidationError(
        f"the extensive form has no linear program for the risk measure {stage.risk.describe()}", kind="NotSupported"
    )


class _Program:
    """The linear program, always a minimisation, its matrix gathered as triplets."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.sign = -1.0 if problem.sense == "max" else 1.0
        self.levels: list[_Level] = []
        end, width = 0, 1
        for stage in problem.stages:
            parents, width = width, width * len(stage.openings)
            z = end + width * stage.columns
            risky = _tail(stage)[0] > 0.0
            eta, excess = (z + width, z + width + parents) if risky else (-1, -1)
            last = excess + width if risky else z + width
            self.levels.append(_Level(stage, width, end, z, eta, excess, last))
            end = last
        self.lower = np.full(end, -np.inf)
        self.upper = np.full(end, np.inf)
        self.entries: list[tuple[IndexArray, IndexArray, FloatArray]] = []
        self.rhs: list[FloatArray] = []
        self.sense: list[NDArray[np.int8]] = []
        self.rows = 0

    def add_stage(self, t: int) -> None:
        """The rows of every node of stage t: its own, that which defines z, and the measure's."""
        level = self.levels[t]
        stage, n = level.stage, level.stage.columns
        self.lower[level.x : level.z] = np.tile(stage.lower, level.count)
        self.upper[level.x : level.z] = np.tile(stage.upper, level.count)
        if level.eta >= 0:
            self.lower[level.excess : level.end] = 0.0
        self._stage_rows(t, level, n)
        self._value_rows(t, level, n)
        if level.eta >= 0:
            self._excess_rows(level)

    def _append(self, rhs: FloatArray, sense: NDArray[np.int8]) -> int:
        first, self.rows = self.rows, self.rows + rhs.size
        self.rhs.append(rhs)
        self.sense.append(sense)
        return first

    def _entry(self, rows: IndexArray, columns: IndexArray, values: FloatArray) -> None:
        flat = np.broadcast_arrays(rows, columns, values)
        self.entries.append((flat[0].ravel(), flat[1].ravel(), flat[2].ravel()))

    def _outgoing(self, t: int) -> IndexArray:
        """Columns (nodes of stage t, states) that hold what each node's parent hands on; t >= 1."""
        above, openings = self.levels[t - 1], len(self.levels[t].stage.openings)
        parent = np.arange(self.levels[t].count) // openings
        return above.x + parent[:, None] * above.stage.columns + above.stage.outgoing[None, :].astype(np.int64)

    def _stage_rows(self, t: int, level: _Level, n: int) -> None:
        stage, k = level.stage, np.arange(level.count)[:, None]
        rhs = np.tile(stage.rhs, (level.count, 1))
        rhs[:, stage.openings.rhs_rows] = stage.openings.rhs[k[:, 0] % len(stage.openings)]
        row, state, value = stage.incoming.triplets()
        if t == 0:
            known = np.bincount(row, weights=value * self.problem.initial_state[state], minlength=stage.rows)
            rhs -= known[: stage.rows]
        first = self._append(rhs.ravel(), np.tile(stage.sense, level.count))
        if t > 0:
            self._entry(first + k * stage.rows + row, self._outgoing(t)[:, state], value)
        row, column, value = stage.matrix.triplets()
        self._entry(first + k * stage.rows + row, level.x + k * n + column, value)

    def _value_rows(self, t: int, level: _Level, n: int) -> None:
        """z >= cost . x + incoming_cost . s + discount * measure(z of the children), each in the minimised sense."""
        stage, k = level.stage, np.arange(level.count)[:, None]
        assert stage.incoming_cost is not None
        cost = np.tile(stage.cost, (level.count, 1))
        cost[:, stage.openings.cost_columns] = stage.openings.cost[k[:, 0] % len(stage.openings)]
        known = self.sign * float(stage.incoming_cost @ self.problem.initial_state) if t == 0 else 0.0
        first = self._append(np.full(level.count, known), np.ones(level.count, dtype=np.int8))
        rows = first + k
        self._entry(rows, level.z + k, np.ones(1))
        self._entry(rows, level.x + k * n + np.arange(n), -self.sign * cost)
        if t > 0:
            self._entry(rows, self._outgoing(t), -self.sign * stage.incoming_cost)
        if t + 1 < len(self.levels):
            columns, weights = self._measure(self.levels[t + 1])
            self._entry(rows, columns, -stage.discount * weights)

    def _measure(self, level: _Level) -> tuple[IndexArray, FloatArray]:
        """The measure over each parent's children as a linear form: columns and weights (parents, terms)."""
        p = level.stage.openings.probability
        lambda_, alpha = _tail(level.stage)
        child = np.arange(level.count).reshape(-1, p.size)
        columns, weights = level.z + child, np.tile((1.0 - lambda_) * p, (child.shape[0], 1))
        if level.eta < 0:
            return columns, weights
        eta = level.eta + np.arange(child.shape[0])[:, None]
        columns = np.hstack([columns, level.excess + child, eta])
        tail = np.append(lambda_ / alpha * p, lambda_)
        return columns, np.hstack([weights, np.tile(tail, (child.shape[0], 1))])

    def _excess_rows(self, level: _Level) -> None:
        k = np.arange(level.count)[:, None]
        rows = self._append(np.zeros(level.count), np.ones(level.count, dtype=np.int8)) + k
        self._entry(rows, level.excess + k, np.ones(1))
        self._entry(rows, level.z + k, -np.ones(1))
        self._entry(rows, level.eta + k // len(level.stage.openings), np.ones(1))

    def optimise(self) -> float:
        rows, columns, values = (np.concatenate(part) for part in zip(*self.entries, strict=True))
        matrix = sparse.csr_matrix((values, (rows, columns)), shape=(self.rows, self.lower.size))
        rhs, sense = np.concatenate(self.rhs), np.concatenate(self.sense)
        objective = np.zeros(self.lower.size)
        place, weights = self._measure(self.levels[0])
        objective[place.ravel()] = weights.ravel()
        flip = -sense[sense != 0].astype(np.float64)  # linprog knows <= and == only
        answer = linprog(
            objective,
            A_ub=sparse.diags(flip) @ matrix[sense != 0] if flip.size else None,
            b_ub=flip * rhs[sense != 0] if flip.size else None,
            A_eq=matrix[sense == 0] if flip.size < sense.size else None,
            b_eq=rhs[sense == 0] if flip.size < sense.size else None,
            bounds=np.column_stack([self.lower, self.upper]),
            method="highs",
            options={"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9},
        )
        if answer.status != 0:
            raise SolverError(
                f"the extensive form of {self.problem.name!r} has no optimum: {answer.message}",
                solver_status=str(answer.message),
                context={"nodes": nodes(self.problem)},
            )
        return float(answer.fun)
