"""Options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_cli.core.plan import about, default


def _about(name: str) -> str:
    """A pipeline setting's help, with the default that holds where no config file says else."""
    return f"{about(name)} Default: {default(name)}, or the config's."


StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="The store's folder (default: $HYDRA_PERS_HOME, else the user data folder).",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines on stdout.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show calls, tokens, dollars and time; call nothing.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help=_about("seed"))]
KOption = Annotated[int | None, typer.Option("-k", min=0, help=_about("k"))]
NOption = Annotated[int | None, typer.Option("-n", min=0, help=_about("n"))]
TemperatureOption = Annotated[
    float | None, typer.Option("--temperature", min=0.0, help=_about("temperature"))
]
RetrieverOption = Annotated[str | None, typer.Option("--retriever", help=_about("retriever"))]
MaxCostOption = Annotated[
    float | None, typer.Option("--max-cost", help="Stop at this many dollars.")
]
MaxCallsOption = Annotated[
    int | None, typer.Option("--max-calls", help="Stop at this many LLM calls.")
]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", help="Stop at this many tokens.")
]
RequestsOption = Annotated[
    Path | None,
    typer.Option(
        "--requests",
        help="Ask nobody: write the LLM's requests here, as OpenAI's Batch API reads them.",
        show_default=False,
    ),
]
AnswersOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--answers",
        help="Answers to such requests, as the Batch API writes them (repeatable).",
        show_default=False,
    ),
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
