"""Encoder, facets and router of one stage, trained together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd import backward
from torch.nn.functional import binary_cross_entropy_with_logits

from hydra_cli.core.protocols import Progress, TextEncoder
from hydra_cli.core.records import TrainingExample
from hydra_cli.modeling.hydra.pair_encoder import PairEncoder, shuffled_batches
from hydra_cli.modeling.hydra.pairs import LabelledPair
from hydra_cli.modeling.hydra.training import seeded, targets
from hydra_cli.modeling.mof.histories import router_rows
from hydra_cli.modeling.mof.modules import FacetHeads, Router


@dataclass(frozen=True, slots=True)
class FacetSettings:
    """The settings of the recipe ``hydra`` for the encoder, our own for what stands on it."""

    epochs: int = 2
    learning_rate: float = 5e-5
    facet_learning_rate: float = 1e-3
    batch: int = 16
    weight_decay: float = 0.01
    pair_tokens: int = 128


def train_facets(
    network: PairEncoder,
    pairs: Sequence[LabelledPair],
    examples: Sequence[TrainingExample],
    encoder: TextEncoder,
    settings: FacetSettings,
    *,
    seed: str,
    progress: Progress,
) -> tuple[FacetHeads, Router]:
    """Tune ``network`` in place; the trained facets and router, on the CPU.

    Each pair's router reads the history of the pair's own example, which the
    example's record is not part of.
    """
    tokens = network.tokenize([(pair.left, pair.right) for pair in pairs])
    lengths = [len(item["input_ids"]) for item in tokens]
    labels, weights = targets(pairs, network.device)
    progress.start("training the base model", settings.epochs * len(pairs))
    with seeded(seed, network.device):
        facets = FacetHeads(network.dimension).to(network.device)
        router = Router(network.dimension).to(network.device)
        trained = nn.ModuleList([facets, router])
        optimizer = torch.optim.AdamW(
            [
                {"params": network.network.parameters(), "lr": settings.learning_rate},
                {"params": trained.parameters(), "lr": settings.facet_learning_rate},
            ],
            weight_decay=settings.weight_decay,
        )
        network.network.train()
        for epoch in range(settings.epochs):
            for rows in shuffled_batches(lengths, settings.batch, f"{seed}\0{epoch}"):
                states = network.forward([tokens[i] for i in rows])  # (b, d)
                places = sorted({pairs[i].example for i in rows})
                histories = [examples[place].context.history for place in places]
                mixtures, sparse_loss = router(*router_rows(histories, encoder, network.device))
                own = mixtures[[places.index(pairs[i].example) for i in rows]]  # (b, F)
                logits = (facets(states) * own).sum(1)  # (b,)
                losses = binary_cross_entropy_with_logits(
                    logits, labels[rows].float(), reduction="none"
                )
                weight = weights[rows]
                loss = (losses * weight).sum() / weight.sum() + sparse_loss
                optimizer.zero_grad(set_to_none=True)
                backward(loss)
                optimizer.step()
                progress.advance(len(rows))
        network.network.eval()
    return facets.cpu().eval(), router.cpu().eval()
