"""The passes of an iteration where the compiled kernel can visit every stage: all stages in one call of it.

What a stage is and comes to is told in ``cobre.sddp.forward`` and ``cobre.sddp.backward``, whose bits these are. The
kernel stops where Python has to do something: exchange what pairs were told with the other ranks, make an array larger,
answer pairs of which it has lost one, hear an interrupt. Where somebody follows which stage is under way, it stops at
each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cobre.errors import CommError
from cobre.sddp.contracts import Exchange
from cobre.sddp.kernel_structures import Ahead, Leg, Spent, SweepAt, Trade, address, where
from cobre.sddp.kernel_vertices import KernelVertices, Passes
from cobre.sddp.model import Model
from cobre.sddp.reuse import Reuse
from cobre.sddp.risk import Expectation, FloatArray

__all__ = ["Sweep"]

IntArray = NDArray[np.int64]
_DONE, _SWAP, _ROOM, _WAIT, _PAUSE = range(5)  # what the kernel stopped for
_TORN = -3
_BEGINS = 0
_NUMBERS = 1 << 24  # that the new vertices of all pairs of a stage may take


class Sweep:
    """Of a model whose stages are all small, on this rank of an exchange. Methods raise MemoryError."""

    def __init__(self, model: Model, exchange: Exchange, place: tuple[int, int]) -> None:
        self._model, self._exchange = model, exchange
        self._stages = model.stages
        self._reuses = [_reuse_of(stage.reuse) for stage in model.stages]
        self._vertices = [reuse.vertices for reuse in self._reuses if isinstance(reuse.vertices, KernelVertices)]
        kernel = self._reuses[0].small
        assert kernel is not None
        self._visit = kernel.visit
        self._pools = [stage.pool for stage in model.stages]
        self._sizes, self._choices = [-1] * len(self._pools), [-1] * len(self._pools)
        self._initial = np.ascontiguousarray(model.problem.initial_state[np.newaxis])
        count = len(self._stages)
        self._orders = [np.ascontiguousarray(array) for s in model.stages for array in (s.order, s.places)]
        self._legs = (Leg * count)(
            *(
                Leg(
                    visit=vertices.visit_at, units=stage.least_units, per_unit=stage.openings_per_unit or 0,
                    order=address(self._orders[2 * t]), turn=address(self._orders[2 * t + 1]),
                )
                for t, (stage, vertices) in enumerate(zip(model.stages, self._vertices, strict=True))
            )
        )  # fmt: skip
        self._spent = Spent()
        given = {"legs": where(self._legs), "spent": where(self._spent)}
        self._kept_sizes, self._pool_sizes = np.zeros(count, np.int64), np.zeros(count, np.int64)
        sizes = {"kept_sizes": address(self._kept_sizes), "pool_sizes": address(self._pool_sizes)}
        ranks = {"rank": place[0], "ranks": place[1]}
        self._ahead = Ahead(**given, last=count, trade=Trade(**ranks))
        self._back = SweepAt(**given, **sizes, count=count, trade=Trade(**ranks))
        self._sent = np.empty(0)  # of passes
        self._legs[0].trial, self._legs[0].scenarios = address(self._initial), 1
        self._apart = False  # whether legs have trial points of their own
        self._width = max(vertices.width for vertices in self._vertices)
        self._most = max(len(stage.stage.openings) for stage in model.stages)
        self._neutral = all(isinstance(stage.stage.risk, Expectation) for stage in model.stages)
        self._room = 0  # scenarios
        self._arrays: dict[str, FloatArray] = {}
        self._numbers: dict[str, IntArray] = {}

    @classmethod
    def of(cls, model: Model, exchange: Exchange) -> Sweep | None:
        """None where a stage, or how the work is shared out, is not what the kernel knows."""
        able = all(
            stage.reuse is not None
            and stage.reuse.small is not None
            and isinstance(stage.reuse.vertices, KernelVertices)
            for stage in model.stages
        )
        return cls(model, exchange, exchange.place) if able and exchange.place is not None else None

    def can(self, scenarios: int) -> bool:
        """Whether a backward pass of this iteration at so many trial points can be done here."""
        small = scenarios * self._most * self._width <= _NUMBERS
        return small and self._neutral and all(reuse.picks is None for reuse in self._reuses)

    def forward(self, passes: Passes, scenarios: IntArray, total: int) -> tuple[FloatArray, FloatArray]:
        """Take this rank's passes through all stages. scenarios: (M,) whose they are, of total, for errors.

        Returns the states (T, total, S) that stages are entered with, and their costs (T, total), of all ranks' passes.
        Raises SolverError when a solve fails whatever is tried.
        """
        ahead, exchange, last = self._ahead, self._exchange, len(self._stages)
        self._show()
        ahead.count, ahead.rows = passes.count, passes.rows_at
        ahead.openings, ahead.states, ahead.costs, _ = passes.at(0)
        ahead.at, ahead.step = 0, _BEGINS
        states, costs = self._whole(passes, total)
        quiet = self._show_board(ahead)
        self._enter(ahead.trade)
        try:
            while ahead.at < last:
                exchange.reached("forward", self._stages[0].iteration, ahead.at + 1)
                ahead.until = last if quiet else ahead.at + 1
                received = None
                while (stopped_for := self._visit("cobre_forward", ahead)) != _DONE:
                    if stopped_for == _TORN:
                        raise _torn("the passes")
                    if stopped_for < 0:
                        self._reuses[ahead.at].follow(passes, ahead.at, scenarios)
                        ahead.at += 1
                    else:
                        received = self._trade(ahead.trade, stopped_for, self._sent)
                del received
        finally:
            exchange.leave_compiled()
        self._count()
        return states, costs

    def _whole(self, passes: Passes, total: int) -> tuple[FloatArray, FloatArray]:
        """Arrays for all ranks' passes, known to the kernel unless they are this rank's."""
        ahead, stages = self._ahead, len(self._stages)
        if ahead.trade.ranks == 1:
            return passes.states[:-1], passes.costs
        width = passes.states.shape[2]
        states, costs = np.empty((stages, total, width)), np.empty((stages, total))
        states[0] = passes.initial
        needed = -(-total // ahead.trade.ranks) * stages * (1 + width)
        if self._sent.size < needed:
            self._sent = np.empty(needed)
            ahead.trade.send, ahead.trade.room = address(self._sent), needed
        ahead.total, ahead.all_states, ahead.all_costs = total, address(states), address(costs)
        return states, costs

    def _trade(self, trade: Trade, stopped_for: int, send: FloatArray) -> FloatArray | None:
        """Do what the kernel cannot of an exchange; what it is given is to be held until it goes on."""
        if stopped_for == _WAIT:
            self._exchange.wait()
        elif stopped_for == _SWAP:
            self._exchange.leave_compiled()  # too much for it, on all ranks, or not for this one
            received = self._exchange.swap(send[: trade.slot])
            self._enter(trade)
            trade.received = address(received)
            return received
        return None

    def _enter(self, trade: Trade) -> None:
        """Let the kernel share units with the other ranks, and exchange, if there is a compiled way to."""
        link = self._exchange.enter_compiled()
        trade.swaps, trade.shares = 0, link is not None
        trade.swap, trade.claim, trade.state = link or (None, None, None)

    def backward(self, trial_points: list[FloatArray] | FloatArray, iteration: int) -> tuple[int, float]:
        """Add to every stage but the last the cuts at its trial points; how many, and then the bound.

        trial_points[t]: (r, S) states that stage t is entered with. Raises SolverError as above.
        """
        back, exchange = self._back, self._exchange
        held = self._point_at(trial_points)
        self._show()
        back.at, back.step, back.iteration, back.added = len(self._stages) - 1, _BEGINS, iteration, 0
        quiet = self._show_board(back)
        self._enter(back.trade)
        try:
            while back.at >= 0:
                exchange.reached("backward" if back.at else "bound", iteration, back.at + 1)
                back.until = 0 if quiet and back.at else back.at - 1
                self._go_on()
        finally:
            exchange.leave_compiled()
        del held
        self._settle()
        self._count()
        return back.added, float(self._arrays["mean"][0])

    def _point_at(self, trial_points: list[FloatArray] | FloatArray) -> list[FloatArray]:
        """Let the kernel find the trial points; what must be held while it does."""
        back, legs = self._back, self._legs
        if isinstance(trial_points, np.ndarray):
            held = [np.ascontiguousarray(trial_points)]
            back.trials, back.scenarios, back.every = address(held[0]), held[0].shape[1], held[0][0].size
            self._hold(held[0].shape[1])
            own: list[tuple[int | None, int]] = [(None, 0)] * (len(legs) - 1) if self._apart else []
        else:
            held = [np.ascontiguousarray(states) for states in trial_points]
            self._hold(max(states.shape[0] for states in held))
            own = [(address(states), states.shape[0]) for states in held[1:]]
        for t, place in enumerate(own, start=1):
            legs[t].trial, legs[t].scenarios = place
        self._apart = bool(own) and own[0][0] is not None
        return held

    def _go_on(self) -> None:
        back, received = self._back, None  # the kernel looks into what it received until it exchanges again
        while (stopped_for := self._visit("cobre_backward", back)) != _DONE:
            if stopped_for in (_WAIT, _SWAP):
                received = self._trade(back.trade, stopped_for, self._arrays["send"])
            elif stopped_for == _ROOM:
                self._make_room(back.at)
            elif stopped_for == _TORN:
                raise _torn(f"stage {back.at + 1}")
            elif stopped_for != _PAUSE:
                self._answer(back.at)
        del received

    def _answer(self, t: int) -> None:
        """The pairs of a stage, of which the kernel lost one."""
        self._settle()
        back, stage, arrays = self._back, self._stages[t], self._arrays
        points = back.points
        share = stage.share(points, range(back.first, back.first + back.taken))
        states = arrays["states"][: points * stage.stage.states].reshape(points, -1)
        found = self._reuses[t].answer(share, states, self._numbers["rows"][:points])
        arrays["told"][: found.told.size] = found.told.ravel()
        arrays["packed"][: found.packed.size] = found.packed.ravel()
        back.fresh, back.low = found.packed.shape[0], 0
        self._show()

    def _make_room(self, t: int) -> None:
        self._settle()
        self._vertices[t].make_room(self._back.fresh)
        if t:
            self._pools[t - 1].make_room(self._back.points)
            self._show_pool(t - 1)

    def _hold(self, scenarios: int) -> None:
        """Arrays for so many trial points of each stage."""
        if scenarios <= self._room:
            return
        self._room = scenarios
        pairs, ranks = scenarios * self._most, self._back.trade.ranks
        states = max(stage.stage.states for stage in self._stages)
        others = pairs if ranks > 1 else 0
        buckets = 1 << (2 * scenarios - 1).bit_length()
        sizes = {
            "states": scenarios * states, "mean": scenarios, "told": pairs, "packed": pairs * self._width,
            "all_told": others, "send": _send_size(others, self._width),
        }  # fmt: skip
        numbers = {
            "rows": scenarios, "bucket": buckets, "fresh_of": ranks,
            "openings": pairs, "point": pairs, "units": pairs, "row_of": others,
        }  # fmt: skip
        self._arrays = {name: np.empty(size) for name, size in sizes.items()}
        self._numbers = {name: np.empty(size, np.int64) for name, size in numbers.items()}
        for name, array in (*self._arrays.items(), *self._numbers.items()):
            setattr(self._back.trade if name == "send" else self._back, name, address(array))
        self._back.buckets, self._back.trade.room = buckets, self._arrays["send"].size

    def _show_board(self, at: Ahead | SweepAt) -> bool:
        """Let the kernel write where it is; whether that is enough for those who want to know."""
        words = self._exchange.words
        at.stage, at.beats = words or (0, 0)
        return words is not None

    def _show(self) -> None:
        """Let the kernel see the cuts as they are."""
        for t, pool in enumerate(self._pools):
            if pool.size != self._sizes[t] or pool.choices != self._choices[t]:
                self._show_pool(t)

    def _show_pool(self, t: int) -> None:
        pool = self._pools[t]
        seen = self._vertices[t].show(pool)
        self._sizes[t], self._choices[t] = pool.size, pool.choices
        if t + 1 < len(self._stages):
            self._legs[t + 1].into = where(seen)

    def _settle(self) -> None:
        """What the kernel added is there for Python too."""
        self._sizes = self._pool_sizes.tolist()
        for vertices, size in zip(self._vertices, self._kept_sizes.tolist(), strict=True):
            vertices.size = size
        for pool, size in zip(self._pools, self._sizes, strict=True):
            pool.size = size

    def _count(self) -> None:
        spent = self._spent
        proved, solved, same, pivots = spent.totals
        self._model.count_reuse(spent.seconds, proved + same, solved, pivots)
        spent.totals[:] = 0, 0, 0, 0
        spent.seconds = 0.0


def _torn(what: str) -> CommError:
    return CommError(
        f"what the ranks have answered of {what} does not make up all of it",
        kind="Mismatch",
        suggestion="report it, with the case and the number of workers: it cannot be",
    )


def _send_size(pairs: int, width: int) -> int:
    """Numbers of the largest part that a rank brings, rounded up: two counts, pairs, and at least two new vertices."""
    return 2 * (2 + pairs + max(2, pairs) * width)


def _reuse_of(reuse: Reuse | None) -> Reuse:
    assert reuse is not None
    return reuse
