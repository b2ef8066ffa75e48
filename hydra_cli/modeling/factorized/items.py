"""Inputs that several users answered: what is special about each, and how tastes in them go along.

Kept by a hash of the text, and only where at least two training users answered
it: an input of one user alone leaves nothing of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Rows = NDArray[np.intp]

RANK = 4
FEWEST_USERS = 2
FACTOR_USERS = 5
"""Users that an item needs to get factors."""
_STEPS = 12
_PRIOR = 4.0


@lru_cache(maxsize=32768)
def key(text: str) -> int:
    """64 bits of a hash of the text, upper and lower case and spaces alike."""
    folded = " ".join(text.lower().split())
    digest = hashlib.blake2b(folded.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Known items: ``keys`` (i,) ascending, ``effects`` (i, m), ``factors`` (i, r)."""

    keys: NDArray[np.int64]
    effects: Floats32
    factors: Floats32

    def effect(self, keys: Sequence[int] | NDArray[np.int64]) -> Floats32:
        """What is special about each item (n, m); zeros for an unknown one."""
        return self._of(keys, self.effects)

    def factors_of(self, keys: Sequence[int] | NDArray[np.int64]) -> Floats32:
        """Each item's factors (n, r); zeros for an unknown one."""
        return self._of(keys, self.factors)

    def _of(self, keys: Sequence[int] | NDArray[np.int64], values: Floats32) -> Floats32:
        wanted = np.asarray(keys, np.int64)
        found = np.zeros((len(wanted), values.shape[1]), np.float32)
        if len(self.keys):
            places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            known = self.keys[places] == wanted
            found[known] = values[places[known]]
        return found


def none(columns: int) -> Items:
    """No known item, for targets of so many columns."""
    return Items(
        np.zeros(0, np.int64), np.zeros((0, columns), np.float32), np.zeros((0, RANK), np.float32)
    )


def table(
    keys: NDArray[np.int64], effects: Floats32, factors: Floats32 | None, users: Floats
) -> Items:
    """The items that enough users answered, out of all texts."""
    rows = np.flatnonzero(users >= FEWEST_USERS)
    rows = rows[np.argsort(keys[rows], kind="stable")]
    found = np.zeros((len(keys), RANK), np.float32) if factors is None else factors
    return Items(keys[rows], effects[rows], found[rows])


def factors(left: Mapping[str, tuple[Rows, Floats]], texts: int, users: Floats) -> Floats32:
    """Directions in which users' tastes in items differ (t, r), by expectation-maximisation.

    A user's residuals, around their own mean, are the items' factors times the
    user's, plus noise; the user's factors are standard normal, the items' are
    shrunk to zero (probabilistic matrix factorization; Salakhutdinov and Mnih, 2007).
    """
    wide = users >= FACTOR_USERS
    loads = np.random.default_rng(0).normal(scale=0.3, size=(texts, RANK)) * wide[:, None]
    people = [_known(rows, y[:, 0], wide) for rows, y in left.values()]
    people = [(rows, y) for rows, y in people if len(rows) > RANK]
    if not people:
        return np.zeros((texts, RANK), np.float32)
    noise = float(np.mean([np.mean(y**2) for _, y in people]))
    rows_of = np.flatnonzero(wide)
    for _ in range(_STEPS):
        second, first = np.zeros((texts, RANK, RANK)), np.zeros((texts, RANK))
        squares, count = 0.0, 0
        for rows, y in people:
            own = loads[rows]
            cover = np.linalg.inv(np.eye(RANK) + own.T @ own / noise)
            mean = cover @ (own.T @ y) / noise
            second[rows] += cover + np.outer(mean, mean)
            first[rows] += y[:, None] * mean
            squares += float(((y - own @ mean) ** 2).sum() + ((own @ cover) * own).sum())
            count += len(y)
        noise = squares / count
        ridge = second[rows_of] + _PRIOR * noise * np.eye(RANK)
        loads[rows_of] = np.linalg.solve(ridge, first[rows_of][..., None])[..., 0]
    return loads.astype(np.float32)


def _known(rows: Rows, y: Floats, wide: NDArray[np.bool_]) -> tuple[Rows, Floats]:
    """The rows with factors, each once, and the residuals around their mean."""
    rows, first = np.unique(rows, return_index=True)
    y = y[first]
    kept = wide[rows]
    return rows[kept], y[kept] - y[kept].mean() if kept.any() else y[kept]
