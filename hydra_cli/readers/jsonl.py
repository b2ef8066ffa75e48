"""JSON Lines, and JSON arrays read entry by entry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

import orjson

from hydra_cli.core.errors import DataError
from hydra_cli.core.rows import MAX_RECORD, NOT_UTF8, BadRow, Row
from hydra_cli.readers.streams import lines

MAX_ENTRY = 16 * MAX_RECORD
"""Bytes of one array entry: a LaMP question carries its user's whole profile."""
_CHUNK = 1024 * 1024
_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'["\\]')
_BLANK = b" \t\r\n"


def line_rows(stream: BinaryIO) -> Iterator[Row | BadRow]:
    """One object a line; blank lines are skipped."""
    loads = orjson.loads
    for number, line in lines(stream):
        if line is None:
            yield BadRow(number, f"longer than {MAX_RECORD >> 20} MB")
            continue
        try:
            fields = loads(line)
        except orjson.JSONDecodeError as error:
            if line.strip():
                yield _bad(number, line, error)
            continue
        if type(fields) is dict:
            yield Row(number, fields)
        else:
            yield BadRow(number, "not a JSON object", line.decode().strip())


def array_rows(stream: BinaryIO, name: str) -> Iterator[Row | BadRow]:
    """The objects of one JSON array, numbered from 1.

    A broken entry is a BadRow and the next one is read on. DataError where the
    array ends before its closing bracket, after all whole entries were given.
    """
    for number, entry in enumerate(split_array(stream, name), 1):
        if entry is None:
            yield BadRow(number, f"longer than {MAX_ENTRY >> 20} MB")
            continue
        try:
            fields = orjson.loads(entry)
        except orjson.JSONDecodeError as error:
            yield _bad(number, entry, error)
            continue
        if type(fields) is dict:
            yield Row(number, fields)
        else:
            yield BadRow(number, "not a JSON object", entry.decode().strip())


def split_array(stream: BinaryIO, name: str, limit: int = MAX_ENTRY) -> Iterator[bytes | None]:
    """The bytes between a JSON array's commas; None for an entry over ``limit`` bytes.

    Only strings and brackets are looked at, so memory holds one entry and one
    chunk whatever the array's length or nesting.
    """
    depth = 0
    quoted = escaped = False
    entry = bytearray()
    oversize = False
    entries = 0
    while chunk := stream.read(_CHUNK):
        start = position = 0
        if escaped:
            position, escaped = 1, False
        while True:
            found = (_INSIDE if quoted else _OUTSIDE).search(chunk, position)
            if found is None:
                break
            position = found.end()
            mark = chunk[position - 1]
            if quoted:
                if mark == 0x22:  # "
                    quoted = False
                elif position < len(chunk):
                    position += 1
                else:
                    escaped = True
                continue
            if mark == 0x22:
                quoted = True
            elif mark in b"[{":
                depth += 1
                if depth == 1:
                    start = position
            elif mark == 0x2C:  # ,
                if depth == 1:
                    entry += chunk[start : position - 1]
                    yield None if oversize or len(entry) > limit else bytes(entry)
                    entries += 1
                    entry.clear()
                    start, oversize = position, False
            else:
                depth -= 1
                if depth == 0:
                    entry += chunk[start : position - 1]
                    if entries or entry.strip(_BLANK) or oversize:
                        yield None if oversize or len(entry) > limit else bytes(entry)
                    _check_end(chunk[position:], stream, name)
                    return
        if depth:
            entry += chunk[start:]
            if len(entry) > limit:
                oversize = True
                entry.clear()
    raise DataError(
        f"{name}: the JSON array ends in the middle, after {entries} whole entries",
        hint="the file is cut off; what came before was read",
    )


def _check_end(rest: bytes, stream: BinaryIO, name: str) -> None:
    while not rest.strip(_BLANK):
        rest = stream.read(_CHUNK)
        if not rest:
            return
    raise DataError(f"{name}: there is text after the JSON array's end; it was not read")


def _bad(number: int, data: bytes, error: orjson.JSONDecodeError) -> BadRow:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return BadRow(number, NOT_UTF8, data.decode("utf-8", "replace").strip())
    reason = "a NUL byte" if "\0" in text else f"not valid JSON: {error.msg}"
    return BadRow(number, reason, text.strip())
