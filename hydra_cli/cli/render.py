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

    ``names_first``: the first column's names stay on one line each. Where a heading's word
    would be broken, the lines between columns give way.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=names_first and place == 0)
    texts = [[Text(printable(str(cell))) for cell in row] for row in rows]
    for cells in texts:
        table.add_row(*cells)
    console = Console()
    wide = [
        max([len(column), *(cells[place].cell_len for cells in texts)])
        for place, column in enumerate(columns)
    ]
    # The widest columns are narrowed first, all to the same width; a line and two spaces each.
    longest = max(len(word) for column in columns for word in column.split())
    least = [min(width, longest) for width in wide]
    if names_first:
        least[0] = wide[0]
    if sum(least) + 3 * len(least) + 1 > console.width:
        table.box, table.padding = box.SIMPLE_HEAD, (0, 1, 0, 0)
        table.show_edge = table.pad_edge = False
    console.print(table)


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
