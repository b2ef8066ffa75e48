"""Dense heads of many users in one tensor each.

Linear(d, d) -> tanh -> Linear(d, 2) on the first token's state, as released
with arXiv 2406.02888: d * d + d + 2 * d + 2 parameters a user, 2.26 MiB in
float32 at d = 768.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

HeadTensors = dict[str, Tensor]
"""One user's head: inner_weight (d, d), inner_bias (d,), outer_weight (2, d), outer_bias (2,)."""


class DenseHeads(nn.Module):
    """The heads of ``users`` users. No user's loss reaches another user's numbers."""

    def __init__(self, users: int, dimension: int) -> None:
        super().__init__()
        self.inner_weight = nn.Parameter(torch.zeros(users, dimension, dimension))
        self.inner_bias = nn.Parameter(torch.zeros(users, dimension))
        self.outer_weight = nn.Parameter(torch.zeros(users, 2, dimension))
        self.outer_bias = nn.Parameter(torch.zeros(users, 2))

    def forward(self, states: Tensor) -> Tensor:
        """Logits (u, b, 2) of every user's own states (u, b, d)."""
        inner = torch.baddbmm(
            self.inner_bias[:, None], states, self.inner_weight.transpose(1, 2)
        )  # (u, b, d)
        return torch.baddbmm(
            self.outer_bias[:, None], inner.tanh(), self.outer_weight.transpose(1, 2)
        )  # (u, b, 2)

    def of_rows(self, states: Tensor, users: Tensor) -> Tensor:
        """Logits (n, 2) of states (n, d), row i by the head of user ``users[i]``."""
        logits = states.new_zeros(len(states), 2)
        for user in sorted(set(users.tolist())):
            rows = (users == user).nonzero().squeeze(1)
            inner = states[rows] @ self.inner_weight[user].T + self.inner_bias[user]
            own = inner.tanh() @ self.outer_weight[user].T + self.outer_bias[user]
            logits = logits.index_copy(0, rows, own)
        return logits

    def one(self, user: int) -> HeadTensors:
        """A user's head, copied."""
        return {name: value[user].detach().clone() for name, value in self.named_parameters()}

    def mean(self) -> HeadTensors:
        """The average of all heads: what a user without a head gets."""
        return stack([self.one(user) for user in range(len(self.inner_bias))], mean=True).one(0)


def stack(heads: Sequence[HeadTensors], *, mean: bool = False) -> DenseHeads:
    """Single heads side by side, or their average as one head."""
    together = DenseHeads(1 if mean else len(heads), len(heads[0]["inner_bias"]))
    with torch.no_grad():
        for name, parameter in together.named_parameters():
            rows = torch.stack([head[name] for head in heads])
            parameter.copy_(rows.mean(0, keepdim=True) if mean else rows)
    return together


def random_heads(seeds: Iterable[str], dimension: int) -> DenseHeads:
    """Heads drawn as nn.Linear draws them, each from its own seed."""
    drawn = []
    for seed in seeds:
        chance = torch.Generator().manual_seed(number_of(seed))
        bound = dimension**-0.5

        def uniform(*shape: int, chance: torch.Generator = chance, bound: float = bound) -> Tensor:
            return (torch.rand(*shape, generator=chance) * 2 - 1) * bound

        drawn.append(
            {
                "inner_weight": uniform(dimension, dimension),
                "inner_bias": uniform(dimension),
                "outer_weight": uniform(2, dimension),
                "outer_bias": uniform(2),
            }
        )
    return stack(drawn)


def number_of(seed: str) -> int:
    """A seed in words as a number below 2**63."""
    digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def log_odds(logits: Tensor) -> Tensor:
    """log p(1)/p(0) (...,) of two-class logits (..., 2); higher is better."""
    return logits[..., 1] - logits[..., 0]
