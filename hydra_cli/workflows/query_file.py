"""A file of queries, a line each, and the file of their answers, which can be gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from hydra_cli.core.errors import DataError, HydraError, UsageError
from hydra_cli.core.files import os_errors
from hydra_cli.core.rows import BadRow
from hydra_cli.readers import STDIN
from hydra_cli.readers.jsonl import line_rows
from hydra_cli.readers.streams import as_utf8, open_bytes, read_errors, take_head

GIVEN_BACK = ("id", "time")
"""Fields of a query that its answer carries as they are."""

_BEGINS = b'{"line": '


@dataclass(frozen=True, slots=True)
class QueryLine:
    """One line: its number from 1 on and its fields, or why it has none."""

    number: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    error: HydraError | None = None

    @property
    def head(self) -> dict[str, Any]:
        """What the line of its answer begins with."""
        given = {name: self.fields[name] for name in GIVEN_BACK if name in self.fields}
        return {"line": self.number, **given}


def read_queries(path: Path | None, stdin: BinaryIO) -> list[QueryLine]:
    """The lines of a file, or of ``stdin``; blank ones are skipped. DataError: there are none."""
    name = STDIN if path is None else str(path)
    with open_bytes(path, stdin) as raw, read_errors(name):
        head, stream = take_head(raw)
        if head.strip():
            _, stream, _ = as_utf8(head, stream, name)
        found = [
            QueryLine(row.line, error=DataError(row.reason))
            if isinstance(row, BadRow)
            else QueryLine(row.line, row.fields)
            for row in line_rows(stream)
        ]
    if not found:
        raise DataError(f"{name} holds no queries", hint='a line each: {"query": "TEXT"}')
    return found


def as_line(mapping: Mapping[str, Any]) -> str:
    """A mapping as one line of JSON."""
    line = json.dumps(mapping, ensure_ascii=False, default=str)
    try:
        line.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        line = json.dumps(mapping, default=str)
    return line + "\n"


def error_fields(error: HydraError) -> dict[str, Any]:
    """An error as the ``error`` of an answer's line."""
    known = (kind for kind in type(error).__mro__ if kind.__module__ == HydraError.__module__)
    return {
        "type": next(known).__name__,
        "code": error.exit_code,
        "message": error.message,
        "hint": error.hint,
    }


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file of answers holds already: the first lines of the queries, whole ones alone."""

    number: int = 0
    failed: int = 0
    """Those of them that hold an error."""
    size: int = 0
    """Bytes up to the last line's end."""


class AnswerFile:
    """The file of --out: whole lines, in the order of the queries, written as they come."""

    def __init__(self, path: Path, handle: int, kept: Kept) -> None:
        self._path = path
        self._handle = handle
        self.kept = kept.number
        self.failed = kept.failed

    def write(self, line: str) -> None:
        left = line.encode()
        with os_errors(self._path):
            while left:
                left = left[os.write(self._handle, left) :]


@contextmanager
def answer_file(path: Path, queries: Sequence[QueryLine]) -> Iterator[AnswerFile]:
    """The file of answers, open at its end; a torn last line is cut off.

    UsageError as for ``kept_lines``.
    """
    kept = kept_lines(path, queries)
    with os_errors(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        with os_errors(path):
            os.ftruncate(handle, kept.size)
            os.lseek(handle, kept.size, os.SEEK_SET)
        yield AnswerFile(path, handle, kept)
    finally:
        os.close(handle)


def kept_lines(path: Path, queries: Sequence[QueryLine]) -> Kept:
    """What the file holds; nothing where there is none.

    UsageError where it holds anything but the answers to the first of these queries.
    """
    if path.is_dir():
        raise UsageError(f"--out wants a file, and {path} is a folder")
    if not path.exists():
        return Kept()
    number = failed = size = 0
    with path.open("rb") as before, read_errors(str(path)):
        for line in before:
            why, fields = _judged(line, queries[number] if number < len(queries) else None)
            if why is not None:
                raise UsageError(
                    f"line {number + 1} of {path} {why}",
                    hint="name another file with --out, or remove this one",
                )
            if fields is None:
                break
            number, size = number + 1, size + len(line)
            failed += "error" in fields
    return Kept(number, failed, size)


def _judged(line: bytes, query: QueryLine | None) -> tuple[str | None, dict[str, Any] | None]:
    """Why the line can't be the query's answer, else its fields; neither where it is torn."""
    if not line.endswith(b"\n"):
        torn = line.startswith(_BEGINS) or _BEGINS.startswith(line)
        return None if torn else "is no answer", None
    fields = _answer(line)
    if fields is None:
        return "is no answer", None
    if query is None or not _answers(fields, query):
        return "answers another query", None
    return None, fields


def _answer(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(_BEGINS):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and ("answer" in found or "error" in found) else None


def _answers(fields: Mapping[str, Any], query: QueryLine) -> bool:
    """Whether an answer's line can be that of the query."""
    if any(fields.get(name) != value for name, value in query.head.items()):
        return False
    if "error" in fields:
        return True
    user = query.fields.get("user")
    asked = query.fields.get("query", query.fields.get("text"))
    # The instruction of a question in LaMP's form isn't part of the answer's query.
    same = isinstance(asked, str) and str(fields.get("query")) in asked.replace("\0", " ")
    return same and (not user or str(fields.get("user")) == str(user).strip())
