"""Stages written by name: states, variables, constraints and openings, checked as they are added."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NoReturn

import numpy as np

from cobre.errors import DiagnosticKind, ValidationError
from cobre.sddp.problem import Openings, Problem, SparseRows, Stage
from cobre.sddp.risk import Expectation, FloatArray, RiskMeasure

__all__ = ["StageBuilder", "State", "chain"]

_SENSES = {"<=": -1, "==": 0, ">=": 1}


class State(NamedTuple):
    """The two terms of a state: its value when the stage begins, and the one it hands on."""

    incoming: str
    outgoing: str


@dataclass(frozen=True)
class _Row:
    terms: dict[str, float]
    sense: int
    rhs: float


@dataclass(frozen=True)
class _Opening:
    probability: float
    rhs: dict[str, float]
    cost: dict[str, float]


@dataclass
class _Columns:
    name: list[str] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)


class StageBuilder:
    """Writes one `Stage` by names; `chain` makes a problem of several.

    A term of a constraint or of the objective is a plain string: a variable by its name, a state ``x`` as
    ``"x.in"`` (its value when the stage begins) or ``"x.out"`` (what it hands on). The methods that declare
    something return its term. Two weeks of a reservoir, a thermal plant and a demand; the second inflow is random:

    >>> from cobre.sddp.builder import StageBuilder, chain
    >>> def week(inflows, price):
    ...     stage = StageBuilder("week", cost_to_go_bound=0.0)
    ...     storage = stage.state("storage", upper=200.0)
    ...     hydro = stage.variable("hydro", upper=150.0)
    ...     spill = stage.variable("spill")
    ...     thermal = stage.variable("thermal", cost=price)
    ...     balance = {storage.outgoing: 1.0, storage.incoming: -1.0, hydro: 1.0, spill: 1.0}
    ...     stage.constraint("balance", balance, "==", 0.0)
    ...     stage.constraint("demand", {hydro: 1.0, thermal: 1.0}, ">=", 150.0)
    ...     for probability, inflow in inflows:
    ...         stage.opening(probability, rhs={"balance": inflow})
    ...     return stage
    >>> weeks = [week([(1.0, 50.0)], price=50.0), week([(0.25, 0.0), (0.75, 100.0)], price=300.0)]
    >>> problem = chain(weeks, {"storage": 150.0}, name="two weeks")
    >>> [len(stage.openings) for stage in problem.stages], problem.state_names
    ([1, 2], ('storage',))
    >>> from cobre.testing import extensive
    >>> round(extensive.solve(problem), 6)
    5000.0

    name: shown in errors. discount: factor on the cost-to-go after this stage. risk: the measure over this
    stage's openings, as the stage before it (or the bound) sees them. cost_to_go_bound: a valid bound on the
    cost-to-go after this stage, below for a minimisation and above for a maximisation.
    """

    def __init__(
        self,
        name: str = "stage",
        *,
        discount: float = 1.0,
        risk: RiskMeasure | None = None,
        cost_to_go_bound: float = 0.0,
    ) -> None:
        self.name = name
        self._discount = discount
        self._risk: RiskMeasure = Expectation() if risk is None else risk
        self._cost_to_go_bound = cost_to_go_bound
        self._states: list[str] = []
        self._incoming_cost: list[float] = []
        self._columns = _Columns()
        self._rows: dict[str, _Row] = {}
        self._openings: list[_Opening] = []

    @property
    def state_names(self) -> tuple[str, ...]:
        """The states in the order of their declaration, which is their order in the stage."""
        return tuple(self._states)

    def incoming(self, state: str) -> str:
        """The term for a state's value when the stage begins. Raises ValidationError for an unknown state."""
        return f"{self._known_state(state)}.in"

    def outgoing(self, state: str) -> str:
        """The term for the value a state hands on. Raises ValidationError for an unknown state."""
        return f"{self._known_state(state)}.out"

    def state(
        self, name: str, lower: float = 0.0, upper: float = np.inf, *, cost: float = 0.0, incoming_cost: float = 0.0
    ) -> State:
        """Declares a state whose outgoing value lies in ``[lower, upper]`` and costs ``cost`` a unit.

        The incoming value is whatever the stage before handed on; ``incoming_cost`` is its price.
        Raises ValidationError: DuplicateId for a name in use, OutOfRange for bounds or costs that cannot be.
        """
        if name in self._states:
            self._fail("DuplicateId", f"state {name!r} is declared twice")
        self._finite(f"incoming_cost of state {name!r}", [incoming_cost])
        self._column(f"{name}.out", lower, upper, cost)
        self._states.append(name)
        self._incoming_cost.append(incoming_cost)
        return State(f"{name}.in", f"{name}.out")

    def variable(self, name: str, lower: float = 0.0, upper: float = np.inf, cost: float = 0.0) -> str:
        """Declares a decision in ``[lower, upper]`` that costs ``cost`` a unit; gives its name back.

        Raises ValidationError: DuplicateId for a name in use, OutOfRange for bounds or costs that cannot be,
        SchemaViolation for a name that reads as a state's term.
        """
        if name.endswith((".in", ".out")):
            self._fail("SchemaViolation", f"variable {name!r} has the name of a state's term", "declare a state()")
        self._column(name, lower, upper, cost)
        return name

    def constraint(self, name: str, terms: Mapping[str, float], sense: str, rhs: float) -> str:
        """Adds ``sum(coefficient * term)  sense  rhs``, with sense one of ``<=``, ``==``, ``>=``; gives its name back.

        Raises ValidationError: MissingReference for a term not declared yet, InvalidEnum for another sense,
        DuplicateId for a name in use, OutOfRange for a number that is not finite.
        """
        if name in self._rows:
            self._fail("DuplicateId", f"constraint {name!r} is added twice")
        if sense not in _SENSES:
            self._fail("InvalidEnum", f"constraint {name!r} has the sense {sense!r}", "use '<=', '==' or '>='")
        known = [*self._columns.name, *(f"{state}.in" for state in self._states)]
        for term in terms:
            self._refer(term, known, f"constraint {name!r} uses the term")
        self._finite(f"constraint {name!r}", [*terms.values(), rhs])
        self._rows[name] = _Row({k: float(v) for k, v in terms.items()}, _SENSES[sense], float(rhs))
        return name

    def opening(
        self, probability: float, rhs: Mapping[str, float] | None = None, cost: Mapping[str, float] | None = None
    ) -> None:
        """Adds an outcome of the stage's noise: the right-hand sides and costs that differ under it.

        What an opening does not name keeps the value given with the constraint, variable or state. A stage
        without openings is certain. Raises ValidationError: MissingReference for a constraint or term not
        declared yet, NotSupported for the cost of an incoming state, OutOfRange for numbers that cannot be.
        """
        place = f"opening {len(self._openings) + 1}"
        rhs, cost = dict(rhs or {}), dict(cost or {})
        for row in rhs:
            self._refer(row, self._rows, f"{place} sets the right-hand side of the constraint")
        for term in cost:
            if term.endswith(".in") and term.removesuffix(".in") in self._states:
                advice = "tie a variable to it by a constraint and give that variable the cost"
                self._fail("NotSupported", f"{place} sets the cost of the incoming state {term!r}", advice)
            self._refer(term, self._columns.name, f"{place} sets the cost of")
        self._finite(place, [probability, *rhs.values(), *cost.values()])
        if probability < 0.0:
            self._fail("OutOfRange", f"{place} has the probability {probability}")
        self._openings.append(_Opening(float(probability), rhs, cost))

    def build(self) -> Stage:
        """The stage: columns, rows and states in the order of their declaration.

        Raises ValidationError (OutOfRange) where the openings' probabilities do not sum to 1 within 1e-9.
        """
        total = sum(opening.probability for opening in self._openings)
        if self._openings and abs(total - 1.0) > 1e-9:
            self._fail("OutOfRange", f"the probabilities of its {len(self._openings)} openings sum to {total}, not 1")
        columns = {name: j for j, name in enumerate(self._columns.name)}
        states = {f"{name}.in": j for j, name in enumerate(self._states)}
        return Stage(
            cost=np.array(self._columns.cost),
            lower=np.array(self._columns.lower),
            upper=np.array(self._columns.upper),
            matrix=self._sparse(columns),
            sense=np.array([row.sense for row in self._rows.values()], dtype=np.int8),
            rhs=np.array([row.rhs for row in self._rows.values()]),
            incoming=self._sparse(states),
            outgoing=np.array([columns[f"{name}.out"] for name in self._states], dtype=np.int32),
            openings=self._build_openings(columns),
            discount=self._discount,
            risk=self._risk,
            incoming_cost=np.array(self._incoming_cost),
            cost_to_go_bound=self._cost_to_go_bound,
        )

    def _sparse(self, places: Mapping[str, int]) -> SparseRows:
        entries = [
            (i, places[term], value)
            for i, row in enumerate(self._rows.values())
            for term, value in row.terms.items()
            if term in places
        ]
        rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
        return SparseRows.from_triplets((len(self._rows), len(places)), rows, columns, values)

    def _build_openings(self, columns: Mapping[str, int]) -> Openings:
        openings = self._openings or [_Opening(1.0, {}, {})]
        own_rhs = {name: row.rhs for name, row in self._rows.items()}
        own_cost = dict(zip(self._columns.name, self._columns.cost, strict=True))
        rows = [name for name in own_rhs if any(name in opening.rhs for opening in openings)]
        priced = [name for name in own_cost if any(name in opening.cost for opening in openings)]
        position = {name: i for i, name in enumerate(own_rhs)}
        return Openings(
            probability=np.array([opening.probability for opening in openings]),
            rhs_rows=np.array([position[name] for name in rows], dtype=np.int32),
            rhs=_table([[o.rhs.get(name, own_rhs[name]) for name in rows] for o in openings]),
            cost_columns=np.array([columns[name] for name in priced], dtype=np.int32),
            cost=_table([[o.cost.get(name, own_cost[name]) for name in priced] for o in openings]),
        )

    def _column(self, name: str, lower: float, upper: float, cost: float) -> None:
        if name in self._columns.name:
            self._fail("DuplicateId", f"{name!r} is declared twice")
        self._finite(f"cost of {name!r}", [cost])
        if not lower <= upper or lower == np.inf or upper == -np.inf:
            self._fail("OutOfRange", f"{name!r} has the bounds [{lower}, {upper}]")
        self._columns.name.append(name)
        self._columns.lower.append(lower)
        self._columns.upper.append(upper)
        self._columns.cost.append(cost)

    def _known_state(self, name: str) -> str:
        self._refer(name, self._states, "there is no state")
        return name

    def _refer(self, name: str, known: Iterable[str], what: str) -> None:
        names = list(known)
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            advice = f"did you mean {near[0]!r}?" if near else "declare it first"
            self._fail("MissingReference", f"{what} {name!r}, which is not declared", advice)

    def _finite(self, what: str, values: Sequence[float]) -> None:
        bad = [value for value in values if not np.isfinite(value)]
        if bad:
            self._fail("OutOfRange", f"{what} holds {bad[0]}, which is not a finite number")

    def _fail(self, kind: DiagnosticKind, message: str, suggestion: str | None = None) -> NoReturn:
        raise ValidationError(
            f"stage {self.name!r}: {message}", kind=kind, context={"stage": self.name}, suggestion=suggestion
        )


def _table(values: list[list[float]]) -> FloatArray:
    return np.array(values, dtype=np.float64).reshape(len(values), -1)


def chain(
    builders: Sequence[StageBuilder],
    initial_state: Mapping[str, float],
    sense: Literal["min", "max"] = "min",
    name: str = "problem",
) -> Problem:
    """The problem whose stages are those of ``builders``, in their order.

    initial_state: value of every state before the first stage. Raises ValidationError: StageMismatch where the
    builders do not declare the same states in the same order, MissingReference where ``initial_state`` names
    others than they do, and what `StageBuilder.build` and `Problem` raise.
    """
    if not builders:
        raise ValidationError(f"problem {name!r} needs at least one stage", kind="SchemaViolation")
    states = builders[0].state_names
    for builder in builders:
        if builder.state_names != states:
            raise ValidationError(
                f"stage {builder.name!r} of problem {name!r} declares the states {list(builder.state_names)}, "
                f"the first stage {list(states)}",
                kind="StageMismatch",
                suggestion="declare the same states in the same order in every stage",
            )
    odd = sorted(set(states) ^ set(initial_state))
    if odd:
        raise ValidationError(
            f"initial_state of problem {name!r} must give {list(states)}; missing or unknown: {odd}",
            kind="MissingReference",
        )
    initial = np.array([initial_state[state] for state in states], dtype=np.float64)
    return Problem(tuple(b.build() for b in builders), initial, sense=sense, state_names=states, name=name)
