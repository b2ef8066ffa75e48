"""How far a command is: bars where stderr is a terminal, else its notes alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from hydra_cli.cli.render import say

if TYPE_CHECKING:
    from pathlib import Path

    from hydra_cli.api import Hydra
    from hydra_cli.config import Settings
    from hydra_cli.store.contract import Store

OPENING = "opening the store"


class Steps(Protocol):
    """A Progress that can be cleared: a download draws its own bar."""

    def start(self, label: str, total: int | None) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def note(self, text: str) -> None: ...

    def clear(self) -> None: ...


class Notes:
    """Progress where stderr is no terminal: its notes alone."""

    def start(self, label: str, total: int | None) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        say(text)

    def clear(self) -> None:
        pass


@contextmanager
def progress_bar(label: str | None = None) -> Iterator[Steps]:
    """Bars while the block runs, ``label`` first, so that something moves at once."""
    if not sys.stderr.isatty():
        yield Notes()
        return
    from hydra_cli.cli.bars import drawn_bars

    with drawn_bars() as bars:
        if label is not None:
            bars.start(label, None)
        yield bars


@contextmanager
def opened(store: Path | None) -> Iterator[Hydra]:
    """What works on the store that is there; a terminal is told while it is being opened."""
    from hydra_cli.api import Hydra

    with progress_bar(OPENING):
        hydra = Hydra.open(store, create=False)
    with hydra:
        yield hydra


def opened_store(settings: Settings) -> Store:
    """The store that is there; a terminal is told while its library is imported."""
    from hydra_cli.wiring import open_store

    with progress_bar(OPENING):
        return open_store(settings)
