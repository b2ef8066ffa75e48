"""Results to text, tables and JSON. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

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


class BarProgress:
    """``core.protocols.Progress`` as rich bars on stderr."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: Any = None

    def start(self, label: str, total: int | None) -> None:
        if self._task is not None:
            self._bar.update(self._task, visible=False)
        self._task = self._bar.add_task(label, total=total)

    def advance(self, steps: int = 1) -> None:
        if self._task is not None:
            self._bar.advance(self._task, steps)

    def note(self, text: str) -> None:
        self._bar.console.print(printable(text), markup=False, highlight=False)


@contextmanager
def progress_bar() -> Iterator[BarProgress]:
    """Bars while the block runs; silent where stderr is no terminal, notes excepted."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield BarProgress(bar)
