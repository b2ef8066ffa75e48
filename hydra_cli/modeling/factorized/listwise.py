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
import torch
from numpy.typing import NDArray
from torch import Tensor

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

    features: Tensor  # (u, l, n, f)
    targets: Tensor  # (u, l, n), each list's sum is its weight; 0 at padding
    missing: Tensor  # (u, l, n), 0 at items and -inf at padding
    weights: Tensor  # (u, l), 0 at padding


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
    return Packed(*(torch.from_numpy(a) for a in (features, targets, missing, weights)))


def loss(packed: Packed, w: Tensor, prior: Tensor, precision: Tensor) -> Tensor:
    """Cross-entropy of each user's lists plus the prior's penalty (u,), for w (u, f)."""
    scores = torch.einsum("ulnf,uf->uln", packed.features, w) + packed.missing
    logs = torch.log_softmax(scores, -1)
    # 0 * -inf at padding would be nan
    entropy = -torch.where(packed.targets > 0, packed.targets * logs, 0.0).sum((1, 2))
    return entropy + 0.5 * (precision * (w - prior) ** 2).sum(1)


def fit(packed: Packed, prior: Tensor, precision: Tensor) -> Tensor:
    """The posterior mode of every user's weights (u, f).

    ``prior`` is the prior's mean (u, f), ``precision`` (f,) its positive
    precision per feature.
    """
    w = prior.clone()
    if not packed.features.shape[1]:
        return w
    current = loss(packed, w, prior, precision)
    for _ in range(STEPS):
        gradient, hessian = _derivatives(packed, w, prior, precision)
        step = torch.linalg.solve(hessian, gradient.unsqueeze(2)).squeeze(2)  # (u, f)
        if float((gradient * step).sum(1).max()) < TOLERANCE:  # Newton decrement squared
            break
        scale = torch.ones(len(w), 1, dtype=w.dtype)
        for _ in range(_HALVINGS):
            trial = w - scale * step
            reached = loss(packed, trial, prior, precision)
            worse = reached > current + 1e-12 * current.abs()
            if not bool(worse.any()):
                break
            scale = torch.where(worse.unsqueeze(1), scale / 2, scale)
        better = reached <= current + 1e-12 * current.abs()
        w = torch.where(better.unsqueeze(1), trial, w)
        current = torch.where(better, reached, current)
    return w


def _derivatives(
    packed: Packed, w: Tensor, prior: Tensor, precision: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient (u, f) and Hessian (u, f, f) of the loss."""
    x = packed.features
    scores = torch.einsum("ulnf,uf->uln", x, w) + packed.missing
    p = torch.softmax(scores, -1) * packed.weights.unsqueeze(2)  # (u, l, n)
    gradient = torch.einsum("ulnf,uln->uf", x, p - packed.targets) + precision * (w - prior)
    mean = torch.einsum("ulnf,uln->ulf", x, p)  # weight times the expected features
    users, _, _, width = x.shape
    flat = x.reshape(users, -1, width)  # (u, l * n, f)
    second = flat.transpose(1, 2) @ (flat * p.reshape(users, -1, 1))
    inverse = torch.where(packed.weights > 0, 1.0 / packed.weights.clamp(min=1e-12), 0.0)
    outer = mean.transpose(1, 2) @ (mean * inverse.unsqueeze(2))
    return gradient, second - outer + torch.diag_embed(precision)
