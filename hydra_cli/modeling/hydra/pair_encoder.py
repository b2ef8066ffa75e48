"""A private, trainable copy of the store's encoder that reads text pairs."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hydra_cli.core.errors import ModelError
from hydra_cli.core.protocols import TextEncoder

BATCH_TOKENS = 4096
"""Padded tokens in one batch without gradients: memory stays bounded."""

_POOL = 16  # training batches sorted by length together

Tokens = dict[str, list[int]]


@runtime_checkable
class TrainableEncoder(Protocol):
    """What a TextEncoder must offer beyond its protocol to be trained on.

    One that stands before another (a lighter one, one that keeps vectors) has that as ``full``.
    """

    @property
    def model(self) -> nn.Module: ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def pair_tokens(self) -> int:
        """The most tokens of a pair that the model reads."""
        ...


class PairEncoder:
    """A cross-encoder. ``network`` is its own: the store's encoder stays as it is."""

    def __init__(self, encoder: TextEncoder, limit: int) -> None:
        full = getattr(encoder, "full", encoder)
        if not isinstance(full, TrainableEncoder):
            raise ModelError(
                f"encoder {encoder.name!r} can't be trained, and this recipe trains its encoder",
                hint="use a Hugging Face encoder, or the default recipe",
            )
        self.network = copy.deepcopy(full.model).eval()
        self.dimension = encoder.dimension
        self.device = full.device
        self._tokenizer = full.tokenizer
        self._limit = min(limit, full.pair_tokens)

    def tokenize(self, pairs: Sequence[tuple[str, str]]) -> list[Tokens]:
        """Token ids of joined pairs, unpadded; the longer side is cut first."""
        if not pairs:
            return []
        found = self._tokenizer(
            [left for left, _ in pairs],
            [right for _, right in pairs],
            truncation="longest_first",
            max_length=self._limit,
            padding=False,
        )
        return [{key: found[key][i] for key in found} for i in range(len(pairs))]

    def forward(self, tokens: Sequence[Tokens]) -> Tensor:
        """First-token states (n, d) of one batch, with gradients where they are on."""
        batch = self._tokenizer.pad(
            {key: [item[key] for item in tokens] for key in tokens[0]}, return_tensors="pt"
        ).to(self.device)
        states: Tensor = self.network(**batch).last_hidden_state[:, 0]
        return states

    @torch.no_grad()
    def states(
        self, tokens: Sequence[Tokens], *, progress: Callable[[int], None] | None = None
    ) -> Tensor:
        """First-token states (n, d) on the CPU, in length-sorted batches, in eval mode."""
        self.network.eval()
        states = torch.empty(len(tokens), self.dimension)
        lengths = [len(item["input_ids"]) for item in tokens]
        for rows in sorted_batches(lengths, BATCH_TOKENS):
            states[rows] = self.forward([tokens[row] for row in rows]).float().cpu()
            if progress is not None:
                progress(len(rows))
        return states

    def tensors(self) -> dict[str, Tensor]:
        """The network's weights as they are stored: float16, half the bytes of float32."""
        return {
            name: tensor.detach().to("cpu", torch.float16 if tensor.is_floating_point() else None)
            for name, tensor in self.network.state_dict().items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take stored weights; ModelError where they are of another architecture."""
        try:
            self.network.load_state_dict(dict(tensors))
        except RuntimeError as error:
            raise ModelError(
                "the base model does not fit the encoder",
                hint="run `hydra-pers fit` to train it anew",
            ) from error


def sorted_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows in batches of similar length, longest first, each within ``budget`` padded tokens.

    A batch of some size also ends where pairs get much shorter: padding them
    would cost more than another batch.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch:
            longest = lengths[batch[0]]
            full = (len(batch) + 1) * longest > budget
            shorter = lengths[row] < 0.75 * longest and len(batch) * longest >= 256
            if full or shorter:
                yield batch
                batch = []
        batch.append(row)
    if batch:
        yield batch


def shuffled_batches(lengths: Sequence[int], size: int, seed: str) -> list[list[int]]:
    """Rows in batches of ``size`` by chance, similar lengths together: little padding."""
    chance = random.Random(seed)
    rows = list(range(len(lengths)))
    chance.shuffle(rows)
    batches = []
    for start in range(0, len(rows), size * _POOL):
        pool = sorted(rows[start : start + size * _POOL], key=lambda i: lengths[i])
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    chance.shuffle(batches)
    return batches
