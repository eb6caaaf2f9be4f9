"""Pipelines written in TOML, and the settings of their sessions: read whole, every error reported at once.

    [pipeline]
    name = "speech"

    [[node]]
    name = "resample"
    type = "nodes:Resample"     # a class of nodes.py beside this file, or of an importable module, or a registered name
    config = { rate = 16_000 }

    [[connect]]
    from = "resample"           # or "resample.port"
    to = ["features", "recorder"]
    capacity = 10

Reading a pipeline imports the modules that it names: read none that you would not run.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from cobre.actors.node import Node, registered
from cobre.actors.node_failures import nearest
from cobre.actors.pipeline import Pipeline
from cobre.actors.pipeline_schema import ConnectTable, NodeTable, PipelineDocument, RuntimeDocument, read_document
from cobre.errors import CobreError, Diagnostic, DiagnosticKind, PipelineError, ValidationError
from cobre.supervisor import Limits, RestartPolicy

__all__ = ["RuntimeSettings", "read_pipeline", "read_runtime"]

_KINDS: dict[str, DiagnosticKind] = {
    "Cycle": "IncompatibleSettings",
    "DanglingPort": "MissingReference",
    "DuplicateName": "DuplicateId",
    "NotSupported": "NotSupported",
    "OutOfRange": "OutOfRange",
    "TypeMismatch": "TypeMismatch",
    "UnknownNode": "MissingReference",
    "UnknownPort": "MissingReference",
}


@dataclass(frozen=True)
class RuntimeSettings:
    """What a ``runtime.toml`` says; None where it is silent. Seconds and bytes.

    addresses: for ``tcp``, the ``host:port`` at which an input listens, by its ``node.port``.
    """

    transport: str | None = None
    start_method: str | None = None
    processes: int | None = None
    memory_bytes: int | None = None
    message_bytes: int | None = None
    initialize_timeout: float | None = None
    grace: float | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)


def read_runtime(path: str | Path) -> RuntimeSettings:
    """The settings of a ``runtime.toml``.

    Raises cobre.IOError where it cannot be read, ValidationError with everything that is wrong in it.
    """
    path = Path(path)
    document = read_document(path, RuntimeDocument)
    if isinstance(document, list):
        raise ValidationError.of(document, f"the settings {path}")
    return RuntimeSettings(
        **document.session.model_dump(),
        **document.limits.model_dump(),
        initialize_timeout=document.timeouts.initialize,
        grace=document.timeouts.stop,
        addresses=dict(document.addresses),
    )


def read_pipeline(path: str | Path) -> Pipeline:
    """The pipeline that a TOML file describes, checked.

    The folders of the modules that it names as files are added to ``sys.path``, for the processes of its nodes too.
    Raises cobre.IOError where it cannot be read, ValidationError with everything that is wrong: keys, names, classes,
    configurations, connections, the graph.
    """
    path = Path(path)
    document = read_document(path, PipelineDocument)
    if isinstance(document, list):
        raise ValidationError.of(document, f"the pipeline {path}")
    reader = _Reader(path)
    pipeline = reader.pipeline(document)
    if reader.found:
        raise ValidationError.of(reader.found, f"the pipeline {path}")
    return pipeline


class _Problem(Exception):
    """One thing that is wrong with what a file names."""

    def __init__(self, kind: DiagnosticKind, message: str, advice: str | None = None) -> None:
        super().__init__(message)
        self.kind, self.message, self.advice = kind, message, advice


class _Reader:
    """Builds the pipeline of a document, and collects what is wrong on the way."""

    def __init__(self, path: Path) -> None:
        self._file, self._folder = path.name, path.resolve().parent
        self.found: list[Diagnostic] = []

    def pipeline(self, document: PipelineDocument) -> Pipeline:
        """As far as it can be built."""
        head = document.pipeline
        pipeline = Pipeline()
        with self._noting("[pipeline]", "name", head.name):
            pipeline = Pipeline(head.name)
        for name in head.modules:
            with self._noting("[pipeline]", "modules", name):
                self._module(name)
        # Classes that are named by their modules come first: importing those registers the others.
        named = sorted(document.node, key=lambda node: ":" not in node.type)
        classes = {id(node): self._class_of(node) for node in named}
        for node in document.node:
            self._node(pipeline, node, classes[id(node)])
        missing = {node.name for node in document.node} - {*pipeline.nodes}
        for number, connection in enumerate(document.connect, 1):
            self._connect(pipeline, connection, f"[[connect]] {number}", missing)
        for key, add, ports in (("entries", pipeline.entry, head.entries), ("exits", pipeline.exit, head.exits)):
            for port in ports:
                if port.partition(".")[0] not in missing:
                    with self._noting("[pipeline]", key, port):
                        add(port)
        if not self.found:  # of what is built in part, everything would seem to dangle
            with self._noting(None, None, None):
                pipeline.check()
        return pipeline

    def _class_of(self, table: NodeTable) -> type[Node] | None:
        with self._noting(f"node {table.name!r}", "type", table.type):
            return self._class(table.type)
        return None

    def _node(self, pipeline: Pipeline, table: NodeTable, made: type[Node] | None) -> None:
        if made is None:
            return
        entity = f"node {table.name!r}"
        limits = None if table.limits is None else Limits(**table.limits.model_dump(exclude_unset=True))
        restart = None if table.restart is None else RestartPolicy(**table.restart.model_dump())
        with self._noting(entity, None, None):
            pipeline.add_node(table.name, made, table.config, limits=limits, restart=restart)

    def _connect(self, pipeline: Pipeline, table: ConnectTable, entity: str, missing: set[str]) -> None:
        """missing: nodes that could not be made, which has been said already."""
        for key, names in (("from", [table.source]), ("to", table.targets)):
            if any(name.partition(".")[0] in missing for name in names):
                return
            unknown = next((name for name in names if name.partition(".")[0] not in pipeline.nodes), None)
            if unknown is not None:
                node = unknown.partition(".")[0]
                advice = nearest(node, pipeline.nodes, "known")
                self._note("MissingReference", f"there is no node {node!r}", entity, key, unknown, advice)
                return
        with self._noting(entity, None, f"{table.source} -> {', '.join(table.targets)}"):
            pipeline.connect(table.source, table.targets, capacity=table.capacity, bytes=table.bytes, to=table.deliver)

    @contextmanager
    def _noting(self, entity: str | None, key: str | None, value: str | None) -> Iterator[None]:
        """What is raised inside becomes a finding about that place."""
        try:
            yield
        except _Problem as problem:
            self._note(problem.kind, problem.message, entity, key, value, problem.advice)
        except PipelineError as error:
            kind = _KINDS.get(error.kind, "SchemaViolation")
            wrong = error.context.get("wrong")
            if isinstance(wrong, list | tuple):  # a configuration: one finding for each thing
                for each in wrong:
                    self._note(kind, each, entity, "config", None, error.suggestion)
            else:
                self._note(kind, error.message, entity, key, value, error.suggestion)
        except CobreError as error:
            self._note("SchemaViolation", error.message, entity, key, value, error.suggestion)

    def _note(
        self, kind: DiagnosticKind, message: str, entity: str | None, key: str | None, value: Any, advice: str | None
    ) -> None:
        self.found.append(Diagnostic(kind, self._file, message, entity, key, value, advice))

    def _class(self, text: str) -> type[Node]:
        """The class that ``module:Class`` or ``path.py:Class`` names, or the registered name that it is."""
        place, colon, name = text.rpartition(":")
        if not colon:
            return registered(text)
        module = self._module(place)
        found = getattr(module, name, None)
        if isinstance(found, type) and issubclass(found, Node):
            return found
        classes = [
            key
            for key, each in vars(module).items()
            if isinstance(each, type) and issubclass(each, Node) and each != Node
        ]
        told = f"{place} has no class of nodes {name!r}"
        raise _Problem("MissingReference", told, nearest(name, classes, "it has" if classes else "it has none"))

    def _module(self, place: str) -> ModuleType:
        """The module, from beside the pipeline's file where it is there."""
        path = self._folder / place if place.endswith(".py") else None
        name = place if path is None else path.stem
        folder = self._folder if path is None else path.resolve().parent
        own = folder.joinpath(*name.split("."))
        beside = next((each for each in (own.with_suffix(".py"), own / "__init__.py") if each.is_file()), None)
        if path is not None and beside is None:
            raise _Problem("MissingFile", f"there is no file {place}", f"a path starts at {self._folder}")
        if beside is not None and str(folder) not in sys.path:
            # at the end: a file of an unlucky name hides no module that others import
            sys.path.append(str(folder))
            importlib.invalidate_caches()
        module = _imported(name)
        origin = getattr(module, "__file__", None)
        if beside is not None and (origin is None or not Path(origin).exists() or not beside.samefile(origin)):
            told = f"{name} is {origin or 'a module of Python'}, not {beside}"
            raise _Problem("IncompatibleSettings", told, "give the file a name that no other module has")
        return module


def _imported(name: str) -> ModuleType:
    """The module of that name. Whatever its own code raises is a _Problem."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            advice = "put it beside the pipeline's file, or where Python finds it"
            raise _Problem("MissingReference", f"there is no module {name!r}", advice) from error
        raise _Problem("MissingReference", f"importing {name} failed: {error}", "install what it needs") from error
    except Exception as error:
        told = f"importing {name} failed: {type(error).__name__}: {error}"
        raise _Problem("SchemaViolation", told, "mend the module") from error
