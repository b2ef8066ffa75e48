"""Facet heads and the router that mixes them (after arXiv 2610.08330)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

FACETS = 7
TOP = 3
"""Facets that may speak for one user (K of the top-K softmax)."""
HIDDEN = 128
WIDTH = 64
CODE = 128
SPARSITY = 1e-3
"""Weight of the code's L1 norm in the autoencoder's loss."""


class FacetHeads(nn.Module):
    """F two-layer heads, computed as one: block f of the inner layer feeds output f alone."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.inner = nn.Linear(dimension, FACETS * HIDDEN)
        self.outer = nn.Parameter((torch.rand(FACETS, HIDDEN) * 2 - 1) * HIDDEN**-0.5)
        self.bias = nn.Parameter(torch.zeros(FACETS))

    def forward(self, states: Tensor) -> Tensor:
        """Logits (n, F) of first-token states (n, d)."""
        inner = torch.tanh(self.inner(states)).view(len(states), FACETS, HIDDEN)
        return (inner * self.outer).sum(-1) + self.bias


class Router(nn.Module):
    """A history's mixture of facets: transformer -> mean -> sparse code -> top-K softmax."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * dimension, WIDTH)
        self.mix = nn.TransformerEncoderLayer(
            WIDTH, nhead=4, dim_feedforward=2 * WIDTH, dropout=0.1, batch_first=True
        )
        self.encode = nn.Linear(WIDTH, CODE)
        self.decode = nn.Linear(CODE, WIDTH)
        self.gate = nn.Linear(CODE, FACETS)

    def forward(self, rows: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Mixtures (b, F), each of sum 1, and the autoencoder's loss ().

        ``rows`` (b, h, 2d) are records, ``there`` (b, h) says which are real;
        every history has at least one real row.
        """
        mixed = self.mix(self.project(rows), src_key_padding_mask=~there)  # (b, h, w)
        real = there.unsqueeze(-1)
        mean = (mixed * real).sum(1) / real.sum(1)  # (b, w)
        code = torch.relu(self.encode(mean))  # (b, c)
        loss = mse_loss(self.decode(code), mean) + SPARSITY * code.abs().sum(1).mean()
        best, place = self.gate(code).topk(TOP, dim=1)  # (b, k)
        mixture = torch.zeros(len(rows), FACETS, device=rows.device)
        return mixture.scatter(1, place, best.softmax(1)), loss


def uniform(device: torch.device | str = "cpu") -> Tensor:
    """The mixture (F,) of a user without any history."""
    return torch.full((FACETS,), 1.0 / FACETS, device=device)
