"""The answers that were given, kept for a while so that people can say what they think of them.

One SQLite file. A row is one answer as JSON; users and tasks are looked up by
their hashes. What is older than it may be goes in passing, what is forgotten
goes to the last byte.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hydra_cli.core.feedback import ANSWER_ID, KeptAnswer
from hydra_cli.core.files import name_of
from hydra_cli.core.sortable_ids import is_id
from hydra_cli.core.sqlite_file import SqliteFile
from hydra_cli.store.scope import Scope

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    id TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    task TEXT NOT NULL,
    time REAL NOT NULL,
    content TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_user ON answers (user, id);
CREATE INDEX IF NOT EXISTS answers_by_time ON answers (time);
CREATE TABLE IF NOT EXISTS forgets (
    time REAL NOT NULL,
    salt TEXT NOT NULL,
    digest TEXT NOT NULL
);
"""

_EXPIRY_SECONDS = 600.0
"""How often a process that keeps answers looks for old ones."""


class AnswerLog:
    """Kept answers of one store; safe to use from several threads and processes at once.

    A user who is forgotten while an answer of theirs is on its way stays
    forgotten: it is not kept. ``path`` None keeps everything in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = SqliteFile(
            path,
            _SCHEMA,
            what="the kept answers",
            lost="delete that file; kept answers are lost with it, records are not",
        )
        self._looked = -_EXPIRY_SECONDS

    def keep(self, answer: KeptAnswer, *, days: int) -> bool:
        """Keep an answer for some days; False where its user was forgotten meanwhile.

        ``answer.time`` is when the query was begun. Answers older than ``days`` go.
        """
        if days < 1:
            return False
        with self._file.session() as db, db:
            db.execute("BEGIN IMMEDIATE")
            if self._forgotten_since(db, answer.user, answer.time):
                return False
            db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", _row(answer))
            self._expire(db, days)
        return True

    def get(self, id: str) -> KeptAnswer | None:
        """The answer of this id, or None where none is kept."""
        if not is_id(id, ANSWER_ID) or not self._file.is_there:
            return None
        with self._file.session() as db:
            row = db.execute("SELECT content FROM answers WHERE id = ?", (id,)).fetchone()
            return None if row is None else KeptAnswer.of(json.loads(row[0]))

    def newest(
        self, user: str | None = None, *, task: str | None = None, limit: int | None = None
    ) -> list[KeptAnswer]:
        """The newest ``limit`` answers (default: all) of a user or of everyone, newest first."""
        if not self._file.is_there:
            return []
        where, values = _where(user, task)
        with self._file.session() as db:
            rows = db.execute(
                f"SELECT content FROM answers WHERE {where} ORDER BY id DESC LIMIT ?",
                (*values, -1 if limit is None else max(limit, 0)),
            ).fetchall()
            return [KeptAnswer.of(json.loads(content)) for (content,) in rows]

    def count(self, scope: Scope) -> int:
        """How many answers ``erase`` would erase."""
        if not self._file.is_there:
            return 0
        with self._file.session() as db:
            return len(_within(db, scope))

    def erase(self, scope: Scope) -> int:
        """Erase the scope's answers to the last byte; how many there were.

        For a record, those answers go whose prompt showed it. An answer of the user whose
        query was begun before now is not kept any more: it may quote what is forgotten.
        """
        with self._file.session() as db:
            with db:
                db.execute("BEGIN IMMEDIATE")
                going = _within(db, scope)
                db.executemany("DELETE FROM answers WHERE id = ?", [(id_,) for id_ in going])
                salt = secrets.token_hex(16)
                row = (time.time(), salt, _salted(scope.user, salt))
                db.execute("INSERT INTO forgets VALUES (?, ?, ?)", row)
            self._file.scrub(db)
        return len(going)

    def dump(self, users: Sequence[str] = ()) -> Iterator[Mapping[str, Any]]:
        """Everything of some users, or with none named of all, as plain values, oldest first."""
        chosen = [self.newest(user) for user in sorted(set(users))] if users else [self.newest()]
        for found in chosen:
            yield from ({"answer": answer.as_mapping()} for answer in reversed(found))

    def load(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add what ``dump`` gave; what is there already stays. How many rows were new."""
        new = 0
        with self._file.session() as db, db:
            db.execute("BEGIN IMMEDIATE")
            for row in rows:
                answer = KeptAnswer.of(row["answer"])
                new += db.execute(
                    "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", _row(answer)
                ).rowcount
        return new

    def close(self) -> None:
        self._file.close()

    def _expire(self, db: sqlite3.Connection, days: int) -> None:
        if time.monotonic() - self._looked < _EXPIRY_SECONDS:
            return
        oldest = datetime.now(UTC) - timedelta(days=days)
        db.execute("DELETE FROM answers WHERE time < ?", (oldest.timestamp(),))
        self._looked = time.monotonic()

    @staticmethod
    def _forgotten_since(db: sqlite3.Connection, user: str, begun: datetime) -> bool:
        rows = db.execute("SELECT salt, digest FROM forgets WHERE time >= ?", (begun.timestamp(),))
        return any(_salted(user, salt) == digest for salt, digest in rows)


def _row(answer: KeptAnswer) -> tuple[object, ...]:
    content = json.dumps(answer.as_mapping(), separators=(",", ":"))
    key = name_of(answer.user), name_of(answer.task)
    return answer.id, *key, answer.time.timestamp(), content


def _where(user: str | None, task: str | None) -> tuple[str, list[str]]:
    parts, values = ["1"], list[str]()
    for column, value in (("user", user), ("task", task)):
        if value is not None:
            parts.append(f"{column} = ?")
            values.append(name_of(value))
    return " AND ".join(parts), values


def _within(db: sqlite3.Connection, scope: Scope) -> list[str]:
    """Ids of the answers that the scope reaches."""
    where, values = _where(scope.user, scope.task)
    rows = db.execute(f"SELECT id, content FROM answers WHERE {where}", values)
    if scope.record is None:
        return [id_ for id_, _ in rows]
    return [id_ for id_, content in rows if scope.record in json.loads(content)["evidence"]]


def _salted(user: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}\0{name_of(user)}".encode()).hexdigest()
