"""How far a download is, on stderr: a bar on a terminal, a line a quarter elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

_LOOK_SECONDS = 0.3


class Bar(Protocol):
    def reached(self, bytes: int) -> None:
        """So many bytes of the total are there."""
        ...


@contextmanager
def download_bar(label: str, total: int) -> Iterator[Bar]:
    """A bar over ``total`` bytes while the block runs."""
    if not sys.stderr.isatty():
        yield _Lines(label, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Drawn(progress, label, total)


class _Drawn:
    def __init__(self, progress: object, label: str, total: int) -> None:
        from rich.progress import Progress

        assert isinstance(progress, Progress)
        self._progress = progress
        self._task = progress.add_task(label, total=total)

    def reached(self, bytes: int) -> None:
        self._progress.update(self._task, completed=bytes)


class _Lines:
    """For logs and pipes, where a bar would be noise."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._quarter = label, max(total, 1), 0

    def reached(self, bytes: int) -> None:
        quarter = 4 * bytes // self._total
        if quarter > self._quarter:
            self._quarter = quarter
            sys.stderr.write(f"{self._label}: {bytes / 1e6:.0f} of {self._total / 1e6:.0f} MB\n")


@contextmanager
def watching(folder: Path, reached: Callable[[int], None] | None) -> Iterator[None]:
    """Tell how many bytes lie below ``folder`` while the block runs."""
    if reached is None:
        yield
        return
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            reached(_bytes_below(folder))

    watcher = threading.Thread(target=look, name="download-bar", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # it was moved while it was looked at
    return total
