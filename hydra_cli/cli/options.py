"""Options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="The store's folder (default: $HYDRA_PERS_HOME, else the user data folder).",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines on stdout.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Seed of everything drawn by chance.")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Any litellm model name, or the embedded default."),
]
UserOption = Annotated[
    str | None, typer.Option("--user", "-u", help="The user (default: config, or the only one).")
]
TaskOption = Annotated[
    str | None, typer.Option("--task", "-t", help="The task (default: the user's largest).")
]
EncoderOption = Annotated[
    str | None, typer.Option("--encoder", help="Text encoder: a known name, folder or hub id.")
]
