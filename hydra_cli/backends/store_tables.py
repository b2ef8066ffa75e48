"""The LanceDB tables: their columns, rows to records and back, upkeep.

Upkeep rewrites and prunes with Lance's own dataset calls, as ``Table.optimize``
keeps a fragment in which few rows were deleted, and with it the deleted text.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import FTS, BTree
from lancedb.query import MatchQuery
from lancedb.table import Table

from hydra_cli.backends.store_folder import EncoderInfo, StoreFolder
from hydra_cli.backends.store_keys import (
    content_key,
    from_microseconds,
    key_of,
    metadata_text,
    microseconds,
    record_key,
)
from hydra_cli.core.errors import StoreError
from hydra_cli.core.protocols import UserSummary
from hydra_cli.core.records import Record

if TYPE_CHECKING:
    from hydra_cli.core.records import Vectors

RECORDS = "records"
FORGOTTEN = "forgotten"
_VECTORS = "vectors_"
_SALT = b"salt"
_FINGERPRINT, _DIMENSION, _ENCODER = b"encoder_fingerprint", b"dimension", b"encoder_name"

SMALL_FILES = 32
"""So many small data files start a merge."""
FRAGMENT_ROWS = 262_144
"""Rows of a full data file: one compaction merges small files into such."""

RECORD_SCHEMA = pa.schema(
    [
        pa.field("user_key", pa.int64(), nullable=False),
        pa.field("task_key", pa.int64(), nullable=False),
        pa.field("record_key", pa.int64(), nullable=False),
        pa.field("content_key", pa.int64(), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("user", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("input", pa.string(), nullable=False),
        pa.field("output", pa.string(), nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC")),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)
FORGOTTEN_SCHEMA = pa.schema([pa.field("digest", pa.binary(32), nullable=False)])
SHOWN = ["seq", "user", "task", "id", "input", "output", "time", "metadata"]
"""Columns that make a Record."""


def connect(folder: StoreFolder) -> lancedb.DBConnection:
    # Zero: a reader sees what another process committed a moment ago.
    return lancedb.connect(str(folder.db), read_consistency_interval=timedelta(0))


def create_tables(db: lancedb.DBConnection) -> None:
    db.create_table(RECORDS, schema=RECORD_SCHEMA, exist_ok=True)
    if FORGOTTEN not in table_names(db):
        salted = FORGOTTEN_SCHEMA.with_metadata({_SALT: secrets.token_hex(16)})
        db.create_table(FORGOTTEN, schema=salted)


def table_names(db: lancedb.DBConnection) -> list[str]:
    names: list[str] = []
    token = None
    while True:
        page = db.list_tables(page_token=token)
        names.extend(page.tables)
        token = page.page_token
        if not token:
            return sorted(names)


def salt_of(forgotten: Table) -> bytes:
    return bytes.fromhex((forgotten.schema.metadata or {})[_SALT].decode())


def vector_table_name(fingerprint: str) -> str:
    """One table for each encoder, so that vectors of two can't mix."""
    return _VECTORS + f"{key_of(fingerprint) & 0xFFFFFFFFFFFFFFFF:016x}"


def is_vector_table(name: str) -> bool:
    return name.startswith(_VECTORS)


def vector_schema(encoder: EncoderInfo) -> pa.Schema:
    vector = pa.list_(pa.float32(), encoder.dimension)
    return pa.schema(
        [
            pa.field("user_key", pa.int64(), nullable=False),
            pa.field("task_key", pa.int64(), nullable=False),
            pa.field("record_key", pa.int64(), nullable=False),
            pa.field("input_vector", vector, nullable=False),
            pa.field("output_vector", vector),
        ],
        metadata={
            _FINGERPRINT: encoder.fingerprint.encode(),
            _DIMENSION: str(encoder.dimension).encode(),
            _ENCODER: (encoder.name or "").encode(),
        },
    )


def encoder_of(vectors: Table) -> EncoderInfo:
    """The encoder that the table itself names."""
    metadata = vectors.schema.metadata or {}
    return EncoderInfo(
        fingerprint=metadata[_FINGERPRINT].decode(),
        dimension=int(metadata[_DIMENSION]),
        name=metadata[_ENCODER].decode() or None,
    )


def record_rows(records: Sequence[Record]) -> pa.Table:
    """Records as rows of the records table, numbered from 0."""
    user_keys: dict[str, int] = {}
    task_keys: dict[str, int] = {}
    for record in records:
        if record.user not in user_keys:
            user_keys[record.user] = key_of(record.user)
        if record.task not in task_keys:
            task_keys[record.task] = key_of(record.task)
    columns: list[Any] = [
        [user_keys[r.user] for r in records],
        [task_keys[r.task] for r in records],
        [record_key(r) for r in records],
        [content_key(r) for r in records],
        np.arange(len(records), dtype=np.int64),
        [r.user for r in records],
        [r.task for r in records],
        [r.id for r in records],
        [r.input for r in records],
        [r.output for r in records],
        pa.array(
            [None if r.time is None else microseconds(r.time) for r in records], pa.int64()
        ).cast(pa.timestamp("us", tz="UTC")),
        [metadata_text(r.metadata) for r in records],
    ]
    return pa.table(columns, schema=RECORD_SCHEMA)


def numbered(rows: pa.Table, first: int) -> pa.Table:
    """The rows with sequence numbers from ``first``."""
    at = RECORD_SCHEMA.get_field_index("seq")
    seq = pa.array(np.arange(first, first + rows.num_rows, dtype=np.int64))
    return rows.set_column(at, RECORD_SCHEMA.field("seq"), seq)


def to_records(rows: pa.Table) -> list[Record]:
    """Rows with the SHOWN columns as records, oldest first; those without a time lead."""
    times = rows["time"].cast(pa.int64()).to_pylist()
    columns = [rows[name].to_pylist() for name in SHOWN if name != "time"]
    listed = [
        (-(1 << 63) if time is None else time, seq, user, task, id_, input_, output, metadata)
        for time, seq, user, task, id_, input_, output, metadata in zip(
            times, *columns, strict=True
        )
    ]
    listed.sort(key=lambda row: row[:2])
    return [
        Record(
            user=user,
            id=id_,
            task=task,
            input=input_,
            output=output,
            time=None if time == -(1 << 63) else from_microseconds(time),
            metadata=json.loads(metadata) if metadata else {},
        )
        for time, _, user, task, id_, input_, output, metadata in listed
    ]


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
    return rows.take(list(keep.values()))


def vectors_by_key(rows: pa.Table) -> dict[int, tuple[Vectors, Vectors | None]]:
    """Vectors of (record_key, input_vector, output_vector) rows."""
    inputs = _matrix(rows["input_vector"])
    outputs = _matrix(rows["output_vector"])
    valid = rows["output_vector"].is_valid().to_pylist()
    return {
        key: (inputs[i], outputs[i] if valid[i] else None)
        for i, key in enumerate(rows["record_key"].to_pylist())
    }


def _matrix(column: pa.ChunkedArray) -> Vectors:
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


def has_text_index(table: Table) -> bool:
    return any(config.index_type == "FTS" for config in table.list_indices())


def build_text_index(table: Table) -> None:
    """The full-text index over inputs: 15 seconds for a million short records."""
    table.create_index("input", config=FTS(with_position=False), name="input_idx", replace=True)


def text_hits(table: Table, where: str, text: str, k: int) -> pa.Table:
    """The k best rows of a filter as (record_key, _score)."""
    return (
        table.search(MatchQuery(text, "input"), query_type="fts")
        .where(where, prefilter=True)
        .select(["record_key", "_score"])
        .limit(k)
        .to_arrow()
    )


def vector_hits(table: Table, where: str, vector: Vectors, k: int) -> pa.Table:
    """The k nearest rows of a filter, by an exact scan, as (record_key, _distance)."""
    return (
        table.search(vector, vector_column_name="input_vector")
        .distance_type("cosine")
        .where(where, prefilter=True)
        .select(["record_key", "_distance"])
        .limit(k)
        .to_arrow()
    )


def upkeep(table: Table, *, index: str) -> None:
    """After a write: merge small files and refresh indices where they fell behind."""
    stats = table.stats()
    if stats["fragment_stats"]["num_small_fragments"] >= SMALL_FILES:
        maintain(table, index=index)


def maintain(table: Table, *, index: str) -> None:
    """Merge small files, refresh indices, drop old versions. Only under the writer lock."""
    table.to_lance().optimize.compact_files(target_rows_per_fragment=FRAGMENT_ROWS)
    refresh_index(table, index)
    if has_text_index(table):
        table.to_lance().optimize.optimize_indices(index_names=["input_idx"])
    drop_old_versions(table)


def refresh_index(table: Table, column: str) -> None:
    """The scalar index over ``column``, built anew: a second or less for a million rows."""
    if table.count_rows():
        table.create_index(column, config=BTree(), replace=True, name=f"{column}_idx")


def drop_old_versions(table: Table) -> None:
    """Keep the newest version alone, and no file that it doesn't need."""
    table.to_lance().cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)


def purge_deleted(table: Table, *, index: str) -> None:
    """Leave no byte of deleted rows: rewrite what held them, rebuild indices, prune."""
    for name in [config.name for config in table.list_indices()]:
        table.drop_index(name)
    dataset = table.to_lance()
    dataset.optimize.compact_files(
        target_rows_per_fragment=FRAGMENT_ROWS, materialize_deletions_threshold=0.0
    )
    dataset = table.to_lance()
    if any(fragment.deletion_file() is not None for fragment in dataset.get_fragments()):
        # Compaction leaves overfull fragments alone: write the whole table again.
        rewrite(table)
    refresh_index(table, index)
    drop_old_versions(table)


def rewrite(table: Table) -> None:
    """Every live row written anew, as one new version."""
    import lance

    dataset = table.to_lance()
    lance.write_dataset(
        dataset.scanner().to_reader(),
        dataset.uri,
        schema=dataset.schema,
        mode="overwrite",
        max_rows_per_file=FRAGMENT_ROWS,
    )


def int_list(values: Iterable[int]) -> str:
    """Integers for a SQL ``IN``."""
    return ", ".join(str(value) for value in values)
