"""What a rank does that a scheduler started: all of a run, together with the others. Rank 0 shows it and writes it."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from cobre.cli.failures import ExitCode
from cobre.cli.interrupt import Interrupts
from cobre.cli.runs import Request, conclude, load, simulate_shown, train_shown
from cobre.cli.terminal import Terminal
from cobre.engine.rank import AsRank
from cobre.engine.sharing import share, tell_all
from cobre.errors import Diagnostic, ValidationError
from cobre.hydro.entities import Case
from cobre.run_folder import RunFolder
from cobre.settings import fault_plan
from cobre.transport.environment import backend_of, settings_of
from cobre.work import Work, simulate_on, train_on, work_of

__all__ = ["work"]


def work(terminal: Terminal, request: Request, simulated: bool | None) -> ExitCode:
    """Train, then simulate where ``simulated`` says so, or (None) where the case does."""
    rank, size, backend = _place()
    shown = terminal if rank == 0 else Terminal(quiet=True, verbose=terminal.verbose)
    member = AsRank(rank, size, backend, log_level=_level(terminal), faults=fault_plan())
    parts = ("training", "policy", "simulation")
    with Interrupts() as interrupts, member:
        if rank == 0:
            RunFolder(request.folder, parts).discard_if_empty()  # here, so that its failure reaches the others
        case, ready = share(member.communicator, partial(_read, shown, request))
        request = replace(request, member=member, work=ready)
        code = (_lead if rank == 0 else _follow)(terminal, interrupts, case, request, simulated)
        member.communicator.barrier()  # schedulers end a step with its first rank: none leaves before all is written
        return code


def _lead(terminal: Terminal, interrupts: Interrupts, case: Case, request: Request, simulated: bool | None) -> ExitCode:
    training = train_shown(terminal, interrupts, case, request)
    wanted = case.simulation_enabled if simulated is None else simulated
    simulation = None
    assert request.member is not None
    if tell_all(request.member.communicator, wanted and not interrupts.requested):
        simulation = simulate_shown(terminal, interrupts, case, training.policy, request, strict=True)
    return conclude(terminal, request, case, training, simulation)


def _follow(
    terminal: Terminal, interrupts: Interrupts, case: Case, request: Request, simulated: bool | None
) -> ExitCode:
    """The first signal is rank 0's to answer: schedulers send it to all ranks."""
    member, ready = request.member, request.work
    assert member is not None
    assert ready is not None
    with interrupts.saving("what rank 0 decides", lambda text: None):
        trained = train_on(nullcontext(member), ready, None, None, None, leads=False)
        complete = trained.termination_reason != "shutdown"
        if tell_all(member.communicator, None):
            simulated_ = simulate_on(nullcontext(member), ready, trained.policy, None, None, None, strict=True)
            complete = complete and simulated_.complete
    return ExitCode.DONE if complete else ExitCode.STOPPED


def _read(terminal: Terminal, request: Request) -> tuple[Case, Work]:
    case = load(terminal, request)
    return case, work_of(case, None)


def _level(terminal: Terminal) -> int:
    return logging.DEBUG if terminal.verbose else logging.WARNING


def _place() -> tuple[int, int, str]:
    """Rank, size and backend, from the environment. Raises ValidationError for what is missing, CommError for what
    cannot be read.
    """
    backend = backend_of()
    if backend not in ("shm", "tcp"):
        text = "must be shm or tcp for a rank that a scheduler starts"
        advice = "set it, or COBRE_TCP_COORDINATOR or COBRE_SHM_NAME; 'cobre run' runs a case in one process"
        raise _missing("COBRE_COMM_BACKEND", None if backend == "local" else backend, text, advice)
    given = settings_of(backend)
    for name in ("rank", "size"):
        if name not in given:
            variable = f"COBRE_{backend.upper()}_{name.upper()}"
            raise _missing(variable, None, "is not set", f"set it to this process's {name}, as the scheduler knows it")
    if backend == "tcp" and given.get("port") == 0:
        raise _missing("COBRE_TCP_PORT", 0, "the other ranks cannot know which port rank 0 takes", "give a port")
    return given["rank"], given["size"], backend


def _missing(variable: str, value: object, text: str, advice: str) -> ValidationError:
    found = Diagnostic("MissingReference", "environment", text, field=variable, value=value, suggestion=advice)
    return ValidationError.of([found], "the rank's environment")
