"""How much power a plant makes of its water: ``hydro_production_models.json``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cobre.hydro.diagnostics import Findings
from cobre.hydro.files import CaseFiles
from cobre.hydro.resolve import Timeline, reference
from cobre.hydro.schema_system import ProductionModelsFile, SeasonalModel, StageRangeModel

__all__ = ["resolve_productivity"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MODELS_FILE = "system/hydro_production_models.json"


def resolve_productivity(files: CaseFiles, ids: IntArray, timeline: Timeline, findings: Findings) -> FloatArray:
    """(T, H) MW per m3/s; every plant needs one for every stage. Of overlapping ranges the first counts."""
    values = np.full((len(timeline), ids.size), np.nan)
    document = files.document(MODELS_FILE, ProductionModelsFile, required=False)
    broken = document is None and files.exists(MODELS_FILE)
    seen: set[int] = set()
    for model in document.production_models if document else []:
        name = f"hydro {model.hydro_id}"
        if model.hydro_id in seen:
            findings.error("DuplicateId", MODELS_FILE, "it has two production models", entity=name, field="hydro_id")
        seen.add(model.hydro_id)
        place = reference(ids, model.hydro_id, "hydro", MODELS_FILE, name, "hydro_id", findings)
        column = (
            _by_ranges(model, timeline, findings)
            if isinstance(model, StageRangeModel)
            else _by_season(model, timeline, findings)
        )
        if place >= 0:
            values[:, place] = column
    for place in [] if broken else np.flatnonzero(np.isnan(values).any(axis=0)).tolist():
        stage = timeline.ids[np.flatnonzero(np.isnan(values[:, place]))[0]]
        findings.error(
            "CoverageMismatch", MODELS_FILE, f"no productivity for stage {stage}", entity=f"hydro {ids[place]}",
            field="productivity_mw_per_m3s", suggestion="let its stage ranges or seasons cover every stage",
        )  # fmt: skip
    return values


def _by_ranges(model: StageRangeModel, timeline: Timeline, findings: Findings) -> FloatArray:
    values = np.full(len(timeline), np.nan)
    for i, part in enumerate(model.stage_ranges):
        field = f"stage_ranges[{i}]"
        _refuse(part.model, part.fpha_config, model.hydro_id, field, findings)
        last = int(timeline.ids[-1]) if part.end_stage_id is None else part.end_stage_id
        if part.end_stage_id is not None and part.end_stage_id < part.start_stage_id:
            findings.error(
                "OutOfRange", MODELS_FILE, f"it ends at stage {last}, before its start {part.start_stage_id}",
                entity=f"hydro {model.hydro_id}", field=f"{field}.end_stage_id", value=last,
            )  # fmt: skip
        use = (timeline.ids >= part.start_stage_id) & (timeline.ids <= last) & np.isnan(values)
        if part.productivity_mw_per_m3s is not None:
            values[use] = part.productivity_mw_per_m3s
    return values


def _by_season(model: SeasonalModel, timeline: Timeline, findings: Findings) -> FloatArray:
    values = np.full(len(timeline), np.nan)
    seasons = np.array([-1 if spec.season_id is None else spec.season_id for spec in timeline.specs])
    for i, part in enumerate(model.seasons):
        _refuse(part.model, part.fpha_config, model.hydro_id, f"seasons[{i}]", findings)
        if part.productivity_mw_per_m3s is not None:
            values[(seasons == part.season_id) & np.isnan(values)] = part.productivity_mw_per_m3s
    return values


def _refuse(model: str, config: object, hydro: int, field: str, findings: Findings) -> None:
    if model == "fpha" or config is not None:
        findings.error(
            "NotSupported", MODELS_FILE, "the FPHA production model: not supported", entity=f"hydro {hydro}",
            field=f"{field}.model", value=model, suggestion="use constant_productivity and no fpha_config",
        )  # fmt: skip
