"""Calendar dates, and which season of the year a stage belongs to."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date

from cobre.hydro.diagnostics import Findings
from cobre.hydro.schema_study import Season, SeasonDefinitions

__all__ = ["parse_date", "season_of"]


def parse_date(text: str, file: str, entity: str | None, field: str, findings: Findings) -> date | None:
    """An ISO 8601 calendar date (YYYY-MM-DD), None and an error for anything else."""
    # fromisoformat alone would take weeks and other forms of the standard as well
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        with suppress(ValueError):
            return date.fromisoformat(text)
    findings.error(
        "SchemaViolation", file, "this is no date", entity=entity, field=field, value=text,
        suggestion="write it as YYYY-MM-DD",
    )  # fmt: skip
    return None


def season_of(
    declared: int | None,
    start: date,
    definitions: SeasonDefinitions | None,
    file: str,
    entity: str,
    findings: Findings,
) -> int | None:
    """The season a stage declares, else the one its start falls into; None where neither is known.

    A declared season that is not defined, or not the one of the stage's start, is an error.
    """
    if definitions is None:
        return declared
    defined = [season.id for season in definitions.seasons]
    if declared is not None and declared not in defined:
        findings.error(
            "MissingReference", file, f"season {declared} is not defined", entity=entity, field="season_id",
            value=declared, suggestion="define it in season_definitions.seasons",
        )  # fmt: skip
        return declared
    fitting = [season.id for season in definitions.seasons if _holds(season, definitions.cycle_type, start)]
    if declared is None:
        return fitting[0] if fitting else None
    if definitions.cycle_type != "weekly" and fitting and declared not in fitting:
        findings.error(
            "StageMismatch", file, f"it declares season {declared}, but {start} lies in season {fitting[0]}",
            entity=entity, field="season_id", value=declared, suggestion="leave season_id away to have it derived",
        )  # fmt: skip
    return declared


def _holds(season: Season, cycle: str, day: date) -> bool:
    if cycle == "weekly":
        return season.id == min(day.isocalendar().week, 52) - 1
    if cycle == "monthly":
        return season.month_start == day.month
    first = (season.month_start, season.day_start or 1)
    last = (season.month_end or season.month_start, season.day_end or 31)
    here = (day.month, day.day)
    # a season may run over the turn of the year
    return first <= here <= last if first <= last else here >= first or here <= last
