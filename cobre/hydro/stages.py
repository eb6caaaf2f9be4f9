"""The study's stages: calendar, blocks, openings, discounting and risk, from ``stages.json``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import StageSpec
from cobre.hydro.resolve import Timeline, by_id
from cobre.hydro.schema_study import CvarMeasure, PolicyGraph, StageEntry, StagesFile
from cobre.sddp.risk import CVaR, Expectation, RiskMeasure

__all__ = ["STAGES_FILE", "parse_date", "resolve_stages"]

STAGES_FILE = "stages.json"
_DAYS_PER_YEAR = 365.25


def parse_date(text: str, file: str, entity: str | None, field: str, findings: Findings) -> date | None:
    """An ISO 8601 calendar date (YYYY-MM-DD)."""
    try:
        return date.fromisoformat(text) if len(text) == 10 else _not_a_date()
    except ValueError:
        findings.error(
            "SchemaViolation", file, "not a date", entity=entity, field=field, value=text,
            suggestion="write it as YYYY-MM-DD",
        )  # fmt: skip
        return None


def _not_a_date() -> date:
    raise ValueError


def resolve_stages(document: StagesFile, findings: Findings) -> Timeline | None:
    """The stages in the order of their ids, None where something is wrong with them."""
    before = len(findings.errors)
    entries = by_id(document.stages, STAGES_FILE, "stage", findings)
    if not entries:
        findings.error("SchemaViolation", STAGES_FILE, "a study needs at least one stage", field="stages")
    discounts = _discounts(document.policy_graph, entries, findings)
    specs = [_stage(entry, discount, findings) for entry, discount in zip(entries, discounts, strict=True)]
    found = [spec for spec in specs if spec is not None]
    _check_calendar(found, findings)
    if len(findings.errors) > before:
        return None
    return Timeline(tuple(found), np.array([spec.id for spec in found], dtype=np.int64))


def _stage(entry: StageEntry, rate: float, findings: Findings) -> StageSpec | None:
    name = f"stage {entry.id}"
    start = parse_date(entry.start_date, STAGES_FILE, name, "start_date", findings)
    end = parse_date(entry.end_date, STAGES_FILE, name, "end_date", findings)
    if start is None or end is None:
        return None
    blocks = sorted(entry.blocks, key=lambda block: block.id)
    return StageSpec(
        id=entry.id,
        start_date=start,
        end_date=end,
        season_id=entry.season_id,
        block_names=tuple(block.name for block in blocks),
        block_hours=np.array([block.hours for block in blocks], dtype=np.float64),
        openings=entry.num_openings or 0,
        sampling=entry.sampling_method,  # type: ignore[arg-type]
        risk=_risk(entry),
        discount=(1.0 + rate) ** (-(end - start).days / _DAYS_PER_YEAR),
    )


def _risk(entry: StageEntry) -> RiskMeasure:
    if isinstance(entry.risk_measure, CvarMeasure):
        return CVaR(entry.risk_measure.cvar.alpha, entry.risk_measure.cvar.lambda_)
    return Expectation()


def _discounts(graph: PolicyGraph, entries: Sequence[StageEntry], findings: Findings) -> list[float]:
    """The annual rate that holds from each stage to the next."""
    override = {
        transition.source_id: transition.annual_discount_rate_override
        for transition in graph.transitions
        if transition.annual_discount_rate_override is not None
    }
    rates = []
    for entry in entries:
        own = entry.annual_discount_rate_override
        base = graph.annual_discount_rate if own is None else own
        rates.append(override.get(entry.id, base))
    return rates


def _check_calendar(specs: Sequence[StageSpec], findings: Findings) -> None:
    for spec in specs:
        if spec.end_date <= spec.start_date:
            findings.error(
                "SchemaViolation", STAGES_FILE, f"ends on {spec.end_date}, not after its start {spec.start_date}",
                entity=f"stage {spec.id}", field="end_date", value=str(spec.end_date),
            )  # fmt: skip
