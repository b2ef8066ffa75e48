"""What is evaluated: queries with their users' records; references kept apart.

Nothing that answers a query is ever given a reference: they stand in
``Questions.references``, which only scoring reads.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hydra_cli.core.errors import DataError, NotFound
from hydra_cli.core.protocols import HistoryStore, TextEncoder
from hydra_cli.core.records import History, Query, QueryContext, Record
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.readers.lamp_files import LampSplit

if TYPE_CHECKING:
    from hydra_cli.core.records import Vectors

Key = tuple[str, str]
"""(user, query id)."""

CHUNK_QUERIES = 256
CHUNK_RECORDS = 40_000


@dataclass(frozen=True, slots=True)
class Question:
    """A query and the records its user had written by then, oldest first."""

    query: Query
    records: tuple[Record, ...]

    @property
    def key(self) -> Key:
        return self.query.user, self.query.id


@dataclass(frozen=True, slots=True)
class Questions:
    """All queries of one task, their references apart."""

    task: TaskSpec
    items: tuple[Question, ...]
    references: Mapping[Key, str]
    notes: tuple[str, ...] = ()

    @property
    def users(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item.query.user for item in self.items))

    def limited(self, *, users: int | None = None, queries: int | None = None) -> Questions:
        """The first users, and at most so many queries, taken from users in turn."""
        chosen = set(self.users if users is None else self.users[:users])
        items = [item for item in self.items if item.query.user in chosen]
        if queries is not None and queries < len(items):
            turns: dict[str, int] = {}
            order = []
            for place, item in enumerate(items):
                turn = turns[item.query.user] = turns.get(item.query.user, 0) + 1
                order.append((turn, place))
            kept = {place for _, place in sorted(order)[:queries]}
            items = [item for place, item in enumerate(items) if place in kept]
        return replace(self, items=tuple(items))

    def own_records(self) -> dict[str, tuple[Record, ...]]:
        """Each user's records that are older than all of the user's queries.

        What a head may be fitted on: a record that one query's history lacks
        could be that query itself, or later than it.
        """
        found: dict[str, tuple[Record, ...]] = {}
        for item in self.items:
            user = item.query.user
            if user not in found:
                found[user] = item.records
                continue
            ids = {record.id for record in item.records}
            found[user] = tuple(record for record in found[user] if record.id in ids)
        asked: dict[str, set[str]] = {}
        for item in self.items:
            asked.setdefault(item.query.user, set()).add(folded(item.query.text))
        return {
            user: tuple(record for record in records if folded(record.input) not in asked[user])
            for user, records in found.items()
        }

    def chunks(self) -> Iterator[Questions]:
        """Whole users at a time, so that memory doesn't grow with the queries."""
        by_user: dict[str, list[Question]] = {}
        for item in self.items:
            by_user.setdefault(item.query.user, []).append(item)
        waiting: list[Question] = []
        records = 0
        for items in by_user.values():
            size = sum(len(item.records) for item in items)
            full = len(waiting) + len(items) > CHUNK_QUERIES or records + size > CHUNK_RECORDS
            if waiting and full:
                yield replace(self, items=tuple(waiting))
                waiting, records = [], 0
            waiting += items
            records += size
        if waiting:
            yield replace(self, items=tuple(waiting))


def from_split(split: LampSplit) -> Questions:
    """LaMP examples as questions. Records that repeat the query's own text are left out."""
    items, dropped = [], 0
    for example in split.examples:
        text = folded(example.query.text)
        records = tuple(record for record in example.records if folded(record.input) != text)
        dropped += len(example.records) - len(records)
        items.append(Question(example.query, records))
    references = {
        (e.query.user, e.query.id): _reference(e.reference, e.query, split.task)
        for e in split.examples
    }
    notes = []
    if dropped:
        notes.append(f"{dropped} records that repeat a query's own text were left out")
    return Questions(with_labels(split.task, items), tuple(items), references, tuple(notes))


def from_store(store: HistoryStore, task: TaskSpec, *, hold_out: int) -> Questions:
    """Each user's latest records as queries; only older records stand in their histories."""
    items: list[Question] = []
    references: dict[Key, str] = {}
    skipped = 0
    users = store.users_of(task.name)
    if not users:
        raise NotFound(f"the store holds no records of task {task.name!r}")
    for user, _ in users:
        records = store.records(user, task=task.name)
        latest = records[max(1, len(records) - hold_out) :]
        if not latest:
            skipped += 1
            continue
        asked = {folded(record.input) for record in latest}
        older = tuple(
            r for r in records[: len(records) - len(latest)] if folded(r.input) not in asked
        )
        for record in latest:
            query = Query(user, record.id, task.name, record.input, labels=task.labels)
            items.append(Question(query, older))
            references[user, record.id] = record.output
    if not items:
        raise DataError(
            f"no user has two records of task {task.name!r}", hint="ingest more records first"
        )
    notes = [f"each user's latest records are held out (at most {hold_out})"]
    if skipped:
        notes.append(f"{skipped} users with a single record were skipped")
    return Questions(with_labels(task, items), tuple(items), references, tuple(notes))


def with_labels(task: TaskSpec, items: Iterable[Question]) -> TaskSpec:
    """A closed task's label set, learned from the records where it declares none."""
    if not task.closed or task.labels:
        return task
    labels = {record.output for item in items for record in item.records}
    if task.kind == "rating":
        return task.with_labels(sorted(labels, key=float))
    return task.with_labels(sorted(labels))


def build_contexts(
    questions: Questions, encoder: TextEncoder
) -> tuple[list[QueryContext], dict[str, History]]:
    """Every question with vectors, and each user's own history for fitting.

    Each distinct text is encoded once, in one pass.
    """
    task = questions.task
    own = questions.own_records()
    records = [record for item in questions.items for record in item.records]
    records += [record for found in own.values() for record in found]
    texts = [record.input for record in records]
    texts += [item.query.text for item in questions.items]
    if not task.closed:
        texts += [record.output for record in records]
    vectors = EncodedTexts(encoder, texts)
    contexts = [
        QueryContext(
            item.query,
            vectors.rows([item.query.text])[0],
            vectors.history(item.query.user, item.records, task),
        )
        for item in questions.items
    ]
    return contexts, {user: vectors.history(user, found, task) for user, found in own.items()}


def seen_in(train: Questions, questions: Questions) -> frozenset[Key]:
    """The queries whose text stands among the training users' records and queries."""
    known = {folded(record.input) for item in train.items for record in item.records}
    known |= {folded(item.query.text) for item in train.items}
    return frozenset(item.key for item in questions.items if folded(item.query.text) in known)


def people(questions: Questions) -> dict[str, str]:
    """A name for each user that is the same in every task of theirs.

    Tasks may give one author several ids: the least hash of their records' inputs
    tells them, where nobody else of the task has it; else the id itself.
    """
    least: dict[str, str] = {}
    for item in questions.items:
        user = item.query.user
        found = [_digest(folded(record.input)) for record in item.records]
        least[user] = min([*found, least[user]] if user in least else found, default="")
    often = Counter(least.values())
    return {user: key if key and often[key] == 1 else user for user, key in least.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class EncodedTexts:
    """Vectors of texts, each encoded once."""

    def __init__(self, encoder: TextEncoder, texts: Iterable[str]) -> None:
        distinct = list(dict.fromkeys(texts))
        self._place = {text: i for i, text in enumerate(distinct)}
        self._vectors = (
            encoder.encode(distinct)
            if distinct
            else np.zeros((0, encoder.dimension), dtype=np.float32)
        )

    def rows(self, texts: Sequence[str]) -> Vectors:
        """The texts' vectors (n, d)."""
        return self._vectors[[self._place[text] for text in texts]]

    def history(self, user: str, records: Sequence[Record], task: TaskSpec) -> History:
        inputs = self.rows([record.input for record in records])
        outputs = None if task.closed else self.rows([record.output for record in records])
        return History(user, tuple(records), inputs, outputs)


def folded(text: str) -> str:
    """For telling whether two texts are the same."""
    return " ".join(text.lower().split())


def _reference(reference: str, query: Query, task: TaskSpec) -> str:
    if not reference.strip():
        raise DataError(f"the reference of {query.id!r} is empty")
    if task.kind == "rating":
        try:
            float(reference)
        except ValueError as error:
            raise DataError(f"the reference of {query.id!r} is no number: {reference!r}") from error
    return reference
