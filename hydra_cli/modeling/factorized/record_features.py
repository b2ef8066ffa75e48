"""Features of each record of a shortlist: how good an example it is for the query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.records import QueryContext, Record, Scored
from hydra_cli.core.retrieval import bm25_scores
from hydra_cli.modeling.factorized import text_form as form

Floats = NDArray[np.float64]

NAMES = (
    "first stage",
    "words",
    "words rank",
    "meaning",
    "meaning rank",
    "output meaning",
    "recency",
    "output frequency",
    "input length",
    "expected grade",
)
PRIOR = (0.8, 0.2, 0.2, 0.5, 0.1, 0.5, 0.05, 0.0, 0.0, 2.0)


def record_features(
    context: QueryContext, shortlist: Sequence[Scored[Record]], expected: Floats
) -> Floats:
    """Features (n, f) of the shortlist's records.

    ``expected`` (n,) is how well each record's output is expected to fit the
    query where the task is closed, else zeros.
    """
    history = context.history
    row = {record.id: i for i, record in enumerate(history.records)}
    rows = [row[scored.item.id] for scored in shortlist]
    n = len(rows)
    words = bm25_scores(context)[rows]
    words = _unit_range(words)  # BM25 has no scale of its own, and may be negative
    meaning = (history.inputs[rows] @ context.vector).astype(np.float64)
    if history.outputs is None:
        outputs = np.zeros(n)
    else:
        outputs = (history.outputs[rows] @ context.vector).astype(np.float64)
    seen = Counter(record.output for record in history.records)
    frequency = [np.log(seen[scored.item.output] / len(history)) for scored in shortlist]
    lengths = [np.log1p(len(form.words(scored.item.input))) for scored in shortlist]
    return np.stack(
        [
            _reciprocal(np.arange(n)),
            words,
            _reciprocal(_ranks(words)),
            meaning / 0.15,
            _reciprocal(_ranks(meaning)),
            outputs / 0.15,
            np.array(rows, dtype=np.float64) / max(len(history) - 1, 1),
            np.array(frequency),
            np.array(lengths),
            expected,
        ],
        axis=1,
    )


def _ranks(scores: Floats) -> NDArray[np.intp]:
    ranks = np.empty(len(scores), np.intp)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return ranks


def _reciprocal(ranks: NDArray[np.intp]) -> Floats:
    return 5.0 / (5.0 + ranks.astype(np.float64))


def _unit_range(scores: Floats) -> Floats:
    """Scores between 0 and 1; all 0 where they are equal."""
    low, high = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    spread: Floats = (scores - low) / (high - low) if high > low else np.zeros(len(scores))
    return spread
