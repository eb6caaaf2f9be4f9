"""Who may import whom, and the habits of the house, held over the sources themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cobre"

# A package or module of the first level, and which others it may import. Nothing points upward.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "events": set(),
    "files": {"errors"},
    "settings": {"errors"},
    "transport": {"errors"},
    "supervisor": {"transport", "events", "errors"},
    "actors": {"supervisor", "transport", "events", "errors"},
    "sddp": {"files", "events", "errors"},
    "hydro": {"sddp", "files", "errors"},
    "engine": {"sddp", "actors", "supervisor", "transport", "files", "events", "errors"},
}
ALLOWED["testing"] = {*ALLOWED} - {"testing"}
ALLOWED["plots"] = {"files", "errors"}
ALLOWED["results"] = {"plots", "sddp", "files", "events", "errors"}
ALLOWED["run_folder"] = {"results", "sddp", "files", "events", "errors"}
ALLOWED["work"] = {"run_folder", "results", "engine", "hydro", "sddp", "events", "errors"}
ALLOWED["pool"] = {"settings", "engine", "errors"}
ALLOWED["api"] = {*ALLOWED} - {"testing", "api"}
ALLOWED["cli"] = {*ALLOWED} - {"testing", "cli"}
ALLOWED["__main__"] = {"cli"}
ALLOWED["__init__"] = {"api", "results", "hydro", "sddp", "events", "errors"}

# A case is turned into a problem and a result into files; how a problem is solved is no business of theirs.
ALGORITHM = {"backward", "bounds", "cuts", "forward", "highs", "lp", "scaling", "selection", "training"}

# Words that would show that a layer knows what it should not, as parts of names.
FOREIGN_WORDS = {
    "sddp": {"hydro", "hydros", "thermal", "thermals", "reservoir", "inflow", "inflows", "bus", "buses"},
    "transport": {"sddp", "cut", "cuts", "hydro", "policy"},
    "supervisor": {"sddp", "cut", "cuts", "hydro"},
    "actors": {"sddp", "cut", "cuts", "hydro"},
}

HIGHS = "cobre/sddp/highs.py"
KERNEL = ("cobre/sddp/kernel.py", "cobre/sddp/kernel_structures.py")  # call the compiled one
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40

# Each exception with its reason; one that is no longer needed fails a test.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {
    "cobre/cli/pipeline_commands.py:run": "more than half of it declares its options, with their help",
    "cobre/hydro/plants.py:resolve_hydros": "a line for each field of Hydros: more than half of it is a table",
}
STREAM_KEEPERS: dict[str, str] = {
    "cobre/actors/host.py": "it has what an actor prints written line by line, so that a killed one loses nothing",
}
ENVIRONMENT_READERS: dict[str, str] = {
    "cobre/settings.py": "it is the one place that resolves COBRE_* settings of a run",
    "cobre/supervisor/child.py": "a forked process takes over the environment that it is sent, unread",
    "cobre/supervisor/launcher.py": "a new process is given all of this one's environment, unread",
    "cobre/testing/faults.py": "it sets COBRE_FAULTS, for workers that start inside a block",
    "cobre/transport/environment.py": "a rank that a scheduler started meets its group without any of the layers above",
}


@cache
def sources() -> dict[str, ast.Module]:
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def layer(path: str) -> str:
    return path.split("/")[1].removesuffix(".py")


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every module that is imported anywhere in it: in functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def ours(tree: ast.Module) -> Iterator[tuple[int, list[str]]]:
    yield from ((line, name.split(".")) for line, name in imports(tree) if name.split(".")[0] == "cobre")


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    def inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}{child.name}."
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name.removesuffix("."), child
            yield from inside(child, name)

    yield from inside(tree, "")


def body_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


def long_functions() -> dict[str, int]:
    return {
        f"{path}:{name}": body_length(node)
        for path, tree in sources().items()
        for name, node in functions(tree)
        if body_length(node) > LINES_OF_A_FUNCTION
    }


def long_files() -> dict[str, int]:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in sources()}
    return {path: length for path, length in lengths.items() if length > LINES_OF_A_FILE}


def environment_readers() -> dict[str, int]:
    found = {}
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}:
                found[path] = node.lineno
            names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
            if names & {"environ", "environb", "getenv"}:
                found[path] = node.lineno
    return found


def test_the_table_knows_every_package() -> None:
    assert {layer(path) for path in sources()} <= set(ALLOWED)


def test_the_table_points_nowhere_upward() -> None:
    def below(name: str, seen: tuple[str, ...] = ()) -> None:
        assert name not in seen, " -> ".join([*seen, name])
        for other in ALLOWED[name]:
            below(other, (*seen, name))

    for name in ALLOWED:
        below(name)


@pytest.mark.parametrize("path", sources())
def test_imports_follow_the_layers(path: str) -> None:
    own = layer(path)
    for line, parts in ours(sources()[path]):
        assert len(parts) > 1, f"{path}:{line} imports the package root; import from the module that defines the name"
        assert parts[1] == own or parts[1] in ALLOWED[own], f"{path}:{line}: {own} may not import cobre.{parts[1]}"
        if own == "hydro" and parts[1] == "sddp":
            assert not ALGORITHM & set(parts[2:]), f"{path}:{line}: hydro may not import {'.'.join(parts)}"


@pytest.mark.parametrize("path", sources())
def test_imports_are_written_in_one_way(path: str) -> None:
    for node in ast.walk(sources()[path]):
        if isinstance(node, ast.Import):
            bad = [alias.name for alias in node.names if alias.name.split(".")[0] == "cobre"]
            assert not bad, f"{path}:{node.lineno}: write 'from cobre.x import name', not 'import {bad[0]}'"
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"


@pytest.mark.parametrize("path", sources())
def test_one_file_knows_the_solver(path: str) -> None:
    if path in (HIGHS, *KERNEL):
        return
    tree = sources()[path]
    foreign = {"highspy", "ctypes"} if layer(path) in {"sddp", "hydro", "api", "cli"} else {"highspy"}
    for line, name in imports(tree):
        assert name.split(".")[0] not in foreign, f"{path}:{line} imports {name}; only {HIGHS} may"
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value.split(".")[0] != "highspy", f"{path}:{node.lineno} names highspy; only {HIGHS} may"


@pytest.mark.parametrize("path", sources())
def test_the_library_does_not_print(path: str) -> None:
    if layer(path) == "cli":
        return
    for node in ast.walk(sources()[path]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{path}:{node.lineno} prints; log through logging"
        if path in STREAM_KEEPERS:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            assert node.attr not in {"stdout", "stderr"}, f"{path}:{node.lineno} writes to sys.{node.attr}"


def test_one_file_reads_the_environment() -> None:
    found = environment_readers()
    assert not set(found) - set(ENVIRONMENT_READERS), f"only {sorted(ENVIRONMENT_READERS)} may: {found}"


@pytest.mark.parametrize("path", sources())
def test_layers_do_not_use_the_words_of_others(path: str) -> None:
    foreign = FOREIGN_WORDS.get(layer(path), set())
    for node in ast.walk(sources()[path]):
        name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "arg", None)
        name = name or getattr(node, "name", None)
        words = set(str(name).lower().split("_")) if name else set()
        assert not words & foreign, f"{path}:{getattr(node, 'lineno', 0)}: {name} is not a word of {layer(path)}"


def test_files_are_short() -> None:
    over = {path: n for path, n in long_files().items() if path not in LONG_FILES}
    assert not over, f"more than {LINES_OF_A_FILE} lines; split on nouns: {over}"


def test_functions_are_short() -> None:
    over = {name: n for name, n in long_functions().items() if name not in LONG_FUNCTIONS}
    assert not over, f"more than {LINES_OF_A_FUNCTION} lines; name the parts: {over}"


def test_exceptions_are_still_needed_and_have_reasons() -> None:
    present = set(sources())
    assert set(LONG_FILES) <= set(long_files())
    assert set(LONG_FUNCTIONS) <= set(long_functions())
    assert set(ENVIRONMENT_READERS) & present <= set(environment_readers())
    assert all(reason for table in (LONG_FILES, LONG_FUNCTIONS, ENVIRONMENT_READERS) for reason in table.values())
