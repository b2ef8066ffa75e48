"""The Typer app. Commands register here; errors become one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from hydra_cli import __version__
from hydra_cli.cli import (
    ask,
    config,
    demo,
    doctor,
    evaluate,
    export,
    feedback,
    fit,
    forget,
    history,
    import_,
    ingest,
    keys,
    mcp,
    models,
    reindex,
    serve,
    stats,
    users,
)
from hydra_cli.cli.value_names import NamedValues
from hydra_cli.core.errors import HydraError, UsageError

# Typer keeps the class of every wrong command line to itself.
_TyperUsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="hydra-pers",
    cls=NamedValues,
    help="Personalize any black-box LLM for one user at a time.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"hydra-pers {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Personalize any black-box LLM for one user at a time."""
    context.obj = app  # for the command that shows the others


_JOB, _HISTORIES, _HOUSE = "Main job", "Histories", "Store, models and settings"

app.command(rich_help_panel=_JOB)(ingest.ingest)
app.command(rich_help_panel=_JOB)(fit.fit)
app.command(rich_help_panel=_JOB)(ask.ask)
app.command(rich_help_panel=_JOB)(feedback.feedback)
app.command(rich_help_panel=_JOB)(stats.stats)
app.command("eval", rich_help_panel=_JOB)(evaluate.evaluate)
app.command(rich_help_panel=_JOB)(demo.demo)
app.command(rich_help_panel=_JOB)(serve.serve)
app.command(rich_help_panel=_JOB)(mcp.mcp)
app.command(rich_help_panel=_HISTORIES)(users.users)
app.command(rich_help_panel=_HISTORIES)(history.history)
app.command(rich_help_panel=_HISTORIES)(forget.forget)
app.command(rich_help_panel=_HISTORIES)(export.export)
app.command("import", rich_help_panel=_HISTORIES)(import_.import_)
app.add_typer(config.config, name="config", rich_help_panel=_HOUSE)
app.add_typer(keys.keys, name="keys", rich_help_panel=_HOUSE)
app.add_typer(models.app, name="models", rich_help_panel=_HOUSE)
app.command(rich_help_panel=_HOUSE)(doctor.doctor)
app.command(rich_help_panel=_HOUSE)(reindex.reindex)


def main() -> None:
    """The ``hydra-pers`` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code. Errors are one line and a hint on stderr.

    HYDRA_PERS_TRACEBACK=1 restores tracebacks.
    """
    try:
        code = app(list(arguments) or ["--help"], prog_name="hydra-pers", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # Typer's own way to end on Ctrl-C
            return _interrupted(arguments)
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            return _reader_left()
        raise
    except KeyboardInterrupt:
        return _interrupted(arguments)
    except typer.Abort:
        sys.stderr.write("stopped: nothing was confirmed\n")
        return 1
    except Exception as error:  # the last line of defence: no traceback without asking
        if os.environ.get("HYDRA_PERS_TRACEBACK"):
            raise
        return _explain(error)


INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells expect."""

_KEPT = {
    "ask": "answers that came are kept: the same command goes on with them",
    "demo": "its store is removed; models that were fetched are kept",
    "eval": "answers that came are kept: the same command goes on with them",
    "fit": "tasks that were finished and all answers are kept: run it again",
    "import": "what was read is kept: run it again, nothing is added twice",
    "ingest": "what was read is kept: run it again, nothing is added twice",
    "models": "parts that were fetched are kept: run it again",
    "reindex": "what was embedded is kept: run it again",
    "serve": "requests that were under way were answered first",
}
"""What Ctrl-C leaves of each command's work, and how to go on."""


def _interrupted(arguments: Sequence[str]) -> int:
    kept = _KEPT.get(arguments[0] if arguments else "")
    sys.stderr.write(f"interrupted; {kept}\n" if kept else "interrupted\n")
    return INTERRUPTED


def _reader_left() -> int:
    """The reader went away (`hydra-pers history u1 | head`): nothing to say."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def _explain(error: Exception) -> int:
    from hydra_cli.cli.render import show_error

    if isinstance(error, _TyperUsageError):
        error = _as_usage_error(error)
    if not isinstance(error, HydraError):
        # What went wrong may hold records: the type, and the first line alone.
        what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        error = HydraError(f"internal error: {what}", hint="HYDRA_PERS_TRACEBACK=1 shows where")
    show_error(error)
    return error.exit_code


def _as_usage_error(error: Any) -> HydraError:
    """Typer's word on a command line, as ours."""
    command = error.ctx.command_path if error.ctx else "hydra-pers"
    said = error.format_message().replace("Input should be", "it should be")
    return UsageError(said.split(", unable to parse")[0], hint=f"`{command} --help` shows how")
