"""Every answer an LLM gave, kept so that no call is paid twice.

One SQLite file. A row is one call: its answers, their log-probabilities and
what the call used. ``key`` hashes the model, the prompt and the sampling
settings (without n), so that asking for more answers adds calls to those that
are there. Prompts themselves are not kept; owners are kept as hashes.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_cli.core.files import name_of
from hydra_cli.core.protocols import ChatRequest, Message
from hydra_cli.core.sqlite_file import SqliteFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    start INTEGER NOT NULL,
    answers TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    counted_tokens INTEGER NOT NULL,
    max_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL DEFAULT 0,
    finishes TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS calls_by_key ON calls (key, start);
CREATE INDEX IF NOT EXISTS calls_by_model ON calls (model);
CREATE TABLE IF NOT EXISTS owners (
    key TEXT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (key, owner)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owners_by_owner ON owners (owner);
CREATE TABLE IF NOT EXISTS forgets (
    id INTEGER PRIMARY KEY,
    salt TEXT NOT NULL,
    digest TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class StoredCall:
    """The answers of one call: (text, mean token log-probability or None) each.

    ``start`` is the place of its first answer among all answers to the
    request. ``counted_tokens`` is the prompt's length by our own count, which
    may differ from the provider's ``prompt_tokens``. ``seconds`` is what the
    call took, ``finishes`` why each answer ended; 0 and empty where an older
    release kept the call.
    """

    start: int
    answers: tuple[tuple[str, float | None], ...]
    prompt_tokens: int
    completion_tokens: int
    counted_tokens: int = 0
    seconds: float = 0.0
    finishes: tuple[str | None, ...] = ()

    @property
    def why_ended(self) -> tuple[str | None, ...]:
        """Parallel to ``answers``."""
        return self.finishes or (None,) * len(self.answers)


@dataclass(frozen=True, slots=True)
class ModelHistory:
    """Averages over the calls of one model that are in the cache."""

    calls: int
    prompt_ratio: float
    """The provider's prompt tokens over our own count."""
    answers_per_call: float
    answer_tokens: float
    """Tokens of one answer, over calls with the same ``max_tokens``; NaN where there were none."""
    timed_calls: int = 0
    """Calls that say how long they took; those of old releases don't."""
    call_seconds: float = math.nan
    """Of one call, over those with the same ``max_tokens`` where there are any."""
    token_seconds: float = math.nan
    """Of one token, read or written."""


def cache_key(identity: str, request: ChatRequest) -> str:
    """The hash of model, messages, sampling settings and what goes with them, n left out."""
    sampling = request.sampling
    content: list[Any] = [
        identity,
        [_as_said(message) for message in request.messages],
        sampling.temperature,
        sampling.top_p,
        sampling.max_tokens,
        list(sampling.stop),
        sampling.seed,
    ]
    if request.extra:  # a hash without it is what earlier releases made
        content.append(sorted(request.extra.items()))
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _as_said(message: Message) -> list[str]:
    name = message.get("name")
    return [message["role"], message["content"], *([name] if name else [])]


_LATER_COLUMNS = {
    "seconds": "REAL NOT NULL DEFAULT 0",
    "finishes": "TEXT NOT NULL DEFAULT '[]'",
}
"""Columns that files of older releases lack; their defaults say that nothing is known."""


def _add_columns(db: sqlite3.Connection) -> None:
    there = {name for _, name, *_ in db.execute("PRAGMA table_info(calls)")}
    for name, kind in _LATER_COLUMNS.items():
        if name in there:
            continue
        try:
            db.execute(f"ALTER TABLE calls ADD COLUMN {name} {kind}")
        except sqlite3.OperationalError as error:
            if "duplicate column" not in str(error):  # another process was first
                raise


def _salted(owner: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}\0{owner}".encode()).hexdigest()


class AnswerCache:
    """Answers by key; safe to use from several threads and processes at once.

    A user who is forgotten while a process is at work on their data stays
    forgotten: what that process still brings for them is not kept.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(
            path,
            _SCHEMA,
            what="the answer cache",
            lost="delete that file; answers are then asked for again",
            prepare=self._prepare,
        )
        self._forgets_seen: int | None = None

    def get(self, key: str, *, users: Iterable[str] = ()) -> list[StoredCall]:
        """The calls made for ``key`` in the order of their answers; ``users`` become owners."""
        if not self._file.is_there:
            self._forgets_seen = 0
            return []
        with self._file.session() as db:
            rows = db.execute(
                "SELECT start, answers, prompt_tokens, completion_tokens, counted_tokens, seconds,"
                " finishes FROM calls WHERE key = ? ORDER BY start, id",
                (key,),
            ).fetchall()
            if rows:
                self._own(db, key, users)
            return [
                StoredCall(
                    start,
                    tuple((text, value) for text, value in json.loads(answers)),
                    prompt,
                    completion,
                    counted,
                    seconds,
                    tuple(json.loads(finishes)),
                )
                for start, answers, prompt, completion, counted, seconds, finishes in rows
            ]

    def put(
        self,
        key: str,
        call: StoredCall,
        *,
        model: str,
        max_tokens: int,
        users: Iterable[str] = (),
    ) -> None:
        """Keep one call. It is on disk when this returns, unless its users were forgotten."""
        users = list(users)
        with self._file.session() as db, db:
            db.execute("BEGIN IMMEDIATE")
            if users and not self._known(db, users):
                return
            db.execute(
                "INSERT INTO calls (key, model, start, answers, prompt_tokens,"
                " completion_tokens, counted_tokens, max_tokens, seconds, finishes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    model,
                    call.start,
                    json.dumps(call.answers, ensure_ascii=True),
                    call.prompt_tokens,
                    call.completion_tokens,
                    call.counted_tokens,
                    max_tokens,
                    call.seconds,
                    json.dumps(call.finishes),
                ),
            )
            self._own(db, key, users)

    def forget(self, user: str) -> int:
        """Erase what only this user asked, to the last byte; the number of calls erased.

        An answer to a prompt that another user sent word for word stays theirs.
        """
        if not self._file.is_there:
            return 0
        owner = name_of(user)
        with self._file.session() as db:
            with db:
                db.execute("BEGIN IMMEDIATE")
                erased = db.execute(
                    "DELETE FROM calls WHERE key IN (SELECT key FROM owners WHERE owner = ?)"
                    " AND key NOT IN (SELECT key FROM owners WHERE owner <> ?)",
                    (owner, owner),
                ).rowcount
                db.execute("DELETE FROM owners WHERE owner = ?", (owner,))
                salt = secrets.token_hex(16)
                self._forgets_seen = db.execute(
                    "INSERT INTO forgets (salt, digest) VALUES (?, ?)", (salt, _salted(owner, salt))
                ).lastrowid
            self._file.scrub(db)
        return erased

    def model_history(self, model: str, *, max_tokens: int) -> ModelHistory | None:
        """What earlier calls of a model tell about the next ones, or None without any."""
        if not self._file.is_there:
            return None
        with self._file.session() as db:
            calls, prompt, counted = db.execute(
                "SELECT COUNT(*), SUM(prompt_tokens), SUM(counted_tokens) FROM calls"
                " WHERE model = ? AND counted_tokens > 0",
                (model,),
            ).fetchone()
            answers, completion, same = db.execute(
                "SELECT SUM(json_array_length(answers)), SUM(completion_tokens), COUNT(*)"
                " FROM calls WHERE model = ? AND max_tokens = ?",
                (model, max_tokens),
            ).fetchone()
            (per_call,) = db.execute(
                "SELECT MAX(json_array_length(answers)) FROM calls WHERE model = ?", (model,)
            ).fetchone()
            timed, seconds, tokens, alike = db.execute(
                "SELECT COUNT(*), SUM(seconds), SUM(prompt_tokens + completion_tokens),"
                " AVG(CASE WHEN max_tokens = ? THEN seconds END)"
                " FROM calls WHERE model = ? AND seconds > 0",
                (max_tokens, model),
            ).fetchone()
        if not calls:
            return None
        return ModelHistory(
            calls=calls,
            prompt_ratio=prompt / counted,
            answers_per_call=float(per_call),
            answer_tokens=completion / answers if same and answers else math.nan,
            timed_calls=timed,
            call_seconds=alike or (seconds / timed if timed else math.nan),
            token_seconds=seconds / tokens if timed and tokens else math.nan,
        )

    def size(self) -> int:
        """Calls in the cache."""
        if not self._file.is_there:
            return 0
        with self._file.session() as db:
            (count,) = db.execute("SELECT COUNT(*) FROM calls").fetchone()
        return int(count)

    def close(self) -> None:
        self._file.close()

    def _own(self, db: sqlite3.Connection, key: str, users: Iterable[str]) -> None:
        for owner in self._known(db, users):
            known = db.execute("SELECT 1 FROM owners WHERE key = ? AND owner = ?", (key, owner))
            if known.fetchone() is None:
                db.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", (key, owner))

    def _known(self, db: sqlite3.Connection, users: Iterable[str]) -> list[str]:
        """The owners' names, without those forgotten since this object first looked."""
        rows = db.execute(
            "SELECT salt, digest FROM forgets WHERE id > ?", (self._forgets_seen,)
        ).fetchall()
        return [
            owner
            for owner in map(name_of, users)
            if all(_salted(owner, salt) != digest for salt, digest in rows)
        ]

    def _prepare(self, db: sqlite3.Connection) -> None:
        _add_columns(db)
        if self._forgets_seen is None:
            (last,) = db.execute("SELECT COALESCE(MAX(id), 0) FROM forgets").fetchone()
            self._forgets_seen = int(last)
