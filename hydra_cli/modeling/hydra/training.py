"""Training: base and heads together, then heads alone.

AdamW on the cross-entropy, as in arXiv 2406.02888.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import backward
from torch.nn.functional import cross_entropy

from hydra_cli.core.protocols import Progress
from hydra_cli.modeling.hydra.heads import (
    DenseHeads,
    HeadTensors,
    number_of,
    random_heads,
    stack,
)
from hydra_cli.modeling.hydra.pair_encoder import PairEncoder, Tokens, shuffled_batches
from hydra_cli.modeling.hydra.pairs import LabelledPair

GROUP_FLOATS = 2**24
"""Head parameters trained side by side (64 MiB; optimizer and gradients take three times more)."""

Start = Literal["population", "random"]


@dataclass(frozen=True, slots=True)
class DenseSettings:
    """How base and heads are trained; ``PAPER`` holds the paper's settings.

    The defaults keep the paper's passes over the encoder (2 epochs), but take
    more and larger steps: its settings are made for tens of thousands of
    pairs, and leave a base almost untrained on the hundreds of a small store
    (docs/design/yardsticks.md has the figures).

    ``start``: a new user's head begins at the training users' mean, or at
    random as in the release. ``head_epochs`` and ``head_learning_rate`` are
    for new users' heads. ``recompute`` runs the frozen encoder again in every
    epoch as the paper does; the heads come out the same.
    """

    epochs: int = 2
    learning_rate: float = 5e-5
    batch: int = 16
    weight_decay: float = 0.01
    pair_tokens: int = 128
    start: Start = "population"
    head_epochs: int = 2
    head_learning_rate: float = 1e-3
    recompute: bool = False


PAPER = DenseSettings(
    learning_rate=2e-5, batch=64, start="random", head_learning_rate=2e-5, recompute=True
)
"""The release of arXiv 2406.02888: 2 epochs of batches of 64 at 2e-5, for base and heads."""


def train_together(
    encoder: PairEncoder,
    pairs: Sequence[LabelledPair],
    settings: DenseSettings,
    *,
    seed: str,
    progress: Progress,
) -> HeadTensors:
    """Fine-tune the encoder in place with all training users' heads; the heads' mean.

    The heads start at one random draw, the same for everybody: their mean
    stays a head like them.
    """
    users = sorted({pair.user for pair in pairs})
    place = {user: i for i, user in enumerate(users)}
    owner = torch.tensor([place[pair.user] for pair in pairs], device=encoder.device)
    labels, weights = targets(pairs, encoder.device)
    heads = random_heads([seed] * len(users), encoder.dimension).to(encoder.device)
    tokens = encoder.tokenize([(pair.left, pair.right) for pair in pairs])
    lengths = [len(item["input_ids"]) for item in tokens]
    optimizer = torch.optim.AdamW(
        [*encoder.network.parameters(), *heads.parameters()],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    progress.start("training the base model", settings.epochs * len(pairs))
    with seeded(seed, encoder.device):
        encoder.network.train()
        for epoch in range(settings.epochs):
            for rows in shuffled_batches(lengths, settings.batch, f"{seed}\0{epoch}"):
                logits = heads.of_rows(encoder.forward([tokens[i] for i in rows]), owner[rows])
                losses = cross_entropy(logits, labels[rows], reduction="none")  # (b,)
                loss = (losses * weights[rows]).sum() / weights[rows].sum()
                optimizer.zero_grad(set_to_none=True)
                backward(loss)
                optimizer.step()
                progress.advance(len(rows))
        encoder.network.eval()
    return {name: value.cpu() for name, value in heads.mean().items()}


def fit_heads(
    encoder: PairEncoder,
    pairs: Sequence[LabelledPair],
    population: HeadTensors,
    settings: DenseSettings,
    *,
    seed: str,
    progress: Progress,
) -> dict[str, HeadTensors]:
    """The head of every user in ``pairs`` on the frozen encoder, users side by side.

    The encoder reads each pair once, unless ``settings.recompute``.
    """
    tokens = encoder.tokenize([(pair.left, pair.right) for pair in pairs])
    labels, weights = targets(pairs, encoder.device)
    if settings.recompute:

        def read(rows: Tensor) -> Tensor:
            return _read_again(encoder, tokens, rows)
    else:
        progress.start("reading pairs", len(pairs))
        states = encoder.states(tokens, progress=progress.advance).to(encoder.device)

        def read(rows: Tensor) -> Tensor:
            return states[rows]

    rows_of: dict[str, list[int]] = {}
    for row, pair in enumerate(pairs):
        rows_of.setdefault(pair.user, []).append(row)
    fitted: dict[str, HeadTensors] = {}
    progress.start("fitting heads", len(rows_of))
    for group in _groups(rows_of, settings.batch, encoder.dimension):
        if settings.start == "random":
            heads = random_heads([f"{seed}\0{user}" for user in group], encoder.dimension)
        else:
            heads = stack([population] * len(group))
        heads = heads.to(encoder.device)
        orders = [_orders(rows_of[user], settings.head_epochs, f"{seed}\0{user}") for user in group]
        _fit_group(heads, pad(orders), read, labels, weights, settings)
        for i, user in enumerate(group):
            fitted[user] = {name: value.cpu() for name, value in heads.one(i).items()}
        progress.advance(len(group))
    return fitted


def _fit_group(
    heads: DenseHeads,
    orders: Tensor,
    read: Callable[[Tensor], Tensor],
    labels: Tensor,
    weights: Tensor,
    settings: DenseSettings,
) -> None:
    """Train users side by side; ``orders`` (u, e, n) holds each epoch's rows, -1 for none.

    The loss is summed over users and AdamW works on each number alone, so
    every head comes out as if its user were the only one.
    """
    optimizer = torch.optim.AdamW(
        heads.parameters(), lr=settings.head_learning_rate, weight_decay=settings.weight_decay
    )
    for epoch in range(orders.shape[1]):
        for start in range(0, orders.shape[2], settings.batch):
            rows = orders[:, epoch, start : start + settings.batch].to(labels.device)  # (u, b)
            there, rows = rows >= 0, rows.clamp(min=0)
            logits = heads(read(rows))  # (u, b, 2)
            losses = cross_entropy(logits.transpose(1, 2), labels[rows], reduction="none")
            weight = weights[rows] * there  # (u, b)
            loss = ((losses * weight).sum(1) / weight.sum(1)).sum()
            optimizer.zero_grad(set_to_none=True)
            backward(loss)
            optimizer.step()


def _orders(rows: Sequence[int], epochs: int, seed: str) -> list[list[int]]:
    """A user's rows in each epoch's order (e, n)."""
    chance = random.Random(seed)
    return [chance.sample(rows, len(rows)) for _ in range(epochs)]


def _groups(rows_of: dict[str, list[int]], batch: int, dimension: int) -> list[list[str]]:
    """Users whose fits take equally many steps, few enough for ``GROUP_FLOATS``."""
    size = max(1, GROUP_FLOATS // (dimension * dimension))
    by_steps: dict[int, list[str]] = {}
    for user in sorted(rows_of, key=lambda user: (len(rows_of[user]), user)):
        by_steps.setdefault(-(-len(rows_of[user]) // batch), []).append(user)
    return [
        users[start : start + size]
        for users in by_steps.values()
        for start in range(0, len(users), size)
    ]


def _read_again(encoder: PairEncoder, tokens: Sequence[Tokens], rows: Tensor) -> Tensor:
    """First-token states (u, b, d) from a fresh pass over the frozen encoder."""
    with torch.no_grad():
        wanted = rows.flatten().tolist()
        states = encoder.forward([tokens[row] for row in wanted])
    return states.view(*rows.shape, -1)


def targets(pairs: Sequence[LabelledPair], device: torch.device) -> tuple[Tensor, Tensor]:
    """Labels (n,) and weights (n,)."""
    labels = torch.tensor([pair.label for pair in pairs], dtype=torch.long, device=device)
    weights = torch.tensor([pair.weight for pair in pairs], dtype=torch.float, device=device)
    return labels, weights


def pad(orders: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Ragged rows (u, e, ?) as one tensor (u, e, n), filled up with -1."""
    longest = max(len(order[0]) for order in orders)
    return torch.tensor(
        [[[*row, *[-1] * (longest - len(row))] for row in order] for order in orders]
    )


@contextmanager
def seeded(seed: str, device: torch.device) -> Iterator[None]:
    """torch's own randomness (dropout) from ``seed``, without touching the caller's."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(number_of(seed))
        yield
