"""``cobre pipeline run`` and ``cobre pipeline show``: their options and their help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cobre.cli.options import Json, Quiet, Verbose, end
from cobre.cli.terminal import Terminal

__all__ = ["commands"]

commands = typer.Typer(
    name="pipeline",
    help="Run and draw pipelines of Python nodes that are written in TOML.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline's TOML file.", show_default=False)]


class Format(StrEnum):
    """How a pipeline is drawn."""

    MERMAID = "mermaid"
    TEXT = "text"


@commands.command()
def run(
    file: FileArgument,
    runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Limits, timeouts and transport of the session.",
            show_default="runtime.toml beside the pipeline's file, if there is one",
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="[NODE.PORT=]FILE",
            help="What the pipeline is fed: lines of text (- is stdin), the rows of a .npy, or a .wav in chunks of "
            "20 ms. Repeatable, once for each input.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write what comes out into this new folder instead of printing it.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check the files and start nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a pipeline until its sources or its input end.

    The modules that the file names are imported and run.

    Example:

      cobre pipeline run speech.toml

      cobre pipeline run speech.toml --input talk.wav --output heard --runtime small.toml
    """
    # Only here: the other commands have no use for channels and sessions.
    from cobre.cli.pipeline_runs import Request
    from cobre.cli.pipeline_runs import run as run_pipeline

    terminal = Terminal(json=json, quiet=quiet, verbose=verbose)
    request = Request(file, runtime, tuple(inputs or ()), output, check)
    end(terminal, lambda: run_pipeline(terminal, request))


@commands.command()
def show(
    file: FileArgument,
    format: Annotated[
        Format, typer.Option("--format", help="Mermaid's language, or plain text.", metavar="mermaid|text")
    ] = Format.TEXT,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw a pipeline: its nodes, what connects them, what it is fed and what comes out.

    Example:

      cobre pipeline show speech.toml

      cobre pipeline show speech.toml --format mermaid > speech.mmd
    """
    from cobre.cli.pipeline_runs import show as show_pipeline

    terminal = Terminal(json=json, quiet=quiet, verbose=verbose)
    end(terminal, lambda: show_pipeline(terminal, file, format.value))
