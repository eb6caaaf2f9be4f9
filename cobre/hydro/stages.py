"""The study's stages: calendar, blocks, openings, discounting and risk, from ``stages.json``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import numpy as np

from cobre.hydro.dates import parse_date, season_of
from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import StageSpec
from cobre.hydro.resolve import Timeline, by_id
from cobre.hydro.schema_study import CvarMeasure, PolicyGraph, StageEntry, StagesFile
from cobre.sddp.risk import CVaR, Expectation, RiskMeasure

__all__ = ["STAGES_FILE", "resolve_stages"]

STAGES_FILE = "stages.json"
_DAYS_PER_YEAR = 365.25
_TREE_METHODS = ("saa", "lhs", "qmc_sobol", "qmc_halton")


def resolve_stages(document: StagesFile, findings: Findings) -> Timeline | None:
    """The stages in the order of their ids, None where something is wrong with them."""
    before = len(findings.errors)
    entries = by_id(document.stages, STAGES_FILE, "stage", findings)
    for entry in entries:
        _check_entry(entry, findings)
    rates = _rates(document.policy_graph, entries)
    _check_graph(document.policy_graph, entries, findings)
    specs = [_stage(entry, rate, document, findings) for entry, rate in zip(entries, rates, strict=True)]
    _check_before(document, findings)
    found = [spec for spec in specs if spec is not None]
    _check_calendar(found, findings)
    if len(findings.errors) > before:
        return None
    return Timeline(tuple(found), np.array([spec.id for spec in found], dtype=np.int64))


def _check_entry(entry: StageEntry, findings: Findings) -> None:
    name = f"stage {entry.id}"
    if entry.id < 0:
        findings.error(
            "OutOfRange", STAGES_FILE, "stages of the study have ids from 0 on", entity=name, field="id",
            value=entry.id, suggestion="stages before it belong into pre_study_stages",
        )  # fmt: skip
    blocks = sorted(block.id for block in entry.blocks)
    if blocks != list(range(len(blocks))):
        findings.error(
            "SchemaViolation", STAGES_FILE, f"the block ids are {blocks[:20]}, not 0 to {len(blocks) - 1}",
            entity=name, field="blocks", suggestion="number the blocks of a stage from 0 without gaps",
        )  # fmt: skip
    if entry.block_mode == "chronological":
        _refuse("chronological blocks", name, "block_mode", findings, "use parallel blocks")
    if entry.sampling_method not in _TREE_METHODS:
        advice = f"use one of {', '.join(_TREE_METHODS)}"
        _refuse(f"the sampling method {entry.sampling_method}", name, "sampling_method", findings, advice)
    flags = entry.state_variables
    if flags is not None and flags.inflow_lags:
        _refuse("inflow lags as states", name, "state_variables.inflow_lags", findings, "set it to false")
    if flags is not None and not flags.storage:
        _refuse("storage that is no state", name, "state_variables.storage", findings, "set it to true")


def _refuse(feature: str, entity: str | None, field: str, findings: Findings, advice: str) -> None:
    findings.error(
        "NotSupported", STAGES_FILE, f"{feature}: not supported", entity=entity, field=field, suggestion=advice
    )


def _stage(entry: StageEntry, rate: float, document: StagesFile, findings: Findings) -> StageSpec | None:
    name = f"stage {entry.id}"
    start = parse_date(entry.start_date, STAGES_FILE, name, "start_date", findings)
    end = parse_date(entry.end_date, STAGES_FILE, name, "end_date", findings)
    if start is None or end is None:
        return None
    season = season_of(entry.season_id, start, document.season_definitions, STAGES_FILE, name, findings)
    blocks = sorted(entry.blocks, key=lambda block: block.id)
    return StageSpec(
        id=entry.id,
        start_date=start,
        end_date=end,
        season_id=season,
        block_names=tuple(block.name for block in blocks),
        block_hours=np.array([block.hours for block in blocks], dtype=np.float64),
        openings=entry.num_openings,
        sampling=entry.sampling_method if entry.sampling_method in _TREE_METHODS else "saa",  # type: ignore[arg-type]
        risk=_risk(entry),
        discount=_discount(rate, (end - start).days, name, findings),
    )


def _discount(rate: float, days: int, name: str, findings: Findings) -> float:
    """The factor on all cost after a stage of so many days: ``(1 + rate) ** (-days / 365.25)``."""
    with np.errstate(over="ignore", under="ignore"):
        factor = float(np.power(1.0 + rate, -days / _DAYS_PER_YEAR))
    if not 0.0 < factor < np.inf:
        findings.error(
            "OutOfRange", STAGES_FILE, f"an annual discount rate of {rate:g} over {days} days leaves no finite factor",
            entity=name, field="annual_discount_rate", value=rate,
        )  # fmt: skip
    return factor


def _risk(entry: StageEntry) -> RiskMeasure:
    if isinstance(entry.risk_measure, CvarMeasure):
        return CVaR(entry.risk_measure.cvar.alpha, entry.risk_measure.cvar.lambda_)
    return Expectation()


def _rates(graph: PolicyGraph, entries: Sequence[StageEntry]) -> list[float]:
    """The annual rate from each stage to the next: the stage's own, else its transition's, else the graph's."""
    on_transition = {t.source_id: t.annual_discount_rate_override for t in graph.transitions}
    rates = []
    for entry in entries:
        given = (entry.annual_discount_rate_override, on_transition.get(entry.id), graph.annual_discount_rate)
        rates.append(next(rate for rate in given if rate is not None))
    return rates


def _check_graph(graph: PolicyGraph, entries: Sequence[StageEntry], findings: Findings) -> None:
    """Only the chain of stages, each followed by the next with certainty, is a study here."""
    if graph.type == "cyclic":
        _refuse("a cyclic policy graph", None, "policy_graph.type", findings, "use finite_horizon")
    if graph.nodes:
        _refuse("a policy graph with nodes", None, "policy_graph.nodes", findings, "leave the nodes away")
        return
    ids = [entry.id for entry in entries]
    following = dict(pairwise(ids))
    seen: set[int] = set()
    for i, step in enumerate(graph.transitions):
        field, name = f"policy_graph.transitions[{i}]", f"stage {step.source_id}"
        missing = [stage for stage in (step.source_id, step.target_id) if stage not in ids]
        if missing:
            findings.error(
                "MissingReference", STAGES_FILE, f"a transition names stage {missing[0]}, which does not exist",
                entity=name, field=field, value=missing[0],
            )  # fmt: skip
        elif following.get(step.source_id) != step.target_id:
            _refuse(f"a transition from stage {step.source_id} to {step.target_id}", name, field, findings,
                    "a study is a chain: let each stage lead to the next, or give no transitions")  # fmt: skip
        elif step.source_id in seen:
            findings.error("DuplicateId", STAGES_FILE, "this transition stands twice", entity=name, field=field)
        elif abs(step.probability - 1.0) > 1e-6:
            findings.error(
                "OutOfRange", STAGES_FILE, f"the probabilities out of a stage sum to {step.probability:g}, not 1",
                entity=name, field=f"{field}.probability", value=step.probability,
            )  # fmt: skip
        seen.add(step.source_id)


def _check_before(document: StagesFile, findings: Findings) -> None:
    """Stages before the study shape lags only, which independent inflows have none of: read, checked and left."""
    for entry in by_id(document.pre_study_stages or [], STAGES_FILE, "pre-study stage", findings):
        name = f"pre-study stage {entry.id}"
        start = parse_date(entry.start_date, STAGES_FILE, name, "start_date", findings)
        end = parse_date(entry.end_date, STAGES_FILE, name, "end_date", findings)
        if start is not None and end is not None:
            _check_dates(start, end, name, findings)


def _check_dates(start: date, end: date, name: str, findings: Findings) -> None:
    if end <= start:
        findings.error(
            "OutOfRange", STAGES_FILE, f"it ends on {end}, which is not after its start {start}",
            entity=name, field="end_date", value=str(end), suggestion="end_date is the first day after the stage",
        )  # fmt: skip


def _check_calendar(specs: Sequence[StageSpec], findings: Findings) -> None:
    for spec in specs:
        _check_dates(spec.start_date, spec.end_date, f"stage {spec.id}", findings)
    for one, other in pairwise(specs):
        if one.end_date != other.start_date:
            findings.warn(
                "StageMismatch", STAGES_FILE,
                f"it starts on {other.start_date}, but the stage before ends on {one.end_date}",
                entity=f"stage {other.id}", field="start_date", value=str(other.start_date),
            )  # fmt: skip
    by_season: dict[int, StageSpec] = {}
    for spec in specs:
        if spec.season_id is None:
            continue
        first = by_season.setdefault(spec.season_id, spec)
        before, here = ((s.end_date - s.start_date).days for s in (first, spec))
        if abs(before - here) > max(3, 0.2 * max(before, here)):
            findings.error(
                "StageMismatch", STAGES_FILE,
                f"it lasts {here} days and stage {first.id}, of the same season, {before}",
                entity=f"stage {spec.id}", field="season_id", value=spec.season_id,
                suggestion="stages of one season have the same length",
            )  # fmt: skip
