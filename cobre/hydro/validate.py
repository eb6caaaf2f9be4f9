"""What is wrong with a case directory, without an exception whatever it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cobre.errors import Diagnostic
from cobre.hydro.diagnostics import Findings
from cobre.hydro.load import read_case

__all__ = ["ValidationResult", "validate_case"]


@dataclass(frozen=True)
class ValidationResult:
    """Everything found in one reading: ``errors`` keep a case from running, ``warnings`` do not."""

    path: Path
    errors: tuple[Diagnostic, ...]
    warnings: tuple[Diagnostic, ...]

    @property
    def valid(self) -> bool:
        return not self.errors


def validate_case(path: str | Path, overrides: Mapping[str, Any] | None = None) -> ValidationResult:
    """Read the case in the directory ``path`` as a run would, with ``overrides`` of its settings, and report.

    Never raises for what the files or the overrides hold.
    """
    findings = Findings()
    read_case(Path(path), overrides, findings)
    return ValidationResult(Path(path), tuple(findings.errors), tuple(findings.warnings))
