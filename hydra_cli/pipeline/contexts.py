"""Records to histories: every record is encoded once, and its vectors are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hydra_cli.core.encoders import EncoderInfo, check_same_encoder
from hydra_cli.core.protocols import HistoryStore, Progress, TextEncoder
from hydra_cli.core.records import History, Query, QueryContext, Record
from hydra_cli.core.tasks import TaskSpec

if TYPE_CHECKING:
    from hydra_cli.core.records import Vectors

WHOLE_HISTORY = 5_000
"""Histories up to this length are read whole; of longer ones, a query's neighbourhood."""

NEIGHBOURS = 256
"""How many records each search and the recency order add to a neighbourhood."""


def load_history(
    store: HistoryStore,
    encoder: TextEncoder,
    task: TaskSpec,
    user: str,
    *,
    progress: Progress | None = None,
) -> History:
    """The user's whole history of a task; missing vectors are encoded and stored.

    ``progress`` advances by the texts of every record, those that have vectors too.
    """
    return with_vectors(
        store, encoder, task, user, store.records(user, task=task.name), progress=progress
    )


def load_context(
    store: HistoryStore,
    encoder: TextEncoder,
    task: TaskSpec,
    query: Query,
    *,
    progress: Progress | None = None,
) -> QueryContext:
    """A query with its user's history, or with its neighbourhood where that is long.

    The neighbourhood is the union of the nearest records by full text and by
    vector and of the newest ones, so a first stage answers in constant time.
    """
    vector = encoder.encode([query.text])[0]
    total = dict(store.tasks_of(query.user)).get(task.name, 0)

    def read() -> History:
        if total <= WHOLE_HISTORY:
            records = store.records(query.user, task=task.name)
        else:
            records = _neighbourhood(store, task, query, vector)
        if progress is not None:
            progress.start("reading the history", len(records) * texts_a_record(task))
        return with_vectors(store, encoder, task, query.user, records, progress=progress)

    if total > WHOLE_HISTORY:
        return QueryContext(query, vector, read())
    key = query.user, task.name, task.closed, encoder.fingerprint
    return QueryContext(query, vector, store.kept_history(key, read))


def texts_a_record(task: TaskSpec) -> int:
    """How many texts of a record have vectors: labels and ratings have none."""
    return 1 if task.closed else 2


def _neighbourhood(
    store: HistoryStore, task: TaskSpec, query: Query, vector: Vectors
) -> list[Record]:
    near = [
        *store.search_text(query.user, task.name, query.text, NEIGHBOURS),
        *store.search_vector(query.user, task.name, vector, NEIGHBOURS),
    ]
    newest = store.records(query.user, task=task.name, limit=NEIGHBOURS)
    chosen = {record.id: record for record in [*(scored.item for scored in near), *newest]}
    # Oldest first, as everywhere; records without a time come first.
    return sorted(chosen.values(), key=lambda r: (r.time is not None, r.time or 0))


def with_vectors(
    store: HistoryStore,
    encoder: TextEncoder,
    task: TaskSpec,
    user: str,
    records: Sequence[Record],
    *,
    progress: Progress | None = None,
) -> History:
    """The records as a history. Vectors that the store lacks are made and kept.

    StoreError where the store's vectors are another encoder's: they can't be compared.
    """
    known = store.vectors(user, task.name, [record.id for record in records])
    if known and (held := store.encoder) is not None:
        own = EncoderInfo(encoder.fingerprint, encoder.dimension, encoder.name)
        check_same_encoder(held, own)
    missing = [record for record in records if record.id not in known]
    if progress is not None:
        progress.advance((len(records) - len(missing)) * texts_a_record(task))
    if missing:
        fresh = encode_records(encoder, task, user, missing, progress=progress)
        made = [
            (record.id, fresh.inputs[i], None if fresh.outputs is None else fresh.outputs[i])
            for i, record in enumerate(missing)
        ]
        store.put_vectors(user, task.name, encoder.fingerprint, made, of=missing)
        known.update({record_id: (inputs, outputs) for record_id, inputs, outputs in made})
    inputs = _stack([known[record.id][0] for record in records], encoder.dimension)
    outputs = None
    if not task.closed:
        outputs = _stack(
            [vectors[1] for record in records if (vectors := known[record.id])[1] is not None],
            encoder.dimension,
        )
    return History(user, tuple(records), inputs, outputs)


def encode_records(
    encoder: TextEncoder,
    task: TaskSpec,
    user: str,
    records: Sequence[Record],
    *,
    progress: Progress | None = None,
) -> History:
    """The records as a history, encoded here and now. No store is involved."""
    advance = progress.advance if progress else None
    texts = [record.input for record in records]
    if not task.closed:
        texts += [record.output for record in records]
    if not texts:
        empty = np.zeros((0, encoder.dimension), np.float32)
        return History(user, (), empty, None if task.closed else empty)
    vectors = encoder.encode(texts, progress=advance)
    outputs = None if task.closed else vectors[len(records) :]
    return History(user, tuple(records), vectors[: len(records)], outputs)


def _stack(rows: Sequence[Vectors], dimension: int) -> Vectors:
    return np.stack(rows) if rows else np.zeros((0, dimension), np.float32)
