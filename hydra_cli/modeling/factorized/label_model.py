"""What other users' records say about a query's label.

Two ridge classifiers on one-hot labels (linear opinions of each label), one on
frozen vectors and one on hashed words: vectors know topics, words know
sentiment ("broke", "love"), and the conditional logit weighs both. Closed
form, in whichever of primal and dual is smaller. Every user weighs by the
square root of how much they wrote. ``cross_fit`` leaves a user's fold out, so
that training features are as honest as those of a new user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.records import History
from hydra_cli.modeling.factorized.mixed_model import MixedModel, untrained
from hydra_cli.modeling.factorized.word_bags import bags, rarity_of

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

VECTOR_PENALTY = 0.3
WORD_PENALTY = 1.0
FOLDS = 5
MOST_RECORDS = 3000
"""More records are thinned out, the longest histories first."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelModel:
    """Linear opinions around the labels' frequencies.

    ``vectors`` (d, l), ``words`` (BUCKETS, l), ``rarity`` (BUCKETS,) inverse
    document frequencies, ``frequency`` (l,) sums to 1.
    """

    labels: tuple[str, ...]
    vectors: Floats32
    words: Floats32
    rarity: Floats32
    frequency: Floats32
    mixed: MixedModel = field(default_factory=untrained)
    """What users make of an input, each in their own way."""

    def by_vector(self, vectors: Floats32, labels: Sequence[str]) -> Floats:
        """Each label's estimated probability from vectors (n, d): (n, l), unclipped.

        Labels that the model doesn't know get 0.
        """
        if not self.labels:
            return np.zeros((len(vectors), len(labels)))
        return self._spread(vectors @ self.vectors, labels)

    def by_words(self, texts: Sequence[str], labels: Sequence[str]) -> Floats:
        """Each label's estimated probability from the texts' words: (n, l), unclipped."""
        if not self.labels:
            return np.zeros((len(texts), len(labels)))
        return self._spread(bags(texts, self.rarity) @ self.words, labels)

    def prior(self, labels: Sequence[str]) -> Floats:
        """Each label's share among other users' records (l,), smoothed; sums to 1."""
        known = dict(zip(self.labels, self.frequency.tolist(), strict=True))
        least = 0.5 * min(known.values(), default=1.0)
        shares = np.array([known.get(label, least) for label in labels])
        total: Floats = shares / shares.sum()
        return total

    def _spread(self, found: Floats32, labels: Sequence[str]) -> Floats:
        opinions = np.zeros((len(found), len(labels)))
        column = {label: i for i, label in enumerate(self.labels)}
        known = [i for i, label in enumerate(labels) if label in column]
        columns = [column[labels[i]] for i in known]
        opinions[:, known] = found[:, columns] + self.frequency[columns]
        return opinions


def empty() -> LabelModel:
    """A model that knows no label."""
    nothing = np.zeros((0, 0), np.float32)
    return LabelModel((), nothing, nothing, np.zeros(0, np.float32), np.zeros(0, np.float32))


def train(histories: Sequence[History], labels: Sequence[str]) -> LabelModel:
    """The model of all histories; records of labels outside ``labels`` are left out."""
    return _Table.of(histories, labels).model(held=frozenset())


def cross_fit(
    histories: Sequence[History], labels: Sequence[str], *, folds: int = FOLDS
) -> Mapping[str, LabelModel]:
    """For every user, the model of the other folds' users."""
    table = _Table.of(histories, labels)
    users = sorted({history.user for history in histories})
    found: dict[str, LabelModel] = {}
    for fold in range(folds):
        if held := frozenset(users[fold::folds]):
            found.update(dict.fromkeys(held, table.model(held=held)))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """All records in rows: whose they are, their inputs, labels and weights."""

    labels: tuple[str, ...]
    users: tuple[str, ...]
    texts: tuple[str, ...]
    vectors: Floats32  # (n, d)
    onehot: Floats32  # (n, l)
    weight: Floats32  # (n,)

    @staticmethod
    def of(histories: Sequence[History], labels: Sequence[str]) -> _Table:
        column = {label: i for i, label in enumerate(labels)}
        most = _cap([len(history) for history in histories])
        users, texts, rows, targets, weights = [], [], [], [], []
        for history in histories:
            known = [i for i, r in enumerate(history.records) if r.output in column]
            for i in known[-most:]:  # the newest ones of a long history
                users.append(history.user)
                texts.append(history.records[i].input)
                rows.append(history.inputs[i])
                targets.append(column[history.records[i].output])
                weights.append(min(len(known), most) ** -0.5)
        return _Table(
            tuple(labels),
            tuple(users),
            tuple(texts),
            np.stack(rows) if rows else np.zeros((0, 0), np.float32),
            np.eye(len(labels), dtype=np.float32)[targets],
            np.array(weights, np.float32),
        )

    def model(self, *, held: frozenset[str]) -> LabelModel:
        """The model of every user who isn't held out."""
        rows = [i for i, user in enumerate(self.users) if user not in held]
        if not rows:
            return empty()
        weight = self.weight[rows]
        counts = weight @ self.onehot[rows] + 1.0 / len(self.labels)
        frequency = counts / counts.sum()
        texts = [self.texts[i] for i in rows]
        rarity = rarity_of(texts)
        target = self.onehot[rows] - frequency
        return LabelModel(
            self.labels,
            ridge(self.vectors[rows], target, weight, VECTOR_PENALTY),
            ridge(bags(texts, rarity), target, weight, WORD_PENALTY),
            rarity,
            frequency,
        )


def ridge(x: Floats32, y: Floats32, weight: Floats32, penalty: float) -> Floats32:
    """Weights (f, l) that minimise sum_i weight_i |y_i - x_i W|^2 + penalty |W|^2."""
    root = np.sqrt(weight)[:, None]
    x, y = x * root, y * root
    if len(x) < x.shape[1]:  # dual: X' (X X' + penalty)^-1 Y
        gram = x @ x.T + penalty * np.eye(len(x), dtype=np.float32)
        dual: Floats32 = x.T @ np.linalg.solve(gram, y)
        return dual
    gram = x.T @ x + penalty * np.eye(x.shape[1], dtype=np.float32)
    primal: Floats32 = np.linalg.solve(gram, x.T @ y)
    return primal


def _cap(lengths: Sequence[int]) -> int:
    """The most records of one user that keep the total within MOST_RECORDS."""
    cap = max(lengths, default=1)
    while cap > 1 and sum(min(length, cap) for length in lengths) > MOST_RECORDS:
        cap = max(1, int(cap * 0.8))
    return max(cap, 1)
