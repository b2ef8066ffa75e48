"""``hydra-pers history``."""

from __future__ import annotations

from typing import Annotated

import typer

from hydra_cli.cli.options import JsonOption, StoreOption
from hydra_cli.core.prompts import plain_breaks

_SHOWN = 200
_SHOWN_LINES = 20


def history(
    user: Annotated[str, typer.Argument(help="The user.", show_default=False)],
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Only this task (default: all).")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only the newest records (default: all).")
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show a user's records, oldest first.

    Example: hydra-pers history u42 --limit 5
    """
    from hydra_cli.cli.progress import opened
    from hydra_cli.cli.render import print_json, print_table

    with opened(store) as hydra:
        records = hydra.history(user, task=task, limit=limit)
    if json:
        print_json(
            [
                {
                    "id": record.id,
                    "task": record.task,
                    "input": record.input,
                    "output": record.output,
                    "time": record.time and record.time.isoformat(),
                    "metadata": dict(record.metadata),
                }
                for record in records
            ]
        )
        return
    rows = [
        (
            record.time.date() if record.time else "",
            record.task,
            _cut(record.input),
            _cut(record.output),
        )
        for record in records
    ]
    print_table(None, ("time", "task", "input", "output"), rows)


def _cut(text: str) -> str:
    """One line up to 200 characters; a text of several lines as it stands, up to 20 of them."""
    lines = plain_breaks(text).split("\n")
    most = _SHOWN if len(lines) == 1 else _SHOWN_LINES * _SHOWN
    shown = "\n".join(lines[:_SHOWN_LINES])
    return text if shown == text and len(text) <= most else shown[:most].rstrip() + "…"
