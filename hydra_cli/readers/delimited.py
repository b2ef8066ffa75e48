"""CSV and TSV with a header line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from hydra_cli.core.errors import DataError
from hydra_cli.core.rows import MAX_RECORD, NOT_UTF8, BadRow, Row
from hydra_cli.readers.streams import lines

_DELIMITERS = ",\t;|"


def guess_delimiter(head: bytes) -> str | None:
    """The delimiter that the header line holds most often, quoted parts aside."""
    line = head.decode("utf-8", "replace").split("\n", 1)[0]
    bare = "".join(line.split('"')[::2])
    best = max(_DELIMITERS, key=bare.count)
    return best if best in bare else None


def delimited_rows(stream: BinaryIO, delimiter: str, name: str) -> Iterator[Row | BadRow]:
    """Rows by the header's names. Cells may span lines where they are quoted."""
    # The module's limit is global and 128 KiB; ours is the record's.
    csv.field_size_limit(MAX_RECORD)
    reader = csv.reader(_texts(stream), delimiter=delimiter)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if header is None:
                raise DataError(f"{name}: the header line can't be read: {error}") from error
            yield BadRow(start, f"not readable as CSV: {error}")
            continue
        if not any(cells):
            continue
        if header is None:
            header = _header(cells, name)
            continue
        reason = _fault(cells, header)
        if reason is None:
            yield Row(start, dict(zip(header, cells, strict=True)))
        else:
            text = delimiter.join(cells).encode("utf-8", "replace").decode()
            yield BadRow(start, reason, text)


def _texts(stream: BinaryIO) -> Iterator[str]:
    for _, line in lines(stream):
        # A single NUL marks an overlong line: the row with it is rejected.
        yield "\0\n" if line is None else line.decode("utf-8", "surrogateescape")


def _header(cells: list[str], name: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if _fault(names, names) is not None:
        raise DataError(f"{name}: the header line is not valid UTF-8 text")
    doubled = sorted({column for column in names if names.count(column) > 1 and column})
    if doubled:
        raise DataError(f"{name}: the header names the column {doubled[0]!r} twice")
    return names


def _fault(cells: list[str], header: list[str]) -> str | None:
    if len(cells) != len(header):
        return f"{len(cells)} cells where the header has {len(header)}"
    joined = "".join(cells)
    if "\0" in joined:
        return f"a NUL byte, or a line longer than {MAX_RECORD >> 20} MB"
    if len(joined) > MAX_RECORD:
        return f"longer than {MAX_RECORD >> 20} MB"
    if not joined.isascii():
        try:
            joined.encode()
        except UnicodeEncodeError:
            return NOT_UTF8
    return None
