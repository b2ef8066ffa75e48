"""``hydra-pers export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_cli.cli.options import JsonOption, StoreOption


def export(
    to: Annotated[
        Path,
        typer.Option("--to", help="A new folder, or a new .zip, .tar, .tar.gz or .tgz."),
    ],
    users: Annotated[
        list[str] | None,
        typer.Argument(help="The users (default: the whole store).", show_default=False),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="Format of the records: jsonl or parquet.")
    ] = "jsonl",
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Write users, or the whole store, in open formats with a manifest of hashes.

    Example: hydra-pers export u42 --to u42.zip
    """
    from dataclasses import asdict

    from hydra_cli.cli.progress import opened
    from hydra_cli.cli.render import print_json, say

    with opened(store) as hydra:
        manifest = hydra.export(to, users=users or (), format=format)
    if json:
        print_json({"to": str(to), **asdict(manifest)})
    say(
        f"exported {manifest.records:,} records, {manifest.vectors:,} vectors and "
        f"{sum(file.path.endswith('.safetensors') for file in manifest.files):,} "
        f"heads and bases to {to}"
    )
