"""The LanceDB tables: their names, columns and what they tell about themselves."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta

import lancedb
import pyarrow as pa

from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.store.folder import StoreFolder
from hydra_cli.store.keys import key_of

RECORDS = "records"
FORGOTTEN = "forgotten"
_VECTORS = "vectors_"
_SALT = b"salt"
_FINGERPRINT, _DIMENSION, _ENCODER = b"encoder_fingerprint", b"dimension", b"encoder_name"

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


def salt_of(forgotten: pa.Schema) -> bytes:
    return bytes.fromhex((forgotten.metadata or {})[_SALT].decode())


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


def encoder_of(vectors: pa.Schema) -> EncoderInfo:
    """The encoder that the table itself names."""
    metadata = vectors.metadata or {}
    return EncoderInfo(
        fingerprint=metadata[_FINGERPRINT].decode(),
        dimension=int(metadata[_DIMENSION]),
        name=metadata[_ENCODER].decode() or None,
    )


def int_list(values: Iterable[int]) -> str:
    """Integers for a SQL ``IN``."""
    return ", ".join(str(value) for value in values)
