"""The Typer app. Commands register here; errors become one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from hydra_cli import __version__
from hydra_cli.cli import forget, history, ingest, users
from hydra_cli.core.errors import HydraError

app = typer.Typer(
    name="hydra-pers",
    help="Personalize any black-box LLM for one user at a time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"hydra-pers {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Personalize any black-box LLM for one user at a time."""


app.command()(ingest.ingest)
app.command()(users.users)
app.command()(history.history)
app.command()(forget.forget)


def main() -> None:
    """Run the command line; a HydraError is one clear line, never a traceback.

    HYDRA_PERS_TRACEBACK=1 restores tracebacks.
    """
    try:
        app()
    except HydraError as error:
        if os.environ.get("HYDRA_PERS_TRACEBACK"):
            raise
        from hydra_cli.cli.render import show_error

        show_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader went away (`hydra-pers history u1 | head`): nothing to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
