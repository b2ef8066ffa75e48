"""Results to text, tables and JSON. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra_cli.core.errors import HydraError


def print_json(value: Any) -> None:
    """One JSON document on stdout; dates and paths as text."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=str)
    sys.stdout.write("\n")


def print_table(
    title: str | None,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    names_first: bool = False,
) -> None:
    """A table on stdout, as wide as the terminal allows.

    ``names_first``: the first column's names stay on one line each.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=names_first and place == 0)
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    Console().print(table)


def print_line(text: str) -> None:
    """A sentence on stdout."""
    sys.stdout.write(printable(text) + "\n")


def printable(text: str) -> str:
    """Control characters made visible: a record can't drive the user's terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def say(text: str) -> None:
    """One line of talk on stderr."""
    sys.stderr.write(printable(text) + "\n")


def show_error(error: HydraError) -> None:
    """The error and its hint on stderr, one line each."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True)
    console.print(
        Text("error: ", style="bold red") + Text(" ".join(printable(error.message).split()))
    )
    if error.hint:
        console.print(Text("hint: ", style="bold") + Text(" ".join(printable(error.hint).split())))
