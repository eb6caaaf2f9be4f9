"""Where the class of an actor may stand: wherever Python can define one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from cobre.actors import ActorHandle, ActorSystem, context
from cobre.actors.pickling import importable

SOON = 30.0  # seconds; a guard against hanging

CLASSES = """
import math
from cobre.actors import ActorSystem, context

OFFSET = 100

class Fault(Exception):
    pass

class Point:
    def __init__(self, x):
        self.x = x

def shifted(x):
    return x + OFFSET

class Mine:
    def __init__(self, scale):
        self.scale = scale

    def apply(self, point):
        return Point(self.scale * shifted(point.x) + math.floor(0.5))

    def call(self, function, value):
        return function(value)

    def fail(self):
        raise Fault("mine")

    def who(self):
        return context().name

"""

USE = """
with ActorSystem() as system:
    mine = system.spawn(Mine, 2, name="mine")
    base = 5
    found = mine.apply.remote(Point(1)).result(30)
    assert type(found) is Point
    print(found.x, mine.call.remote(lambda x: x + base, 1).result(30), mine.who.remote().result(30))
    try:
        mine.fail.remote().result(30)
    except Fault as fault:
        print(fault, "fail" in str(fault.__cause__))
"""
ANSWER = ["202 6 mine", "mine True"]


def run(arguments: list[str], given: str | None = None, where: Path | None = None) -> list[str]:
    """The lines that a Python process prints; ``ran`` is printed by what must run once only."""
    done = subprocess.run(
        [sys.executable, *arguments], input=given, capture_output=True, text=True, timeout=90, cwd=where, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_script_without_a_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('ran')\n" + CLASSES + USE)
    assert run([str(script)]) == ["ran", *ANSWER]


def test_a_command() -> None:
    assert run(["-c", "print('ran')\n" + CLASSES + USE]) == ["ran", *ANSWER]


def test_a_script_on_stdin() -> None:
    assert run(["-"], "print('ran')\n" + CLASSES + USE) == ["ran", *ANSWER]


def test_an_interactive_interpreter() -> None:
    block = USE.replace("\nwith", "with")
    lines = CLASSES.replace("\n\n    def", "\n    def") + block + "\n\n"
    assert [line for line in run(["-i", "-q"], lines) if line] == ANSWER


def test_cells_of_a_notebook() -> None:
    cells = f"""
        import __main__
        for number, cell in enumerate(({CLASSES!r}, {USE!r})):
            exec(compile(cell, f"<cell {{number}}>", "exec"), __main__.__dict__)
    """
    assert run(["-c", textwrap.dedent(cells)]) == ANSWER


def test_a_module_beside_the_script(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text(CLASSES)
    script = tmp_path / "script.py"
    script.write_text("from beside import *\nimport beside\n" + USE + "print(Mine.__module__)\n")
    assert run([str(script)], where=tmp_path.parent) == [*ANSWER, "beside"]


def test_a_module_that_a_worker_cannot_find(tmp_path: Path) -> None:
    (tmp_path / "hidden.py").write_text(CLASSES)
    script = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("hidden", {str(tmp_path / "hidden.py")!r})
hidden = importlib.util.module_from_spec(spec)
sys.modules["hidden"] = hidden
spec.loader.exec_module(hidden)
globals().update({{name: value for name, value in vars(hidden).items() if not name.startswith("__")}})
"""
    assert run(["-c", script + USE]) == ANSWER


def test_a_package_run_as_a_module(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text(CLASSES)
    (package / "__main__.py").write_text("from .parts import *\n" + USE)
    assert run(["-m", "package"], where=tmp_path) == ANSWER


def test_a_start_method_that_was_set_to_fork_is_refused() -> None:
    script = """
import multiprocessing
multiprocessing.set_start_method("fork")
from cobre.actors import ActorSystem
from cobre.errors import CobreError
try:
    ActorSystem()
except CobreError as refusal:
    print(refusal.kind)
"""
    assert run(["-c", script]) == ["IncompatibleSettings"]


def test_what_an_actor_prints_is_seen() -> None:
    script = """
from cobre.actors import ActorSystem
class Talker:
    def talk(self):
        print("said")
with ActorSystem() as system:
    talker = system.spawn(Talker)
    talker.talk.remote().result(30)
    talker.kill()
"""
    assert run(["-c", script]) == ["said"]


class Here:
    """Stands in a module of tests."""

    def name(self) -> str:
        return context().name


def test_classes_of_a_test_module(system: ActorSystem) -> None:
    assert system.spawn(Here, name="here").method("name").remote().result(SOON) == "here"


def test_a_class_in_a_function(system: ActorSystem) -> None:
    offset = 3

    class Local:
        def add(self, number: int) -> int:
            return number + offset

    assert system.spawn(Local).add.remote(4).result(SOON) == 7


def test_a_function_that_makes_the_object(system: ActorSystem) -> None:
    def make(number: int) -> Any:
        return Here() if number == 1 else None

    assert system.spawn(make, 1, name="made").method("name").remote().result(SOON) == "made"


def test_functions_as_arguments(worker: ActorHandle) -> None:
    found = worker.echo.remote(lambda number: number + 1).result(SOON)
    assert found(1) == 2
    assert worker.echo.remote(textwrap.dedent).result(SOON) is textwrap.dedent
    assert worker.echo.remote(int).result(SOON) is int


@pytest.mark.parametrize(
    ("name", "expected"), [("os", True), ("numpy", True), ("numpy.linalg", True), ("__main__", False), (None, False)]
)
def test_what_a_worker_can_import(name: str | None, expected: bool) -> None:
    assert importable(name) is expected


def test_a_module_under_a_name_that_leads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ambiguous_name.py").write_text(f"VALUE = {folder!r}\n")
    monkeypatch.syspath_prepend(tmp_path / "one")
    spec = importlib.util.spec_from_file_location("ambiguous_name", tmp_path / "two" / "ambiguous_name.py")
    assert spec is not None
    monkeypatch.setitem(sys.modules, "ambiguous_name", importlib.util.module_from_spec(spec))
    assert importable("ambiguous_name") is False
