"""Progress that nobody watches."""

from __future__ import annotations


class Silent:
    """A Progress without a screen; keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def start(self, label: str, total: int | None) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)
