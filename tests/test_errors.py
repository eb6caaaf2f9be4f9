"""Errors cross processes: every one pickles whole, prints its advice and stands where the tree says."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
import re
from typing import Any

import pytest

from cobre import errors
from cobre.errors import (
    ActorError,
    ChannelError,
    CobreError,
    CommError,
    Diagnostic,
    IOError,
    NodeError,
    PipelineError,
    SolverError,
    ValidationError,
    WorkerError,
)

FINDING = Diagnostic(
    "OutOfRange", "system/hydros.json", "must be positive", "hydro 3", "reservoir.max_storage_hm3", -1.0, "mend it"
)
COMMON: dict[str, Any] = {"kind": "Special", "context": {"rank": 3, "path": "a/b"}, "suggestion": "try again"}
EXAMPLES = [
    CobreError("message", **COMMON),
    ValidationError("message", diagnostics=[FINDING, FINDING], **COMMON),
    SolverError("message", stage=3, iteration=7, scenario=2, solver_status="infeasible", **COMMON),
    IOError("message", **COMMON),
    WorkerError("message", rank=2, exit_code=-9, inner=SolverError("inside", stage=1), **COMMON),
    CommError("message", operation="allreduce", **COMMON),
    ActorError("message", **COMMON),
    ChannelError("message", operation="publish", channel="frames", **COMMON),
    PipelineError("message", node="resample", **COMMON),
    NodeError("message", node="resample", exit_code=3, signal="SIGSEGV", inner=ActorError("inside"), **COMMON),
]


def classes() -> dict[str, type[CobreError]]:
    return {
        name: thing
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, CobreError) and thing.__module__ == errors.__name__
    }


def fields(error: CobreError) -> dict[str, Any]:
    plain = {name: value for name, value in vars(error).items() if not isinstance(value, CobreError)}
    inner = {name: (type(e), fields(e)) for name, e in vars(error).items() if isinstance(e, CobreError)}
    return plain | inner | {"args": error.args, "text": str(error)}


def test_there_is_an_example_of_every_error() -> None:
    assert {type(error) for error in EXAMPLES} == set(classes().values())


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_pickles_with_every_field(error: CobreError, protocol: int) -> None:
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is type(error)
    assert fields(back) == fields(error)
    assert back.__cause__ is None


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
def test_every_error_copies(error: CobreError) -> None:
    assert fields(copy.copy(error)) == fields(error)
    assert fields(copy.deepcopy(error)) == fields(error)


@pytest.mark.parametrize("error", [cls("only a message") for cls in classes().values()], ids=lambda e: type(e).__name__)
def test_a_message_is_enough(error: CobreError) -> None:
    assert (str(error), error.message, error.context, error.suggestion) == (
        "only a message",
        "only a message",
        {},
        None,
    )
    assert error.kind
    assert fields(pickle.loads(pickle.dumps(error))) == fields(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
def test_the_text_shows_the_suggestion(error: CobreError) -> None:
    assert str(error) == "message (try again)"
    assert (error.kind, error.context) == ("Special", {"rank": 3, "path": "a/b"})


def test_the_kind_is_the_class_or_the_first_finding_unless_given() -> None:
    assert CommError("m").kind == "CommError"
    assert ValidationError("m").kind == "SchemaViolation"
    assert ValidationError("m", diagnostics=[FINDING]).kind == "OutOfRange"
    assert ValidationError("m", diagnostics=[FINDING], kind="ParseError").kind == "ParseError"


def test_the_context_is_a_copy() -> None:
    given = {"stage": 1}
    error = CobreError("m", context=given)
    given["stage"] = 2
    assert error.context == {"stage": 1}


def test_the_tree_is_as_drawn() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"^( +)(\w+Error)\b", errors.__doc__, re.MULTILINE)
    assert {name for _, name in drawn} == set(classes())
    above: list[tuple[int, str]] = []  # those that the next line may stand under
    for indent, name in drawn:
        above = [one for one in above if one[0] < len(indent)]
        assert [base.__name__ for base in classes()[name].__bases__] == [above[-1][1] if above else "Exception"]
        above.append((len(indent), name))


def test_our_file_error_is_not_the_builtin_one() -> None:
    assert not issubclass(IOError, builtins.OSError)


def test_a_finding_names_its_place_and_what_to_do() -> None:
    assert str(FINDING) == (
        "system/hydros.json: hydro 3: reservoir.max_storage_hm3: must be positive (mend it) [OutOfRange]"
    )
    assert str(Diagnostic("ParseError", "config.json", "is no JSON")) == "config.json: is no JSON [ParseError]"


def test_an_error_of_many_findings_shows_twenty_and_keeps_all() -> None:
    one = ValidationError.of([FINDING], "the case")
    assert str(one).startswith("the case has 1 problem:\n  system/hydros.json")
    many = ValidationError.of([FINDING] * 23, "the case")
    assert "23 problems" in str(many)
    assert "and 3 more" in str(many)
    assert str(many).count("hydro 3") == 20
    assert len(many.diagnostics) == 23
