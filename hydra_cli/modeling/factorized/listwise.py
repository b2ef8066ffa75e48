"""A conditional logit over lists of items, with a Gaussian prior; many users at once.

P(item j | list) = exp(w . x_j) / sum_k exp(w . x_k) (McFadden, 1974). The
targets of a list are a distribution over its items, so that graded labels
train it as they do in ListNet (Cao et al., ICML 2007). The posterior mode
under w ~ normal(prior, diag(1/precision)) is found by damped Newton steps;
the loss is strictly convex, so it is the only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS = 50
TOLERANCE = 1e-12
_HALVINGS = 20


@dataclass(frozen=True, slots=True, eq=False)
class ItemList:
    """One query's items: features (n, f), target distribution (n,), weight of the list."""

    features: Floats
    targets: Floats
    weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Lists of u users, padded: every user's lists side by side."""

    features: Floats  # (u, l, n, f)
    targets: Floats  # (u, l, n), each list's sum is its weight; 0 at padding
    missing: Floats  # (u, l, n), 0 at items and -inf at padding
    weights: Floats  # (u, l), 0 at padding


def pack(users: Sequence[Sequence[ItemList]]) -> Packed:
    """Pad ragged lists; a padded list has weight 0, and a padded item no probability."""
    lists = max((len(own) for own in users), default=0)
    items = max((len(one.targets) for own in users for one in own), default=1)
    width = next((one.features.shape[1] for own in users for one in own), 0)
    features = np.zeros((len(users), lists, items, width))
    targets = np.zeros((len(users), lists, items))
    missing = np.full((len(users), lists, items), -np.inf)
    missing[..., 0] = 0.0  # a padded list still needs one item to have a softmax
    weights = np.zeros((len(users), lists))
    for u, own in enumerate(users):
        for i, one in enumerate(own):
            n = len(one.targets)
            features[u, i, :n] = one.features
            targets[u, i, :n] = one.weight * one.targets
            missing[u, i, :n] = 0.0
            weights[u, i] = one.weight
    return Packed(features, targets, missing, weights)


def loss(packed: Packed, w: Floats, prior: Floats, precision: Floats) -> Floats:
    """Cross-entropy of each user's lists plus the prior's penalty (u,), for w (u, f)."""
    logs = _log_softmax(_scores(packed, w))
    # 0 * -inf at padding would be nan
    entropy = -np.where(packed.targets > 0, packed.targets, 0.0) * np.where(
        packed.targets > 0, logs, 0.0
    )
    penalty: Floats = 0.5 * (precision * (w - prior) ** 2).sum(1)
    found: Floats = entropy.sum((1, 2)) + penalty
    return found


def fit(packed: Packed, prior: Floats, precision: Floats) -> Floats:
    """The posterior mode of every user's weights (u, f).

    ``prior`` is the prior's mean (u, f), ``precision`` (f,) its positive
    precision per feature.
    """
    w = np.array(prior, dtype=np.float64)
    if not packed.features.shape[1]:
        return w
    current = loss(packed, w, prior, precision)
    for _ in range(STEPS):
        gradient, hessian = derivatives(packed, w, prior, precision)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]  # (u, f)
        if float((gradient * step).sum(1).max()) < TOLERANCE:  # Newton decrement squared
            break
        scale = np.ones((len(w), 1))
        for _ in range(_HALVINGS):
            trial = w - scale * step
            reached = loss(packed, trial, prior, precision)
            worse = reached > current + 1e-12 * np.abs(current)
            if not worse.any():
                break
            scale = np.where(worse[:, None], scale / 2, scale)
        better = reached <= current + 1e-12 * np.abs(current)
        w = np.where(better[:, None], trial, w)
        current = np.where(better, reached, current)
    return w


def derivatives(
    packed: Packed, w: Floats, prior: Floats, precision: Floats
) -> tuple[Floats, Floats]:
    """Gradient (u, f) and Hessian (u, f, f) of the loss."""
    x = packed.features
    users, _, _, width = x.shape
    p = np.exp(_log_softmax(_scores(packed, w))) * packed.weights[..., None]  # (u, l, n)
    flat = x.reshape(users, -1, width)  # (u, l * n, f)
    across = np.swapaxes(flat, 1, 2)  # (u, f, l * n)
    off = (p - packed.targets).reshape(users, -1, 1)
    gradient = (across @ off)[..., 0] + precision * (w - prior)
    mean = (np.swapaxes(x, 2, 3) @ p[..., None])[..., 0]  # (u, l, f), expected times weight
    second = across @ (flat * p.reshape(users, -1, 1))
    inverse = np.where(packed.weights > 0, 1.0 / np.maximum(packed.weights, 1e-12), 0.0)
    outer = np.swapaxes(mean, 1, 2) @ (mean * inverse[..., None])
    return gradient, second - outer + np.diag(precision)


def _scores(packed: Packed, w: Floats) -> Floats:
    """w . x of every item (u, l, n), -inf at padding."""
    scores: Floats = (packed.features @ w[:, None, :, None])[..., 0] + packed.missing
    return scores


def _log_softmax(scores: Floats) -> Floats:
    """Over the last axis, of which at least one item is finite."""
    shifted = scores - scores.max(-1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return logs
