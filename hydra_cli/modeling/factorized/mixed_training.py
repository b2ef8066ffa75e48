"""Training the mixed model: every fold's population, and the variances of users' deviations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.records import History
from hydra_cli.modeling.factorized import items as item_table
from hydra_cli.modeling.factorized import variances
from hydra_cli.modeling.factorized.items import Items
from hydra_cli.modeling.factorized.mixed_model import (
    MixedModel,
    own_kernels,
    targets_of,
    untrained,
)
from hydra_cli.modeling.factorized.variances import Block
from hydra_cli.modeling.factorized.word_bags import Floats32, bags, rarity_of

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

FOLDS = 3
MOST_TEXTS = 2500
"""The population learns from this many texts at most, those of most users first."""
SOME_TEXTS = 400
"""Its variances are fitted on as many."""
SOME_RECORDS, SOME_USERS = 120, 40
"""Variances of the deviation are fitted on as many newest records of as many users."""
_CHUNK = 1000


def train(
    histories: Sequence[History], labels: Sequence[str], *, numeric: bool
) -> tuple[MixedModel, Mapping[str, MixedModel]]:
    """The model of all users, and for every user the one of the other folds' users."""
    table = _Table.of(histories, labels, numeric)
    if len(table.users) < 2:
        return untrained(), {}
    shares = table.shared_variances()
    users = sorted(table.users)
    apart: dict[str, _Population] = {}
    for fold in range(FOLDS):
        if held := frozenset(users[fold::FOLDS]):
            apart.update(dict.fromkeys(held, table.population(shares, held=held)))
    own = _own_variances(table, apart)
    models = {id(found): found.model(table, own) for found in apart.values()}
    whole = table.population(shares, held=frozenset())
    return whole.model(table, own), {user: models[id(apart[user])] for user in users}


@dataclass(frozen=True, slots=True, eq=False)
class _Population:
    """What a group of users makes of texts: ``expected`` (t, m) of every text of the table."""

    mean: Floats
    vectors: Floats32
    words: Floats32
    items: Items
    expected: Floats

    def model(self, table: _Table, own: Floats) -> MixedModel:
        return MixedModel(
            table.labels,
            table.numeric,
            self.mean.astype(np.float32),
            self.vectors,
            self.words,
            table.rarity,
            self.items,
            own.astype(np.float32),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Every training user's targets, and each different text once.

    ``chosen`` (c,) are the rows of texts that the population learns from, and
    ``grams`` (2, c, c) their likeness by vector and by words.
    """

    labels: tuple[str, ...]
    numeric: bool
    users: Mapping[str, tuple[Rows, Floats]]  # rows of texts (n,), targets (n, m)
    keys: NDArray[np.int64]  # (t,)
    vectors: Floats32  # (t, d)
    texts: tuple[str, ...]  # t
    rarity: Floats32
    chosen: Rows
    grams: Floats32

    @staticmethod
    def of(histories: Sequence[History], labels: Sequence[str], numeric: bool) -> _Table:
        row_of: dict[int, int] = {}
        texts: list[str] = []
        vectors: list[Floats32] = []
        users: dict[str, tuple[Rows, Floats]] = {}
        for history in histories:
            rows, targets = targets_of(history, labels, numeric)
            found = []
            for i in rows:
                text = history.records[i].input
                key = item_table.key(text)
                if key not in row_of:
                    row_of[key] = len(texts)
                    texts.append(text)
                    vectors.append(history.inputs[i])
                found.append(row_of[key])
            if found:
                users[history.user] = (np.array(found), targets)
        stacked = np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)
        keys, rarity = np.array(list(row_of), np.int64), rarity_of(texts)
        chosen = _most_read([rows for rows, _ in users.values()], len(texts))
        words = bags([texts[i] for i in chosen], rarity)
        grams = np.stack([stacked[chosen] @ stacked[chosen].T, words @ words.T])
        return _Table(
            tuple(labels), numeric, users, keys, stacked, tuple(texts), rarity, chosen, grams
        )

    def collapsed(self, held: frozenset[str]) -> tuple[Floats, Floats, Floats, Floats]:
        """Mean (m,), and for every text weight (t,), mean residual (t, m) and number of users."""
        kept = [own for user, own in self.users.items() if user not in held]
        mean = sum(len(y) ** -0.5 * y.sum(0) for _, y in kept) / sum(len(y) ** 0.5 for _, y in kept)
        weight, count = np.zeros(len(self.texts)), np.zeros(len(self.texts))
        total = np.zeros((len(self.texts), len(mean)))
        for rows, y in kept:
            # a user's level is no text's; labels have no level
            level = (y.sum(0) + 2.0 * mean) / (len(y) + 2.0) if self.numeric else mean
            share = 1.0 if self.numeric else min(1.0, 5.0 * len(y) ** -0.5)
            np.add.at(weight, rows, share)
            np.add.at(total, rows, share * (y - level))
            count[np.unique(rows)] += 1.0
        return mean, weight, total / np.maximum(weight, 1e-9)[:, None], count

    def shared_variances(self) -> Floats:
        """Those of the population's vectors, words, items and noise (4,), from a draw of texts."""
        _, weight, target, _ = self.collapsed(frozenset())
        draw = np.random.default_rng(0).permutation(len(self.chosen))[:SOME_TEXTS]
        rows = self.chosen[draw]
        alone, noise = np.eye(len(rows)), np.diag(1.0 / weight[rows])
        kernels = np.stack([*self.grams[:, draw][:, :, draw].astype(np.float64), alone, noise])
        return variances.fit([Block(kernels, target[rows])])

    def population(self, shares: Floats, *, held: frozenset[str]) -> _Population:
        """What every user who isn't held out makes of the texts."""
        mean, weight, target, count = self.collapsed(held)
        places = np.flatnonzero(weight[self.chosen] > 0)
        rows = self.chosen[places]
        gram = np.tensordot(shares[:2].astype(np.float32), self.grams, 1)[places][:, places]
        gram[np.diag_indices(len(rows))] += (shares[2] + shares[3] / weight[rows]).astype(
            gram.dtype
        )
        dual = np.linalg.solve(gram, target[rows].astype(np.float32))
        words = bags([self.texts[i] for i in rows], self.rarity)
        by_vector = (shares[0] * self.vectors[rows].T @ dual).astype(np.float32)
        by_words = (shares[1] * words.T @ dual).astype(np.float32)
        effect = np.zeros((len(self.texts), target.shape[1]), np.float32)
        effect[rows] = shares[2] * dual
        items = item_table.table(self.keys, effect, None, count)
        expected = mean + self.vectors @ by_vector + self._by_words(by_words)
        expected = expected + items.effect(self.keys)
        if self.numeric:
            left = {
                user: (rows, y - expected[rows])
                for user, (rows, y) in self.users.items()
                if user not in held
            }
            factors = item_table.factors(left, len(self.texts), count)
            items = item_table.table(self.keys, effect, factors, count)
        return _Population(mean, by_vector, by_words, items, expected)

    def _by_words(self, weights: Floats32) -> Floats:
        """What the words of every text say (t, m)."""
        parts = [
            bags(self.texts[i : i + _CHUNK], self.rarity) @ weights
            for i in range(0, len(self.texts), _CHUNK)
        ]
        return np.concatenate(parts).astype(np.float64)


def _most_read(rows: Sequence[Rows], texts: int) -> Rows:
    """The texts that most users answered, ``MOST_TEXTS`` at most; the rest by chance."""
    users = np.zeros(texts)
    for own in rows:
        users[np.unique(own)] += 1.0
    chance = np.random.default_rng(0).permutation(texts)
    order: Rows = np.lexsort((chance, -users))
    return order[:MOST_TEXTS]


def _own_variances(table: _Table, apart: Mapping[str, _Population]) -> Floats:
    """The variances of ``OWN``, from users whose population never saw them."""
    longest = sorted(table.users, key=lambda user: (-len(table.users[user][0]), user))
    blocks = []
    for user in longest[:: max(1, len(longest) // SOME_USERS)][:SOME_USERS]:
        rows, y = table.users[user]
        rows, y = rows[-SOME_RECORDS:], y[-SOME_RECORDS:]
        found = apart[user]
        kernels = own_kernels(table.vectors[rows], found.items.factors_of(table.keys[rows]))
        blocks.append(Block(kernels, y - found.expected[rows]))
    return variances.fit(blocks)
