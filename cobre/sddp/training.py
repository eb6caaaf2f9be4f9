"""Training: forward passes, backward pass, bound, until a rule says stop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from cobre.sddp.backward import backward, lower_bound
from cobre.sddp.batch import SolverStatistics
from cobre.sddp.contracts import SERIAL, Exchange
from cobre.sddp.cuts import CutPool
from cobre.sddp.forward import Trajectories, enumerated_forward, exact_cost, sampled_forward
from cobre.sddp.model import Model
from cobre.sddp.problem import Problem
from cobre.sddp.reusing import Exactness, reuse_vertices
from cobre.sddp.risk import Expectation, FloatArray
from cobre.sddp.sampling import Draws, scenario_count
from cobre.sddp.selection import Selector
from cobre.sddp.settings import Enumerated, Sampled, TrainingSettings
from cobre.sddp.state import StageState, TrainingState
from cobre.sddp.statistics import PassStatistics
from cobre.sddp.stopping import Progress, StopReason, stop_reason
from cobre.sddp.sweep import Sweep

__all__ = ["IterationRecord", "Observer", "TrainingOutcome", "train"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IterationRecord:
    """One iteration, in the problem's own sense.

    The outer bound is ``lower_bound`` of a minimisation and ``upper_bound`` of a maximisation; the other of the two
    is the estimate from forward passes (exact where they are enumerated), of which ``upper_bound_std`` and ``ci_95``
    (half width) speak. gap: their distance, relative to ``max(1, |estimate|)``. Seconds are wall time of this rank;
    solves, simplex iterations and the solver's seconds are summed over the ranks.
    """

    iteration: int
    lower_bound: float
    upper_bound: float
    upper_bound_std: float
    ci_95: float
    gap: float
    exact: bool
    seconds: float
    iteration_seconds: float
    forward_seconds: float
    backward_seconds: float
    cuts_added: int
    cuts_active: int
    solves: int
    simplex_iterations: int
    solver_seconds: float


Observer = Callable[[IterationRecord], object]
"""Called after each iteration on every rank; returning ``False`` on rank 0 stops all with reason ``shutdown``."""


@dataclass(eq=False)
class TrainingOutcome:
    """What a training gave. ``cuts[t]`` is the pool on stage t's cost-to-go, of the minimisation solved inside.

    statistics: of the solves of all ranks, own_statistics: of this rank's. seconds: wall time of this rank.
    """

    problem: Problem
    records: list[IterationRecord]
    reason: StopReason
    cuts: list[CutPool]
    statistics: SolverStatistics
    seconds: float
    exact_upper_bounds: list[float] = field(default_factory=list)
    own_statistics: SolverStatistics = field(default_factory=SolverStatistics)

    @property
    def lower_bounds(self) -> list[float]:
        """The outer bound after each iteration, in the problem's own sense."""
        maximise = self.problem.sense == "max"
        return [record.upper_bound if maximise else record.lower_bound for record in self.records]


def train(
    problem: Problem,
    settings: TrainingSettings,
    *,
    exchange: Exchange = SERIAL,
    observe: Observer | None = None,
    failure_folder: Path | None = None,
    resume: TrainingState | None = None,
    keep: Callable[[TrainingState], object] | None = None,
    wants: Callable[[int], bool] | None = None,
) -> TrainingOutcome:
    """Train a policy for ``problem``.

    exchange: how ranks share the work; the result has the same bits whatever it is. observe: sees each iteration.
    failure_folder: where the LP of a solve that stays unsolved is written. resume: goes on from there, with the same
    bits as the run that it comes from; the same problem and settings, or the result is neither's. keep: is given the
    state after each iteration that does not end the run; it stays valid, whatever comes. wants: asked before, with
    the number of the iteration, whether it shall be (None: always).

    Raises SolverError when a solve fails whatever is tried, ValidationError when the tree is too large to enumerate.
    """
    if isinstance(settings.passes, Enumerated):
        scenario_count(problem.stages, settings.passes.limit)
    model = Model(
        problem,
        retry_limit=settings.retry_limit,
        openings_per_unit=settings.openings_per_unit,
        failure_folder=failure_folder,
    )
    try:
        run = _Run(model, settings, exchange, observe)
        if resume is not None:
            run.restore(resume)
        return run.go(keep, wants)
    finally:
        model.close()


class _Run:
    """The state of one training."""

    def __init__(self, model: Model, settings: TrainingSettings, exchange: Exchange, observe: Observer | None) -> None:
        self.model, self.settings, self.exchange, self.observe = model, settings, exchange, observe
        self.started = perf_counter()
        self.statistics = SolverStatistics()
        self.records: list[IterationRecord] = []
        self.bounds: list[float] = []  # of the minimisation solved inside, never falling
        self.exact: list[float] = []
        self.passes = PassStatistics(settings.upper_bound_passes)
        stages = model.problem.stages
        self.selector = Selector(settings.cut_selection, len(stages))
        self.neutral = all(isinstance(stage.risk, Expectation) for stage in stages)
        self.questioned = False
        self.reuses = reuse_vertices(model, settings, leads=exchange.leads)
        reusing = [stage.reuse for stage in model.stages if stage.reuse is not None]
        kernel = all(reuse.small is not None for reuse in reusing)
        self.exactness = Exactness(settings, max(len(stage.openings) for stage in stages), kernel=kernel)
        self.sweep = Sweep.of(model, exchange)
        self.draws = Draws(model.problem, "training", settings.seed)
        self.discounts = np.cumprod([1.0] + [stage.discount for stage in stages[:-1]])[:, np.newaxis]

    def go(
        self, keep: Callable[[TrainingState], object] | None, wants: Callable[[int], bool] | None
    ) -> TrainingOutcome:
        reason: StopReason | None = None
        while reason is None:
            reason = self.iterate(len(self.records) + 1)
            if reason is None and keep is not None and (wants is None or wants(len(self.records))):
                keep(self.state())
        return TrainingOutcome(
            problem=self.model.problem,
            records=self.records,
            reason=reason,
            cuts=[stage.pool for stage in self.model.stages],
            statistics=self.statistics,
            seconds=perf_counter() - self.started,
            exact_upper_bounds=[self.model.sign * bound for bound in self.exact],
            own_statistics=self.model.statistics(),
        )

    def iterate(self, iteration: int) -> StopReason | None:
        model, settings, began = self.model, self.settings, perf_counter()
        before = model.statistics()
        model.begin(iteration)
        self.begin_reuse(iteration)
        self.selector.before(model, iteration)
        model.use_profile(settings.forward)
        trajectories = self.forward(iteration)
        middle = perf_counter()
        model.use_profile(settings.backward)
        added, bound = self.backward(trajectories, iteration)
        self.bounds.append(max([bound, *self.bounds[-1:]]))
        self.learn_exactness()
        self.selector.visit(trajectories.incoming)
        active = self.selector.after(model, iteration)
        spent = SolverStatistics.of(self.exchange.total(model.statistics().since(before)))
        record = self.record(iteration, trajectories, began, middle, (added, active), spent)
        return self.decide(record)

    def begin_reuse(self, iteration: int) -> None:
        picks = self.exactness.now(iteration)
        for stage in self.model.stages:
            if stage.reuse is not None:
                stage.reuse.picks = picks
                stage.reuse.begin()

    def learn_exactness(self) -> None:
        reusing = [stage.reuse for stage in self.model.stages if stage.reuse is not None]
        risen, solved = math.fsum(reuse.risen for reuse in reusing), sum(reuse.solved for reuse in reusing)
        self.exactness.learn(self.bounds, risen, solved)

    def state(self) -> TrainingState:
        return TrainingState(
            iteration=len(self.records),
            seconds=perf_counter() - self.started,
            records=self.records,
            bounds=self.bounds,
            exact=self.exact,
            questioned=self.questioned,
            statistics=replace(self.statistics),
            picks=self.exactness.picks,
            exact_from=self.exactness.exact_from,
            passes=self.passes.latest,
            visited=self.selector.visited,
            stages=tuple(StageState.of(stage) for stage in self.model.stages),
        )

    def restore(self, state: TrainingState) -> None:
        """Go on from there; the model has learned nothing yet."""
        state = state.trimmed()
        self.started -= state.seconds
        self.records, self.bounds, self.exact = state.records, state.bounds, state.exact
        self.questioned, self.statistics = state.questioned, replace(state.statistics)
        if state.iteration:  # a training that begins with cuts alone begins as the settings say
            self.exactness.picks, self.exactness.exact_from = state.picks, state.exact_from
        self.selector.visited = state.visited
        for costs in state.passes:
            self.passes.add(costs)
        for stage, known in zip(self.model.stages, state.stages, strict=True):
            known.put_into(stage)

    def forward(self, iteration: int) -> Trajectories:
        passes = self.settings.passes
        if isinstance(passes, Sampled):
            paths = self.draws.of_iteration(iteration, passes.count)
            return sampled_forward(self.model, paths, self.exchange, self.selector.activity, self.sweep)
        return enumerated_forward(self.model, self.exchange, self.selector.activity)

    def backward(self, trajectories: Trajectories, iteration: int) -> tuple[int, float]:
        """How many cuts were added, and the bound."""
        model, incoming = self.model, trajectories.incoming
        if self.sweep is not None and self.sweep.can(max(states.shape[0] for states in incoming)):
            return self.sweep.backward(incoming, iteration)
        added = backward(model, incoming, iteration, self.exchange, self.selector.activity)
        return added, lower_bound(model, self.exchange)

    def estimate(self, trajectories: Trajectories) -> tuple[float, float, float]:
        """The policy's cost from its forward passes: mean, deviation, interval; exact where they are enumerated."""
        if isinstance(self.settings.passes, Enumerated):
            cost = exact_cost(self.model.problem, self.model, trajectories.stage_costs)
            self.exact.append(cost)
            return cost, 0.0, 0.0
        # stage after stage: the same bits for any number of passes
        total: FloatArray = np.add.accumulate(self.discounts * np.asarray(trajectories.stage_costs), axis=0)
        self.passes.add(total[-1].copy())
        return self.passes.estimate()

    def record(
        self,
        iteration: int,
        trajectories: Trajectories,
        began: float,
        middle: float,
        cuts: tuple[int, int],
        spent: SolverStatistics,
    ) -> IterationRecord:
        mean, deviation, interval = self.estimate(trajectories)
        outer = self.bounds[-1]
        self.question(mean, deviation, interval)
        self.statistics.add(spent)
        now = perf_counter()
        lower, upper = (outer, mean) if self.model.sign > 0 else (-mean, -outer)
        self.records.append(
            IterationRecord(
                iteration=iteration,
                lower_bound=lower,
                upper_bound=upper,
                upper_bound_std=deviation,
                ci_95=interval,
                gap=(mean - outer) / max(1.0, abs(mean)),
                exact=isinstance(self.settings.passes, Enumerated),
                seconds=now - self.started,
                iteration_seconds=now - began,
                forward_seconds=middle - began,
                backward_seconds=now - middle,
                cuts_added=cuts[0],
                cuts_active=cuts[1],
                solves=spent.solves,
                simplex_iterations=spent.simplex_iterations,
                solver_seconds=spent.seconds,
            )
        )
        return self.records[-1]

    def question(self, mean: float, deviation: float, interval: float) -> None:
        """Say it, once, when the bound lies beyond what the policy costs: then a bound that was given is wrong.

        Sampled passes are believed only where they estimate what is bounded (expectations), when there are enough of
        them, and at five standard errors: those of the largest deviation that so many passes ever had, for costs are
        skewed, and passes that did not meet the rare dear scenario take their mean for better than it is.
        """
        if isinstance(self.settings.passes, Enumerated):
            room = 1e-6 * max(1.0, abs(mean))
        elif self.neutral and self.passes.full:
            room = 2.5 * interval + 1e-6 * max(1.0, abs(mean))
            if self.bounds[-1] > mean + room and deviation > 0.0:
                room *= max(1.0, self.widest() / deviation)
        else:
            return
        if self.bounds[-1] > mean + room and not self.questioned:
            self.questioned = True
            if not self.exchange.leads:
                return
            log.warning(
                "the bound %g lies beyond what the policy costs in its passes, %g: a stage's cost_to_go_bound is not a "
                "valid one, or rare scenarios that cost far more have not been met",
                self.model.sign * self.bounds[-1],
                self.model.sign * mean,
            )

    def widest(self) -> float:
        """The largest deviation of as many passes as an estimate is asked to be of."""
        count = self.settings.passes.count if isinstance(self.settings.passes, Sampled) else 1
        first = -(-self.settings.upper_bound_passes // count)
        return max((record.upper_bound_std for record in self.records[first - 1 :]), default=0.0)

    def decide(self, record: IterationRecord) -> StopReason | None:
        """Whether to stop, as rank 0 sees it: the clock and the observer are its alone."""
        since = (self.exactness.exact_from or 1) - 1 if self.reuses else 0
        bounds = self.bounds[since:] or self.bounds[-1:]
        progress = Progress(record.iteration, record.seconds, bounds, self.exact[-1] if self.exact else None)
        reason = stop_reason(self.settings.stopping, self.settings.stopping_mode, progress)
        if self.observe is not None and self.observe(record) is False:
            reason = "shutdown"
        code = self.exchange.agree(float(_REASONS.index(reason)))
        reason = _REASONS[int(code)]
        if self.reuses and reason in ("bound_stalling", "gap") and not self.exactness.confirm(record.iteration):
            return None
        return reason


_REASONS: list[StopReason | None] = [
    None,
    "bound_stalling",
    "simulation",
    "iteration_limit",
    "time_limit",
    "gap",
    "shutdown",
]
