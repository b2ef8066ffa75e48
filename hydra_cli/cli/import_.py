"""``hydra-pers import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_cli.cli.options import JsonOption, StoreOption


def import_(
    path: Annotated[
        Path, typer.Argument(help="A folder, tar or zip made by export.", show_default=False)
    ],
    restore: Annotated[
        bool, typer.Option("--restore", help="Also take records that were forgotten before.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Add an exported archive to the store; what is there already stays.

    Example: hydra-pers import u42.tar --store elsewhere
    """
    from dataclasses import asdict

    from hydra_cli.cli.render import print_json, say
    from hydra_cli.config import store_folder
    from hydra_cli.workflows.transfer import import_users

    done = import_users(path, store_folder(store), restore=restore)
    if json:
        print_json(asdict(done))
    say(
        f"imported {done.records:,} records, {done.vectors:,} vectors and {done.files:,} files; "
        f"{done.present:,} records were there already"
    )
    if done.answers:
        say(f"and {done.answers:,} answers that were kept for feedback")
    if done.conflicting:
        say(f"note: {done.conflicting:,} records differ from the store's, which were kept")
    if done.forgotten:
        say(f"note: {done.forgotten:,} records were forgotten before (--restore takes them)")
    for note in done.notes:
        say(f"note: {note}")
