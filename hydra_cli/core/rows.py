"""Rows as readers hand them over, and the limits that every source obeys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_RECORD = 16 * 1024 * 1024
"""Bytes or characters of one record; longer ones are rejected."""
NOT_UTF8 = "not valid UTF-8"
"""Why an entry with other bytes is a BadRow."""
MAX_ID_BYTES = 1024
"""UTF-8 bytes of a user, record or task id."""


class Row(NamedTuple):
    """One entry of a source. ``line`` counts from 1: lines, array entries or table rows."""

    line: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """An entry that can't be used, with the reason and as much of its text as is known."""

    line: int
    reason: str
    text: str = ""


@dataclass(slots=True)
class Source:
    """An open source: its name, its format and its rows, to be read once.

    ``encoding`` is None where the format has none.
    """

    name: str
    format: str
    rows: Iterator[Row | BadRow]
    encoding: str | None = None
