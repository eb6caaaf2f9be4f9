"""Problems with known optima, read from a file of models on policy graphs, as far as a chain of stages can say them.

A model is a graph of nodes with a template each (variables, constraints and the outcomes of its noise). It is a chain
where the next node does not depend on the present one: the openings of a stage are then the nodes of its depth, each
with each outcome of its own noise. What differs between them must be right-hand sides and costs; the coefficient of
an incoming state may differ as well, where the states are bounded (see `_Switch`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cobre.errors import IOError, ValidationError
from cobre.sddp.builder import StageBuilder, chain
from cobre.sddp.problem import Problem
from cobre.sddp.risk import CVaR, Expectation, RiskMeasure

__all__ = ["KnownOptimum", "known", "read", "refused"]

_INFINITY = float("inf")

# The largest value of any state that a feasible decision can reach, where the bounds of the states do not say it:
# wealth 55 grown by at most 1.25 in each of three years and a little income; 500 hectares of land.
_REACH = {"asset_management_simple": 200.0, "asset_management_stagewise": 200.0, "farmers_problem": 500.0}


@dataclass(frozen=True)
class KnownOptimum:
    """What a problem's bound must come to.

    value: the optimum, in the problem's unit and sense. tolerance: how far a bound may be off, in that unit where
    ``absolute``, else times ``max(1, |value|)``. evidence: what computed the value: an extensive form, the training
    of a relaxation that has no other check, or the assertion of the project that the model comes from.
    """

    value: float
    tolerance: float
    absolute: bool
    evidence: str
    source: str

    def agrees(self, bound: float) -> bool:
        """Whether ``bound`` is the optimum within the tolerance."""
        return abs(bound - self.value) <= self.tolerance * (1.0 if self.absolute else max(1.0, abs(self.value)))


def read(path: str | Path, relax: bool = False) -> dict[str, Problem]:
    """The models of the file that a chain of stages can express, by name, in the order of the file.

    relax: also those with integer variables, as their linear relaxations.
    Raises IOError where the file cannot be read, ValidationError (ParseError) where it is no file of models.
    """
    return {name: answer for name, answer in _all(path, relax).items() if isinstance(answer, Problem)}


def refused(path: str | Path, relax: bool = False) -> dict[str, str]:
    """Why each of the other models is not among those that `read` gives. Raises as `read` does."""
    return {name: answer for name, answer in _all(path, relax).items() if isinstance(answer, str)}


def known(path: str | Path, relax: bool = False) -> dict[str, KnownOptimum]:
    """The optimum of each problem that `read` gives: its extensive form where there is one, else what is asserted.

    Raises as `read` does.
    """
    models = {model["name"]: model for model in _models(path)}
    return {name: _optimum(models[name]) for name in read(path, relax)}


def _optimum(model: Mapping[str, Any]) -> KnownOptimum:
    checked, asserted, source = model["checked"], model["asserted"], str(model["source"])
    if _integers(model["model"]):
        # The extensive form of these has the integers in it; a training of the relaxation is what is left, and it
        # may have been stopped a thousandth short.
        return KnownOptimum(float(checked["sddp_lp_bound"]), 2e-3, False, "training of the relaxation", source)
    if "extensive_form" in checked:
        return KnownOptimum(float(checked["extensive_form"]), 1e-6, False, "extensive form", source)
    return KnownOptimum(float(asserted["value"]), float(asserted["atol"]), True, "assertion", source)


def _models(path: str | Path) -> list[dict[str, Any]]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise IOError(f"the problems in {path} cannot be read: {error}", kind="MissingFile") from error
    try:
        return list(json.loads(text)["models"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValidationError(f"{path} is no file of models: {error!r}", kind="ParseError") from error


def _all(path: str | Path, relax: bool) -> dict[str, Problem | str]:
    answers: dict[str, Problem | str] = {}
    for model in _models(path):
        try:
            answers[model["name"]] = _problem(model, relax)
        except _Refusal as refusal:
            answers[model["name"]] = str(refusal)
    return answers


class _Refusal(Exception):
    """Why a model is no chain of stages."""


def _integers(model: Mapping[str, Any]) -> bool:
    columns = [column for template in model["templates"].values() for column in template["vars"]]
    return any(state["integer"] for state in model["states"]) or any(column[4] for column in columns)


def _problem(entry: Mapping[str, Any], relax: bool) -> Problem:
    model, name = entry["model"], str(entry["name"])
    if _integers(model) and not relax:
        raise _Refusal("it has integer variables")
    levels = _levels(model)
    builders = []
    for t, level in enumerate(levels):
        outcomes = _outcomes(model, level)
        builder = StageBuilder(
            f"{name}, stage {t + 1}",
            discount=level.going_on,
            risk=_risk(entry["risk"], levels[t - 1] if t else None, outcomes),
            cost_to_go_bound=float(entry["cost_to_go_initial_bound"]) / level.going_on,
        )
        _write(builder, model, name, outcomes)
        builders.append(builder)
    initial = {state["name"]: float(state["init"]) for state in model["states"]}
    return chain(builders, initial, sense=entry["sense"], name=name)


@dataclass(frozen=True)
class _Level:
    """The nodes of one depth with their probabilities, and the probability that there is a next depth."""

    nodes: dict[str, float]
    going_on: float


def _levels(model: Mapping[str, Any]) -> list[_Level]:
    nodes, levels, seen = model["nodes"], [], set[str]()
    row = {node: p for node, p in model["root"].items() if p > 0.0}
    if abs(sum(row.values()) - 1.0) > 1e-9:
        raise _Refusal("the probabilities of its first nodes do not sum to 1")
    while row:
        if seen & set(row):
            raise _Refusal("its graph has a cycle: an infinite horizon")
        seen |= set(row)
        rows = [{child: p for child, p in nodes[node]["children"].items() if p > 0.0} for node in row]
        if any(other != rows[0] for other in rows):
            raise _Refusal("the probabilities of the next nodes depend on the present one: a Markov chain")
        total = sum(rows[0].values())
        if total > 1.0 + 1e-9:
            raise _Refusal("the probabilities of a node's children sum to more than 1")
        going_on = 1.0 if not rows[0] or abs(total - 1.0) <= 1e-9 else total
        levels.append(_Level(row, going_on))
        row = {child: p / total for child, p in rows[0].items()}
    return levels


@dataclass(frozen=True)
class _Outcome:
    """One opening with every number of its stage."""

    probability: float
    columns: list[tuple[str, float, float]]
    senses: dict[str, str]
    terms: dict[str, dict[str, float]]
    rhs: dict[str, float]
    cost: dict[str, float]


def _outcomes(model: Mapping[str, Any], level: _Level) -> list[_Outcome]:
    found = []
    for node, share in level.nodes.items():
        template = model["templates"][model["nodes"][node]["template"]]
        cost = {column[0]: float(column[3]) for column in template["vars"]} | template.get("obj_states", {})
        terms = {row[0]: row[1] for row in template["cons"]}
        for noise in template["noise"]:
            coefficients = noise.get("coef", {})
            found.append(
                _Outcome(
                    share * noise["p"],
                    [(c[0], _bound(c[1], -_INFINITY), _bound(c[2], _INFINITY)) for c in template["vars"]],
                    {row[0]: row[2] for row in template["cons"]},
                    {row: terms[row] | coefficients.get(row, {}) for row in terms},
                    {row[0]: float(row[3]) for row in template["cons"]} | noise.get("rhs", {}),
                    cost | noise.get("obj", {}),
                )
            )
    return _normalised(found)


def _normalised(outcomes: list[_Outcome]) -> list[_Outcome]:
    total = sum(outcome.probability for outcome in outcomes)
    if abs(total - 1.0) > 1e-9:
        raise _Refusal(f"the probabilities of a stage's outcomes sum to {total}")
    first = outcomes[0]
    if any(other.columns != first.columns or other.senses != first.senses for other in outcomes):
        raise _Refusal("nodes of one stage have different variables, bounds or constraints")
    return [
        _Outcome(o.probability / total, o.columns, o.senses, o.terms, o.rhs, o.cost) for o in outcomes
    ]  # probabilities were written with the digits of a double: thirds sum to 1 only nearly


def _bound(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else float(value)


def _risk(rules: Mapping[str, Any] | None, above: _Level | None, outcomes: list[_Outcome]) -> RiskMeasure:
    """The measure over a stage's openings: in the file it stands at the nodes before them, and the root's is E."""
    if rules is None or above is None:
        return Expectation()
    measures = [tuple(rules.get(node, rules.get("*", ["E"]))) for node in above.nodes]
    if len(set(measures)) > 1:
        raise _Refusal("nodes of one stage have different risk measures")
    kind, *numbers = measures[0]
    if kind == "E":
        return Expectation()
    if kind != "EAVaR":
        raise _Refusal(f"it has the risk measure {kind}")
    mean, share = numbers
    # A share of zero is the worst case; so is any share that the least likely outcome fills.
    least = min(outcome.probability for outcome in outcomes if outcome.probability > 0.0)
    return CVaR(alpha=share if share > 0.0 else least, lambda_=1.0 - mean)


def _write(builder: StageBuilder, model: Mapping[str, Any], name: str, outcomes: list[_Outcome]) -> None:
    first = outcomes[0]
    costs = {term for outcome in outcomes for term in outcome.cost}
    moving = {term for term in costs if any(o.cost.get(term, 0.0) != first.cost.get(term, 0.0) for o in outcomes)}
    for state in model["states"]:
        x = state["name"]
        if f"{x}.in" in moving:
            raise _Refusal("the cost of an incoming state is random")
        lower, upper = _bound(state["lb"], -_INFINITY), _bound(state["ub"], _INFINITY)
        own, before = first.cost.get(f"{x}.out", 0.0), first.cost.get(f"{x}.in", 0.0)
        builder.state(x, lower, upper, cost=own, incoming_cost=before)
    for column, lower, upper in first.columns:
        builder.variable(column, lower, upper, first.cost.get(column, 0.0))
    rhs: list[dict[str, float]] = [dict(outcome.rhs) for outcome in outcomes]
    for row, sense in first.senses.items():
        terms = [outcome.terms[row] for outcome in outcomes]
        if any(other != terms[0] for other in terms):
            shared = _Switch(builder, model, name).write(row, terms, rhs)
        else:
            shared = terms[0]
        builder.constraint(row, shared, sense, first.rhs[row])
    for outcome, values in zip(outcomes, rhs, strict=True):
        builder.opening(outcome.probability, values, {term: outcome.cost.get(term, 0.0) for term in moving})


class _Switch:
    """Random coefficients of incoming states, said by right-hand sides alone.

    A free variable y takes the place of the row's incoming part ``c_w . s``. For each distinct c_v there is
    ``y - c_v . s == over_v - under_v`` and ``over_v + under_v <= room_v``, where the room is zero in the openings
    that have these coefficients, and in the others as wide as ``(c_w - c_v) . s`` can become. Exact for the
    states that a feasible decision can reach.
    """

    def __init__(self, builder: StageBuilder, model: Mapping[str, Any], name: str) -> None:
        self.builder = builder
        self.incoming = [f"{state['name']}.in" for state in model["states"]]
        self.reach = {}
        for state in model["states"]:
            bounds = [abs(_bound(state[side], _INFINITY)) for side in ("lb", "ub")]
            self.reach[f"{state['name']}.in"] = _REACH.get(name, max(bounds))

    def write(self, row: str, terms: list[dict[str, float]], rhs: list[dict[str, float]]) -> dict[str, float]:
        """Adds a row's switch to the stage and to the openings; the row's terms with y in place of the states'."""
        rest = [{term: c for term, c in t.items() if term not in self.incoming} for t in terms]
        if any(other != rest[0] for other in rest):
            raise _Refusal("coefficients of decisions are random")
        coefficients = [{term: t.get(term, 0.0) for term in self.incoming} for t in terms]
        distinct = [c for i, c in enumerate(coefficients) if c not in coefficients[:i]]
        whole = self.builder.variable(f"{row}: incoming", -_INFINITY)
        for v, chosen in enumerate(distinct):
            over = self.builder.variable(f"{row}: over {v}")
            under = self.builder.variable(f"{row}: under {v}")
            tie = {whole: 1.0, over: -1.0, under: 1.0} | {term: -c for term, c in chosen.items() if c != 0.0}
            self.builder.constraint(f"{row}: tie {v}", tie, "==", 0.0)
            room = self.builder.constraint(f"{row}: room {v}", {over: 1.0, under: 1.0}, "<=", 0.0)
            for own, values in zip(coefficients, rhs, strict=True):
                values[room] = self._room(own, chosen)
        return rest[0] | {whole: 1.0}

    def _room(self, own: Mapping[str, float], other: Mapping[str, float]) -> float:
        room = sum(abs(own[term] - other[term]) * self.reach[term] for term in own if own[term] != other[term])
        if room == _INFINITY:
            raise _Refusal("coefficients of an incoming state without bounds are random")
        return room
