"""Features of every label of a closed set, for one query of one user.

Each feature is a number per label; what is equal for all labels of a query
says nothing to a conditional logit, so features need no centring. Shares
enter as logarithms of smoothed shares: their weights are then exponents of a
product of opinions, and 1 is the natural start.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.records import QueryContext
from hydra_cli.modeling.factorized.label_model import LabelModel

Floats = NDArray[np.float64]

NAMES = (
    "history",
    "population",
    "vector model",
    "word model",
    "nearest 4",
    "kernel narrow",
    "kernel wide",
    "closest",
    "recent",
    "votes",
    "votes log",
    "name",
)
PRIOR = (0.7, 0.0, 3.0, 1.0, 0.1, 0.4, 0.0, 1.0, 0.1, 1.0, 0.2, 1.5)
"""Weights before any training."""

ORDINAL_NAMES = ("history mean", "kernel mean", "vector mean", "word mean", "votes mean")
ORDINAL_PRIOR = (0.1, 0.1, 0.1, 0.4, 0.1)

_PRIOR_COUNT = 2.0
_NEAREST = 4
_NARROW, _WIDE = 0.05, 0.15
_RECENT = 5


def label_features(
    context: QueryContext,
    labels: Sequence[str],
    votes: Sequence[str | None],
    model: LabelModel,
    names: NDArray[np.float32],
) -> Floats:
    """Features (l, f) of ``labels``, whose vectors are ``names`` (l, d).

    ``votes`` are the labels that the LLM's answers named, None where one named
    none of them.
    """
    history, vector = context.history, context.vector
    column = {label: i for i, label in enumerate(labels)}
    onehot = np.zeros((len(history), len(labels)))  # (n, l)
    for row, record in enumerate(history.records):
        if record.output in column:
            onehot[row, column[record.output]] = 1.0
    population = model.prior(labels)
    own = _smoothed(onehot.sum(0), population, _PRIOR_COUNT)
    similar = (history.inputs @ vector).astype(np.float64) if len(history) else np.zeros(0)
    cast = np.zeros(len(labels))
    for vote in votes:
        if vote in column:
            cast[column[vote]] += 1.0
    return np.stack(
        [
            np.log(own),
            np.log(population),
            model.by_vector(vector[None], labels)[0],
            model.by_words([context.query.text], labels)[0],
            np.log(_smoothed(_nearest(similar, onehot), own, 1.0)),
            np.log(_smoothed(_kernel(similar, onehot, _NARROW), own, 0.25)),
            np.log(_smoothed(_kernel(similar, onehot, _WIDE), own, 0.25)),
            _closest(similar, onehot),
            np.log(_smoothed(onehot[-_RECENT:].sum(0), own, 2.0)),
            cast / max(len(votes), 1),
            np.log(_smoothed(cast, own, 2.0)) if cast.any() else np.zeros(len(labels)),
            (names @ vector).astype(np.float64),
        ],
        axis=1,
    )


def ordinal_features(
    context: QueryContext,
    labels: Sequence[str],
    votes: Sequence[str | None],
    model: LabelModel,
) -> Floats:
    """Features (l, f) of the values of a scale: minus squared distances to estimates.

    An estimate that can't be made (no history, no votes) gives zeros.
    """
    values = np.array([float(label) for label in labels])
    history = context.history
    numbers = [_number(record.output) for record in history.records]
    rows = [i for i, number in enumerate(numbers) if number is not None]
    given = np.array([number for number in numbers if number is not None])
    population = float(model.prior(labels) @ values)
    mean = (given.sum() + population) / (len(given) + 1.0)
    estimates: list[float | None] = [None] * len(ORDINAL_NAMES)
    if len(given):
        similar = (history.inputs[rows] @ context.vector).astype(np.float64)
        weights = np.exp((similar - similar.max()) / _WIDE)
        estimates[0] = mean
        estimates[1] = float((weights @ given + 0.5 * mean) / (weights.sum() + 0.5))
    if model.labels:
        vectors = np.concatenate([context.vector[None], history.inputs[rows]])
        texts = [context.query.text, *(history.records[i].input for i in rows)]
        for place, opinions in (
            (2, model.by_vector(vectors, labels)),
            (3, model.by_words(texts, labels)),
        ):
            shares = np.clip(opinions, 1e-3, None)
            guesses = (shares / shares.sum(1, keepdims=True)) @ values
            # how this user's ratings differ from what others say of the same texts
            bias = float((given - guesses[1:]).sum()) / (len(given) + 2.0)
            estimates[place] = float(guesses[0]) + bias
    named = [number for vote in votes if (number := _number(vote)) is not None]
    if named:
        estimates[4] = float(np.mean(named))
    columns = [
        np.zeros(len(values)) if estimate is None else -((values - estimate) ** 2)
        for estimate in estimates
    ]
    return np.stack(columns, axis=1)


def _smoothed(counts: Floats, towards: Floats, strength: float) -> Floats:
    mixed: Floats = (counts + strength * towards) / (counts.sum() + strength)
    return mixed


def _nearest(similar: Floats, onehot: Floats) -> Floats:
    best = np.argsort(-similar, kind="stable")[:_NEAREST]
    counts: Floats = onehot[best].sum(0)
    return counts


def _kernel(similar: Floats, onehot: Floats, width: float) -> Floats:
    """Label shares of the records, each weighted by exp(similarity / width)."""
    if not len(similar):
        return np.zeros(onehot.shape[1])
    weights = np.exp((similar - similar.max()) / width)
    shares: Floats = weights @ onehot / weights.sum()
    return shares


def _closest(similar: Floats, onehot: Floats) -> Floats:
    """Cosine of each label's most similar record; the least of all for a label without one."""
    if not len(similar):
        return np.zeros(onehot.shape[1])
    least = min(float(similar.min()), 0.0)
    best: Floats = np.where(onehot > 0, similar[:, None], least).max(0)
    return best


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
