"""Guesses about a source: which column is what, and what kind of task its outputs make.

Every guess is told to the user, and each can be overridden.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hydra_cli.core.answer_shape import AnswerShape
from hydra_cli.core.errors import DataError
from hydra_cli.core.tasks import Kind

MAX_LABELS = 256
"""Labels that a classification may learn from its records."""
MAX_LABEL_LENGTH = 64
_GUESSED_LABELS = 64
_REPEATS = 3
"""Records per distinct output from which on outputs look like labels."""
_WIDEST_SCALE = 20

# Best first; compared in lower case without punctuation.
_NAMES: dict[str, tuple[str, ...]] = {
    "user": (
        "user", "userid", "username", "author", "authorid", "reviewer", "reviewerid", "customer",
        "customerid", "account", "accountid", "person", "personid", "uid", "owner", "sender",
    ),
    "id": ("id", "recordid", "uuid", "guid", "key"),
    "task": ("task", "taskname", "taskid"),
    "time": (
        "time", "timestamp", "date", "datetime", "createdat", "created", "postedat", "publishedat",
        "published", "updatedat", "unixreviewtime", "ts", "at",
    ),
    "output": (
        "output", "target", "answer", "response", "reply", "completion", "label", "category", "tag",
        "rating", "score", "stars", "class", "sentiment", "summary", "headline", "title", "subject",
    ),
    "input": (
        "input", "prompt", "query", "question", "text", "content", "body", "article", "abstract",
        "description", "review", "message", "document", "post", "title",
    ),
}  # fmt: skip
_LABEL_NAMES = {"label", "category", "tag", "class", "sentiment"}
_SCALE_NAMES = {"rating", "score", "stars"}


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column holds which field of a record. The others become metadata."""

    input: str
    output: str
    user: str | None = None
    time: str | None = None
    id: str | None = None
    task: str | None = None

    def __str__(self) -> str:
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return ", ".join(f"{name}={column}" for name, column in pairs if column is not None)

    def used(self) -> set[str]:
        return {getattr(self, f.name) for f in fields(self)} - {None}


FIELDS = tuple(f.name for f in fields(ColumnMap))


def guess_columns(
    rows: Sequence[Mapping[str, Any]], given: Mapping[str, str], *, source: str
) -> ColumnMap:
    """The given columns, and the best guess for the rest from names and contents.

    DataError where a given column doesn't exist, or input or output can't be told.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    shown = ", ".join(columns[:20]) or "none"
    absent = [f"{column!r} for {name}" for name, column in given.items() if column not in columns]
    if absent:
        raise DataError(f"{source} has no column {', '.join(absent)}", hint=f"it has: {shown}")
    found = dict(given)
    for name, known in _NAMES.items():
        if name not in found:
            by_name = {_plain(c): c for c in reversed(columns) if c not in found.values()}
            match = next((by_name[k] for k in known if k in by_name), None)
            if match is not None:
                found[name] = match
    unknown = [name for name in ("input", "output") if name not in found]
    left = [c for c in columns if c not in found.values() and _is_text(rows, c)]
    if unknown and not len(unknown) == len(left) == 1:
        # The longest texts are the likeliest, in the order of the file: the input comes first.
        longest = sorted(left, key=lambda c: -_characters(rows, c))[: len(unknown)]
        likely = [column for column in left if column in longest]
        likely += ["COLUMN"] * (len(unknown) - len(likely))
        pairs = ",".join(f"{n}={c}" for n, c in zip(unknown, likely, strict=True))
        which = "column" if len(unknown) == 1 else "columns"
        verb = "is" if len(unknown) == 1 else "are"
        raise DataError(
            f"can't tell which {which} of {source} {verb} the {' and the '.join(unknown)}; "
            f"it has: {shown}",
            hint=f'say it with --map, perhaps --map "{pairs}"',
        )
    found.update(zip(unknown, left, strict=False))
    return ColumnMap(**found)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _is_text(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    values = [row[column] for row in rows if row.get(column) not in (None, "")]
    return bool(values) and all(isinstance(value, str) for value in values)


def _characters(rows: Sequence[Mapping[str, Any]], column: str) -> int:
    return sum(len(row.get(column) or "") for row in rows)


class OutputStatistics:
    """What is known of one task's outputs, in constant memory."""

    def __init__(self, column: str = "") -> None:
        self._column = _plain(column)
        self.shape = AnswerShape()
        self._records = 0
        self._labels: dict[str, None] | None = {}
        self._numbers: set[float] | None = set()

    def add(self, outputs: Iterable[str]) -> None:
        counts = Counter(outputs)
        self.shape.add(counts.elements())
        self._records += sum(counts.values())
        if self._labels is not None:
            self._labels.update(dict.fromkeys(counts))
            if len(self._labels) > MAX_LABELS or any(not is_label(text) for text in counts):
                self._labels = None
        if self._numbers is not None:
            values = [number_of(text) for text in counts]
            self._numbers.update(value for value in values if value is not None)
            if None in values or len(self._numbers) > 2 * _WIDEST_SCALE + 1:
                self._numbers = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct outputs, sorted; empty where they are no labels."""
        return tuple(sorted(self._labels or ()))

    @property
    def scale(self) -> tuple[str, ...]:
        """The rating scale that the outputs lie on; empty where they lie on none."""
        return scale_of(self._numbers) if self._numbers else ()

    def kind(self) -> Kind:
        """Few distinct numbers on a scale: rating. Few short repeated texts: labels."""
        if self.scale and self._numbers and self._looks_rated(self._numbers):
            return "rating"
        if self._labels:
            named = self._column in _LABEL_NAMES
            distinct = len(self._labels)
            repeated = self._records >= distinct * (1 if named else _REPEATS)
            if repeated and 2 - named <= distinct <= _GUESSED_LABELS:
                return "classification"
        return "generation"

    def _looks_rated(self, numbers: set[float]) -> bool:
        if self._column in _SCALE_NAMES:
            return True
        small = min(numbers) >= -10 and max(numbers) <= 10
        return small and len(numbers) >= 3 and self._records > len(numbers)


def is_label(text: str) -> bool:
    return len(text) <= MAX_LABEL_LENGTH and "\n" not in text


def number_of(text: str) -> float | None:
    if not re.fullmatch(r"[+-]?\d{1,4}(?:\.\d{1,3})?", text):
        return None
    return float(text)


def scale_of(numbers: Iterable[float]) -> tuple[str, ...]:
    """Every step from 1 to 5, or 0 or 1 to 10, or between the extremes; empty: no scale.

    Steps are whole or half.
    """
    values = sorted(numbers)
    if not values or any(value * 2 != int(value * 2) for value in values):
        return ()
    low, high = values[0], values[-1]
    step = 1.0 if all(value == int(value) for value in values) else 0.5
    if high - low > _WIDEST_SCALE:
        return ()
    for first, last in ((1.0, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0)):
        # Halves may start at the half, as film ratings do.
        first = step if first == 1.0 else first
        if first <= low and high <= last:
            low, high = first, last
            break
    return tuple(f"{low + step * i:g}" for i in range(round((high - low) / step) + 1))
