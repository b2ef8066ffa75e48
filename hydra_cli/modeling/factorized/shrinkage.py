"""How far users' weights may leave the population's: chosen on held-out lists.

Every training user's lists are held out one at a time; the rest, shrunk to the
population with some precision, predicts the one held out. Heads get the
precision that predicts best, and none at all (infinite precision) unless that
beats the population's weights by more than one standard error over users.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hydra_cli.modeling.factorized import listwise
from hydra_cli.modeling.factorized.listwise import Floats, ItemList

PRECISIONS = (300.0, 100.0, 30.0, 10.0)
_MOST_FOLDS = 300


def choose_precision(users: Sequence[Sequence[ItemList]], population: Floats) -> float | None:
    """The precision (one for all features) of users' weights (f,); None: infinite."""
    folds = [
        (user, own[:held] + own[held + 1 :], own[held])
        for user, own in enumerate([list(one) for one in users])
        for held in range(len(own))
        if len(own) > 1
    ]
    folds = folds[:: max(1, math.ceil(len(folds) / _MOST_FOLDS))]
    if len({user for user, _, _ in folds}) < 3:
        return None
    rest = listwise.pack([kept for _, kept, _ in folds])
    held = listwise.pack([[one] for _, _, one in folds])
    prior = np.tile(population.astype(np.float64), (len(folds), 1))
    nothing = np.zeros(prior.shape[1])
    shared = listwise.loss(held, prior, prior, nothing)
    best: float | None = None
    least = 0.0
    for precision in PRECISIONS:
        fitted = listwise.fit(rest, prior, nothing + precision)
        change = listwise.loss(held, fitted, prior, nothing) - shared
        mean, error = _over_users([user for user, _, _ in folds], change)
        if mean + error < 0.0 and mean < least:
            best, least = precision, mean
    return best


def _over_users(users: Sequence[int], values: Floats) -> tuple[float, float]:
    """Mean of the users' means, and its standard error."""
    groups: dict[int, list[float]] = {}
    for user, value in zip(users, values.tolist(), strict=True):
        groups.setdefault(user, []).append(value)
    means = np.array([sum(own) / len(own) for own in groups.values()])
    return float(means.mean()), float(means.std(ddof=1) / math.sqrt(len(means)))
