"""What other users' records say about a query's label: a ridge classifier on frozen vectors.

One closed form serves classification and rating: least squares on one-hot
labels with an L2 penalty (a linear opinion of each label), from the Gram
matrix of all records. Every user weighs the same, however much they wrote
(square root of the count). ``without`` removes one fold's users, so that
training features are as honest as those of a new user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.records import History

Floats = NDArray[np.float64]

PENALTY = 1.0
FOLDS = 5
SMOOTHING = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class LabelModel:
    """``weights`` (d + 1, l), the last row the intercept; ``frequency`` (l,) sums to 1."""

    labels: tuple[str, ...]
    weights: Floats
    frequency: Floats

    def opinions(self, vectors: NDArray[np.float32], labels: Sequence[str]) -> Floats:
        """The estimated probability of each label (..., l), unclipped; 0 for unknown labels.

        ``vectors`` are (..., d).
        """
        found = np.zeros((*vectors.shape[:-1], len(labels)))
        column = {label: i for i, label in enumerate(self.labels)}
        known = [i for i, label in enumerate(labels) if label in column]
        if known:
            chosen = self.weights[:, [column[labels[i]] for i in known]]
            found[..., known] = vectors.astype(np.float64) @ chosen[:-1] + chosen[-1]
        return found

    def prior(self, labels: Sequence[str]) -> Floats:
        """Each label's share among other users' records (n,), smoothed; sums to 1."""
        known = dict(zip(self.labels, self.frequency, strict=True))
        least = 0.5 * min(known.values(), default=1.0)
        shares = np.array([known.get(label, least) for label in labels])
        total: Floats = shares / shares.sum()
        return total


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    gram: Floats  # (d + 1, d + 1)
    cross: Floats  # (d + 1, l)
    counts: Floats  # (l,)


def train(histories: Sequence[History], labels: Sequence[str]) -> LabelModel:
    """The model of all histories; labels outside ``labels`` are left out."""
    if not histories:
        return LabelModel((), np.zeros((1, 0)), np.zeros(0))
    return _solve(_total([_sums(h, labels) for h in histories], labels, histories), labels)


def cross_fit(
    histories: Sequence[History], labels: Sequence[str], *, folds: int = FOLDS
) -> Mapping[str, LabelModel]:
    """For every user, the model of the other folds' users; nothing known of a lone user's."""
    users = sorted({h.user for h in histories})
    if len(users) < 2:
        return dict.fromkeys(users, train([], labels))
    sums = [_sums(h, labels) for h in histories]
    total = _total(sums, labels, histories)
    found: dict[str, LabelModel] = {}
    for fold in range(folds):
        held = set(users[fold::folds])
        rest = total
        for history, own in zip(histories, sums, strict=True):
            if history.user in held:
                rest = _Sums(rest.gram - own.gram, rest.cross - own.cross, rest.counts - own.counts)
        found.update(dict.fromkeys(held, _solve(rest, labels)))
    return found


def _sums(history: History, labels: Sequence[str]) -> _Sums:
    column = {label: i for i, label in enumerate(labels)}
    rows = [i for i, record in enumerate(history.records) if record.output in column]
    x = np.ones((len(rows), history.inputs.shape[1] + 1))
    x[:, :-1] = history.inputs[rows]
    y = np.zeros((len(rows), len(labels)))
    for row, i in enumerate(rows):
        y[row, column[history.records[i].output]] = 1.0
    weight = 1.0 / np.sqrt(max(len(rows), 1))
    return _Sums(weight * x.T @ x, weight * x.T @ y, weight * y.sum(0))


def _total(sums: Sequence[_Sums], labels: Sequence[str], histories: Sequence[History]) -> _Sums:
    width = histories[0].inputs.shape[1] + 1 if histories else 1
    gram = np.zeros((width, width))
    cross = np.zeros((width, len(labels)))
    counts = np.zeros(len(labels))
    for own in sums:
        gram, cross, counts = gram + own.gram, cross + own.cross, counts + own.counts
    return _Sums(gram, cross, counts)


def _solve(sums: _Sums, labels: Sequence[str]) -> LabelModel:
    """Ridge regression, intercept unpenalised, shrunk towards the labels' frequencies."""
    counts = np.maximum(sums.counts, 0.0) + SMOOTHING / max(len(labels), 1)
    frequency = counts / max(counts.sum(), 1e-12)
    penalty = np.full(len(sums.gram), PENALTY)
    penalty[-1] = 1e-3
    target = sums.cross.copy()
    target[-1] += 1e-3 * frequency
    weights = np.linalg.solve(sums.gram + np.diag(penalty), target)
    return LabelModel(tuple(labels), weights, frequency)
