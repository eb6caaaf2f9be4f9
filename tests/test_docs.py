"""The Python of the documentation runs, and what the pages say of the command line is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cobre.cli import main
from cobre.cli.failures import ExitCode

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
WITH_PYTHON = [page for page in PAGES if page.is_file() and "```python" in page.read_text()]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other in one namespace, in a folder where 'examples' is to be found and output may go."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    namespace: dict[str, Any] = {"__name__": "page"}
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        # Empty lines before it give an error the line number that it has on the page.
        source = "\n" * (text[: match.start(1)].count("\n")) + match[1]
        exec(compile(source, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_exit_codes_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert listed == set(ExitCode)


COMMANDS = ["validate", "train", "simulate", "run", "worker", "report", "pipeline run", "pipeline show"]


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_those_of_the_page(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    assert main([*command.split(), "--help"]) == 0
    options = set(re.findall(r"(?<!\w)--[a-z][a-z-]+", capsys.readouterr().out.split("Options")[1]))
    documented = set(re.findall(r"--[a-z][a-z-]+", page))
    assert options - documented - {"--strict", "--pictures"} == set()
