"""Fixed-size keys, so that hostile ids never reach a query and look-ups stay fast.

Every key is a 64-bit hash kept as a signed integer. Rows are found by
``(user_key, record_key)`` together: 128 bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from hydra_cli.core.errors import DataError
from hydra_cli.core.records import Record

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def key_of(*parts: str) -> int:
    """A signed 64-bit hash of the parts; ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.blake2b(_framed(parts), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def record_key(record: Record) -> int:
    """The key of a record within its user."""
    return key_of(record.task, record.id)


def content_key(record: Record) -> int:
    """Two records of one key are the same exactly when these agree."""
    time = "" if record.time is None else str(microseconds(record.time))
    return key_of(record.input, record.output, time, metadata_text(record.metadata))


def forgotten_digest(salt: bytes, *parts: str) -> bytes:
    """A salted hash of a forgotten (user), (user, task) or (user, task, id): never the id."""
    return hashlib.sha256(salt + _framed(parts)).digest()


def metadata_text(metadata: Mapping[str, str]) -> str:
    """Metadata as JSON, keys sorted; empty for none."""
    if not metadata:
        return ""
    return json.dumps(dict(metadata), ensure_ascii=False, sort_keys=True)


def microseconds(time: datetime) -> int:
    """Microseconds since 1970. A time without a zone is read as UTC."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)
    return (aware - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def _framed(parts: tuple[str, ...]) -> bytes:
    try:
        encoded = [part.encode("utf-8") for part in parts]
    except UnicodeEncodeError as error:
        raise DataError(
            "a text holds half of a surrogate pair, which can't be stored as UTF-8",
            hint="re-save the source as valid UTF-8",
        ) from error
    return b"".join(len(part).to_bytes(8, "big") + part for part in encoded)
