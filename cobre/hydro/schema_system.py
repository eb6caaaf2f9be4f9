"""The shape of the documents under ``system/``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from cobre.hydro.schema import Amount, Document, File, Id, Positive
from cobre.hydro.schema_study import DeficitSegment

__all__ = [
    "BusEntry",
    "BusesFile",
    "Entity",
    "HydroEntry",
    "HydrosFile",
    "LineEntry",
    "LinesFile",
    "ProductionModelsFile",
    "SeasonalModel",
    "SourceEntry",
    "SourcesFile",
    "StageRange",
    "StageRangeModel",
    "ThermalEntry",
    "ThermalsFile",
    "UnitGroup",
]

ModelName = Literal["constant_productivity", "linearized_head", "fpha"]


class Entity(Document):
    """An entity in service from ``operational_start_date`` on, and for the stages entry <= id < exit."""

    id: Id
    name: str
    operational_start_date: str


class StagedEntity(Entity):
    entry_stage_id: Id | None = None
    exit_stage_id: Id | None = None


class BusEntry(Entity):
    deficit_segments: Annotated[list[DeficitSegment], Field(min_length=1)] | None = None


class BusesFile(File):
    buses: list[BusEntry]


class LineCapacity(Document):
    direct_mw: Amount
    reverse_mw: Amount


class LineEntry(StagedEntity):
    source_bus_id: Id
    target_bus_id: Id
    capacity: LineCapacity
    exchange_cost: Amount | None = None
    losses_percent: Annotated[float, Field(ge=0.0, lt=100.0)] = 0.0


class LinesFile(File):
    lines: list[LineEntry]


class ThermalGeneration(Document):
    min_mw: Amount
    max_mw: Amount


class ThermalEntry(StagedEntity):
    bus_id: Id
    generation: ThermalGeneration
    cost_per_mwh: Amount
    anticipated_config: Any = None


class ThermalsFile(File):
    thermals: list[ThermalEntry]


class SourceEntry(StagedEntity):
    bus_id: Id
    max_generation_mw: Amount
    curtailment_cost: Amount | None = None
    allow_curtailment: bool = True


class SourcesFile(File):
    non_controllable_sources: list[SourceEntry]


class Reservoir(Document):
    min_storage_hm3: Amount
    max_storage_hm3: Amount


class Outflow(Document):
    min_outflow_m3s: Amount
    max_outflow_m3s: Amount | None = None


class Generation(Document):
    model: ModelName
    min_turbined_m3s: Amount
    max_turbined_m3s: Amount
    min_generation_mw: Amount
    max_generation_mw: Amount


class UnitGroup(Document):
    id: Id
    name: str
    bus_id: Id
    min_turbined_m3s: Amount
    max_turbined_m3s: Amount
    min_generation_mw: Amount
    max_generation_mw: Amount


class Evaporation(Document):
    coefficients_mm: Annotated[list[float], Field(min_length=12, max_length=12)]
    reference_volumes_hm3: Annotated[list[Amount], Field(min_length=12, max_length=12)] | None = None


class Diversion(Document):
    downstream_id: Id
    max_flow_m3s: Amount


class HydroPenaltyOverrides(Document):
    spillage_cost: Amount | None = None
    turbined_cost: Amount | None = None
    diversion_cost: Amount | None = None
    storage_violation_below_cost: Amount | None = None
    filling_target_violation_cost: Amount | None = None
    turbined_violation_below_cost: Amount | None = None
    outflow_violation_below_cost: Amount | None = None
    outflow_violation_above_cost: Amount | None = None
    generation_violation_below_cost: Amount | None = None
    evaporation_violation_cost: Amount | None = None
    water_withdrawal_violation_cost: Amount | None = None
    inflow_nonnegativity_cost: Amount | None = None


class HydroEntry(StagedEntity):
    reservoir: Reservoir
    outflow: Outflow
    generation: Generation
    unit_groups: Annotated[list[UnitGroup], Field(min_length=1)]
    downstream_id: Id | None = None
    evaporation: Evaporation | None = None
    diversion: Diversion | None = None
    penalties: HydroPenaltyOverrides | None = None
    specific_productivity_mw_per_m3s_per_m: float | None = None
    # heads shape generation only under the FPHA model, which is refused
    tailrace: dict[str, Any] | None = None
    hydraulic_losses: dict[str, Any] | None = None
    efficiency: dict[str, Any] | None = None
    travel_time_hours: Any = None
    filling: Any = None


class HydrosFile(File):
    hydros: list[HydroEntry]


class StageRange(Document):
    start_stage_id: Id
    end_stage_id: Id | None = None
    model: ModelName
    productivity_mw_per_m3s: Positive | None = None
    reference_volume: dict[str, Any] | None = None
    fpha_config: Any = None


class SeasonModel(Document):
    season_id: Id
    model: ModelName
    productivity_mw_per_m3s: Positive | None = None
    reference_volume: dict[str, Any] | None = None
    fpha_config: Any = None


class StageRangeModel(Document):
    hydro_id: Id
    selection_mode: Literal["stage_ranges"]
    stage_ranges: list[StageRange]


class SeasonalModel(Document):
    hydro_id: Id
    selection_mode: Literal["seasonal"]
    default_model: ModelName
    seasons: list[SeasonModel]


class ProductionModelsFile(File):
    production_models: list[Annotated[StageRangeModel | SeasonalModel, Field(discriminator="selection_mode")]]
    fpha_plane_reduction: Any = None
