"""A text encoder that keeps its vectors on disk, so that a second evaluation encodes nothing."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hydra_cli.core.errors import StoreError
from hydra_cli.core.files import os_errors, private_folder
from hydra_cli.core.protocols import TextEncoder

if TYPE_CHECKING:
    from torch import Tensor

    from hydra_cli.core.records import Vectors

BUSY_SECONDS = 30.0
BATCH = 2048
"""Texts encoded between two commits: what a kill loses at most."""


class KeptEncoder:
    """A TextEncoder over another one. A vector's key is a hash of encoder and text.

    One SQLite file, float32, safe to share between processes. For texts that nobody has to
    be able to forget: what is in a store keeps its vectors there.
    """

    def __init__(self, encoder: TextEncoder, path: Path) -> None:
        self._encoder, self._path = encoder, path

    @property
    def name(self) -> str:
        return self._encoder.name

    @property
    def dimension(self) -> int:
        return self._encoder.dimension

    @property
    def fingerprint(self) -> str:
        return self._encoder.fingerprint

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        """As the encoder's own, each text encoded once ever."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        keys = [self._key(text) for text in texts]
        with self._open() as db:
            missing: dict[bytes, list[int]] = {}
            for row, key in enumerate(keys):
                found = db.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
                if found is None:
                    missing.setdefault(key, []).append(row)
                else:
                    vectors[row] = np.frombuffer(found[0], dtype="<f4")
            if progress is not None and (there := len(texts) - sum(map(len, missing.values()))):
                progress(there)
            waiting = list(missing.items())
            for start in range(0, len(waiting), BATCH):
                part = waiting[start : start + BATCH]
                made = self._encoder.encode([texts[rows[0]] for _, rows in part])
                for (_, rows), vector in zip(part, made, strict=True):
                    vectors[rows] = vector
                with db:
                    db.executemany(
                        "INSERT OR IGNORE INTO vectors VALUES (?, ?)",
                        [
                            (key, np.asarray(vector, dtype="<f4").tobytes())
                            for (key, _), vector in zip(part, made, strict=True)
                        ],
                    )
                if progress is not None:
                    progress(sum(len(rows) for _, rows in part))
        return vectors

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        return self._encoder.encode_pairs(pairs)

    @property
    def full(self) -> TextEncoder:
        """The encoder that can be trained, where there is one behind."""
        full: TextEncoder = getattr(self._encoder, "full", self._encoder)
        return full

    def _key(self, text: str) -> bytes:
        content = f"{self.fingerprint}\0{text}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(content).digest()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        private_folder(self._path.parent)
        with os_errors(self._path):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        try:
            db = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
            try:
                db.execute(
                    "CREATE TABLE IF NOT EXISTS vectors"
                    " (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
                )
                yield db
            finally:
                db.close()
        except sqlite3.Error as error:
            raise StoreError(
                f"can't use the kept vectors {self._path}: {error}",
                hint="delete that file; texts are then encoded again",
            ) from error
