"""Progress on a terminal: what is done, how far it is, for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from hydra_cli.cli.render import printable


class Bars:
    """``core.protocols.Progress``, one bar at a time."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._task: TaskID | None = None

    def start(self, label: str, total: int | None) -> None:
        self.clear()
        self._task = self._shown.add_task(printable(label), total=total)

    def advance(self, steps: int = 1) -> None:
        if self._task is not None:
            self._shown.advance(self._task, steps)

    def note(self, text: str) -> None:
        self._shown.console.print(printable(text), markup=False, highlight=False)

    def clear(self) -> None:
        if self._task is not None:
            self._shown.remove_task(self._task)
            self._task = None


class _Count(ProgressColumn):
    """``3/8``; nothing where the total isn't known."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("")
        return Text(f"{int(task.completed):,}/{int(task.total):,}", style="progress.download")


@contextmanager
def drawn_bars() -> Iterator[Bars]:
    """Bars on stderr while the block runs."""
    text = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), text, BarColumn(), _Count(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield Bars(shown)
