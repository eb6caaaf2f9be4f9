"""Checks of a class of nodes and of its configuration, before there is any process."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Mapping
from typing import Any

from cobre.actors.node import Node
from cobre.actors.node_failures import nearest, pipeline_error

__all__ = ["check_class", "checked_config"]


def check_class(made: object, name: str) -> type[Node]:
    """The class, if nodes can be made of it. Raises PipelineError of kind BadConfig."""
    if not (isinstance(made, type) and issubclass(made, Node)):
        advice = "give a subclass of cobre.actors.Node, or the name of a registered one"
        raise pipeline_error(
            "BadConfig", f"the type of {name} is {made!r}, which is no class of nodes", advice, node=name
        )
    wanted = "process" if made.inputs else "produce"
    if getattr(made, wanted) is getattr(Node, wanted):
        told = f"{made.__name__} has no method {wanted}"
        advice = "a node with inputs needs process(self, message), one without needs produce(self)"
        raise pipeline_error("BadConfig", told, advice, node=name)
    if not made.inputs and not made.outputs:
        told = f"{made.__name__} has neither inputs nor outputs"
        raise pipeline_error("BadConfig", told, "give it one at least", node=name)
    return made


def checked_config(made: type[Node], config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The configuration as ``__init__`` is to be given it: all names known, none missing, every type as annotated.

    What JSON can hold is read as pydantic reads JSON: a text becomes a Path, a list a tuple; no text becomes a number.
    Raises PipelineError of kind BadConfig that lists all that is wrong.
    """
    parameters = list(inspect.signature(made).parameters.values())
    known = {each.name: each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters)
    wrong = []
    for key in config:
        if key not in known and not open_ended:
            wrong.append(f"{key} is no setting of {made.__name__} ({nearest(key, known, 'it has')})")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in config:
            wrong.append(f"{key} is missing")
    hints = _hints(made)
    found = dict(config)
    for key in [key for key in config if key in known and key in hints]:
        found[key], told = _read(hints[key], config[key])
        wrong += [f"{key} = {config[key]!r}: {each}" for each in told]
    if wrong:
        told_all = f"the configuration of {name} ({made.__name__}) is wrong: " + "; ".join(wrong)
        raise pipeline_error("BadConfig", told_all, f"see {made.__name__}.__init__", node=name, wrong=wrong)
    return found


def _hints(made: type[Node]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(made.__init__)
    except Exception:  # annotations that only a type checker understands say nothing here
        return {}


def _read(hint: Any, value: Any) -> tuple[Any, list[str]]:
    """The value as the type has it, and what is wrong with it."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError as refusal:  # a class that has a configuration of its own; or what only a checker reads
        adapter = TypeAdapter(hint if refusal.code == "type-adapter-config-unused" else Any)
    try:
        return adapter.validate_python(value, strict=True), []
    except ValidationError as refusal:
        told = [each["msg"] for each in refusal.errors(include_url=False)]
    try:
        return adapter.validate_json(json.dumps(value), strict=True), []
    except (ValidationError, TypeError, ValueError):
        return value, told
