"""The answers that were given, kept for a while, and what people said about them.

One SQLite file. A row is one answer as JSON; users and tasks are looked up by
their hashes. What is older than it may be goes in passing, what is forgotten
goes to the last byte. Feedback is a log that only grows: a second word on the
same answer takes the place of the first, and taking it back brings the first
back. It outlives its answer, as what was learned must not change with the date.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from hydra_cli.core.feedback import FEEDBACK_ID, Feedback, Heard, KeptAnswer, record_id
from hydra_cli.core.files import name_of
from hydra_cli.core.sortable_ids import ANSWER_ID, is_id
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
CREATE TABLE IF NOT EXISTS feedback (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    answer TEXT NOT NULL,
    user TEXT NOT NULL,
    task TEXT NOT NULL,
    content TEXT,
    settled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS feedback_by_user ON feedback (user, task, seq);
CREATE INDEX IF NOT EXISTS feedback_by_answer ON feedback (answer, seq);
CREATE INDEX IF NOT EXISTS feedback_unsettled ON feedback (settled) WHERE settled = 0;
CREATE TABLE IF NOT EXISTS forgets (
    time REAL NOT NULL,
    salt TEXT NOT NULL,
    digest TEXT NOT NULL
);
"""

MOST_HEARD = 100
"""So many of a user's newest words count: enough to learn from, and a millisecond to fit."""
_MOST_USERS = 64
"""Of so many users the feedback stays in memory."""

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
        self._heard: OrderedDict[tuple[str, str], tuple[object, Heard]] = OrderedDict()

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

    def hear(self, said: Feedback) -> list[Feedback] | None:
        """Write feedback down: what was in effect before it, each replaced by the next.

        None where its answer isn't kept, any more or at all. It is on disk when this returns.
        """
        with self._file.session() as db, _safely(db):
            known = db.execute("SELECT 1 FROM answers WHERE id = ?", (said.answer,)).fetchone()
            if known is None:
                return None
            before = _in_effect(db, said.answer)
            self._write(db, said.id, said.answer, said.user, said.task, said)
        return before

    def take_back(self, id: str, answer: str) -> list[Feedback]:
        """Take back the last word on an answer; what was in effect, that word last.

        Nothing is written where nobody said anything.
        """
        if not is_id(answer, ANSWER_ID) or not self._file.is_there:
            return []
        with self._file.session() as db, _safely(db):
            before = _in_effect(db, answer)
            if before:
                self._write(db, id, answer, before[-1].user, before[-1].task, None)
        return before

    def said_of(self, answer: str) -> list[Feedback]:
        """What is in effect on an answer, the last word last; the others it would bring back."""
        if not is_id(answer, ANSWER_ID) or not self._file.is_there:
            return []
        with self._file.session() as db:
            return _in_effect(db, answer)

    def feedback(
        self, user: str | None = None, *, task: str | None = None, limit: int | None = None
    ) -> list[Feedback]:
        """All that is in effect, of a user or of everyone, by the age of the answers, newest first.

        Of each answer, the last word.
        """
        if not self._file.is_there:
            return []
        where, values = _where(user, task)
        with self._file.session() as db:
            rows = db.execute(
                f"SELECT answer, content FROM feedback WHERE {where} ORDER BY seq", values
            )
            said: dict[str, list[str]] = {}
            for answer, content in rows:
                _apply(said.setdefault(answer, []), content)
        last = [words[-1] for _, words in sorted(said.items(), reverse=True) if words]
        return [Feedback.of(json.loads(content)) for content in last[:limit]]

    def heard(self, user: str, task: str) -> Heard:
        """What a user said of one task, as a scorer learns from it; kept until there is more."""
        if not self._file.is_there:
            return Heard()
        key = name_of(user), name_of(task)
        with self._file.session() as db:
            version = db.execute(
                "SELECT COUNT(*), MAX(seq) FROM feedback WHERE user = ? AND task = ?", key
            ).fetchone()
            if not version[0]:
                return Heard()
            known = self._heard.get(key)
            if known is None or known[0] != version:
                found = self.feedback(user, task=task, limit=MOST_HEARD)
                known = version, Heard(tuple(reversed(found)))
                self._heard[key] = known
            self._heard.move_to_end(key)
            while len(self._heard) > _MOST_USERS:
                self._heard.popitem(last=False)
            return known[1]

    def unsettled(self) -> list[str]:
        """Answers whose feedback may not have reached the records yet."""
        if not self._file.is_there:
            return []
        with self._file.session() as db:
            rows = db.execute("SELECT DISTINCT answer FROM feedback WHERE settled = 0 LIMIT 1000")
            return [answer for (answer,) in rows]

    def settle(self, answer: str, last: str | None) -> bool:
        """The records hold what ``last``, the feedback of this id, says; False if it isn't last."""
        with self._file.session() as db, _safely(db):
            said = _in_effect(db, answer)
            if (said[-1].id if said else None) != last:
                return False
            db.execute("UPDATE feedback SET settled = 1 WHERE answer = ?", (answer,))
        return True

    def every_word_on(self, answer: str) -> list[Feedback]:
        """All that was ever said of an answer, what was taken back included, oldest first."""
        with self._file.session() as db:
            rows = db.execute(
                "SELECT content FROM feedback WHERE answer = ? AND content IS NOT NULL"
                " ORDER BY seq",
                (answer,),
            )
            return [Feedback.of(json.loads(content)) for (content,) in rows]

    def count(self, scope: Scope) -> tuple[int, int]:
        """How many answers ``erase`` would erase, and on how many answers feedback."""
        if not self._file.is_there:
            return 0, 0
        with self._file.session() as db:
            answers = set(_within(db, "answers", scope))
            return len(answers), len(set(_within(db, "feedback", scope)))

    def erase(self, scope: Scope) -> int:
        """Erase the scope's answers to the last byte; how many there were.

        For a record, those answers go whose prompt showed it. An answer of the user whose
        query was begun before now is not kept any more: it may quote what is forgotten.
        """
        with self._file.session() as db:
            with db:
                db.execute("BEGIN IMMEDIATE")
                going = _within(db, "answers", scope)
                db.executemany("DELETE FROM answers WHERE id = ?", [(id_,) for id_ in going])
                said = {*going, *_within(db, "feedback", scope)}
                db.executemany("DELETE FROM feedback WHERE answer = ?", [(id_,) for id_ in said])
                self._heard.clear()
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
        yield from self._dump_feedback(set(map(name_of, users)))

    def _dump_feedback(self, keys: set[str]) -> Iterator[Mapping[str, Any]]:
        if not self._file.is_there:
            return
        with self._file.session() as db:
            rows = db.execute(
                "SELECT id, answer, user, content FROM feedback ORDER BY seq"
            ).fetchall()
        whose: dict[str, dict[str, Any]] = {}
        for id_, answer, user, content in rows:
            if keys and user not in keys:
                continue
            if content is None:
                said = whose[answer]
                row = {"id": id_, "answer": answer, "user": said["user"], "task": said["task"]}
                yield {"taken back": row}
            else:
                whose[answer] = json.loads(content)
                yield {"feedback": whose[answer]}

    def load(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add what ``dump`` gave; what is there already stays. How many rows were new."""
        new = 0
        with self._file.session() as db, db:
            db.execute("BEGIN IMMEDIATE")
            for row in rows:
                kept, said, undone = checked_row(row)
                if self._is_anothers(db, row):
                    continue
                if kept is not None:
                    new += db.execute(
                        "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", _row(kept)
                    ).rowcount
                elif said is not None:
                    # Records come by themselves: there is nothing to settle.
                    self._write(db, said.id, said.answer, said.user, said.task, said, settled=1)
                else:
                    id_, answer, user, task = (
                        undone[name] for name in ("id", "answer", "user", "task")
                    )
                    self._write(db, id_, answer, user, task, None, settled=1)
        return new

    @staticmethod
    def _is_anothers(db: sqlite3.Connection, row: Mapping[str, Any]) -> bool:
        """Whether the row is on an answer that is another user's here."""
        (content,) = row.values()
        answer, key = content.get("answer", content["id"]), name_of(content["user"])
        found = db.execute(
            "SELECT user FROM answers WHERE id = ? UNION SELECT user FROM feedback"
            " WHERE answer = ?",
            (answer, answer),
        )
        return any(user != key for (user,) in found.fetchall())

    @staticmethod
    def _write(
        db: sqlite3.Connection,
        id: str,
        answer: str,
        user: str,
        task: str,
        said: Feedback | None,
        *,
        settled: int = 0,
    ) -> None:
        content = None if said is None else json.dumps(said.as_mapping(), separators=(",", ":"))
        db.execute(
            "INSERT OR IGNORE INTO feedback (id, answer, user, task, content, settled)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (id, answer, name_of(user), name_of(task), content, settled),
        )

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


def _within(
    db: sqlite3.Connection, table: Literal["answers", "feedback"], scope: Scope
) -> list[str]:
    """Ids of the answers that the scope reaches, or of those that such feedback is on."""
    where, values = _where(scope.user, scope.task)
    column = "id" if table == "answers" else "answer"
    rows = db.execute(f"SELECT {column}, content FROM {table} WHERE {where}", values)
    if scope.record is None:
        return [id_ for id_, _ in rows]
    return [
        id_
        for id_, content in rows
        if scope.record == record_id(id_)
        or (content is not None and scope.record in json.loads(content)["evidence"])
    ]


@contextmanager
def _safely(db: sqlite3.Connection) -> Iterator[None]:
    """One transaction that is on the disk itself when the block ends, not just with the system."""
    db.execute("PRAGMA synchronous = FULL")
    try:
        with db:
            db.execute("BEGIN IMMEDIATE")
            yield
    finally:
        db.execute("PRAGMA synchronous = NORMAL")


def _apply(words: list[str], content: str | None) -> None:
    """One row of the log: a new word, or the last one taken back."""
    if content is not None:
        words.append(content)
    elif words:
        words.pop()


def _in_effect(db: sqlite3.Connection, answer: str) -> list[Feedback]:
    words: list[str] = []
    for (content,) in db.execute(
        "SELECT content FROM feedback WHERE answer = ? ORDER BY seq", (answer,)
    ):
        _apply(words, content)
    return [Feedback.of(json.loads(content)) for content in words]


def checked_row(
    row: Mapping[str, Any],
) -> tuple[KeptAnswer | None, Feedback | None, Mapping[str, str]]:
    """A row of ``dump``: an answer, feedback, or what was taken back.

    ValueError, KeyError or TypeError where it is none of them.
    """
    if "answer" in row:
        return KeptAnswer.of(row["answer"]), None, {}
    if "feedback" in row:
        return None, Feedback.of(row["feedback"]), {}
    undone = row["taken back"]
    named = is_id(undone["id"], FEEDBACK_ID) and is_id(undone["answer"], ANSWER_ID)
    if not named or not all(isinstance(undone[name], str) for name in ("user", "task")):
        raise ValueError("nothing was taken back")
    return None, None, undone


def user_of(row: Mapping[str, Any]) -> str:
    """Whose a row of ``dump`` is."""
    (content,) = row.values()
    return str(content["user"])


def _salted(user: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}\0{name_of(user)}".encode()).hexdigest()
