"""Pipelines and runtime settings in TOML: what is read, and that everything that is wrong is said at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cobre.actors import Limits
from cobre.actors.pipeline_file import RuntimeSettings, read_pipeline, read_runtime
from cobre.errors import IOError, ValidationError

NODES = """
import numpy
from cobre.actors import Node, register_node

class Scale(Node):
    inputs = {"in": numpy.ndarray}
    outputs = {"out": numpy.ndarray}
    def __init__(self, factor: int = 2) -> None:
        self.factor = factor
    def process(self, message):
        return message.data * self.factor

@register_node("shout of %(name)s")
class Shout(Node):
    inputs = {"in": str}
    outputs = {"out": str, "quiet": str}
    def process(self, message):
        return message.data.upper()
"""
HEAD = '[pipeline]\nname = "test"\n'


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a module of nodes beside the file that ``write`` makes: of its own for each test."""
    name = f"nodes_{abs(hash(request.node.nodeid)):x}"
    (tmp_path / f"{name}.py").write_text(NODES % {"name": name})
    path = list(sys.path)
    yield name
    sys.path[:] = path
    sys.modules.pop(name, None)


def write(folder: Path, text: str, name: str = "pipeline.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def node(name: str, kind: str, more: str = "") -> str:
    return f'[[node]]\nname = "{name}"\ntype = "{kind}"\n{more}\n'


def connect(source: str, target: str, more: str = "") -> str:
    return f'[[connect]]\nfrom = "{source}"\nto = {target}\n{more}\n'


def problems(path: Path) -> list[tuple[str, str | None, str | None, str, str | None]]:
    """Kind, entity, field, message and suggestion of everything that is wrong."""
    with pytest.raises(ValidationError) as caught:
        (read_runtime if path.name == "runtime.toml" else read_pipeline)(path)
    assert all(found.file == path.name for found in caught.value.diagnostics)
    return [(d.kind, d.entity, d.field, d.message, d.suggestion) for d in caught.value.diagnostics]


def test_a_pipeline_is_what_its_file_says(tmp_path: Path, module: str) -> None:
    text = HEAD + 'exits = ["b.out"]\n'
    text += node("a", f"{module}:Scale", "config = { factor = 3 }\nlimits = { memory_bytes = 1_000_000_000 }")
    text += node("b", f"{module}.py:Scale") + node("c", f"{module}:Scale") + node("d", f"{module}:Scale")
    text += connect("a", '["b", "c.in"]', "capacity = 4\nbytes = 8192") + connect("b", '"d"', 'deliver = "one"')
    text = text.replace('deliver = "one"', 'deliver = "all"')
    graph = read_pipeline(write(tmp_path, text)).check()
    assert graph.name == "test"
    assert graph.nodes["a"].config == {"factor": 3}
    assert graph.nodes["a"].limits == Limits(memory_bytes=1_000_000_000)
    assert graph.nodes["b"].made is graph.nodes["a"].made
    assert [str(port) for port in graph.exits] == ["b.out", "c.out", "d.out"]
    first, second = graph.connections
    assert ([str(to) for to in first.targets], first.capacity, first.bytes, first.to) == (
        ["b.in", "c.in"],
        4,
        8192,
        "all",
    )
    assert ([str(to) for to in second.targets], second.to) == (["d.in"], "all")


def test_messages_may_go_to_one_of_several(tmp_path: Path, module: str) -> None:
    text = HEAD + "".join(node(name, f"{module}:Scale") for name in "abc")
    pipeline = read_pipeline(write(tmp_path, text + connect("a", '["b", "c"]', 'deliver = "one"')))
    assert pipeline.connections[0].to == "one"


def test_registered_types_are_known_once_their_module_is_imported(tmp_path: Path, module: str) -> None:
    kind = f"shout of {module}"
    first = write(tmp_path, HEAD + node("a", kind), "without.toml")
    assert [found[:3] for found in problems(first)] == [("MissingReference", "node 'a'", "type")]
    second = write(tmp_path, HEAD + f'modules = ["{module}"]\n' + node("a", kind), "with.toml")
    assert read_pipeline(second).nodes["a"].type_name == "Shout"


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path, module: str) -> None:
    text = HEAD + 'entries = ["ok.inn"]\n' + node("a", f"{module}:Scal") + node("ok", f"{module}:Scale")
    text += node("b", f"{module}:Scale", 'config = { factor = "three", facto = 3 }')
    text += node("c", "nowhere_at_all:Scale") + node("text", f"{module}:Shout") + node("ok", f"{module}:Shout")
    text += connect("ok", '"text"') + connect("ok", '"a"') + connect("ok", '"tex"') + connect("ok.oot", '"text"')
    found = problems(write(tmp_path, text))
    assert [(kind, entity, field) for kind, entity, field, _, _ in found] == [
        ("MissingReference", "node 'a'", "type"),
        ("MissingReference", "node 'c'", "type"),
        ("SchemaViolation", "node 'b'", "config"),
        ("SchemaViolation", "node 'b'", "config"),
        ("DuplicateId", "node 'ok'", None),
        ("TypeMismatch", "[[connect]] 1", None),
        ("MissingReference", "[[connect]] 3", "to"),
        ("MissingReference", "[[connect]] 4", None),
        ("MissingReference", "[pipeline]", "entries"),
    ]
    advice = [suggestion for *_, suggestion in found]
    assert advice[0] == "did you mean 'Scale'?"
    assert advice[6] == "did you mean 'text'?"
    assert "did you mean 'factor'?" in found[2][3] + found[3][3]
    assert "valid integer" in found[2][3] + found[3][3]


def test_the_graph_is_checked_when_its_parts_are_right(tmp_path: Path, module: str) -> None:
    nodes = "".join(node(name, f"{module}:Scale") for name in "ab")
    cycle = problems(write(tmp_path, HEAD + nodes + connect("a", '"b"') + connect("b", '"a"')))
    assert [(found[0], found[1]) for found in cycle] == [("IncompatibleSettings", "[[connect]] 2")]
    assert "a -> b -> a" in cycle[0][3]
    two = node("x", f"{module}:Shout") + node("y", f"{module}:Shout") + connect("x.out", '"y"')
    dangling = problems(write(tmp_path, HEAD + two))
    assert [(found[0], found[1]) for found in dangling] == [("MissingReference", None)]
    assert "x.quiet" in dangling[0][3]


@pytest.mark.parametrize(
    ("text", "place", "kind", "words"),
    [
        ("[pipelin]\n", "pipelin", "SchemaViolation", "did you mean 'pipeline'?"),
        ('[pipeline]\nname = "x"\n', "node", "SchemaViolation", "there is no node"),
        (HEAD + '[[node]]\nname = "a"\ntyp = "x"\n', "typ", "SchemaViolation", "did you mean 'type'?"),
        (HEAD + node("a", "x", "limits = { memory = 3 }"), "limits.memory", "SchemaViolation", "'memory_bytes'"),
        (HEAD + node("a", "x", "limits = { hang_seconds = -1 }"), "limits.hang_seconds", "OutOfRange", "than 0"),
        (HEAD + node("a", "x", 'restart = { when = "failed" }'), "restart.when", "InvalidEnum", "'failure'"),
        (HEAD + node("a", "x") + connect("a", '"b"', "capacity = 0"), "capacity", "OutOfRange", "not 0"),
        (HEAD + node("a", "x") + connect("a", '"b"', "capacity = 2.5"), "capacity", "TypeMismatch", "integer"),
        (HEAD + node("a", "x") + connect("a", "[]"), "to", "SchemaViolation", "at least 1"),
        (HEAD + node("a", "x") + connect("a", "3"), "to", "TypeMismatch", "list"),
        (HEAD + node("a", "x") + connect("a", '"b"', 'deliver = "on"'), "deliver", "InvalidEnum", "'one'"),
    ],
)  # fmt: skip
def test_keys_and_values_that_are_wrong(tmp_path: Path, text: str, place: str, kind: str, words: str) -> None:
    found = problems(write(tmp_path, text))
    there = [each for each in found if each[2] == place]
    assert [each[0] for each in there] == [kind]
    assert words in f"{there[0][3]} {there[0][4]}"


def test_text_that_is_no_toml_says_where(tmp_path: Path) -> None:
    (found,) = problems(write(tmp_path, HEAD + "name = \n"))
    assert found[0] == "ParseError"
    assert "line 3" in found[3]
    assert problems(write(tmp_path, HEAD + "name = 1\n"))[0][0] == "ParseError"  # a key that stands twice


def test_modules_that_fail_say_why(tmp_path: Path) -> None:
    write(tmp_path, "import a_library_that_is_not_there\n", "poor_module_of_nodes.py")
    write(tmp_path, "1 / 0\n", "broken_module_of_nodes.py")
    path = list(sys.path)
    text = HEAD + node("a", "poor_module_of_nodes:A") + node("b", "broken_module_of_nodes:B") + node("c", "none.py:C")
    try:
        found = problems(write(tmp_path, text))
    finally:
        sys.path[:] = path
    assert [each[0] for each in found] == ["MissingReference", "SchemaViolation", "MissingFile"]
    assert "a_library_that_is_not_there" in found[0][3]
    assert "ZeroDivisionError" in found[1][3]


def test_a_module_of_the_same_name_from_elsewhere_is_never_taken_for_it(tmp_path: Path, module: str) -> None:
    read_pipeline(write(tmp_path, HEAD + node("a", f"{module}:Scale")))
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{module}.py").write_text(NODES % {"name": "other"})
    (found,) = problems(write(other, HEAD + node("a", f"{module}:Scale")))
    assert found[0] == "IncompatibleSettings"
    assert str(tmp_path / f"{module}.py") in found[3]


def test_a_restart_policy(tmp_path: Path, module: str) -> None:
    text = HEAD + node("a", f"{module}:Scale", 'restart = { when = "failure", limit = 2 }')
    policy = read_pipeline(write(tmp_path, text)).nodes["a"].restart
    assert policy is not None
    assert (policy.when, policy.limit, policy.period) == ("failure", 2, 30.0)


def test_a_file_that_cannot_be_read_is_no_finding(tmp_path: Path) -> None:
    for read in (read_pipeline, read_runtime):
        with pytest.raises(IOError, match="cannot be read") as caught:
            read(tmp_path / "none.toml")
        assert caught.value.kind == "NotFound"
        with pytest.raises(IOError):
            read(tmp_path)


def test_runtime_settings(tmp_path: Path) -> None:
    text = """
        [session]
        transport = "tcp"
        start_method = "forkserver"
        [limits]
        processes = 4
        memory_bytes = 2_000_000_000
        message_bytes = 1_000_000
        [timeouts]
        initialize = 90
        stop = 0.5
        [addresses]
        "b.in" = "127.0.0.1:9000"
    """
    assert read_runtime(write(tmp_path, text, "runtime.toml")) == RuntimeSettings(
        "tcp", "forkserver", 4, 2_000_000_000, 1_000_000, 90.0, 0.5, {"b.in": "127.0.0.1:9000"}
    )
    assert read_runtime(write(tmp_path, "", "runtime.toml")) == RuntimeSettings()


def test_runtime_settings_that_are_wrong(tmp_path: Path) -> None:
    text = '[limit]\nprocesses = 1\n[session]\ntransport = "shmem"\n[timeouts]\ninitialise = 3\nstop = -1\n'
    found = problems(write(tmp_path, text, "runtime.toml"))
    assert sorted((entity, field, kind) for kind, entity, field, _, _ in found if entity) == [
        ("[session]", "transport", "InvalidEnum"),
        ("[timeouts]", "initialise", "SchemaViolation"),
        ("[timeouts]", "stop", "OutOfRange"),
    ]
    assert any(each[2] == "limit" and each[4] == "did you mean 'limits'?" for each in found)
