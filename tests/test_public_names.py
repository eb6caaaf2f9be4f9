"""What is public is listed, resolvable, and for the package root exactly what users were promised."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

import cobre
import cobre.errors
from cobre.errors import CobreError

ROOT_NAMES = {
    "Case",
    "CaseLoader",
    "Policy",
    "ProgressEvent",
    "SimulationResult",
    "TrainingResult",
    "ValidationResult",
    "WorkerInfo",
    "WorkerRestarted",
    "Workers",
    "__version__",
    "simulate",
    "simulate_async",
    "train",
    "train_async",
    "validate",
}


def modules() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages(cobre.__path__, "cobre.")]
    compiled = ("cobre.sddp._kernel", "cobre.transport._meet")  # which are no modules
    return ["cobre", *(name for name in found if name not in compiled)]


PACKAGE = Path(cobre.__path__[0])


@pytest.mark.parametrize("name", [name for name in modules() if not name.endswith(".__main__")])
def test_every_module_says_what_it_is_and_lists_its_public_names(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} does not say what it is"
    source = ast.parse(Path(str(module.__file__)).read_text())
    if len(source.body) == 1:  # a package that holds modules and no names
        return
    listed = module.__all__
    assert len(set(listed)) == len(listed), f"{name} lists a name twice"
    assert [public for public in listed if not hasattr(module, public)] == []


def test_no_file_of_the_package_is_left_out() -> None:
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    assert {name.removesuffix(".__init__") for name in names} == set(modules())


@pytest.mark.skipif(importlib.util.find_spec("cobre.api") is None, reason="there is no public interface yet")
def test_the_package_root_exports_what_users_were_promised_and_nothing_else() -> None:
    errors = {name: thing for name, thing in vars(cobre.errors).items() if _is_error(thing)}
    assert set(cobre.__all__) == ROOT_NAMES | set(errors)
    assert all(getattr(cobre, name) is error for name, error in errors.items())


def _is_error(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, CobreError)
