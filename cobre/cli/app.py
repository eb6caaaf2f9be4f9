"""The commands, their options and their help."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from cobre.cli import runs
from cobre.cli.failures import ExitCode, guarded, usage_record
from cobre.cli.keys import make as make_keys
from cobre.cli.options import Json, Quiet, Verbose, end
from cobre.cli.overrides import parse_overrides
from cobre.cli.pipeline_commands import commands as pipeline_commands
from cobre.cli.report import report as make_report
from cobre.cli.terminal import Terminal
from cobre.cli.worker import work as be_rank

__all__ = ["call"]

_EXIT_CODES = """
Exit codes:

0 done; 1 internal error; 2 wrong usage; 3 the input is invalid; 4 a solve failed; 5 reading or writing failed;
6 a worker, a node or communication failed; 7 stopped early by Ctrl-C or SIGTERM, results saved; 130 stopped at once.

The first Ctrl-C (or SIGTERM) stops after the iteration under way and saves everything; a second stops at once.
"""

app = typer.Typer(
    name="cobre",
    help="Train and simulate SDDP policies for hydrothermal cases.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

app.add_typer(pipeline_commands)

# typer may carry its own copy of click; in every version the root of wrong usage stands here
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]

CaseArgument = Annotated[Path, typer.Argument(metavar="CASE", help="The case directory.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting of config.json by its dotted key; the value is JSON, else a string. Repeatable.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Where results go; what an earlier run left there is never overwritten.",
        show_default="<case name>-output here",
    ),
]
Simulated = Annotated[
    bool | None,
    typer.Option("--simulate/--no-simulate", help="Whether to simulate.", show_default="as the case says"),
]
Workers = Annotated[
    int, typer.Option("--workers", "-w", metavar="N", help="How many processes share the work, to the same bits.")
]
Backend = Annotated[
    str,
    typer.Option(
        metavar="auto|local|shm|tcp",
        help="What the workers exchange data through; local is this process alone.",
    ),
]
MaxRestarts = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="How often in an hour a lost worker may be replaced; the run goes on to the same bits.",
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="OUT",
        help="Go on with the interrupted run in this output folder, or from this one of its checkpoints.",
        show_default=False,
    ),
]


@app.command()
def validate(
    case: CaseArgument, settings: Settings = None, json: Json = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """Say everything that is wrong with a case, and do nothing else.

    Example:

      cobre validate my-case

      cobre validate my-case --json | jq '.errors[].message'
    """
    overrides = parse_overrides(settings or ())
    terminal = Terminal(json=json, quiet=quiet, verbose=verbose)
    end(terminal, lambda: runs.validate(terminal, runs.Request(case, overrides)))


@app.command()
def train(
    case: CaseArgument,
    output: Output = None,
    settings: Settings = None,
    workers: Workers = 1,
    backend: Backend = "auto",
    max_restarts: MaxRestarts = 0,
    resume: Resume = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a policy and save it.

    Example:

      cobre train my-case -o out

      cobre train my-case -o out --set training.tree_seed=7 --set training.selection.forward_passes=4

      cobre train my-case -o out --workers 4

      cobre train my-case -o out --workers 4 --max-restarts 3
    """
    request = runs.Request(
        case, parse_overrides(settings or ()), output, workers, backend, max_restarts=max_restarts, resume=resume
    )
    terminal = Terminal(json=json, quiet=quiet, verbose=verbose)
    end(terminal, lambda: runs.train(terminal, request))


@app.command()
def simulate(
    case: CaseArgument,
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder of a saved policy, or of the run that saved it.",
            show_default="the policy in the output folder",
        ),
    ] = None,
    output: Output = None,
    strict: Annotated[
        bool, typer.Option("--strict/--no-strict", help="Refuse a policy that was trained on other numbers.")
    ] = True,
    settings: Settings = None,
    workers: Workers = 1,
    backend: Backend = "auto",
    max_restarts: MaxRestarts = 0,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Simulate a saved policy.

    The simulation may go into the folder of its training.

    Example:

      cobre simulate my-case -o out

      cobre simulate my-case --policy out/policy -o other --no-strict
    """
    request = runs.Request(case, parse_overrides(settings or ()), output, workers, backend, max_restarts=max_restarts)
    terminal = Terminal(json=json, quiet=quiet, verbose=verbose)
    end(terminal, lambda: runs.simulate(terminal, request, policy, strict))


@app.command()
def run(
    case: CaseArgument,
    output: Output = None,
    simulated: Simulated = None,
    settings: Settings = None,
    workers: Workers = 1,
    backend: Backend = "auto",
    max_restarts: MaxRestarts = 0,
    resume: Resume = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Validate, train and, unless the case disables it, simulate.

    Example:

      cobre run my-case

      cobre run my-case -o out --simulate --json > result.json

      cobre run my-case --resume out
    """
    request = runs.Request(
        case, parse_overrides(settings or ()), output, workers, backend, max_restarts=max_restarts, resume=resume
    )
    terminal = Terminal(json=json, quiet=quiet, verbose=verbose)
    end(terminal, lambda: runs.run(terminal, request, simulated))


@app.command()
def worker(
    case: CaseArgument,
    output: Output = None,
    simulated: Simulated = None,
    settings: Settings = None,
    resume: Resume = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Be one rank of a run whose ranks a scheduler starts.

    Rank, number of ranks and backend come from the environment: COBRE_TCP_RANK, COBRE_TCP_SIZE and
    COBRE_TCP_COORDINATOR, or COBRE_SHM_RANK, COBRE_SHM_SIZE and COBRE_SHM_NAME. All ranks run the same command; rank 0
    shows the run and writes its output.

    Example:

      COBRE_SHM_NAME=mine COBRE_SHM_SIZE=2 COBRE_SHM_RANK=1 cobre worker my-case &

      COBRE_SHM_NAME=mine COBRE_SHM_SIZE=2 COBRE_SHM_RANK=0 cobre worker my-case -o out
    """
    request = runs.Request(case, parse_overrides(settings or ()), output, resume=resume)
    terminal = Terminal(json=json, quiet=quiet, verbose=verbose)
    end(terminal, lambda: be_rank(terminal, request, simulated))


@app.command()
def report(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The output folder of a run.", show_default=False)],
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw into OUT/report.")] = True,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Print what a run was and what came of it.

    Its convergence and its costs; pictures of both go into OUT/report.

    Example:

      cobre report out

      cobre report out --json | jq .costs.mean
    """
    terminal = Terminal(json=json, quiet=quiet, verbose=verbose)
    end(terminal, lambda: make_report(terminal, output, pictures))


@app.command()
def keys(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A directory that does not exist yet.", show_default=False)
    ],
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make the keys that ranks on several hosts need to meet.

    One pair for rank 0, one for all others, and a token. Nobody else can read them.

    Example:

      cobre keys ~/cobre-keys
    """
    terminal = Terminal(json=json, quiet=quiet, verbose=verbose)
    end(terminal, lambda: make_keys(terminal, directory))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cobre {version('cobre-actors')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def call(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` ask for and return the exit code."""
    # Names of files need not be text that the terminal's encoding knows.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    terminal = Terminal(json="--json" in arguments)
    return guarded(terminal, lambda: _parse_and_run(terminal, arguments))


def _parse_and_run(terminal: Terminal, arguments: Sequence[str]) -> ExitCode:
    try:
        return ExitCode(app(list(arguments), prog_name="cobre", standalone_mode=False) or 0)
    except _ClickException as error:
        error.show()  # type: ignore[attr-defined]
        terminal.emit(usage_record(error.format_message()))  # type: ignore[attr-defined]
        return ExitCode.USAGE
