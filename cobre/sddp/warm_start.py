"""A training that begins with the cuts of an earlier one."""

from __future__ import annotations

import numpy as np

from cobre.sddp.batch import SolverStatistics
from cobre.sddp.policy import Policy, StageCuts
from cobre.sddp.problem import Problem, Stage
from cobre.sddp.state import StageState, TrainingState

__all__ = ["warm_state"]


def warm_state(problem: Problem, policy: Policy) -> TrainingState:
    """The state of a training that has the policy's cuts, all of them active, and nothing else yet.

    They count as those of iteration 0. Raises ValidationError for a policy of other stages, states or sense.
    """
    policy.check(problem, strict=False)
    sign = 1.0 if problem.sense == "min" else -1.0
    return TrainingState(
        iteration=0,
        seconds=0.0,
        records=[],
        bounds=[],
        exact=[],
        questioned=False,
        statistics=SolverStatistics(),
        picks=1,
        exact_from=None,
        passes=(),
        visited=[[] for _ in problem.stages],
        stages=tuple(_warm_stage(*pair, sign) for pair in zip(problem.stages, policy.stages, strict=True)),
    )


def _warm_stage(stage: Stage, cuts: StageCuts, sign: float) -> StageState:
    count, states, size = cuts.intercepts.size, stage.states, stage.columns + 1 + stage.rows
    return StageState(
        slopes=sign * cuts.coefficients,
        intercepts=sign * cuts.intercepts,
        iterations=np.zeros(count, np.int64),
        active=np.ones(count, bool),
        last_active=np.zeros(count, np.int64),
        times_active=np.zeros(count, np.int64),
        starts=np.zeros(0, np.int64),
        bases=np.zeros((0, 3 * (stage.columns + 1) + 2 * stage.rows)),
        vertices={
            "levels": np.zeros((len(stage.openings), 0)),
            "slopes": np.zeros((states, 0)),
            "status": np.zeros((0, size), np.int8),
            "tight": np.zeros((0, states + 1), np.int64),
            "last_used": np.zeros(0, np.int64),
            "evictions": np.array(0),
        },
    )
