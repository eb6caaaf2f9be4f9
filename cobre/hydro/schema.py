"""What the JSON documents of a case have in common: strict values, no unknown keys, ``$schema`` accepted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Amount", "Count", "Document", "File", "Id", "Positive"]

Id = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**32)]
Amount = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]


class Document(BaseModel):
    """An object of a case file. A string is no number, a bool no integer, and NaN no value."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True, populate_by_name=False)

    @classmethod
    def names(cls) -> set[str]:
        """Every key that the schema knows, at any depth: what a misspelt one may have meant."""
        return set(_properties(cls.model_json_schema()))


class File(Document):
    """A whole file, which may name its JSON schema."""

    schema_uri: str | None = Field(None, alias="$schema")


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from _properties(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _properties(part)
