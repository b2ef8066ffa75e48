"""Records and vectors as rows of the tables, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.core.errors import StoreError
from hydra_cli.core.protocols import UserSummary
from hydra_cli.core.records import Record
from hydra_cli.store.keys import (
    from_microseconds,
    key_of,
    keys_of,
    metadata_text,
    microseconds,
)
from hydra_cli.store.tables import RECORD_SCHEMA, SHOWN, vector_schema

if TYPE_CHECKING:
    from hydra_cli.core.records import Vectors

_NO_TIME = -(1 << 63)
"""Sorts before every time."""


def record_rows(records: Sequence[Record]) -> pa.Table:
    """Records as rows of the records table, numbered from 0."""
    times = [None if r.time is None else microseconds(r.time) for r in records]
    keys = keys_of(records, times)
    columns: list[Any] = [
        *(keys[name] for name in ("user_key", "task_key", "record_key", "content_key")),
        np.arange(len(records), dtype=np.int64),
        [r.user for r in records],
        [r.task for r in records],
        [r.id for r in records],
        [r.input for r in records],
        [r.output for r in records],
        pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        [metadata_text(r.metadata) for r in records],
    ]
    return pa.table(columns, schema=RECORD_SCHEMA)


def still_the_same(stored: pa.Table, records: Sequence[Record]) -> pa.Table:
    """The stored rows (record_key, content_key) that hold what ``records`` do."""
    times = [None if r.time is None else microseconds(r.time) for r in records]
    keys = keys_of(records, times)
    known = dict(zip(keys["record_key"].tolist(), keys["content_key"].tolist(), strict=True))
    pairs = zip(*(stored[name].to_pylist() for name in ("record_key", "content_key")), strict=True)
    return stored.filter(
        pa.array([known.get(key) == content for key, content in pairs], pa.bool_())
    )


def numbered(rows: pa.Table, first: int) -> pa.Table:
    """The rows with sequence numbers from ``first``."""
    at = RECORD_SCHEMA.get_field_index("seq")
    seq = pa.array(np.arange(first, first + rows.num_rows, dtype=np.int64))
    return rows.set_column(at, RECORD_SCHEMA.field("seq"), seq)


def to_records(rows: pa.Table, *, ordered: bool = True) -> list[Record]:
    """Rows with the SHOWN columns as records, oldest first; those without a time lead.

    ``ordered`` False keeps the order of the rows.
    """
    times = rows["time"].cast(pa.int64()).to_pylist()
    columns = [rows[name].to_pylist() for name in SHOWN if name != "time"]
    listed = [
        (_NO_TIME if time is None else time, seq, user, task, id_, input_, output, metadata)
        for time, seq, user, task, id_, input_, output, metadata in zip(
            times, *columns, strict=True
        )
    ]
    if ordered:
        listed.sort(key=lambda row: row[:2])
    return [
        Record(
            user=user,
            id=id_,
            task=task,
            input=input_,
            output=output,
            time=None if time == _NO_TIME else from_microseconds(time),
            metadata=json.loads(metadata) if metadata else {},
        )
        for time, _, user, task, id_, input_, output, metadata in listed
    ]


def newest(rows: pa.Table, limit: int) -> list[int]:
    """The sequence numbers of the newest ``limit`` of (time, seq) rows."""
    times = rows["time"].cast(pa.int64()).fill_null(_NO_TIME).to_numpy()
    numbers: NDArray[np.int64] = rows["seq"].to_numpy()
    chosen: list[int] = numbers[np.lexsort((numbers, times))[-limit:]].tolist()
    return chosen


def summaries(rows: pa.Table) -> list[UserSummary]:
    """One summary a user, from (user, task, time) rows; sorted by user."""
    by_task = rows.group_by(["user", "task"]).aggregate(
        [([], "count_all"), ("time", "min"), ("time", "max")]
    )
    micros = {name: by_task[name].cast(pa.int64()).to_pylist() for name in ("time_min", "time_max")}
    found: dict[str, tuple[int, list[str], list[int], list[int]]] = {}
    for user, task, count, first, last in zip(
        by_task["user"].to_pylist(),
        by_task["task"].to_pylist(),
        by_task["count_all"].to_pylist(),
        micros["time_min"],
        micros["time_max"],
        strict=True,
    ):
        total, names, firsts, lasts = found.get(user, (0, [], [], []))
        names.append(task)
        if first is not None:
            firsts.append(first)
            lasts.append(last)
        found[user] = (total + count, names, firsts, lasts)
    return [
        UserSummary(
            user=user,
            records=total,
            tasks=tuple(sorted(names)),
            first=from_microseconds(min(firsts)) if firsts else None,
            last=from_microseconds(max(lasts)) if lasts else None,
        )
        for user, (total, names, firsts, lasts) in sorted(found.items())
    ]


def vector_rows(
    user: str,
    task: str,
    vectors: Sequence[tuple[str, Vectors, Vectors | None]],
    encoder: EncoderInfo,
) -> pa.Table:
    """(id, input, output) vectors of one user and task as rows."""
    schema = vector_schema(encoder)
    for id_, *pair in vectors:
        if any(v is not None and v.shape != (encoder.dimension,) for v in pair):
            raise StoreError(
                f"a vector of record {id_!r} hasn't the dimension {encoder.dimension}",
                hint="one encoder makes vectors of one dimension: encode the batch again",
            )
    n = len(vectors)
    return pa.table(
        [
            pa.array([key_of(user)] * n, pa.int64()),
            pa.array([key_of(task)] * n, pa.int64()),
            pa.array([key_of(task, id_) for id_, _, _ in vectors], pa.int64()),
            _vector_column([v for _, v, _ in vectors], encoder.dimension),
            _vector_column([v for _, _, v in vectors], encoder.dimension),
        ],
        schema=schema,
    )


def _vector_column(vectors: Sequence[Vectors | None], dimension: int) -> pa.FixedSizeListArray:
    flat = np.zeros((len(vectors), dimension), dtype=np.float32)  # (n, d)
    for row, vector in zip(flat, vectors, strict=True):
        if vector is not None:
            row[:] = vector
    missing = pa.array([vector is None for vector in vectors])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), dimension, mask=missing)


def not_yet_held(rows: pa.Table, held: pa.Table) -> pa.Table:
    """Rows whose key is new, or whose output vector is; the last of doubled keys."""
    has_output = dict(
        zip(
            held["record_key"].to_pylist(),
            held["output_vector"].is_valid().to_pylist(),
            strict=True,
        )
    )
    keep: dict[int, int] = {}
    outputs = rows["output_vector"].is_valid().to_pylist()
    for i, (key, output) in enumerate(zip(rows["record_key"].to_pylist(), outputs, strict=True)):
        if key not in has_output or (output and not has_output[key]):
            keep[key] = i
    return rows.take(pa.array(keep.values(), pa.int64()))


def vectors_by_key(rows: pa.Table) -> dict[int, tuple[Vectors, Vectors | None]]:
    """Vectors of (record_key, input_vector, output_vector) rows."""
    inputs = matrix(rows["input_vector"])
    outputs = matrix(rows["output_vector"])
    valid = rows["output_vector"].is_valid().to_pylist()
    return {
        key: (inputs[i], outputs[i] if valid[i] else None)
        for i, key in enumerate(rows["record_key"].to_pylist())
    }


def matrix(column: pa.ChunkedArray) -> Vectors:
    """A column of fixed-size lists as (n, d); rows without a vector are zeros."""
    dimension = column.type.list_size
    parts = []
    for chunk in column.chunks:
        # ``values`` keeps the slots of missing lists, ``flatten`` would skip them.
        values = chunk.values.to_numpy(zero_copy_only=False)
        start = chunk.offset * dimension
        parts.append(values[start : start + len(chunk) * dimension].reshape(-1, dimension))
    if not parts:
        return np.zeros((0, dimension), dtype=np.float32)
    return np.concatenate(parts)


def mixed_keys(rows: pa.Table) -> NDArray[np.uint64]:
    """User and record key of every row in one number, (n,)."""
    users: NDArray[np.uint64] = rows["user_key"].to_numpy().astype(np.uint64)
    records: NDArray[np.uint64] = rows["record_key"].to_numpy().astype(np.uint64)
    mixed: NDArray[np.uint64] = users * np.uint64(0x9E3779B97F4A7C15) + records
    return mixed


def count_wrong_keys(rows: pa.Table) -> int:
    """Rows whose text and keys differ: something changed one of them."""
    anew = record_rows(to_records(rows, ordered=False))
    wrong = np.zeros(rows.num_rows, dtype=bool)
    for name in ("user_key", "task_key", "record_key", "content_key"):
        wrong |= rows[name].to_numpy() != anew[name].to_numpy()
    return int(wrong.sum())
