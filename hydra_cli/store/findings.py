"""What ``doctor`` found: one line each, and how to repair it where that is safe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result. ``repair`` is there only where it loses nothing but derived data."""

    check: str
    level: Level
    text: str
    hint: str | None = None
    repair: Callable[[], None] | None = None


def ok(check: str, text: str) -> Finding:
    return Finding(check, "ok", text)


def note(check: str, text: str, hint: str | None = None) -> Finding:
    return Finding(check, "note", text, hint)


def problem(
    check: str, text: str, *, hint: str | None = None, repair: Callable[[], None] | None = None
) -> Finding:
    if repair is not None and hint is None:
        hint = "`hydra-pers doctor --fix` repairs it"
    return Finding(check, "problem", text, hint, repair)
