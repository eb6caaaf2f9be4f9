"""What may stand in the TOML of a pipeline and of its runtime, and what is said of anything else."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic import ValidationError as SchemaError
from pydantic_core import ErrorDetails

from cobre.actors.node_failures import nearest
from cobre.errors import Diagnostic, DiagnosticKind, IOError

__all__ = [
    "ConnectTable",
    "LimitsTable",
    "NodeTable",
    "PipelineDocument",
    "PipelineTable",
    "RestartTable",
    "RuntimeDocument",
    "read_document",
]

_KINDS: dict[str, DiagnosticKind] = {
    "missing": "SchemaViolation",
    "extra_forbidden": "SchemaViolation",
    "literal_error": "InvalidEnum",
    "greater_than": "OutOfRange",
    "greater_than_equal": "OutOfRange",
    "less_than_equal": "OutOfRange",
    "finite_number": "OutOfRange",
}


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[list[Name], BeforeValidator(_as_list)]
Whole = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class _Table(BaseModel):
    """A string is no number, a bool no integer, and no key is passed over."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PipelineTable(_Table):
    """``[pipeline]``: its name; modules to import first, for the node types that they register; open ports by name."""

    name: Name
    modules: Names = []
    entries: Names = []
    exits: Names = []


class LimitsTable(_Table):
    """``limits`` of a node: those of ``cobre.actors.Limits``."""

    memory_bytes: Whole | None = None
    hang_seconds: Seconds | None = None
    start_seconds: Seconds | None = None


class RestartTable(_Table):
    """``restart`` of a node: those of ``cobre.actors.RestartPolicy``."""

    when: Literal["never", "failure", "always"] = "failure"
    limit: Annotated[int, Field(ge=0)] = 3
    period: Seconds = 30.0


class NodeTable(_Table):
    """``[[node]]``: its name, its class, its configuration."""

    name: Name
    type: Name
    config: dict[str, Any] = {}
    limits: LimitsTable | None = None
    restart: RestartTable | None = None


class ConnectTable(_Table):
    """``[[connect]]``: an output port, the input ports that read it, and the channel between them."""

    source: Name = Field(alias="from")
    targets: Names = Field(alias="to", min_length=1)
    capacity: Whole | None = None
    bytes: Whole | None = None
    deliver: Literal["all", "one"] = "all"


class PipelineDocument(_Table):
    """A pipeline's file."""

    pipeline: PipelineTable
    node: Annotated[list[NodeTable], Field(min_length=1)]
    connect: list[ConnectTable] = []


class SessionTable(_Table):
    """``[session]``: what the messages pass through, and how processes are started."""

    transport: Literal["shm", "tcp"] | None = None
    start_method: Literal["spawn", "forkserver"] | None = None


class SessionLimitsTable(_Table):
    """``[limits]`` of a session: processes, bytes of memory of them all, bytes of one message."""

    processes: Whole | None = None
    memory_bytes: Whole | None = None
    message_bytes: Whole | None = None


class TimeoutsTable(_Table):
    """``[timeouts]`` in seconds: until every node is ready, and for stopping in good order."""

    initialize: Seconds | None = None
    stop: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None


class RuntimeDocument(_Table):
    """A ``runtime.toml``: what a session is given that is no business of the pipeline."""

    session: SessionTable = SessionTable()
    limits: SessionLimitsTable = SessionLimitsTable()
    timeouts: TimeoutsTable = TimeoutsTable()
    addresses: dict[str, Name] = {}


_TABLES: dict[tuple[str, ...], type[_Table]] = {
    ("pipeline",): PipelineTable,
    ("node",): NodeTable,
    ("node", "limits"): LimitsTable,
    ("node", "restart"): RestartTable,
    ("connect",): ConnectTable,
    ("session",): SessionTable,
    ("limits",): SessionLimitsTable,
    ("timeouts",): TimeoutsTable,
}

Document = TypeVar("Document", PipelineDocument, RuntimeDocument)


def read_document(path: Path, model: type[Document]) -> Document | list[Diagnostic]:
    """The file as a ``model``, or everything that keeps it from being one.

    Raises cobre.IOError where it cannot be read at all.
    """
    try:
        text = path.read_bytes().decode()
        data = tomllib.loads(text)
    except OSError as error:
        kind, advice = ("NotFound", "check the path") if isinstance(error, FileNotFoundError) else ("ReadFailed", None)
        message = f"{path} cannot be read: {error.strerror or error}"
        raise IOError(message, kind=kind, context={"path": str(path)}, suggestion=advice) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        return [Diagnostic("ParseError", path.name, f"not TOML: {error}")]
    try:
        return model.model_validate(data)
    except SchemaError as error:
        details = error.errors(include_url=False)
        return [_diagnostic(detail, data, model, path.name) for detail in details]


def _diagnostic(detail: ErrorDetails, data: Mapping[str, Any], model: type[BaseModel], file: str) -> Diagnostic:
    entity, field = _place(detail["loc"], data)
    message, advice = _explanation(detail, model)
    code, value = detail["type"], detail.get("input")
    kind = _KINDS.get(code, "TypeMismatch" if code.endswith("_type") else "SchemaViolation")
    shown = value if code != "missing" and isinstance(value, str | int | float) else None
    return Diagnostic(kind, file, message, entity, field, shown, advice)


def _place(loc: tuple[int | str, ...], data: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """What a location is about (``node 'asr'``, ``[[connect]] 2``) and the dotted rest of it."""
    if len(loc) > 1 and isinstance(loc[1], int):
        record = data[str(loc[0])][loc[1]]
        name = record.get("name") if isinstance(record, dict) else None
        entity = f"node {name!r}" if isinstance(name, str) else f"[[{loc[0]}]] {loc[1] + 1}"
        return entity, ".".join(map(str, loc[2:])) or None
    if len(loc) > 1:
        return f"[{loc[0]}]", ".".join(map(str, loc[1:]))
    return None, ".".join(map(str, loc)) or None


def _explanation(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str | None]:
    code, last, given = detail["type"], str(detail["loc"][-1]), detail.get("input")
    if code == "missing":
        whole = f"[[{last}]] is missing: there is no node" if last == "node" else f"the key {last!r} is missing"
        return whole, "add it"
    if code == "extra_forbidden":
        table = _TABLES.get(tuple(part for part in detail["loc"][:-1] if isinstance(part, str)), model)
        known = [info.alias or name for name, info in table.model_fields.items()]
        return f"the key {last[:80]!r} is not known here", nearest(last, known, "known")
    if code == "literal_error":
        expected = str((detail.get("ctx") or {}).get("expected", ""))
        choices = [word.strip(" '") for word in expected.replace(" or ", ", ").split(",")]
        return f"{str(given)[:80]!r} is none of {', '.join(choices)}", nearest(given, choices, "known")
    text = detail["msg"].removeprefix("Input ")
    text = text[:1].lower() + text[1:]
    return (f"{text}, not {given!r}" if isinstance(given, str | int | float) else text), None
