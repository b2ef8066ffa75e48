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
    "similar records",
    "closest",
    "votes",
    "name",
)
PRIOR = (0.5, -0.2, 3.5, 1.0, 0.4, 1.1, 1.0, 1.8)
"""Weights before any training."""

ORDINAL_NAMES = ("history mean", "word mean", "votes mean")
RATING_PRIOR = (1.0, -0.2, 1.0, 1.0, 0.3, 0.3, 0.5, 0.0, 0.2, 0.6, 0.05)
"""Weights of NAMES and ORDINAL_NAMES for a scale, before any training.

On a scale the user's own ratings say more than names or single neighbours.
"""

MIXED_NAMES = ("own model", "recent")
"""The mixed model's opinion and the newest labels, after all features of older releases."""
MIXED_PRIOR = (0.5, 0.1)

VOTE_NAMES = frozenset({"votes", "votes mean"})
"""Features of the LLM's answers: zero where none were asked for."""

_LEAST_SHARE = 0.01
_RECENT = 5.0
"""Records after which a label counts a third of the newest one's."""
_PRIOR_COUNT = 2.0
_SIMILAR_COUNT = 0.25
_WIDTH = 0.05


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
            np.log(_smoothed(_kernel(similar, onehot), own, _SIMILAR_COUNT)),
            _closest(similar, onehot),
            cast / max(len(votes), 1),
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
    estimates: list[float | None] = [mean if len(given) else None, None, None]
    if model.labels:
        texts = [context.query.text, *(history.records[i].input for i in rows)]
        shares = np.clip(model.by_words(texts, labels), 1e-3, None)
        guesses = (shares / shares.sum(1, keepdims=True)) @ values
        # how this user's ratings differ from what others say of the same texts
        bias = float((given - guesses[1:]).sum()) / (len(given) + 2.0)
        estimates[1] = float(guesses[0]) + bias
    named = [number for vote in votes if (number := _number(vote)) is not None]
    if named:
        estimates[2] = float(np.mean(named))
    columns = [
        np.zeros(len(values)) if estimate is None else -((values - estimate) ** 2)
        for estimate in estimates
    ]
    return np.stack(columns, axis=1)


def mixed_features(context: QueryContext, labels: Sequence[str], model: LabelModel) -> Floats:
    """Features (l, 2): each label under the mixed model, and among the newest records."""
    return np.stack([_own_model(context, labels, model), _recent(context, labels, model)], axis=1)


def _own_model(context: QueryContext, labels: Sequence[str], model: LabelModel) -> Floats:
    """Log-likelihood of each label (l,) under the mixed model, up to a constant.

    The normal density of a value around its expectation, which gets narrower as
    the history grows; for labels the logarithm of the expected share.
    """
    mixed = model.mixed
    if not mixed.trained:
        return np.zeros(len(labels))
    mean, variance = mixed.predict(context.history, context.query.text, context.vector)
    if mixed.numeric:
        values = np.array([float(label) for label in labels])
        density: Floats = -((values - mean[0]) ** 2) / (2.0 * variance)
        return density
    known = dict(zip(mixed.labels, mean.tolist(), strict=True))
    shares = np.array([known.get(label, 0.0) for label in labels])
    logs: Floats = np.log(np.clip(shares, _LEAST_SHARE, 1.0))
    return logs


def _recent(context: QueryContext, labels: Sequence[str], model: LabelModel) -> Floats:
    """Logarithm of each label's share (l,) where older records count less and less."""
    column = {label: i for i, label in enumerate(labels)}
    counts, recent = np.zeros(len(labels)), np.zeros(len(labels))
    newest = len(context.history) - 1
    for row, record in enumerate(context.history.records):
        if record.output in column:
            counts[column[record.output]] += 1.0
            recent[column[record.output]] += np.exp((row - newest) / _RECENT)
    own = _smoothed(counts, model.prior(labels), _PRIOR_COUNT)
    shares: Floats = np.log(_smoothed(recent, own, 1.0))
    return shares


def _smoothed(counts: Floats, towards: Floats, strength: float) -> Floats:
    mixed: Floats = (counts + strength * towards) / (counts.sum() + strength)
    return mixed


def _kernel(similar: Floats, onehot: Floats) -> Floats:
    """Label shares of the records, each weighted by exp(similarity / _WIDTH)."""
    if not len(similar):
        return np.zeros(onehot.shape[1])
    weights = np.exp((similar - similar.max()) / _WIDTH)
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
