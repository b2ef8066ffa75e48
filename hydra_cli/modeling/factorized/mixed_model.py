"""What a user makes of an input: what everybody makes of it, and how this user differs.

A mixed model with Gaussian priors on everything, the labels' shares or the
rating as its target:

    target = population(text) + own deviation(text, time) + noise

*Population*: a Gaussian process over all training users' records: text vector,
words, and the text itself where several users answered the same one (films,
jokes). *Own deviation*: a Gaussian process a user over what is left: the own
mean, drift, taste (linear in the text's vector), and taste in items' factors.
Their variances are shared by all users and fitted on training users, whose
population never saw them; with few records the prior answers, with many the
records do, and nothing has to be fitted for a new user: the history at hand is
the data. (Rasmussen and Williams, 2006, chapter 2; Robinson, 1991.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.records import History
from hydra_cli.modeling.factorized import items as item_table
from hydra_cli.modeling.factorized.items import Items
from hydra_cli.modeling.factorized.word_bags import Floats32, bags

Floats = NDArray[np.float64]

OWN = ("mean", "slow drift", "fast drift", "taste", "near", "items", "noise")
"""Kernels of a user's deviation, in the order of ``own``."""
SLOW, FAST = 30.0, 4.0
"""Records after which a drift is forgotten by two thirds."""
NEAR = 0.3
"""Cosine distance at which a near text counts a third."""
MOST_RECORDS = 800
"""Newest records of a user that are read."""

MOST_KNOWN = 50_000
"""Texts whose population's answer is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class MixedModel:
    """The population's weights and the variances of users' deviations.

    Targets are m columns: one for a scale, one a label otherwise. ``mean`` (m,),
    ``vectors`` (d, m), ``words`` (buckets, m), ``rarity`` (buckets,), ``own``
    the variances of ``OWN``.
    """

    labels: tuple[str, ...]
    numeric: bool
    mean: Floats32
    vectors: Floats32
    words: Floats32
    rarity: Floats32
    items: Items
    own: Floats32
    _known: dict[int, Floats] = field(default_factory=dict, repr=False)
    """What everybody makes of a text, by its key: histories come again and again."""

    @property
    def trained(self) -> bool:
        return bool(self.labels)

    def population(self, texts: Sequence[str], vectors: Floats32, keys: Sequence[int]) -> Floats:
        """What everybody makes of the texts (n, m)."""
        found = {key: self._known[key] for key in keys if key in self._known}
        new = {key: i for i, key in enumerate(keys) if key not in found}
        if new:
            rows = list(new.values())
            words = bags([texts[i] for i in rows], self.rarity)
            effects = self.items.effect(list(new))
            made = {
                # Row by row: a product of many rows rounds by how many there are.
                key: (self.mean + vectors[i] @ self.vectors + bag @ self.words + effect).astype(
                    np.float64
                )
                for (key, i), bag, effect in zip(new.items(), words, effects, strict=True)
            }
            if len(self._known) > MOST_KNOWN:
                self._known.clear()
            self._known.update(made)
            found.update(made)
        return np.stack([found[key] for key in keys])

    def predict(self, history: History, text: str, vector: Floats32) -> tuple[Floats, float]:
        """The expected target (m,) of a text that is newer than the history, and its variance."""
        rows, targets = targets_of(history, self.labels, self.numeric)
        rows, targets = rows[-MOST_RECORDS:], targets[-MOST_RECORDS:]
        texts = [*(history.records[i].input for i in rows), text]
        vectors = np.concatenate([history.inputs[rows], vector[None]])
        keys = [item_table.key(one) for one in texts]
        expected = self.population(texts, vectors, keys)
        kernels = own_kernels(vectors, self.items.factors_of(keys))
        whole = np.tensordot(self.own.astype(np.float64), kernels, 1)
        if not len(rows):
            return expected[-1], float(whole[-1, -1])
        solved = np.linalg.solve(whole[:-1, :-1], np.c_[targets - expected[:-1], whole[:-1, -1]])
        # the noise kernel is diagonal, so the last column holds none of it
        mean = expected[-1] + whole[-1, :-1] @ solved[:, :-1]
        variance = whole[-1, -1] - whole[-1, :-1] @ solved[:, -1]
        return mean, max(float(variance), 1e-6)


def untrained() -> MixedModel:
    """A model that knows nothing and says nothing."""
    nothing = np.zeros((0, 0), np.float32)
    none = np.zeros(0, np.float32)
    return MixedModel((), True, none, nothing, nothing, none, item_table.none(0), none)


def targets_of(history: History, labels: Sequence[str], numeric: bool) -> tuple[list[int], Floats]:
    """The rows of the history that have a known label, and their targets (n, m)."""
    column = {label: i for i, label in enumerate(labels)}
    rows = [i for i, record in enumerate(history.records) if record.output in column]
    outputs = [history.records[i].output for i in rows]
    if numeric:
        return rows, np.array([[float(output)] for output in outputs]).reshape(-1, 1)
    return rows, np.eye(len(labels))[[column[output] for output in outputs]]


def own_kernels(vectors: Floats32, factors: Floats32) -> Floats:
    """The kernels ``OWN`` (k, n, n) of one user's records, oldest first."""
    n = len(vectors)
    alike = (vectors @ vectors.T).astype(np.float64)
    steps = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    return np.stack(
        [
            np.ones((n, n)),
            np.exp(-steps / SLOW),
            np.exp(-steps / FAST),
            alike,
            np.exp((alike - 1.0) / NEAR),
            (factors @ factors.T).astype(np.float64),
            np.eye(n),
        ]
    )
