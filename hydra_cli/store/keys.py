"""Fixed-size keys, so that hostile ids never reach a query and look-ups stay fast.

Every key is a 64-bit hash kept as a signed integer. Rows are found by
``(user_key, record_key)`` together: 128 bits.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b, sha256

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.errors import DataError
from hydra_cli.core.records import Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LENGTH = struct.Struct(">Q").pack


@lru_cache(maxsize=16_384)
def key_of(*parts: str) -> int:
    """A signed 64-bit hash of the parts; ("ab", "c") and ("a", "bc") differ."""
    return int.from_bytes(_hashed(_framed(parts)), "big", signed=True)


def record_key(record: Record) -> int:
    """The key of a record within its user."""
    return key_of(record.task, record.id)


def keys_of(records: Sequence[Record], times: Sequence[int | None]) -> dict[str, NDArray[np.int64]]:
    """The keys of a batch, (n,) each: user_key, task_key, record_key and content_key.

    ``times`` are the records' times in microseconds.
    Two records of one key are the same exactly when their content keys agree.
    """
    framed: dict[str, bytes] = {}
    keys: dict[str, bytes] = {}
    for name in {*(r.user for r in records), *(r.task for r in records)}:
        framed[name] = _framed((name,))
        keys[name] = _hashed(framed[name])
    try:
        columns = {
            "user_key": [keys[r.user] for r in records],
            "task_key": [keys[r.task] for r in records],
            "record_key": [_hashed(framed[r.task] + _frame(r.id.encode())) for r in records],
            "content_key": [_content(r, at) for r, at in zip(records, times, strict=True)],
        }
    except UnicodeEncodeError as error:
        raise _no_utf8() from error
    return {
        name: np.frombuffer(b"".join(column), dtype=">i8").astype(np.int64)
        for name, column in columns.items()
    }


def _content(record: Record, at: int | None) -> bytes:
    # Written out: this runs once for every record of an ingest.
    given, made = record.input.encode(), record.output.encode()
    time = b"" if at is None else b"%d" % at
    extra = metadata_text(record.metadata).encode() if record.metadata else b""
    frame = _LENGTH
    texts = b"".join((frame(len(given)), given, frame(len(made)), made))
    rest = b"".join((frame(len(time)), time, frame(len(extra)), extra))
    return blake2b(texts + rest, digest_size=8).digest()


def _hashed(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()


def _frame(data: bytes) -> bytes:
    """The data after its length, so that a row of frames reads in one way only."""
    return _LENGTH(len(data)) + data


def forgotten_digest(salt: bytes, *parts: str) -> bytes:
    """A salted hash of a forgotten (user), (user, task) or (user, task, id): never the id."""
    return sha256(salt + _framed(parts)).digest()


def metadata_text(metadata: Mapping[str, str]) -> str:
    """Metadata as JSON, keys sorted; empty for none."""
    if not metadata:
        return ""
    return json.dumps(dict(metadata), ensure_ascii=False, sort_keys=True)


def microseconds(time: datetime) -> int:
    """Microseconds since 1970. A time without a zone is read as UTC."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def _framed(parts: tuple[str, ...]) -> bytes:
    try:
        return b"".join(_frame(part.encode()) for part in parts)
    except UnicodeEncodeError as error:
        raise _no_utf8() from error


def _no_utf8() -> DataError:
    return DataError(
        "a text holds half of a surrogate pair, which can't be stored as UTF-8",
        hint="re-save the source as valid UTF-8",
    )
