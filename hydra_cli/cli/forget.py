"""``hydra-pers forget``."""

from __future__ import annotations

from typing import Annotated

import typer

from hydra_cli.cli.options import JsonOption, StoreOption, YesOption


def forget(
    user: Annotated[str, typer.Argument(help="The user.", show_default=False)],
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Only this task of theirs (default: all).")
    ] = None,
    record: Annotated[
        str | None, typer.Option("--record", help="Only the record with this id.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, change nothing.")
    ] = False,
    yes: YesOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Erase a user's records, vectors, heads and cached answers for good.

    Example: hydra-pers forget u42 --dry-run
    """
    from dataclasses import asdict

    from hydra_cli.cli.progress import opened
    from hydra_cli.cli.render import print_json, say
    from hydra_cli.workflows.forget import described, remaining

    with opened(store) as hydra:
        erased = hydra.would_forget(user, task=task, record=record)
        for line in described(erased):
            say(f"{'would erase' if dry_run else 'to erase'}: {line}")
        if not (dry_run or yes):
            typer.confirm("Erase it for good?", abort=True, err=True)
        if not dry_run:
            erased = hydra.forget(user, task=task, record=record)
            say("erased; nothing of it is left in the store's folder")
        notes = remaining(hydra.store, hydra.settings, user, record)
    for note in notes:
        say(f"note: {note}")
    if json:
        print_json({"user": user, **asdict(erased), "dry_run": dry_run, "notes": notes})
