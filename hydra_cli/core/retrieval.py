"""First stage: a shortlist out of one user's history.

BM25 over whitespace tokens in lower case, cosine of vectors, reciprocal rank
fusion of both, or plain recency. All orders are total: ties go to the newer
record, so the same history gives the same shortlist.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from hydra_cli.core.errors import UsageError
from hydra_cli.core.records import History, QueryContext, Record, Scored
from hydra_cli.core.tokens import tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hydra_cli.core.okapi import Okapi

RANK_CONSTANT = 60
"""k of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

_INDEXES: deque[tuple[tuple[Record, ...], Okapi]] = deque(maxlen=4)
_HELD: WeakKeyDictionary[History, Okapi] = WeakKeyDictionary()
"""Indexes of histories that somebody keeps; each goes with its history."""
_KNOWN: deque[tuple[Okapi, str, NDArray[np.float64]]] = deque(maxlen=4)


def retrieve(context: QueryContext, *, how: str, k: int) -> list[Scored[Record]]:
    """The best k records of the context's history, best first; fewer where it is short."""
    if not len(context.history):
        return []
    try:
        score = _SCORES[how]
    except KeyError:
        raise UsageError(
            f"unknown retriever {how!r}", hint=f"known: {', '.join(_SCORES)}"
        ) from None
    return best(context.history, score(context), k)


def best(history: History, scores: NDArray[np.float64], k: int) -> list[Scored[Record]]:
    """The k highest scores (n,) with their records; of equal ones, the newer first."""
    age = np.arange(len(history), 0, -1)  # the newest record is the last row
    order = np.lexsort((age, -scores))[:k]
    return [Scored(history.records[i], float(scores[i])) for i in order]


def bm25_scores(context: QueryContext) -> NDArray[np.float64]:
    """BM25 of every record's input for the query's text (n,); read-only.

    A query's shortlist and its features ask for the same ones.
    """
    index, text = _index(context.history), context.query.text
    for known, asked, scores in tuple(_KNOWN):
        if known is index and asked == text:
            return scores
    made: NDArray[np.float64] = index.get_scores(tokens(text))
    made.flags.writeable = False
    _KNOWN.append((index, text, made))
    return made


def _index(history: History) -> Okapi:
    """The history's BM25 index, kept for the next query to the same records."""
    if (held := _HELD.get(history)) is None:
        held = _HELD[history] = _index_of(history.records)
    return held


def _index_of(records: tuple[Record, ...]) -> Okapi:
    from hydra_cli.core.okapi import Okapi

    for known, index in tuple(_INDEXES):  # another thread may add one meanwhile
        if known == records:
            return index
    index = Okapi([record.input for record in records])
    _INDEXES.append((records, index))
    return index


def dense_scores(context: QueryContext) -> NDArray[np.float64]:
    """Cosine of the query's vector with every record's input vector (n,)."""
    return (context.history.inputs @ context.vector).astype(np.float64)


def fused_scores(context: QueryContext) -> NDArray[np.float64]:
    """Reciprocal rank fusion of BM25 and dense (n,).

    Equal scores share a rank: the many records without a word of the query say
    nothing by their place in the history.
    """
    fused = np.zeros(len(context.history))
    for scores in (bm25_scores(context), dense_scores(context)):
        higher = len(scores) - np.searchsorted(np.sort(scores), scores, side="right")
        fused += 1.0 / (RANK_CONSTANT + 1 + higher)
    return fused


def recency_scores(context: QueryContext) -> NDArray[np.float64]:
    """Later records score higher (n,)."""
    return np.arange(len(context.history), dtype=np.float64)


_SCORES: dict[str, Callable[[QueryContext], NDArray[np.float64]]] = {
    "bm25": bm25_scores,
    "dense": dense_scores,
    "fused": fused_scores,
    "recency": recency_scores,
}
