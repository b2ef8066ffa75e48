"""Sources of any known format as rows, told apart by their content."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hydra_cli.core.errors import DataError
from hydra_cli.core.rows import BadRow, Row, Source
from hydra_cli.readers.delimited import delimited_rows, guess_delimiter
from hydra_cli.readers.jsonl import array_rows, line_rows
from hydra_cli.readers.parquet import MAGIC, table_rows
from hydra_cli.readers.streams import as_utf8, open_bytes, read_errors, take_head

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".pq")
STDIN = "stdin"


@contextmanager
def open_source(
    path: Path | None, stdin: BinaryIO, *, encoding: str | None = None
) -> Iterator[Source]:
    """A file, or ``stdin`` where ``path`` is None, as rows. DataError: it can't be read.

    ``encoding`` None is told by the first bytes.
    """
    name = STDIN if path is None else str(path)
    suffix = "" if path is None else path.suffix.lower()
    with open_bytes(path, stdin) as raw:
        with read_errors(name):
            source = _recognised(name, suffix, raw, encoding)
        yield source


def _recognised(name: str, suffix: str, raw: BinaryIO, encoding: str | None) -> Source:
    head, stream = take_head(raw)
    if not head.strip():
        raise DataError(f"{name} is empty")
    if head.startswith(MAGIC):
        seekable = suffix and raw.seekable()
        return _source(name, "parquet", table_rows(raw if seekable else stream, name))
    if suffix in (".parquet", ".pq"):
        raise DataError(f"{name} is no Parquet file, in spite of its name")
    head, stream, found = as_utf8(head, stream, name, encoding)
    if not head.strip():
        raise DataError(f"{name} is empty")
    source = _text_source(name, suffix, head, stream)
    source.encoding = found
    return source


def _source(name: str, form: str, rows: Iterator[Row | BadRow]) -> Source:
    def guarded() -> Iterator[Row | BadRow]:
        with read_errors(name):
            yield from rows

    return Source(name, form, guarded())


def _text_source(name: str, suffix: str, head: bytes, stream: BinaryIO) -> Source:
    start = head.lstrip()[:1]
    if suffix in (".csv", ".tsv"):
        delimiter = "\t" if suffix == ".tsv" else guess_delimiter(head) or ","
        return _source(name, suffix[1:], delimited_rows(stream, delimiter, name))
    if start == b"[" and suffix not in (".jsonl", ".ndjson"):
        return _source(name, "json", array_rows(stream, name))
    if start == b"{" and b'"golds"' in head[:200]:
        raise DataError(
            f"{name} holds reference answers for an evaluation, no history",
            hint="ingest the questions file beside it",
        )
    if start == b"{" or suffix in (".jsonl", ".ndjson", ".json"):
        return _source(name, "jsonl", line_rows(stream))
    found = guess_delimiter(head)
    if found is None:
        raise DataError(
            f"can't tell the format of {name}",
            hint=f"known: JSON Lines, JSON arrays, CSV, TSV and Parquet ({', '.join(SUFFIXES)})",
        )
    return _source(name, "tsv" if found == "\t" else "csv", delimited_rows(stream, found, name))


def iter_rows(path: Path | None, stdin: BinaryIO) -> Iterator[Row | BadRow]:
    """All rows of one source."""
    with open_source(path, stdin) as source:
        yield from source.rows


def find_files(paths: Sequence[Path], *, skip: Path | None = None) -> list[Path]:
    """The files themselves, and every file with a known suffix under the folders.

    Hidden files and folders are left out, and so is ``skip`` (the store).
    DataError names a path that doesn't exist.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(_under(path, skip)))
        elif path.exists():
            found[path] = None
        else:
            raise DataError(f"no such file or folder: {path}")
    return list(found)


def _under(folder: Path, skip: Path | None) -> Iterator[Path]:
    barred = None if skip is None else skip.resolve()
    for at, folders, files in os.walk(folder):
        here = Path(at)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (here / name).resolve() != barred
        )
        if here.resolve() == barred:
            folders.clear()
            continue
        for name in sorted(files):
            path = here / name
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                yield path


__all__ = ["STDIN", "SUFFIXES", "BadRow", "Row", "Source", "find_files", "iter_rows", "open_source"]
