"""The shape of ``stages.json``, ``penalties.json``, ``initial_conditions.json`` and the scenario documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from cobre.hydro.schema import Amount, Document, File, Id, Positive

__all__ = [
    "BlockFactor",
    "CorrelationFile",
    "CorrelationGroupEntry",
    "CvarMeasure",
    "DeficitSegment",
    "HydroPenalties",
    "InitialConditionsFile",
    "LoadFactorsFile",
    "PenaltiesFile",
    "SourceFactorsFile",
    "StageEntry",
    "StagesFile",
]

Index = Annotated[int, Field(ge=0, lt=2**31)]
Rate = Annotated[float, Field(gt=-1.0)]


class Block(Document):
    id: Index
    name: str
    hours: Positive


class CvarParameters(Document):
    alpha: Annotated[float, Field(gt=0.0, le=1.0)]
    lambda_: Annotated[float, Field(ge=0.0, le=1.0, alias="lambda")]


class CvarMeasure(Document):
    cvar: CvarParameters


class StateVariables(Document):
    storage: bool = True
    inflow_lags: bool = False


def _risk_form(value: Any) -> str:
    return "cvar" if isinstance(value, dict | CvarMeasure) else "expectation"


class StageEntry(Document):
    id: Id
    start_date: str
    end_date: str
    blocks: Annotated[list[Block], Field(min_length=1)]
    num_openings: Annotated[int, Field(ge=1, lt=2**32)]
    season_id: Index | None = None
    block_mode: Literal["parallel", "chronological"] = "parallel"
    sampling_method: Literal["saa", "lhs", "qmc_sobol", "qmc_halton", "selective", "historical_residuals"] = "saa"
    risk_measure: Annotated[
        Annotated[Literal["expectation"], Tag("expectation")] | Annotated[CvarMeasure, Tag("cvar")],
        Discriminator(_risk_form),
    ] = "expectation"
    state_variables: StateVariables | None = None
    annual_discount_rate_override: Rate | None = None


class Transition(Document):
    source_id: Id
    target_id: Id
    probability: float
    annual_discount_rate_override: Rate | None = None


class Node(Document):
    id: Id
    stage_id: Id
    scenario_id: Id | None = None
    label: str | None = None


class PolicyGraph(Document):
    type: Literal["finite_horizon", "cyclic"]
    annual_discount_rate: Amount
    transitions: list[Transition] = Field(default_factory=list)
    nodes: list[Node] = Field(default_factory=list)


class PreStudyStage(Document):
    id: Annotated[int, Field(ge=-(2**31), lt=0)]
    start_date: str
    end_date: str
    season_id: Index | None = None


class Season(Document):
    id: Index
    label: str
    month_start: Annotated[int, Field(ge=1, le=12)]
    day_start: Annotated[int, Field(ge=1, le=31)] | None = None
    month_end: Annotated[int, Field(ge=1, le=12)] | None = None
    day_end: Annotated[int, Field(ge=1, le=31)] | None = None


class SeasonDefinitions(Document):
    cycle_type: Literal["monthly", "weekly", "custom"]
    seasons: list[Season]


class StagesFile(File):
    policy_graph: PolicyGraph
    stages: Annotated[list[StageEntry], Field(min_length=1)]
    pre_study_stages: list[PreStudyStage] | None = None
    season_definitions: SeasonDefinitions | None = None


class DeficitSegment(Document):
    depth_mw: Amount | None = None
    cost: Positive


class BusPenalties(Document):
    deficit_segments: Annotated[list[DeficitSegment], Field(min_length=1)]
    excess_cost: Positive


class LinePenalties(Document):
    exchange_cost: Positive


class HydroPenalties(Document):
    spillage_cost: Positive
    turbined_cost: Amount
    diversion_cost: Positive
    storage_violation_below_cost: Positive
    filling_target_violation_cost: Positive
    turbined_violation_below_cost: Positive
    outflow_violation_below_cost: Positive
    outflow_violation_above_cost: Positive
    generation_violation_below_cost: Positive
    evaporation_violation_cost: Positive
    evaporation_violation_pos_cost: Amount | None = None
    evaporation_violation_neg_cost: Amount | None = None
    water_withdrawal_violation_cost: Positive
    water_withdrawal_violation_pos_cost: Amount | None = None
    water_withdrawal_violation_neg_cost: Amount | None = None
    inflow_nonnegativity_cost: Amount | None = None


class SourcePenalties(Document):
    curtailment_cost: Positive


class PenaltiesFile(File):
    bus: BusPenalties
    line: LinePenalties
    hydro: HydroPenalties
    non_controllable_source: SourcePenalties


class HydroStorage(Document):
    hydro_id: Id
    value_hm3: Amount


class Observation(Document):
    hydro_id: Id
    start_date: str
    end_date: str
    value_m3s: float


class Commitment(Document):
    thermal_id: Id
    start_date: str
    end_date: str
    value_mw: float


class InitialConditionsFile(File):
    storage: list[HydroStorage]
    filling_storage: list[HydroStorage]
    recent_observations: list[Observation] | None = None
    past_defluences: list[Observation] | None = None
    past_anticipated_commitments: list[Commitment] | None = None


class BlockFactor(Document):
    block_id: Id
    factor: Positive


class LoadFactorEntry(Document):
    bus_id: Id
    stage_id: Id
    block_factors: list[BlockFactor]


class LoadFactorsFile(File):
    load_factors: list[LoadFactorEntry]


class SourceFactorEntry(Document):
    ncs_id: Id
    stage_id: Id
    block_factors: list[BlockFactor]


class SourceFactorsFile(File):
    non_controllable_factors: list[SourceFactorEntry]


class CorrelatedEntity(Document):
    type: Literal["inflow", "load", "ncs"]
    id: Id


class CorrelationGroupEntry(Document):
    name: str
    entities: Annotated[list[CorrelatedEntity], Field(min_length=1)]
    matrix: list[list[Annotated[float, Field(ge=-1.0, le=1.0)]]]


class CorrelationProfile(Document):
    correlation_groups: list[CorrelationGroupEntry]


class ScheduleEntry(Document):
    stage_id: Id
    profile_name: str


class CorrelationFile(File):
    method: Literal["spectral"]
    profiles: Annotated[dict[str, CorrelationProfile], Field(min_length=1)]
    schedule: list[ScheduleEntry] | None = None
