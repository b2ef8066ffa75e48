"""One SQLite file of a store: private, safe for several threads and processes, erased for good."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra_cli.core.errors import StoreBusy, StoreError
from hydra_cli.core.files import os_errors, private_folder

BUSY_SECONDS = 30.0


class SqliteFile:
    """A connection that is opened when it is first needed, and what every one of them wants.

    ``path`` None keeps everything in memory. ``what`` and ``lost`` are words for
    errors: what the file is, and what may be done about a damaged one. ``prepare``
    runs once on every new connection, after the ``schema``.
    """

    def __init__(
        self,
        path: Path | None,
        schema: str,
        *,
        what: str,
        lost: str,
        prepare: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        self._path = path
        self._schema = schema
        self._what = what
        self._lost = lost
        self._prepare = prepare
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @property
    def is_there(self) -> bool:
        """Whether there is anything to read at all."""
        return self._connection is not None or (self._path is not None and self._path.exists())

    @contextmanager
    def session(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time; StoreBusy and StoreError for its errors."""
        with self._lock, self._errors():
            if self._connection is None:
                self._connection = self._open()
            yield self._connection

    def scrub(self, db: sqlite3.Connection) -> None:
        """Rewrite the file and empty the write-ahead log, so that no freed page survives."""
        db.execute("VACUUM")
        if self._path is None:
            return
        deadline = time.monotonic() + BUSY_SECONDS
        while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                raise StoreBusy(
                    f"another process is reading {self._path}",
                    hint="stop it and run the command again to finish erasing",
                )
            time.sleep(0.05)

    def close(self) -> None:
        """Let the file go; what lies in memory alone stays."""
        with self._lock:
            if self._connection is not None and self._path is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._path is not None:
            private_folder(self._path.parent)
            with os_errors(self._path):
                # SQLite gives its log files the mode of the database file.
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(
            self._path or ":memory:",
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = ON")
            # VACUUM's working copy must not land in a shared temporary folder.
            db.execute("PRAGMA temp_store = MEMORY")
            db.executescript(self._schema)
            if self._prepare is not None:
                self._prepare(db)
        except sqlite3.Error:
            db.close()
            raise
        return db

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise StoreBusy(
                    f"another process holds {self._path}", hint="wait for it and try again"
                ) from error
            raise StoreError(
                f"can't use {self._what} {self._path}: {error}",
                hint="check the folder's permissions and the free disk space",
            ) from error
        except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
            raise StoreError(
                f"{self._what} {self._path} is damaged: {error}", hint=self._lost
            ) from error
