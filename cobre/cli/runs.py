"""What the commands do: read a case, train, simulate, and say what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cobre.api import simulate as simulate_case
from cobre.api import train as train_case
from cobre.cli.display import Plan, displayed
from cobre.cli.failures import ExitCode
from cobre.cli.findings import diagnostic_record, show_findings, tally
from cobre.cli.formats import count
from cobre.cli.interrupt import Interrupts
from cobre.cli.summary import show_lines, simulation_lines, simulation_record, training_lines, training_record
from cobre.cli.terminal import Terminal
from cobre.engine.beginning import run_of
from cobre.engine.rank import AsRank
from cobre.errors import IOError, ValidationError
from cobre.events import ProgressEvent
from cobre.hydro.diagnostics import Findings
from cobre.hydro.entities import Case
from cobre.hydro.load import read_case
from cobre.results import SimulationResult, TrainingResult
from cobre.run_folder import RunFolder
from cobre.sddp.policy import Policy
from cobre.sddp.settings import Sampled
from cobre.sddp.stopping import IterationLimit, TimeLimit
from cobre.settings import resolve_placement
from cobre.work import Work, simulate_on, train_on

__all__ = [
    "Request",
    "conclude",
    "load",
    "run",
    "simulate",
    "simulate_shown",
    "train",
    "train_shown",
    "validate",
]


@dataclass(frozen=True)
class Request:
    """A command's subject, where its output goes and who works on it.

    output: None for ``<case>-output`` in the current folder. workers, backend: as for ``cobre.train``. member: the rank
    of a scheduler's run that this process is, with its ``work``, in place of workers of its own. max_restarts: as for
    ``cobre.train``. resume: a run, or one of its checkpoints, that goes on.
    """

    case: Path
    overrides: dict[str, Any]
    output: Path | None = None
    workers: int = 1
    backend: str = "auto"
    member: AsRank | None = None
    work: Work | None = None
    max_restarts: int = 0
    resume: Path | None = None

    @cached_property
    def folder(self) -> Path:
        """Raises cobre's IOError where there is no checkpoint to resume from."""
        if self.output is None and self.resume is not None:
            return run_of(self.resume)
        return self.output or Path(f"{self.case.resolve().name}-output")


def validate(terminal: Terminal, request: Request) -> ExitCode:
    """Everything that is wrong with a case."""
    findings = Findings()
    case = read_case(request.case, request.overrides, findings)
    show_findings(terminal, findings.errors, "error", "bold red")
    show_findings(terminal, findings.warnings, "warning", "bold yellow")
    valid = not findings.errors
    found = tally(findings.errors, findings.warnings)
    terminal.say(f"{request.case}: {'valid' if valid else 'not valid'}, {found}")
    if case is not None:
        show_lines(terminal, [("case", _shape(case))])
    terminal.emit(
        {
            "valid": valid,
            "errors": [diagnostic_record(d) for d in findings.errors],
            "warnings": [diagnostic_record(d) for d in findings.warnings],
        }
    )
    return ExitCode.DONE if valid else ExitCode.INVALID


def train(terminal: Terminal, request: Request) -> ExitCode:
    """Train, and save the policy."""
    with Interrupts() as interrupts:
        case = _load(terminal, request, ("training", "policy"))
        result = train_shown(terminal, interrupts, case, request)
    return conclude(terminal, request, case, result, None)


def simulate(terminal: Terminal, request: Request, policy: Path | None, strict: bool) -> ExitCode:
    """Simulate a saved policy: that in the folder ``policy``, else in the output folder."""
    with Interrupts() as interrupts:
        case = _load(terminal, request, ("simulation",))
        loaded = Policy.load(_policy_folder(policy or request.folder))
        result = simulate_shown(terminal, interrupts, case, loaded, request, strict)
    return conclude(terminal, request, case, None, result)


def _policy_folder(path: Path) -> Path:
    """``path``, or the ``policy`` in it where it is the folder of a run."""
    for folder in (path / "policy", path):
        if (folder / "metadata.json").exists():
            return folder
    raise IOError(
        f"there is no policy in {path}",
        kind="PolicyUnreadable",
        context={"path": str(path)},
        suggestion="train first, or name the folder of a saved policy with --policy",
    )


def run(terminal: Terminal, request: Request, simulated: bool | None) -> ExitCode:
    """Train, then simulate where ``simulated`` says so, or (None) where the case does."""
    with Interrupts() as interrupts:
        case = _load(terminal, request, ("training", "policy", "simulation"))
        training = train_shown(terminal, interrupts, case, request)
        wanted = case.simulation_enabled if simulated is None else simulated
        simulation = None
        if wanted and not interrupts.requested:
            simulation = simulate_shown(terminal, interrupts, case, training.policy, request, strict=True)
    return conclude(terminal, request, case, training, simulation)


def _load(terminal: Terminal, request: Request, parts: tuple[str, ...]) -> Case:
    """The case, with its warnings on stderr; the output folder is looked at first, before any work."""
    resolve_placement(request.backend, request.workers, max_restarts=request.max_restarts)
    RunFolder(request.folder, parts).discard_if_empty()
    return load(terminal, request)


def load(terminal: Terminal, request: Request) -> Case:
    """The case, with its warnings on stderr."""
    findings = Findings()
    case = read_case(request.case, request.overrides, findings)
    show_findings(terminal, findings.warnings, "warning", "bold yellow")
    if case is None or findings.errors:
        raise ValidationError.of(findings.errors, f"the case {request.case}")
    return case


def train_shown(terminal: Terminal, interrupts: Interrupts, case: Case, request: Request) -> TrainingResult:
    rules = case.training.stopping
    plan = Plan(
        title=f"training {case.name}",
        total=max(rule.limit for rule in rules if isinstance(rule, IterationLimit)),
        time_limit=min((rule.seconds for rule in rules if isinstance(rule, TimeLimit)), default=None),
    )
    try:
        with _observed(terminal, interrupts, plan, "the iteration under way") as observe:
            if request.member is not None and request.work is not None:
                member = nullcontext(request.member)
                return train_on(member, request.work, None, observe, request.folder, request.resume)
            return train_case(
                case,
                progress_callback=observe,
                backend=request.backend,
                num_workers=request.workers,
                output_directory=request.folder,
                resume=request.resume,
                max_restarts=request.max_restarts,
            )
    except IOError as error:
        if error.result is not None:
            error.suggestion = _rescue(error.result.policy) or error.suggestion
        raise


def _rescue(policy: Policy) -> str | None:
    """Save elsewhere a policy that could not be written where it was asked for; returns what to tell of it."""
    try:
        saved = policy.save(Path(tempfile.mkdtemp(prefix="cobre-rescued-")) / "policy")
    except (IOError, OSError):
        return None
    return f"the trained policy was saved to {saved} instead; make room, then simulate it with --policy {saved}"


def simulate_shown(
    terminal: Terminal, interrupts: Interrupts, case: Case, policy: Policy, request: Request, strict: bool
) -> SimulationResult:
    scenarios = case.simulation.scenarios
    plan = Plan(f"simulating {case.name}", scenarios.count if isinstance(scenarios, Sampled) else None)
    try:
        with _observed(terminal, interrupts, plan, "the scenarios under way") as observe:
            if request.member is not None and request.work is not None:
                member = nullcontext(request.member)
                return simulate_on(member, request.work, policy, None, observe, request.folder, strict)
            return simulate_case(
                case,
                policy,
                progress_callback=observe,
                backend=request.backend,
                num_workers=request.workers,
                output_directory=request.folder,
                max_restarts=request.max_restarts,
                strict=strict,
            )
    except ValidationError as error:
        if error.kind == "IncompatibleSettings":
            error.suggestion = "train on this case; if it is the same system with other numbers, pass --no-strict"
        raise


@contextmanager
def _observed(
    terminal: Terminal, interrupts: Interrupts, plan: Plan, unit: str
) -> Iterator[Callable[[ProgressEvent], object]]:
    """The progress callback of a piece of work that is shown and may be asked to stop after a ``unit``."""
    # what is saved is promised before anything is shown: whoever sees the title may press Ctrl-C already
    with interrupts.saving(unit, terminal.note), displayed(terminal, plan) as display:
        interrupts.tell = display.tell

        def observe(event: ProgressEvent) -> object:
            if event.restart is None:  # that is a warning in the log already
                display.show(event)
            return not interrupts.requested

        yield observe


def _shape(case: Case) -> str:
    return (
        f"{case.name}: {count(len(case.stages), 'stage')}, {count(case.buses.ids.size, 'bus', 'buses')}, "
        f"{count(case.hydros.ids.size, 'hydro')}, {count(case.thermals.ids.size, 'thermal')}, "
        f"{count(case.lines.ids.size, 'line')}, {count(case.non_controllables.ids.size, 'non-controllable source')}"
    )


def conclude(
    terminal: Terminal,
    request: Request,
    case: Case,
    training: TrainingResult | None,
    simulation: SimulationResult | None,
) -> ExitCode:
    """The summary and the document; the exit code says whether the run was stopped early."""
    stopped = (training is not None and training.termination_reason == "shutdown") or (
        simulation is not None and not simulation.complete
    )
    lines = [("case", _shape(case))]
    lines += training_lines(case, training) if training else []
    lines += simulation_lines(simulation) if simulation else []
    parts = [part for part, done in (("training", training), ("policy", training), ("simulation", simulation)) if done]
    lines += [("written", str(request.folder / part)) for part in ("manifest.json", *parts)]
    show_lines(terminal, lines)
    terminal.emit(
        {
            "case": str(request.case),
            "output": str(request.folder),
            "stopped_early": stopped,
            "stages": len(case.stages),
            "states": case.hydros.ids.size,
            "training": training_record(case, training) if training else None,
            "simulation": simulation_record(simulation) if simulation else None,
        }
    )
    return ExitCode.STOPPED if stopped else ExitCode.DONE
