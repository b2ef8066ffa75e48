"""Numbers of things in words."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 record``, ``3,200 records``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
