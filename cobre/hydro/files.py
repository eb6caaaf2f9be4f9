"""Reading the files of a case directory: bytes, JSON documents and Parquet tables, each fault reported once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError as SchemaError
from pydantic_core import ErrorDetails

from cobre.errors import DiagnosticKind
from cobre.hydro.diagnostics import Findings, brief, closest, did_you_mean
from cobre.hydro.schema import Document, File
from cobre.hydro.tables import Table, TableSpec, read_table

__all__ = ["CaseFiles", "report_schema_error"]

M = TypeVar("M", bound=File)

_MAX_REPORTED = 50
_KINDS: dict[str, DiagnosticKind] = {
    "missing": "SchemaViolation",
    "extra_forbidden": "SchemaViolation",
    "literal_error": "InvalidEnum",
    "union_tag_invalid": "InvalidEnum",
    "union_tag_not_found": "SchemaViolation",
    "too_short": "SchemaViolation",
    "too_long": "SchemaViolation",
    "greater_than": "OutOfRange",
    "greater_than_equal": "OutOfRange",
    "less_than": "OutOfRange",
    "less_than_equal": "OutOfRange",
    "finite_number": "OutOfRange",
    "value_error": "SchemaViolation",
}
_EXPECTED = {
    "model_type": "an object is expected",
    "model_attributes_type": "an object is expected",
    "dict_type": "an object is expected",
    "list_type": "a list is expected",
    "int_type": "an integer is expected",
    "int_from_float": "an integer is expected",
    "float_type": "a number is expected",
    "string_type": "text is expected",
    "bool_type": "true or false is expected",
    "finite_number": "a finite number is expected",
}


class CaseFiles:
    """One case directory being read. ``hashes`` collects the SHA-256 of every file read."""

    def __init__(self, root: Path, findings: Findings) -> None:
        self.root = root
        self.findings = findings
        self.hashes: dict[str, str] = {}

    def exists(self, file: str) -> bool:
        return (self.root / file).exists()

    def listing(self, folder: str) -> list[str]:
        """The files of a folder, relative to the case; none where there is no such folder."""
        path = self.root / folder
        try:
            return sorted(entry.relative_to(self.root).as_posix() for entry in path.iterdir() if entry.is_file())
        except OSError:
            return []

    def read(self, file: str, *, required: bool) -> bytes | None:
        """The file's bytes; None, and an error unless the file is optional and absent, where it cannot be read."""
        path = self.root / file
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if required:
                self.findings.error("MissingFile", file, "this required file is missing", suggestion=f"create {path}")
            return None
        except OSError as error:
            self.findings.error("ParseError", file, f"the file cannot be read: {error.strerror or error}")
            return None
        self.hashes[file] = hashlib.sha256(content).hexdigest()
        return content

    def json(self, file: str, *, required: bool = True) -> Any:
        """The parsed JSON; None where the file is absent or broken, or holds null."""
        content = self.read(file, required=required)
        if content is None:
            return None
        try:
            return json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        except UnicodeDecodeError as error:
            message = f"not UTF-8: byte {error.start} cannot be decoded"
        except json.JSONDecodeError as error:
            message = f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        except RecursionError:
            message = "not a case file: its lists or objects are nested too deeply"
        except ValueError as error:
            message = f"not JSON: {error}"
        self.findings.error("ParseError", file, message)
        return None

    def document(self, file: str, model: type[M], *, required: bool = True) -> M | None:
        """The file as a ``model``, None where it is absent or does not conform."""
        before = len(self.findings.errors)
        data = self.json(file, required=required)
        if data is None:
            if len(self.findings.errors) == before and self.exists(file):
                self.findings.error("TypeMismatch", file, "the file holds null where an object is expected")
            return None
        try:
            return model.model_validate(data)
        except SchemaError as error:
            report_schema_error(error, model, data, file, self.findings)
            return None

    def table(self, spec: TableSpec, *, required: bool = False) -> Table | None:
        """The Parquet file that ``spec`` describes, None where it is absent or does not conform."""
        content = self.read(spec.file, required=required)
        return None if content is None else read_table(content, spec, self.findings)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ: of two equal keys one would be lost without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def report_schema_error(error: SchemaError, model: type[Document], data: Any, file: str, findings: Findings) -> None:
    """Turn each fault that pydantic found in ``data`` into a diagnostic of its own."""
    details = error.errors(include_url=False, include_context=True, include_input=True)
    for detail in details[:_MAX_REPORTED]:
        field, entity = _place(detail["loc"], data)
        kind, message, suggestion = _explain(detail, model)
        value = None if detail["type"] == "missing" else detail.get("input")
        findings.error(kind, file, message, entity=entity, field=field, value=value, suggestion=suggestion)
    if len(details) > _MAX_REPORTED:
        findings.error("SchemaViolation", file, f"{len(details) - _MAX_REPORTED} further schema errors are not listed")


def _place(loc: tuple[int | str, ...], data: Any) -> tuple[str | None, str | None]:
    """The dotted path that ``loc`` has in the file, and the entity it is about.

    pydantic puts the tags of unions into its locations: a part that cannot be followed in the data, and is not the
    last, is one of those.
    """
    parts: list[str] = []
    entity: str | None = None
    current = data
    collection = ""
    for position, part in enumerate(loc):
        following = loc[position + 1] if position + 1 < len(loc) else None
        if isinstance(part, str) and isinstance(following, str) and _is_list(current, part):
            continue  # a tag that is also the name of a list beside it
        if isinstance(part, int) and isinstance(current, list) and part < len(current):
            current = current[part]
            parts.append(f"[{part}]")
            entity = entity or _entity(current, collection)
        elif isinstance(current, dict) and isinstance(part, str) and part in current:
            current, collection = current[part], part
            parts.append(f".{part}")
        elif position == len(loc) - 1 and isinstance(current, dict):
            parts.append(f".{part}")
    return "".join(parts).lstrip(".") or None, entity


def _is_list(record: Any, key: str) -> bool:
    return isinstance(record, dict) and isinstance(record.get(key), list)


def _entity(record: Any, collection: str) -> str | None:
    if not isinstance(record, dict):
        return None
    name = {"hydros": "hydro", "buses": "bus", "non_controllable_sources": "ncs"}.get(collection, collection[:-1])
    if collection in ("stages", "hydros", "buses", "lines", "thermals", "non_controllable_sources"):
        return f"{name} {record['id']}" if isinstance(record.get("id"), int) else None
    for key in ("hydro_id", "bus_id", "ncs_id", "stage_id"):
        if isinstance(record.get(key), int):
            return f"{key[:-3]} {record[key]}"
    return None


def _explain(detail: ErrorDetails, model: type[Document]) -> tuple[DiagnosticKind, str, str | None]:
    code, context = detail["type"], detail.get("ctx") or {}
    last = detail["loc"][-1] if detail["loc"] else ""
    if code == "missing":
        return "SchemaViolation", f"the required field {last!r} is missing", "add it"
    if code == "extra_forbidden":
        names = model.names() - {str(last)}
        meant = closest(last, names, cutoff=0.75)
        advice = f"did you mean {meant!r}?" if meant else "remove it"
        return "SchemaViolation", f"the key {str(last)[:80]!r} is not known here", advice
    if code in ("literal_error", "union_tag_invalid"):
        expected = str(context.get("expected") or context.get("expected_tags"))
        choices = [word.strip(" '\"") for word in expected.replace(" or ", ", ").split(",")]
        shown = brief(context.get("tag", detail.get("input")))
        return "InvalidEnum", f"{shown!r} is none of {', '.join(choices)}", did_you_mean(shown, choices)
    if code == "union_tag_not_found":
        return "SchemaViolation", f"the required field {context.get('discriminator')} is missing", "add it"
    message = _EXPECTED.get(code) or detail["msg"][:1].lower() + detail["msg"][1:]
    if isinstance(detail.get("input"), str | int | float):
        message = f"{message}, not {brief(detail['input'])!r}"
    return _KINDS.get(code, "TypeMismatch" if "type" in code else "SchemaViolation"), message, None
