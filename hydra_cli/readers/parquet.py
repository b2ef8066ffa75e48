"""Parquet files, a few thousand rows at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from hydra_cli.core.errors import DataError
from hydra_cli.core.rows import BadRow, Row

MAGIC = b"PAR1"
_ROWS = 4096


def table_rows(stream: BinaryIO, name: str) -> Iterator[Row | BadRow]:
    """The table's rows, numbered from 1. A pipe is spooled to an unnamed file first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with _seekable(stream) as file, _arrow_errors(name):
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS, use_threads=False):
            table = _in_microseconds(pa.Table.from_batches([batch]))
            for row in _rows(table):
                number += 1
                yield BadRow(number, row) if isinstance(row, str) else Row(number, row)


@contextmanager
def _arrow_errors(name: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(f"{name} can't be read as Parquet: {text}") from error


def _rows(table: Any) -> Iterator[dict[str, Any] | str]:
    """Each row's values, or why they can't be had."""
    try:
        yield from table.to_pylist()
        return
    except (ValueError, OverflowError):
        pass
    # One bad value spoils its whole batch: look at the rows one by one.
    for index in range(table.num_rows):
        try:
            yield table.slice(index, 1).to_pylist()[0]
        except (ValueError, OverflowError) as error:
            yield f"unreadable value: {' '.join(str(error).split())[:200]}"


def _in_microseconds(table: Any) -> Any:
    """Times finer than Python's datetime are cut, which needs no pandas."""
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            kind = pa.timestamp("us", tz=field.type.tz)
            table = table.set_column(index, field.name, table[index].cast(kind, safe=False))
    return table


@contextmanager
def _seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    if stream.seekable():
        stream.seek(0)
        yield stream
        return
    with tempfile.TemporaryFile() as spool:
        while data := stream.read(1024 * 1024):
            spool.write(data)
        spool.seek(0)
        yield spool
